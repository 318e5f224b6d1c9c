package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// ends are both connections of a pipe, and their peers.
type ends struct {
	*server
	peer   [2]*client
	conn   [2]*Conn
	closed chan ended
}

// ended is a call of OnClose.
type ended struct {
	c *Conn
	e *CloseError
}

// joinedBy serves two clients, on a loop each if there are two, and joins them.
func joinedBy(t *testing.T, cfg Config, h Handler) *ends {
	t.Helper()
	conns := make(chan *Conn, 2)
	x := &ends{closed: make(chan ended, 2)}
	h.OnOpen = func(c *Conn) { conns <- c }
	h.OnMessage = func(_ *Conn, m Message) { t.Errorf("OnMessage got %.20q", m.Data) }
	last := h.OnClose
	h.OnClose = func(c *Conn, e *CloseError) {
		if last != nil {
			last(c, e)
		}
		x.closed <- ended{c, e}
	}
	x.server = serve(t, cfg, h)
	for i := range x.peer {
		x.peer[i] = x.dial("/", nil)
		x.conn[i] = one(t, conns, "a connection")
	}
	if apart := x.conn[0].w != x.conn[1].w; apart != (cfg.Loops > 1) {
		t.Fatal("the connections are on the wrong loops")
	}
	if err := Pipe(x.conn[0], x.conn[1]); err != nil {
		t.Fatal(err)
	}
	for _, c := range x.conn {
		x.onLoop(c, func() {}) // it is joined
	}
	return x
}

// fast writes n messages of so many bytes, numbered and of both types, without
// waiting for who reads them.
func (c *client) fast(n, size int) (done chan error) {
	var out []byte
	for i := range n {
		out, _ = c.session.Encode(&c.env, out, typeOf(i), numbered(i, size), false)
	}
	done = make(chan error, 1)
	go func() {
		_, err := c.Write(out)
		done <- err
	}()
	return done
}

// awaitStall waits until nothing is read from c for the sake of the other.
func (x *ends) awaitStall(c *Conn) {
	x.t.Helper()
	x.await("the sender to stall", func() (stalled bool) {
		x.onLoop(c, func() { stalled = c.in.halted && c.in.paused == pausedPipe })
		return stalled
	})
}

// finish shuts the engine down: both peers are told, and nothing is left.
func (x *ends) finish() {
	x.t.Helper()
	x.stop()
	for _, p := range x.peer {
		if got := p.closed(); got == nil || got.Code != protocol.CloseGoingAway {
			x.t.Errorf("told %v", got)
		}
	}
	if err := x.end(); err != nil {
		x.t.Error(err)
	}
	x.balanced()
}

func typeOf(i int) protocol.Opcode { return []protocol.Opcode{protocol.OpText, protocol.OpBinary}[i%2] }

func numbered(i, size int) []byte {
	return append(fmt.Appendf(nil, "%d ", i), bytes.Repeat([]byte{'x'}, size)...)
}

// reads expects what fast has written, and calls each after every message.
func (c *client) reads(n, size int, each func()) error {
	for i := range n {
		ev, err := c.next()
		if err != nil || ev.Kind != codec.Message || ev.Opcode != typeOf(i) || !bytes.Equal(ev.Data, numbered(i, size)) {
			return fmt.Errorf("message %d: %v %v %.20q, %w", i, ev.Kind, ev.Opcode, ev.Data, err)
		}
		each()
	}
	return nil
}

