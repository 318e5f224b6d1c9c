package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

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
			return fmt.Errorf("message %d: %v %v %.20q, %v", i, ev.Kind, ev.Opcode, ev.Data, err)
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
	const n, size, high = 100, 64 << 10, 128 << 10
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

// TestPipeCloses: however one connection ends, the other is closed accordingly,
// and both have their OnClose.
func TestPipeCloses(t *testing.T) {
	byPeer := func(code protocol.CloseCode, reason string) func(x *ends, i int) {
		return func(x *ends, i int) { x.peer[i].close(code, reason) }
	}
	cases := []struct {
		name   string
		end    func(x *ends, i int)
		code   protocol.CloseCode
		reason string
		first  protocol.CloseCode // of the one that ended
	}{
		{"1000", byPeer(1000, "bye"), 1000, "bye", 1000},
		{"4001", byPeer(4001, "x"), 4001, "x", 4001},
		{"no code", byPeer(protocol.CloseNoStatus, ""), protocol.CloseNoStatus, "", protocol.CloseNoStatus},
		{"cut", func(x *ends, i int) { _ = x.peer[i].Conn.Close() }, 1001, "the other side has gone", 1006},
		{"too big", func(x *ends, i int) { x.peer[i].send(protocol.OpBinary, strings.Repeat("x", 2000)) }, 1009, "the message exceeds the limit", 1009},
		{"Close", func(x *ends, i int) { _ = x.conn[i].Close(4002, "y") }, 4002, "y", 4002},
		{"Abort", func(x *ends, i int) { _ = x.conn[i].Abort() }, 1001, "the other side has gone", 1006},
	}
	loops(t, func(t *testing.T, l int) {
		for _, c := range cases {
			for i := range 2 {
				t.Run(fmt.Sprintf("%s, side %d", c.name, i), func(t *testing.T) {
					x := joinedBy(t, Config{Loops: l, MessageBytesMax: 1000}, Handler{})
					c.end(x, i)
					if c.first != protocol.CloseAbnormal {
						_ = x.peer[i].closed()
					}
					got := x.peer[1-i].closed()
					if got == nil || got.Code != c.code || !strings.Contains(got.Reason, c.reason) {
						t.Errorf("the other peer was told %v", got)
					}
					for range 2 {
						e := one(t, x.closed, "OnClose")
						want := c.first
						if e.c != x.conn[i] {
							want = c.code
						}
						if e.e.Code != want || e.c != x.conn[i] && e.e.Remote {
							t.Errorf("OnClose was told %v, want %d", e.e, want)
						}
					}
					if err := x.end(); err != nil {
						t.Error(err)
					}
					x.balanced()
				})
			}
		}
	})
}

