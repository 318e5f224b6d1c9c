package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

func TestEchoKeepsOrderAndType(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n}, Handler{OnMessage: echo})
		var all sync.WaitGroup
		for i := range 8 {
			c := s.dial("/", nil)
			all.Go(func() {
				sizes := []int{0, 1, 125, 126, 65535, 65536, 300_000, 5}
				for round := range 5 {
					for j, size := range sizes {
						op := protocol.Opcode(1 + j%2)
						c.send(op, fmt.Sprintf("%d/%d/%d/%s", i, round, j, strings.Repeat("x", size)))
					}
					for j, size := range sizes {
						op, got := c.receive()
						if want := fmt.Sprintf("%d/%d/%d/%s", i, round, j, strings.Repeat("x", size)); got != want || op != protocol.Opcode(1+j%2) {
							t.Errorf("received %v %.40q, want %v %.40q", op, got, 1+j%2, want)
							return
						}
					}
				}
				c.close(protocol.CloseNormal, "done")
				if info := c.closed(); info == nil || info.Code != protocol.CloseNormal {
					t.Errorf("closed with %v", info)
				}
			})
		}
		all.Wait()
		s.await("all to be gone", func() bool { return s.Stats().Connections == 0 })
		if st := s.Stats(); st.MessagesIn != 8*40 || st.MessagesOut != 8*40 || st.Accepted != 8 || st.BytesIn == 0 || st.BytesOut == 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestFirstFramesInTheHandshakesSegment: nothing that follows the request head
// is lost, wherever TCP cuts.
func TestFirstFramesInTheHandshakesSegment(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{OnMessage: echo})
	head := upgradeHead()
	frame := "\x81\x82\x00\x00\x00\x00hi"
	for cut := 0; cut < len(head)+len(frame); cut += 7 {
		nc := s.connect()
		whole := head + frame + "\x88\x80\x00\x00\x00\x00"
		if _, err := nc.Write([]byte(whole[:cut])); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write([]byte(whole[cut:])); err != nil {
			t.Fatal(err)
		}
		r, rest := s.response(nc)
		if r.StatusCode != 101 || rest != "\x81\x02hi\x88\x00" {
			t.Fatalf("cut at %d: %s, then %q", cut, r.Status, rest)
		}
	}
}

// TestOnCloseOnce ends connections in every way and counts.
func TestOnCloseOnce(t *testing.T) {
	panics := func(c *Conn, m Message) {
		switch m.Text() {
		case "panic":
			panic("on purpose")
		case "close":
			_ = c.Close(protocol.CloseCode(4000), "asked")
			if err := c.Close(4001, "again"); !errors.Is(err, ErrClosed) {
				t.Errorf("second Close: %v", err)
			}
			if err := c.SendText("too late"); !errors.Is(err, ErrClosed) {
				t.Errorf("Send after Close: %v", err)
			}
		}
	}
	ways := []struct {
		name   string
		end    func(c *client)
		code   protocol.CloseCode
		remote bool
	}{
		{"peer closes", func(c *client) { c.close(3001, "bye"); _ = c.closed() }, 3001, true},
		{"peer closes without a code", func(c *client) { c.close(protocol.CloseNoStatus, ""); _ = c.closed() }, protocol.CloseNoStatus, true},
		{"peer drops the stream", func(c *client) { _ = c.Conn.Close() }, protocol.CloseAbnormal, true},
		{"peer resets", func(c *client) { _ = c.Conn.(*net.TCPConn).SetLinger(0); _ = c.Conn.Close() }, protocol.CloseAbnormal, true},
		{"peer breaks the protocol", func(c *client) { _, _ = c.Write([]byte{0xff, 0xff}); _ = c.closed() }, protocol.CloseProtocolError, false},
		{"server closes", func(c *client) { c.send(protocol.OpText, "close"); _ = c.closed() }, 4000, false},
		{"callback panics", func(c *client) { c.send(protocol.OpText, "panic"); _ = c.closed() }, protocol.CloseInternalError, false},
	}
	loops(t, func(t *testing.T, n int) {
		for _, way := range ways {
			t.Run(way.name, func(t *testing.T) {
				ended := make(chan *CloseError, 10)
				var ctxErr atomic.Value
				s := serve(t, Config{Loops: n}, Handler{
					OnOpen:    func(c *Conn) { c.SetState(c.Context()) },
					OnMessage: panics,
					OnClose: func(c *Conn, e *CloseError) {
						if err := c.State().(context.Context).Err(); err != nil {
							ctxErr.Store(err)
						}
						if err := c.SendText("x"); !errors.Is(err, ErrClosed) {
							t.Errorf("Send in OnClose: %v", err)
						}
						ended <- e
					},
				})
				way.end(s.dial("/", nil))
				got := <-ended
				if got.Code != way.code || got.Remote != way.remote {
					t.Errorf("OnClose: code %d remote %v (%v), want %d %v", got.Code, got.Remote, got, way.code, way.remote)
				}
				s.await("the connection to be gone", func() bool { return s.Stats().Connections == 0 })
				if err := s.end(); err != nil {
					t.Error(err)
				}
				if len(ended) != 0 {
					t.Errorf("OnClose again: %v", <-ended)
				}
				if ctxErr.Load() == nil {
					t.Error("the context lived on in OnClose")
				}
				s.balanced()
			})
		}
	})
}

