package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// callbackAttacks are programs that treat the engine badly.
var callbackAttacks = []hostile{
	{name: "callbacks that panic", ceiling: 48, cfg: Config{SendBytesHigh: 64 << 10}, handler: panicking, attack: panics},
	{name: "callbacks that block", ceiling: 64, handler: blocking, attack: blocks},
	{name: "callbacks that close others", ceiling: 32, handler: closing, attack: closeOthers},
	{name: "sends to the closed", ceiling: 48, handler: obeying, attack: sendToClosed},
}

// panicking panics wherever the connection's path or message says.
func panicking(s *siege) Handler {
	chunk := make([]byte, 64<<10)
	at := func(c *Conn, where string) {
		if c.State() == where {
			panic("on purpose, in " + where)
		}
	}
	return Handler{
		OnUpgrade: func(u *Upgrade) error {
			if u.State = u.Request.Path; u.State == "/upgrade" {
				panic("on purpose, in OnUpgrade")
			}
			return nil
		},
		OnOpen:  func(c *Conn) { at(c, "/open") },
		OnPing:  func(c *Conn, _ []byte) { at(c, "/ping") },
		OnPong:  func(c *Conn, _ []byte) { at(c, "/pong") },
		OnClose: func(c *Conn, _ *CloseError) { at(c, "/close") },
		OnBackpressure: func(c *Conn) {
			s.told.Add(1)
			at(c, "/backpressure")
		},
		OnDrain: func(c *Conn) { at(c, "/drain") },
		OnMessage: func(c *Conn, m Message) {
			at(c, "/message")
			switch c.State() {
			case "/go":
				_ = c.Go(m, func(context.Context, Message) { panic("on purpose, off the loop") })
			case "/backpressure", "/drain":
				for c.out.queue.Bytes() < 1<<20 {
					_ = c.SendBinary(chunk)
				}
			default:
				_ = c.Send(m)
			}
		},
	}
}

// panics provokes each; every one costs its own connection and no other.
func panics(s *siege) {
	bystander := s.open()
	for range s.n(3, 100) {
		for _, path := range []string{"/open", "/message", "/ping", "/pong", "/close", "/backpressure", "/drain", "/go"} {
			c, want := s.openPath(path), protocol.CloseInternalError
			told := s.told.Load()
			switch path {
			case "/ping":
				c.send(protocol.OpPing, "")
			case "/pong":
				c.send(protocol.OpPong, "")
			case "/close":
				c.close(protocol.CloseNormal, "")
				want = protocol.CloseNormal
			case "/open":
			default:
				c.send(protocol.OpText, "x")
			}
			if path == "/backpressure" || path == "/drain" { // before anything is read
				s.await("OnBackpressure", func() bool { return s.told.Load() > told })
			}
			if info := c.closed(); info == nil || info.Code != want {
				s.t.Errorf("%s: closed with %v, want %d", path, info, want)
			}
		}
		nc := s.connect()
		_, _ = io.WriteString(nc, strings.Replace(upgradeHead(), "/chat", "/upgrade", 1))
		if got := s.ends("a panic in OnUpgrade", nc); !strings.HasPrefix(got, "HTTP/1.1 500 ") {
			s.t.Errorf("a panic in OnUpgrade was answered with %q", got)
		}
		bystander.send(protocol.OpText, "unharmed")
		bystander.expect("unharmed")
	}
}

// blocked is the state of a connection that holds up its loop until the channel
// is closed.
type blocked chan struct{}

func blocking(*siege) Handler {
	return Handler{OnMessage: func(c *Conn, m Message) {
		if until, ok := c.State().(blocked); ok && m.Text() == "block" {
			<-until
		}
		_ = c.Send(m)
	}}
}