// TestPipeKeepsOrderAndType: both ways at once, on one loop and on two.
func TestPipeKeepsOrderAndType(t *testing.T) {
	const n, size = 10_000, 50
	loops(t, func(t *testing.T, l int) {
		x := joinedBy(t, Config{Loops: l}, Handler{})
		var done [4]chan error
		for i := range x.peer {
			done[i] = x.peer[i].fast(n, size)
		}
		for i := range x.peer {
			result := make(chan error, 1)
			done[2+i] = result
			go func() { result <- x.peer[i].reads(n, size, func() {}) }()
		}
		for _, d := range done {
			if err := one(t, d, "the messages"); err != nil {
				t.Error(err)
			}
		}
		x.finish()
		if st := x.Stats(); st.MessagesIn != 2*n || st.MessagesOut != 2*n || st.Dropped != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestPipeBehindASlowReader: the fast sender waits, whatever the policy, and
// everything arrives when the other reads.
func TestPipeBehindASlowReader(t *testing.T) {
	const n, size, high = 60, 64 << 10, 128 << 10
	loops(t, func(t *testing.T, l int) {
		for policy := PolicyClose; policy <= PolicyReplace; policy++ {
			x := joinedBy(t, Config{Loops: l, Policy: policy, SendBytesHigh: high, SendBytesMax: high, NotSentBytesMax: 64 << 10}, Handler{})
			for _, p := range x.peer {
				_ = p.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			}
			for side := range x.conn {
				from, to := x.conn[side], x.conn[1-side]
				sent := x.peer[side].fast(n, size)
				most := 0
				look := func() { most = max(most, to.QueuedBytes()) }
				x.awaitStall(from)
				look()
				if read := from.Stats().BytesIn; read >= uint64((side+1)*n*size) {
					t.Errorf("%d bytes were read of a sender whose messages nobody reads", read)
				}
				if err := x.peer[1-side].reads(n, size, look); err != nil {
					t.Fatal(err)
				}
				if err := one(t, sent, "the sender"); err != nil {
					t.Error(err)
				}
				if most > high+2*(size+100) {
					t.Errorf("%d bytes were queued", most)
				}
			}
			x.finish()
			if st := x.Stats(); st.Dropped != 0 || st.Replaced != 0 || st.MessagesOut != 2*n {
				t.Errorf("%+v", st)
			}
		}
	})
}

// TestPipeErrors: each mistake has its own error, and leaves nothing joined.
func TestPipeErrors(t *testing.T) {
	x, y := joinedBy(t, Config{Loops: 2}, Handler{}), joinedBy(t, Config{Loops: 1}, Handler{})
	conns := make(chan *Conn, 3)
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: echo})
	gone := s.dial("/", nil)
	was := <-conns
	gone.close(1000, "")
	_ = gone.closed()
	s.await("the end", func() bool { return was.end.phase.Load() == phaseGone })
	free := s.dial("/", nil)
	c := <-conns
	other := s.dial("/", nil)
	d := <-conns
	says := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	says(Pipe(nil, c), "nil")
	says(Pipe(c, nil), "nil")
	says(Pipe(c, c), "same")
	says(Pipe(c, x.conn[0]), "one Engine")
	for range 2 {
		if err := Pipe(c, was); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := Pipe(was, c); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	for _, joined := range y.conn {
		if err := Pipe(joined, y.conn[0]); !errors.Is(err, ErrJoined) && joined != y.conn[0] {
			t.Error(err)
		}
	}
	free.send(protocol.OpText, "still an echo")
	free.expect("still an echo")
	if err := Pipe(c, d); err != nil { // after all those mistakes
		t.Error(err)
	}
	if err := Pipe(d, c); !errors.Is(err, ErrJoined) {
		t.Error(err)
	}
	s.onLoop(d, func() {})
	other.send(protocol.OpText, "joined")
	free.expect("joined")
	x.finish()
	if err := Pipe(x.conn[0], x.conn[1]); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestPipeTakesPlaceInAFullInbox: the inbox of a loop refuses others, but the pipe
// loses nothing.
func TestPipeTakesPlaceInAFullInbox(t *testing.T) {
	x := joinedBy(t, Config{Loops: 2}, Handler{})
	a, b := x.conn[0], x.conn[1]
	held, release := make(chan bool), make(chan bool)
	_ = b.w.post(post{do: func() { held <- true; <-release }})
	<-held
	b.w.inbox.bytes.Add(inboxBytesMax)
	if err := b.SendText("refused"); !errors.Is(err, ErrBackpressure) {
		t.Errorf("the inbox is not full: %v", err)
	}
	x.peer[0].send(protocol.OpText, "one")
	x.await("the message", func() bool { return a.Stats().MessagesIn == 1 })
	close(release)
	x.peer[1].expect("one")
}

// TestPipeAllocatesNothing: neither on one loop nor across two.
func TestPipeAllocatesNothing(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		x := joinedBy(t, Config{Loops: l}, Handler{})
		data := make([]byte, 128)
		frame, _ := x.peer[0].session.Encode(&x.peer[0].env, nil, protocol.OpBinary, data, false)
		buf := make([]byte, 130)
		allocatesNothing(t, 1, func() {
			if _, err := x.peer[0].Write(frame); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(x.peer[1], buf); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// TestPipeBesideAllElse: pings, topics, timers and contexts of joined connections
// work on.
func TestPipeBesideAllElse(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		pinged := make(chan string, 2)
		x := joinedBy(t, Config{Loops: l}, Handler{OnPing: func(_ *Conn, b []byte) { pinged <- string(b) }})
		a, b := x.conn[0], x.conn[1]
		if err := b.Subscribe("news"); err != nil {
			t.Fatal(err)
		}
		x.onLoop(b, func() {})
		x.peer[0].send(protocol.OpPing, "alive")
		if got := one(t, pinged, "the ping"); got != "alive" {
			t.Errorf("pinged %q", got)
		}
		if ev, err := x.peer[0].next(); ev.Kind != codec.Pong || err != nil {
			t.Errorf("%v %v in place of a pong", ev.Kind, err)
		}
		x.peer[0].send(protocol.OpText, "first")
		x.peer[1].expect("first") // and no ping before it
		if err := x.Publish("news", Message{Type: Text, Data: []byte("published")}); err != nil {
			t.Fatal(err)
		}
		x.peer[1].expect("published")
		b.After(time.Millisecond, func() { _ = b.SendText("timed") })
		x.peer[1].expect("timed")
		if l == 1 { // what was published comes first, though its turn has not come yet
			_ = a.Subscribe("late")
			_ = b.Subscribe("late")
			x.onLoop(a, func() {
				a.w.turn.pace.left, x.test.tired = 0, func() bool { return true }
				_ = x.Publish("late", Message{Type: Text, Data: []byte("before")})
				a.w.turn.pace.left, x.test.tired = paceFirst, nil
				if a.w.fans.len() == 0 {
					t.Error("nothing waits for its turn")
				}
				passOn(a, Message{Type: Text, Data: []byte("behind")})
			})
			x.peer[1].expect("before")
			x.peer[1].expect("behind")
		}
		_ = a.Go(Message{}, func(context.Context, Message) { _ = b.SendText("off the loop") })
		x.peer[1].expect("off the loop")
		var release func(func())
		x.onLoop(a, func() { release, _ = a.Hold() })
		x.peer[0].send(protocol.OpText, "held") // as a session does until its state is there
		release(func() { _ = b.SendText("released") })
		x.peer[1].expect("released")
		x.peer[1].expect("held")
		x.peer[0].send(protocol.OpText, "second")
		x.peer[1].expect("second")
		x.finish()
	})
}