// balanced checks, after the end, that every buffer went back.
func (s *server) balanced() {
	s.t.Helper()
	for _, w := range s.running() {
		if n := w.env.Buffers.Lent(); n != 0 {
			s.t.Errorf("%d buffers were not given back", n)
		}
		if len(w.conns) != 0 || w.time.wheel.Len() != 0 {
			s.t.Errorf("%d connections and %d timers are left", len(w.conns), w.time.wheel.Len())
		}
	}
}

// TestSendFromManyGoroutines: order per sender holds, whichever loop the
// connection lives on.
func TestSendFromManyGoroutines(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns := make(chan *Conn, 4)
		s := serve(t, Config{Loops: n}, Handler{OnOpen: func(c *Conn) { conns <- c }})
		const senders, messages = 16, 200
		var clients []*client
		var all []*Conn
		for range 4 {
			clients = append(clients, s.dial("/", nil))
			all = append(all, <-conns)
		}
		var done sync.WaitGroup
		for i := range senders {
			done.Go(func() {
				for j := range messages {
					for _, c := range all {
						if err := c.SendText(fmt.Sprintf("%d %d", i, j)); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		for _, c := range clients {
			next := [senders]int{}
			for range senders * messages {
				var i, j int
				_, got := c.receive()
				if _, err := fmt.Sscan(got, &i, &j); err != nil || next[i] != j {
					t.Fatalf("received %q, want message %d of sender %d (%v)", got, next[i], i, err)
				}
				next[i]++
			}
		}
		done.Wait()
	})
}

// TestSendAndCloseInsideEveryCallback: no callback runs inside another of the
// same connection, and OnClose never inside the program's own call.
func TestSendAndCloseInsideEveryCallback(t *testing.T) {
	for _, where := range []string{"open", "message", "ping", "pong"} {
		for _, what := range []string{"send", "close", "send and close", "close other"} {
			t.Run(where+" "+what, func(t *testing.T) {
				loops(t, func(t *testing.T, n int) {
					var inside atomic.Int32
					others := make(chan *Conn, 1)
					closed := make(chan uint64, 4)
					act := func(c *Conn) {
						if inside.Add(1) != 1 {
							t.Error("a callback inside a callback")
						}
						defer inside.Add(-1)
						if strings.Contains(what, "send") {
							if err := c.SendText("from " + where); err != nil {
								t.Error(err)
							}
						}
						switch {
						case what == "close other":
							if err := (<-others).Close(4002, "other"); err != nil {
								t.Error(err)
							}
						case strings.Contains(what, "close"):
							if err := c.Close(4001, "self"); err != nil {
								t.Error(err)
							}
						}
					}
					quiet := Handler{
						OnOpen:  func(c *Conn) { others <- c },
						OnClose: func(c *Conn, e *CloseError) { closed <- uint64(e.Code) },
					}
					h := Handler{
						OnUpgrade: func(u *Upgrade) error {
							if u.Request.Path == "/other" {
								u.Handler = &quiet
							}
							return nil
						},
						OnClose: func(c *Conn, e *CloseError) {
							if n == 1 && inside.Load() != 0 {
								t.Error("OnClose inside a callback")
							}
							closed <- uint64(e.Code)
						},
					}
					once := sync.Once{}
					do := func(c *Conn) { once.Do(func() { act(c) }) }
					switch where {
					case "open":
						h.OnOpen = do
					case "message":
						h.OnMessage = func(c *Conn, _ Message) { do(c) }
					case "ping":
						h.OnPing = func(c *Conn, _ []byte) { do(c) }
					case "pong":
						h.OnPong = func(c *Conn, _ []byte) { do(c) }
					}
					s := serve(t, Config{Loops: n}, h)
					other := s.dial("/other", nil)
					c := s.dial("/", nil)
					switch where {
					case "message":
						c.send(protocol.OpText, "go")
					case "ping":
						c.send(protocol.OpPing, "go")
					case "pong":
						c.send(protocol.OpPong, "go")
					}
					if strings.Contains(what, "send") {
						c.expect("from " + where)
					}
					switch what {
					case "send":
						c.close(1000, "")
						if info := c.closed(); info.Code != 1000 || <-closed != 1000 {
							t.Errorf("closed with %v", info)
						}
					case "close other":
						if info := other.closed(); info.Code != 4002 || <-closed != 4002 {
							t.Errorf("closed with %v", info)
						}
					default:
						if info := c.closed(); info.Code != 4001 || <-closed != 4001 {
							t.Errorf("closed with %v", info)
						}
					}
				})
			})
		}
	}
}

// TestShutdownInACallback would wait for itself.
func TestShutdownInACallback(t *testing.T) {
	got := make(chan error, 1)
	s := serve(t, Config{Loops: 2}, Handler{OnMessage: func(c *Conn, m Message) {
		got <- c.ep.e.Shutdown(context.Background())
		_ = c.Send(m)
	}})
	c := s.dial("/", nil)
	c.send(protocol.OpText, "x")
	if err := <-got; err == nil || !strings.Contains(err.Error(), "in a callback") {
		t.Errorf("Shutdown: %v", err)
	}
	c.expect("x")
}

// TestMisuse: wrong arguments are named.
func TestMisuse(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	_ = s.dial("/", nil)
	c := <-conns
	for want, err := range map[string]error{
		"Message.Type is 7":   c.Send(Message{Type: 7}),
		"Message.Policy is 9": c.Send(Message{Policy: 9}),
		"at most 125 bytes":   c.Ping(make([]byte, 126)),
		"may not be sent":     c.Close(1005, ""),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// TestOnCloseMaySendToOthers: what OnClose sends leaves at once, however the
// connection ended.
func TestOnCloseMaySendToOthers(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n, PingInterval: NoLimit, HandshakeTimeout: NoLimit}, Handler{
			OnClose: func(c *Conn, _ *CloseError) { _ = c.ep.e.Broadcast(Message{Type: Text, Data: []byte("left")}) },
		})
		other := s.dial("/", nil)
		for _, linger := range []int{-1, 0} { // FIN, RST
			c := s.dial("/", nil)
			_ = c.Conn.(*net.TCPConn).SetLinger(linger)
			_ = c.Conn.Close()
			other.expect("left")
		}
	})
}

func TestBroadcastReachesEveryLoop(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n}, Handler{OnMessage: func(c *Conn, m Message) {
			_ = c.SendText("before")
			if err := c.ep.e.Broadcast(m); err != nil {
				t.Error(err)
			}
			_ = c.SendText("after")
		}})
		var clients []*client
		for range 20 {
			clients = append(clients, s.dial("/", nil))
		}
		s.await("all to be open", func() bool { return s.Stats().Open == len(clients) })
		big := strings.Repeat("news ", 40_000)
		clients[3].send(protocol.OpText, big)
		if err := s.Broadcast(Message{Type: Binary, Data: []byte("from elsewhere")}); err != nil {
			t.Error(err)
		}
		for i, c := range clients {
			var got []string
			want := 2
			if i == 3 {
				want = 4
			}
			for range want {
				_, m := c.receive()
				got = append(got, m[:min(len(m), 10)])
			}
			all := strings.Join(got, "|")
			if i == 3 && !strings.Contains(all, "before|news news |after") || strings.Count(all, "news news ") != 1 || strings.Count(all, "from elsew") != 1 {
				t.Errorf("client %d received %s", i, all)
			}
		}
		seen := map[uint64]bool{}
		for c := range s.Conns() {
			seen[c.ID()] = true
		}
		if len(seen) != len(clients) {
			t.Errorf("Conns showed %d of %d", len(seen), len(clients))
		}
	})
}

