package engine

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// TestIdleTimeout: a connection that carries no message in either direction is
// closed, never too early; pings are no messages, and while reading is paused the
// clock stands still.
func TestIdleTimeout(t *testing.T) {
	told := make(chan *CloseError, 1)
	conns := make(chan *Conn, 1)
	h := Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: echo, OnClose: func(_ *Conn, e *CloseError) { told <- e }}
	for _, addr := range []string{"ws://127.0.0.1:0", "tcp://127.0.0.1:0"} {
		s := serveAt(t, new(testClock), Config{Addr: addr, Loops: 1, IdleTimeout: 8 * time.Second, PingInterval: NoLimit}, h)
		nc := s.connect()
		answer := func() {}
		say := func() {
			_, _ = io.WriteString(nc, "hello")
			_, _ = io.ReadFull(nc, make([]byte, 5))
		}
		if !s.main.raw {
			c, err := s.open(nc, "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			answer = func() { _ = c.closed() }
			say = func() { c.send(protocol.OpText, "hello"); c.expect("hello") }
		}
		c := <-conns
		lives := func(after time.Duration) {
			t.Helper()
			for range after / time.Second {
				s.pass(time.Second)
			}
			if len(told) > 0 {
				t.Fatalf("%s: closed with %v", addr, <-told)
			}
		}
		for range 3 {
			lives(7 * time.Second)
			say()
		}
		s.onLoop(c, func() { c.pause(pausedUser) })
		lives(30 * time.Second)
		s.onLoop(c, func() { c.unpause(pausedUser) })
		lives(7 * time.Second)
		for range 2 {
			_ = c.SendText("news") // only to the peer
			lives(7 * time.Second)
		}
		s.onLoop(c, func() { // what waits to be written at both looks of one turn
			_ = c.SendText("news")
			for range 3 {
				s.clock.now.Add(int64(2 * time.Second))
				c.w.rang()
			}
		})
		lives(7 * time.Second)
		_ = c.Ping(nil)
		for range 4 {
			s.pass(time.Second)
		}
		s.pass(secondLook) // this clock makes the loop late
		answer()
		if e := <-told; e.Code != protocol.CloseGoingAway || e.Remote || !errors.Is(e, ErrTimeout) {
			t.Errorf("%s: OnClose was told %v", addr, e)
		}
	}
}
