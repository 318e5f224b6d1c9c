package engine

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/outq"
	"github.com/sockmill/sockmill/protocol"
)

// congest opens a connection whose peer does not read and fills the kernel, so
// that whatever is sent next waits. It returns how many messages did so.
func congest(t *testing.T, s *server, conns <-chan *Conn) (*client, *Conn, int) {
	t.Helper()
	cl := s.dial("/", nil)
	c := <-conns
	filler := 0
	s.onLoop(c, func() {
		for !c.flow.congested {
			if err := c.send(outgoing{op: protocol.OpBinary, policy: PolicyClose, data: make([]byte, 64<<10)}); err != nil {
				t.Error(err)
				return
			}
			filler++
			c.flush()
		}
	})
	return cl, c, filler
}

// onLoop runs f on the connection's loop and waits for it.
func (s *server) onLoop(c *Conn, f func()) {
	done := make(chan struct{})
	if err := c.w.post(post{do: func() { f(); close(done) }}); err != nil {
		s.t.Fatal(err)
	}
	<-done
}

// received reads n messages and returns those that are not filler.
func received(cl *client, filler int) (texts []string) {
	for range filler {
		if op, _ := cl.receive(); op != protocol.OpBinary {
			cl.t.Fatal("a message overtook what was sent before")
		}
	}
	for {
		op, m := cl.receive()
		if op == protocol.OpText && m == "end" {
			return texts
		}
		texts = append(texts, m)
	}
}