func TestDrain(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		closed := make(chan *CloseError, 100)
		s := serve(t, Config{Loops: n, DrainTimeout: patience}, Handler{
			OnOpen:  func(c *Conn) { _ = c.SendBinary(make([]byte, 500_000)) },
			OnClose: func(_ *Conn, e *CloseError) { closed <- e },
		})
		var clients []*client
		for range 10 {
			clients = append(clients, s.dial("/", nil))
		}
		half := s.connect() // in the middle of its handshake
		if _, err := half.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
			t.Fatal(err)
		}
		s.await("the half-open one", func() bool { return s.Stats().Connections == 11 })
		s.stop()
		for _, c := range clients {
			if _, m := c.receive(); len(m) != 500_000 {
				t.Errorf("%d bytes of what was queued before the drain", len(m))
			}
			if info := c.closed(); info == nil || info.Code != protocol.CloseGoingAway {
				t.Errorf("closed with %v", info)
			}
		}
		if r, _ := s.response(half); r.StatusCode != 503 {
			t.Errorf("a handshake during the drain got %s", r.Status)
		}
		if err := s.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
		for range clients {
			if e := <-closed; e.Code != protocol.CloseGoingAway || e.Remote || !errors.Is(e.Err, ErrStopped) {
				t.Errorf("OnClose: %v", e)
			}
		}
		if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
			t.Error("still accepting")
		}
		s.balanced()
	})
}