// TestPipeClosesBehindMessages: what is queued arrives before the close frame, and
// OnClose of the first may choose another code.
func TestPipeClosesBehindMessages(t *testing.T) {
	const n, size = 100, 64 << 10
	loops(t, func(t *testing.T, l int) {
		for _, code := range []protocol.CloseCode{4001, protocol.CloseServiceRestart} {
			var x *ends
			x = joinedBy(t, Config{Loops: l, SendBytesHigh: 256 << 10, NotSentBytesMax: 64 << 10}, Handler{OnClose: func(c *Conn, _ *CloseError) {
				if c == x.conn[0] && code != 4001 {
					_ = x.conn[1].Close(code, "x")
				}
			}})
			a, b := x.peer[0], x.peer[1]
			_ = b.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
			sent := a.fast(n, size)
			x.awaitStall(x.conn[0])
			told := make(chan error, 1)
			go func() {
				if err := <-sent; err != nil {
					told <- err
				}
				a.close(4001, "x")
				close(told)
			}()
			if err := b.reads(n, size, func() {}); err != nil {
				t.Fatal(err)
			}
			if got := b.closed(); got == nil || got.Code != code || got.Reason != "x" {
				t.Errorf("told %v, want %d", got, code)
			}
			if err := <-told; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestPipeDrains: a shutdown ends both connections well.
func TestPipeDrains(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		x := joinedBy(t, Config{Loops: l}, Handler{})
		x.peer[0].send(protocol.OpText, "last")
		x.peer[1].expect("last")
		x.finish()
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

// TestPipeWithWhoEndsMeanwhile: a connection that ends between Pipe and its turn
// on the loop still ends the other.
func TestPipeWithWhoEndsMeanwhile(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		conns := make(chan *Conn, 2)
		s := serve(t, Config{Loops: l}, Handler{OnOpen: func(c *Conn) { conns <- c }})
		_, b := s.dial("/", nil), s.dial("/", nil)
		x, y := <-conns, <-conns
		release := make(chan bool)
		_ = x.w.post(post{do: func() {
			<-release
			x.abort()
			x.attend()
		}})
		if err := Pipe(x, y); err != nil {
			t.Fatal(err)
		}
		close(release)
		if got := b.closed(); got == nil || got.Code != protocol.CloseGoingAway {
			t.Errorf("told %v", got)
		}
	})
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

// TestPipeLeavesNothing: nobody refers to two connections that were joined.
func TestPipeLeavesNothing(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		x := joinedBy(t, Config{Loops: l}, Handler{})
		a, b := weak.Make(x.conn[0]), weak.Make(x.conn[1])
		_ = x.peer[0].Conn.Close()
		_ = x.peer[1].closed()
		x.conn = [2]*Conn{}
		for range 2 {
			one(t, x.closed, "OnClose")
		}
		x.await("the connections to be forgotten", func() bool {
			runtime.GC()
			return a.Value() == nil && b.Value() == nil
		})
	})
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

// choosy is a protocol that cannot send everything.
type choosy struct{ codec.Raw }

func (*choosy) Encode(_ *codec.Env, dst []byte, _ protocol.Opcode, p []byte, _ bool) ([]byte, error) {
	switch string(p) {
	case "refuse":
		return dst, codec.ErrOpcode
	case "panic":
		panic("on purpose")
	}
	return append(dst, p...), nil
}

// TestPipeOfAnotherProtocol: the end of the stream, an error and a panic of a
// codec of the program's end both connections.
func TestPipeOfAnotherProtocol(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		for what, want := range map[string][2]protocol.CloseCode{ // of who sent it, and of the other
			"end":    {protocol.CloseNormal, protocol.CloseNormal},
			"refuse": {protocol.CloseInternalError, protocol.CloseInternalError},
			"panic":  {protocol.CloseInternalError, protocol.CloseAbnormal},
		} {
			conns, closed := make(chan *Conn, 2), make(chan ended, 2)
			s := serve(t, Config{Addr: "tcp://127.0.0.1:0", Loops: l, Codec: func() codec.Codec { return new(choosy) }}, Handler{
				OnOpen:  func(c *Conn) { conns <- c },
				OnClose: func(c *Conn, e *CloseError) { closed <- ended{c, e} },
			})
			a := s.connect()
			x := <-conns
			b := s.connect()
			y := <-conns
			if err := Pipe(x, y); err != nil {
				t.Fatal(err)
			}
			s.onLoop(x, func() {})
			_, _ = io.WriteString(a, what)
			received := ""
			if what == "end" {
				received = what
				_ = a.(*net.TCPConn).CloseWrite()
			}
			if got, _ := io.ReadAll(b); string(got) != received {
				t.Errorf("%s: received %q", what, got)
			}
			_, _ = b.Close(), a.Close()
			for range 2 {
				e, i := one(t, closed, "OnClose"), 0
				if e.c == y {
					i = 1
				}
				if e.e.Code != want[i] {
					t.Errorf("%s: connection %d ended with %v, want %d", what, i, e.e, want[i])
				}
			}
		}
	})
}

// TestPipeToAServer: a client that is not read until the server is there, whose end
// is passed on too; the server is not dialled again for a client that has left.
func TestPipeToAServer(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		behind := make(chan *Conn, 1)
		up := serve(t, Config{Loops: 1, Deflate: DeflateTakeover}, Handler{OnOpen: func(c *Conn) { behind <- c }, OnMessage: echo})
		for how, want := range map[string]protocol.CloseCode{"left": 0, "closed": 4001, "broke": protocol.CloseInternalError} {
			t.Run(how, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var s *server
				s = serve(t, Config{Loops: l, Deflate: DeflateTakeover}, Handler{
					OnOpen: func(c *Conn) {
						_ = c.PauseReading()
						d := Dial{URL: up.url("/"), Reconnect: true, BackoffMin: time.Millisecond, Loop: s.Loops()[l-1], Handler: &Handler{OnOpen: func(u *Conn) {
							if err := Pipe(c, u); err != nil {
								_ = u.Close(protocol.CloseGoingAway, "")
							}
							_ = c.ResumeReading()
						}}}
						if err := s.Dial(ctx, d); err != nil {
							t.Error(err)
						}
					},
					OnMessage: func(_ *Conn, m Message) { t.Errorf("OnMessage got %.20q", m.Data) },
				})
				cl := s.dial("/", nil)
				cl.send(protocol.OpText, strings.Repeat("early ", 1000))
				cl.expect(strings.Repeat("early ", 1000))
				server := <-behind
				switch how {
				case "left":
					cl.close(4002, "left")
					_ = cl.closed()
					s.await("both to be gone", func() bool { return s.Stats().Connections == 0 })
					if n := s.Stats().Dialled; n != 1 {
						t.Errorf("dialled %d times", n)
					}
					return
				case "closed":
					_ = server.Close(4001, "full")
				case "broke":
					_ = server.Abort()
				}
				cancel() // no other is needed
				if got := cl.closed(); got == nil || got.Code != want {
					t.Errorf("told %v", got)
				}
			})
		}
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
		_ = a.Go(Message{}, func(context.Context, Message) { _ = b.SendText("off the loop") })
		x.peer[1].expect("off the loop")
		x.peer[0].send(protocol.OpText, "second")
		x.peer[1].expect("second")
		x.finish()
	})
}