func TestPolicies(t *testing.T) {
	text := func(i int) string { return fmt.Sprintf("%03d%s", i, strings.Repeat("x", 997)) }
	for _, from := range []string{"loop", "elsewhere"} {
		for _, tt := range []struct {
			policy   Policy
			want     []int // which of 0…99 arrive
			refused  int
			dropped  uint64
			replaced uint64
		}{
			{PolicyDropNewest, span(0, 10), 90, 90, 0},
			{PolicyDropOldest, span(90, 100), 0, 90, 0},
			{PolicyReplace, []int{96, 97, 98, 99}, 0, 0, 96}, // four keys
		} {
			t.Run(fmt.Sprint(tt.policy, " ", from), func(t *testing.T) {
				conns := make(chan *Conn, 1)
				// High is far above: nothing here is about pausing.
				s := serve(t, Config{Loops: 1, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
				cl, c, filler := congest(t, s, conns)
				refused := 0
				send := func() {
					for i := range 100 {
						err := c.Send(Message{Type: Text, Data: []byte(text(i)), Policy: tt.policy, Key: fmt.Sprint("player ", i%4)})
						if errors.Is(err, ErrBackpressure) {
							refused++
						} else if err != nil {
							t.Error(err)
						}
					}
				}
				s.onLoop(c, func() { // from now on, room for ten messages
					c.ep.SendBytesMax = c.out.queue.Bytes() + 10*(len(text(0))+4+outq.RemovableBytes)
					if from == "loop" {
						send()
					}
				})
				if from == "elsewhere" {
					send()
				}
				s.onLoop(c, func() {
					c.ep.SendBytesMax = 1 << 30
					_ = c.send(outgoing{op: protocol.OpText, policy: PolicyClose, data: []byte("end")})
				})
				before := c.Stats()
				got := received(cl, filler)
				var want []string
				for _, i := range tt.want {
					want = append(want, text(i))
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("received %d messages, want %d", len(got), len(want))
				}
				s.await("an empty queue", func() bool { return c.out.queued.Load() == 0 })
				st := c.Stats()
				if from == "loop" && refused != tt.refused {
					t.Errorf("%d refused, want %d", refused, tt.refused)
				}
				if st.Dropped != tt.dropped || st.Replaced != tt.replaced || int(st.MessagesOut) != filler+len(want)+1 || before.Dropped != st.Dropped {
					t.Errorf("%+v, want %d dropped, %d replaced, %d out", st, tt.dropped, tt.replaced, filler+len(want)+1)
				}
				_ = cl.Conn.Close()
				_ = s.end()
				s.balanced()
			})
		}
	}
}

func span(from, to int) (s []int) {
	for i := from; i < to; i++ {
		s = append(s, i)
	}
	return s
}

// TestNotSentBytesMax shows how many bytes stand before a replaced key: the
// latest position is behind what the kernel took, and that is what
// NotSentBytesMax bounds.
func TestNotSentBytesMax(t *testing.T) {
	before := func(limit int) (bytes int) {
		conns := make(chan *Conn, 1)
		s := serve(t, Config{Loops: 1, NotSentBytesMax: limit, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
		small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { // a window of a few KiB
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10) })
		}}
		nc, err := small.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		cl, err := s.open(nc, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		c := <-conns
		s.onLoop(c, func() {
			for i := 0; !c.flow.congested || i%100 != 0; i++ { // positions of player 7, of which only the latest matters
				_ = c.Send(Message{Type: Text, Data: fmt.Appendf(nil, "%01000d", i), Policy: PolicyReplace, Key: "player 7"})
				c.flush()
			}
			_ = c.Send(Message{Type: Text, Data: []byte("latest"), Policy: PolicyReplace, Key: "player 7"})
		})
		for {
			_, m := cl.receive()
			if m == "latest" {
				return bytes
			}
			bytes += len(m)
		}
	}
	bounded, unbounded := before(16<<10), before(NoLimit)
	t.Logf("%d bytes with NotSentBytesMax of 16 KiB, %d without", bounded, unbounded)
	if bounded > 100<<10 || unbounded < 4*bounded {
		t.Errorf("%d bytes stand before the latest message with NotSentBytesMax of 16 KiB, %d without", bounded, unbounded)
	}
}

// TestReplaceAmongDroppable: the latest of a key finds its place although
// messages that may be dropped fill the queue.
func TestReplaceAmongDroppable(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	cl, c, filler := congest(t, s, conns)
	s.onLoop(c, func() {
		c.ep.SendBytesMax = c.out.queue.Bytes() + 10_000
		for range 100 {
			_ = c.Send(Message{Type: Text, Data: make([]byte, 1000), Policy: PolicyDropOldest})
		}
		for i := range 100 {
			if err := c.Send(Message{Type: Text, Data: fmt.Append(nil, "typing ", i), Policy: PolicyReplace, Key: "typing"}); err != nil {
				t.Error(err)
			}
		}
		c.ep.SendBytesMax = 1 << 30
		_ = c.send(outgoing{op: protocol.OpText, policy: PolicyClose, data: []byte("end")})
	})
	got := received(cl, filler)
	if len(got) == 0 || got[len(got)-1] != "typing 99" || c.Stats().Replaced != 99 {
		t.Errorf("received %d messages, %+v", len(got), c.Stats())
	}
}

// TestPolicyCloseDiscards: whole messages that wait are discarded and counted,
// one partly written is finished, and 1013 follows at once.
func TestPolicyCloseDiscards(t *testing.T) {
	conns, ended := make(chan *Conn, 1), make(chan *CloseError, 1)
	s := serve(t, Config{Loops: 1, SendBytesHigh: 1 << 20, SendBytesMax: 1 << 20, CloseTimeout: patience}, Handler{
		OnOpen:  func(c *Conn) { conns <- c },
		OnClose: func(_ *Conn, e *CloseError) { ended <- e },
	})
	cl, c, filler := congest(t, s, conns)
	sent := 0
	for {
		err := c.SendText(strings.Repeat("y", 10_000))
		if errors.Is(err, ErrClosed) {
			break
		}
		if sent++; errors.Is(err, ErrBackpressure) {
			break
		}
	}
	arrived := 0
	for {
		ev, err := cl.next()
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == codec.Close {
			if cl.env.Closed.Code != protocol.CloseTryAgainLater {
				t.Errorf("closed with %v", cl.env.Closed)
			}
			break
		}
		arrived++
	}
	if e := <-ended; e.Code != protocol.CloseTryAgainLater || !errors.Is(e, ErrBackpressure) {
		t.Errorf("OnClose: %v", e)
	}
	st := c.Stats()
	if arrived >= filler+sent || int(st.Dropped) != filler+sent-arrived || int(st.MessagesOut) != arrived {
		t.Errorf("%d sent, %d arrived, %+v", filler+sent, arrived, st)
	}
}

// TestSlowCode: each listener has its own code for those who are too slow, that of New, or 1013.
func TestSlowCode(t *testing.T) {
	ended := make(chan *CloseError, 1)
	h := Handler{OnClose: func(_ *Conn, e *CloseError) { ended <- e }}
	for _, x := range []struct{ engine, listener, want protocol.CloseCode }{
		{0, 0, 1013}, {3008, 0, 3008}, {0, 3008, 3008}, {4000, 3008, 3008},
	} {
		s := serve(t, Config{Loops: 1, SlowCode: x.engine}, h)
		cl := s.dialTo(s.listen(Config{SlowCode: x.listener}, nil))
		s.await("it", func() bool { return s.Stats().Open == 1 })
		for c := range s.Conns() {
			s.onLoop(c, c.closeSlow)
		}
		for ev, err := cl.next(); ev.Kind != codec.Close; ev, err = cl.next() {
			if err != nil {
				t.Fatal(err)
			}
		}
		if code := cl.env.Closed.Code; code != x.want {
			t.Errorf("%+v: closed with %v", x, code)
		}
		cl.close(x.want, "")
		if e := <-ended; e.Code != x.want || !errors.Is(e, ErrBackpressure) {
			t.Errorf("%+v: OnClose: %v", x, e)
		}
	}
	for _, code := range []protocol.CloseCode{1005, 999, 5000} {
		if _, err := New(Config{SlowCode: code}, Handler{}); err == nil || !strings.Contains(err.Error(), "Config.SlowCode") {
			t.Errorf("SlowCode %d: %v", code, err)
		}
	}
}

// TestBackpressureIsTold: OnBackpressure and OnDrain alternate.
func TestBackpressureIsTold(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		told := make(chan string, 100)
		conns := make(chan *Conn, 1)
		s := serve(t, Config{Loops: n, SendBytesHigh: 100_000}, Handler{
			OnOpen:         func(c *Conn) { conns <- c },
			OnBackpressure: func(*Conn) { told <- "backpressure" },
			OnDrain:        func(*Conn) { told <- "drain" },
		})
		cl := s.dial("/", nil)
		c := <-conns
		for range 3 {
			messages := 0
			for len(told) == 0 {
				s.onLoop(c, func() {
					if err := c.SendBinary(make([]byte, 10_000)); err != nil {
						t.Error(err)
					}
				})
				messages++
			}
			for range messages {
				cl.receive()
			}
			if a, b := <-told, <-told; a != "backpressure" || b != "drain" {
				t.Fatalf("told %s, %s", a, b)
			}
		}
		if len(told) != 0 {
			t.Errorf("and told %s", <-told)
		}
	})
}