func TestDrainCutsWhoDoesNotClose(t *testing.T) {
	for name, cfg := range map[string]Config{
		"at the end of the drain": {Loops: 2, DrainTimeout: 50 * time.Millisecond, CloseTimeout: NoLimit},
		"by CloseTimeout":         {Loops: 2, DrainTimeout: 2 * patience, CloseTimeout: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var closes atomic.Int32
			s := serve(t, cfg, Handler{
				OnMessage: func(c *Conn, _ Message) { _ = c.SendBinary(make([]byte, 8<<20)) },
				OnClose:   func(*Conn, *CloseError) { closes.Add(1) },
			})
			silent, deaf := s.dial("/", nil), s.dial("/", nil)
			deaf.send(protocol.OpText, "flood me") // and never read
			s.await("the flood", func() bool { return s.Stats().BytesOut > 1<<12 })
			var cut *CutError
			if err := s.end(); !errors.As(err, &cut) || cut.Connections != 2 || cut.Bytes == 0 {
				t.Errorf("Run: %v", err)
			}
			if closes.Load() != 2 {
				t.Errorf("%d calls of OnClose", closes.Load())
			}
			_ = silent
			s.balanced()
		})
	}
}

func TestShutdownAndRunInEveryOrder(t *testing.T) {
	e, err := New(Config{Addr: "ws://127.0.0.1:0"}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Addr: "ws://" + e.Addr().String()}, Handler{}); err == nil || !strings.Contains(err.Error(), "Config.Addr") {
		t.Errorf("a taken port: %v", err)
	}
	if err := e.Broadcast(Message{}); !errors.Is(err, ErrStopped) {
		t.Errorf("Broadcast before Run: %v", err)
	}
	for range 2 {
		if err := e.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown of what never ran: %v", err)
		}
	}
	if err := e.Run(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Run after Shutdown: %v", err)
	}
	s := serve(t, Config{}, Handler{})
	if err := s.Run(t.Context()); err == nil {
		t.Error("a second Run did not fail")
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := s.Shutdown(context.Background()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
	all.Wait()
	if err := <-s.done; err != nil {
		t.Errorf("Run ended by Shutdown: %v", err)
	}
	s.done <- nil
}

func TestUnixSocket(t *testing.T) {
	s := serve(t, Config{Addr: "ws+unix://" + filepath.Join(t.TempDir(), "s")}, Handler{OnMessage: echo})
	c := s.dial("/", nil)
	c.send(protocol.OpText, "by file")
	c.expect("by file")
}

// TestRaw serves the second codec, and holds that a peer which ends its stream
// still gets all that was queued for it.
func TestRaw(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		for _, cfg := range []Config{{Addr: "tcp://127.0.0.1:0"}, {Listener: ln, Codec: func() codec.Codec { return new(codec.Raw) }}} {
			cfg.Loops, cfg.SendBytesHigh, cfg.SendBytesMax = n, NoLimit, NoLimit
			s := serve(t, cfg, Handler{OnMessage: func(c *Conn, m Message) {
				if m.Type != Binary {
					t.Errorf("type %d", m.Type)
				}
				if m.Text() == "ping" {
					_ = c.SendBinary(make([]byte, 8<<20)) // more than the kernel takes
				}
				_ = c.Send(m)
			}})
			nc := s.connect()
			_, _ = nc.Write([]byte("ping"))
			_ = nc.(*net.TCPConn).CloseWrite()
			s.await("the answer", func() bool { return s.Stats().BytesOut > 0 })
			for range 2 * n { // the loops have had time to read the end of the stream
				other := s.connect()
				_, _ = other.Write([]byte("pong"))
				if _, err := io.ReadFull(other, make([]byte, 4)); err != nil {
					t.Error(err)
				}
			}
			got, end := 0, ""
			buf := make([]byte, 1<<20)
			for {
				k, err := nc.Read(buf)
				if got += k; k > 0 {
					end = string(buf[max(0, k-4):k])
				}
				if err != nil {
					break
				}
			}
			if got != 8<<20+4 || end != "ping" {
				t.Errorf("received %d bytes ending in %q", got, end)
			}
		}
	})
}

// TestOwnCodec serves a codec that is not the engine's: lines in upper case.
type lines struct{ codec.Raw }

func (*lines) Encode(_ *codec.Env, dst []byte, _ protocol.Opcode, p []byte, _ bool) ([]byte, error) {
	return append(append(dst, strings.ToUpper(string(p))...), '\n'), nil
}

func TestOwnCodec(t *testing.T) {
	s := serve(t, Config{Addr: "tcp://127.0.0.1:0", Codec: func() codec.Codec { return new(lines) }}, Handler{OnMessage: echo})
	nc := s.connect()
	_, _ = nc.Write([]byte("hello"))
	buf := make([]byte, 6)
	if _, err := nc.Read(buf); err != nil || string(buf) != "HELLO\n" {
		t.Errorf("%q %v", buf, err)
	}
}
