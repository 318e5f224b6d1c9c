package engine

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/protocol"
)

// posted is how many posts wait for a loop that is held up.
func (w *worker) posted() int {
	w.inbox.mu.Lock()
	defer w.inbox.mu.Unlock()
	return len(w.inbox.posts)
}

// acknowledged reports whether the other end has received all that was sent.
func (c *client) acknowledged() bool {
	nc := c.Conn
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	left := -1
	_ = raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err != nil {
		c.t.Fatal(err)
	}
	return left == 0
}

// TestDrainAnswers: whoever has sent a message gets its answer before the close frame, by functions of
// Go, behind a message that pauses reading, in two parts, over TLS, and if the loop had no time to read it.
func TestDrainAnswers(t *testing.T) {
	for _, over := range []string{"TCP", "TLS"} {
		t.Run(over, func(t *testing.T) {
			release, hold, held, paused, releases := make(chan bool), make(chan bool), make(chan bool), make(chan *Conn, 1), make(chan func(), 1)
			h := Handler{OnMessage: func(c *Conn, m Message) {
				switch m.Text() {
				case "hold":
					held <- true
					<-hold
				case "now":
				case "held":
					release, err := c.Hold()
					if err != nil {
						t.Error(err)
					}
					releases <- func() { release(func() { _ = c.SendText("released") }) }
				case "pause":
					paused <- c
					_ = c.PauseReading()
				default:
					if err := c.Go(m, func(_ context.Context, m Message) { <-release; _ = c.Send(m) }); err != nil {
						t.Error(err)
					}
					return
				}
				_ = c.Send(m)
			}}
			cfg := Config{Loops: 1}
			var s *server
			var dial func() *client
			if over == "TLS" {
				x := serveTLS(t, cfg, h)
				s, dial = x.server, func() *client { return x.dialTLS(nil) }
			} else {
				s = serve(t, cfg, h)
				dial = func() *client { return s.dial("/", nil) }
			}
			works, alone, holds, pauses, inParts, holder, unread := dial(), dial(), dial(), dial(), dial(), dial(), dial()
			works.sendAll("one", "two", "three", "now")
			alone.send(protocol.OpText, "one")
			s.await("the functions", func() bool { return s.Draining().Functions == 2 })
			holds.send(protocol.OpText, "held")
			unhold := one(t, releases, "Hold")
			holds.expect("held")
			pauses.sendAll("pause", "now")
			pausing := one(t, paused, "PauseReading")
			pauses.expect("pause")
			before, frame := s.Stats().BytesIn, maskedFrame(0x81, "now")
			_, _ = inParts.Write([]byte(frame[:len(frame)-2]))
			s.await("the first part", func() bool { return s.Stats().BytesIn >= before+uint64(len(frame)-2) })
			x := s.drain(t.Context(), Drain{})
			x.at(DrainUnready)
			s.planned(0, func(*drainPlan) {})
			holder.send(protocol.OpText, "hold")
			<-held
			s.await("the alarm of the plan", func() bool { return s.loops[0].posted() == 1 })
			x.to(DrainArrived)
			x.to(DrainClosing)
			x.next <- true
			s.await("the closing to be posted", func() bool { return s.loops[0].posted() == 2 })
			unread.send(protocol.OpText, "now") // the loop hears of it after that
			s.await("it to arrive", func() bool { return unread.acknowledged() })
			hold <- true
			holder.expect("hold")
			unread.expect("now")
			for _, c := range []*client{holder, unread} {
				if info := c.closed(); info.Code != protocol.CloseGoingAway {
					t.Errorf("closed with %v", info)
				}
			}
			_, _ = inParts.Write([]byte(frame[len(frame)-2:]))
			inParts.expect("now")
			close(release)
			alone.expect("one")
			unhold()
			holds.expect("released")
			if err := pausing.ResumeReading(); err != nil {
				t.Fatal(err)
			}
			pauses.expect("now")
			for _, want := range []string{"one", "two", "three", "now"} {
				works.expect(want)
			}
			for _, c := range []*client{inParts, works, alone, holds, pauses} {
				if info := c.closed(); info.Code != protocol.CloseGoingAway {
					t.Errorf("closed with %v", info)
				}
			}
			x.at(DrainEnding)
			if err := x.end(DrainEnding); err != nil {
				t.Error(err)
			}
			s.balanced()
		})
	}
}