// TestPauseReading: while the program pauses, nothing is delivered; afterwards
// everything is, in order, and several reasons do not cancel each other.
func TestPauseReading(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns := make(chan *Conn, 1)
		got := make(chan string, 100)
		s := serve(t, Config{Loops: n}, Handler{
			OnOpen: func(c *Conn) { conns <- c },
			OnMessage: func(c *Conn, m Message) {
				got <- m.Text()
				if m.Text() == "pause" { // the rest of the batch waits
					if err := c.PauseReading(); err != nil {
						t.Error(err)
					}
				}
			},
		})
		cl := s.dial("/", nil)
		c := <-conns
		for _, m := range []string{"a", "pause", "b", "c"} {
			cl.env.Out, _ = cl.session.Encode(&cl.env, cl.env.Out, protocol.OpText, []byte(m), false)
		}
		cl.flush()
		if a, b := <-got, <-got; a != "a" || b != "pause" {
			t.Fatalf("%s %s", a, b)
		}
		cl.send(protocol.OpText, "d")
		s.onLoop(c, func() { // another reason comes and goes
			c.pause(pausedBacklog)
			c.unpause(pausedBacklog)
		})
		other := s.dial("/", nil)
		other.send(protocol.OpText, "x")
		if m := <-got; m != "x" {
			t.Fatalf("delivered %q while paused", m)
		}
		if err := c.ResumeReading(); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"b", "c", "d"} {
			if m := <-got; m != want {
				t.Fatalf("delivered %q, want %q", m, want)
			}
		}
		s.onLoop(c, func() { c.pause(pausedUser) })
		cl.close(1000, "") // a close while paused is seen after the resume
		_ = c.ResumeReading()
		_ = cl.closed()
	})
}

// TestWriteStall: a backlog without any progress is cut.
func TestWriteStall(t *testing.T) {
	conns, ended := make(chan *Conn, 1), make(chan *CloseError, 1)
	s := serve(t, Config{Loops: 1, WriteStallTimeout: 30 * time.Millisecond}, Handler{
		OnOpen:  func(c *Conn) { conns <- c },
		OnClose: func(_ *Conn, e *CloseError) { ended <- e },
	})
	_, _, _ = congest(t, s, conns)
	if e := <-ended; e.Code != protocol.CloseAbnormal || !errors.Is(e, ErrTimeout) {
		t.Errorf("OnClose: %v", e)
	}
	s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
	_ = s.end()
	s.balanced()
}