// blocks holds up a loop while the whole program sends to its connections and
// they talk on. The other loop serves; nothing is lost, and all is in order.
func blocks(s *siege) {
	const senders, messages = 4, 10_000
	clients := make([]*client, 10)
	for range s.n(1, 20) {
		for i := range clients {
			clients[i] = s.open()
		}
		until := make(blocked)
		first := s.of(clients[0])
		s.onLoop(first, func() { first.SetState(until) })
		clients[0].send(protocol.OpText, "block")
		s.await("the callback", func() bool { return first.w.watch.turn.Load()%2 == 1 && first.w.watch.callback.Load() == onMessage })
		var conns []*Conn
		var mine []*client
		for _, c := range clients[1:] {
			if conn := s.of(c); conn.w == first.w {
				conns, mine = append(conns, conn), append(mine, c)
				c.send(protocol.OpText, "waits")
				continue
			}
			c.send(protocol.OpText, "another loop")
			c.expect("another loop")
		}
		var sending sync.WaitGroup
		for i := range senders {
			sending.Go(func() {
				for j := range messages {
					if err := conns[j%len(conns)].SendText(fmt.Sprint(i, " ", j)); err != nil {
						s.t.Error(err)
						return
					}
				}
			})
		}
		sending.Wait()
		close(until)
		clients[0].expect("block")
		for k, c := range mine {
			var next [senders]int
			for i := range next {
				next[i] = k
			}
			waits := false
			for n := messages / len(mine) * senders; n > 0 || !waits; {
				var i, j int
				_, m := c.receive()
				if m == "waits" {
					waits = true
					continue
				}
				if _, err := fmt.Sscan(m, &i, &j); err != nil || next[i] != j {
					s.t.Fatalf("received %q, want message %d of sender %d (%v)", m, next[i], i, err)
				}
				next[i] += len(mine)
				n--
			}
		}
		s.leave()
		s.calm()
	}
}

// closing closes every other connection at a message, and says how many it was.
func closing(s *siege) Handler {
	return Handler{OnMessage: func(c *Conn, m Message) {
		if m.Text() != "close others" {
			_ = c.Send(m)
			return
		}
		n := 0
		for other := range s.Conns() {
			if other != c && other.Close(4001, "by another") == nil {
				n++
			}
		}
		_ = c.SendText(fmt.Sprint(n))
	}}
}

func closeOthers(s *siege) {
	for range s.n(3, 50) {
		var clients []*client
		for range 40 {
			clients = append(clients, s.open())
		}
		last := clients[39]
		last.send(protocol.OpText, "close others")
		last.expect("39")
		for _, c := range clients[:39] {
			if info := c.closed(); info == nil || info.Code != 4001 || info.Reason != "by another" {
				s.t.Fatalf("closed with %v", info)
			}
		}
		var duel sync.WaitGroup // two, each of which closes the other
		var closed atomic.Int32
		for _, c := range []*client{s.open(), s.open(), last} {
			duel.Go(func() {
				c.send(protocol.OpText, "close others")
				for {
					if ev, err := c.next(); err != nil {
						return
					} else if ev.Kind == codec.Close {
						closed.Add(1)
					} else if closed.Load() >= 2 {
						_ = c.Conn.Close()
						return
					}
				}
			})
		}
		s.await("all but one to be closed", func() bool { return closed.Load() >= 2 })
		s.leave()
		duel.Wait()
	}
}

// sendToClosed keeps connections beyond their end and goes on using them, from
// everywhere and while they end.
func sendToClosed(s *siege) {
	var conns []*Conn
	var use sync.WaitGroup
	for i := range s.n(100, 2000) {
		c := s.open()
		conn := s.of(c)
		conns = append(conns, conn)
		if i%10 == 0 { // somebody sends meanwhile
			use.Go(func() {
				for range 5000 {
					if err := conn.SendText("news"); errors.Is(err, ErrClosed) {
						return
					} else if err != nil {
						s.t.Error(err)
						return
					}
				}
			})
		}
		switch i % 4 {
		case 0:
			abort(c.Conn)
		case 1:
			_ = c.Conn.Close()
		case 2:
			c.send(protocol.OpText, "close")
		default:
			c.close(protocol.CloseNormal, "")
		}
	}
	s.leave()
	s.await("all to be closed", func() bool { return s.Stats().Connections == 0 })
	use.Wait()
	for _, c := range conns {
		for what, err := range map[string]error{
			"Send": c.Send(Message{Data: []byte("x"), Policy: PolicyReplace, Key: "1"}), "SendText": c.SendText("x"), "Ping": c.Ping(nil), "Close": c.Close(4000, ""),
			"PauseReading": c.PauseReading(), "ResumeReading": c.ResumeReading(), "Go": c.Go(Message{}, nil),
		} {
			if !errors.Is(err, ErrClosed) {
				s.t.Errorf("%s of a closed connection: %v", what, err)
			}
		}
	}
}
