package engine

import (
	"bytes"
	"context"
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

// TestPipeDrains: a shutdown ends both connections well, one that does not read
// behind what waits for it.
func TestPipeDrains(t *testing.T) {
	const n, size = 60, 64 << 10
	loops(t, func(t *testing.T, l int) {
		x := joinedBy(t, Config{Loops: l, SendBytesHigh: 256 << 10, NotSentBytesMax: 64 << 10}, Handler{})
		a, b := x.peer[0], x.peer[1]
		_ = b.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		sent := a.fast(n, size)
		x.awaitStall(x.conn[0])
		x.stop()
		if err := one(t, sent, "the sender"); err != nil {
			t.Error(err)
		}
		if got := a.closed(); got == nil || got.Code != protocol.CloseGoingAway {
			t.Errorf("told %v", got)
		}
		if first := one(t, x.closed, "OnClose"); first.c != x.conn[0] {
			t.Error("the one that does not read was the first to end")
		}
		for i := 0; ; i++ {
			ev, err := b.next()
			if ev.Kind == codec.Close && b.env.Closed.Code == protocol.CloseGoingAway {
				break
			}
			if err != nil || ev.Kind != codec.Message || !bytes.Equal(ev.Data, numbered(i, size)) {
				t.Fatalf("message %d: %v %.20q, %v", i, ev.Kind, ev.Data, err)
			}
		}
		_ = b.closed()
		if err := x.end(); err != nil {
			t.Error(err)
		}
		x.balanced()
	})
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

// TestPipeLeavesNothing: who keeps one of two connections that have ended does not
// keep the other.
func TestPipeLeavesNothing(t *testing.T) {
	loops(t, func(t *testing.T, l int) {
		for i := range 2 {
			x := joinedBy(t, Config{Loops: l}, Handler{})
			kept, forgotten := x.conn[i], weak.Make(x.conn[1-i])
			_ = x.peer[0].Conn.Close()
			_ = x.peer[1].closed()
			x.conn = [2]*Conn{}
			for range 2 {
				one(t, x.closed, "OnClose")
			}
			x.await("the connection to be forgotten", func() bool {
				runtime.GC()
				return forgotten.Value() == nil
			})
			runtime.KeepAlive(kept)
		}
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
			_ = b.Close()
			_, _ = io.ReadAll(a)
			_ = a.Close()
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
				s := serve(t, Config{Loops: l, Deflate: DeflateTakeover}, Handler{
					OnOpen: func(c *Conn) {
						_ = c.PauseReading()
						d := Dial{URL: up.url("/"), Reconnect: true, BackoffMin: time.Millisecond, Loop: c.ep.e.Loops()[l-1], Handler: &Handler{OnOpen: func(u *Conn) {
							if err := Pipe(c, u); err != nil {
								_ = u.Close(protocol.CloseGoingAway, "")
							}
							_ = c.ResumeReading()
						}}}
						if err := c.ep.e.Dial(ctx, d); err != nil {
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
