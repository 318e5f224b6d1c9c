package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// TestGo: order holds although functions run off the loop and block, others on
// the loop are served meanwhile, and the function may send.
func TestGo(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		release := make(chan struct{})
		var running atomic.Int32
		s := serve(t, Config{Loops: n, OffloadMax: 2}, Handler{OnMessage: func(c *Conn, m Message) {
			if m.Text() == "at once" {
				_ = c.Send(m)
				return
			}
			err := c.Go(m, func(_ context.Context, m Message) {
				if running.Add(1) > 2 {
					t.Error("more than OffloadMax run")
				}
				<-release
				running.Add(-1)
				if err := c.SendText("done " + m.Text()); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Error(err)
			}
		}})
		var clients []*client
		for i := range 5 {
			c := s.dial("/", nil)
			clients = append(clients, c)
			for j := range 3 { // in one batch: the second waits for the first
				c.env.Out, _ = c.session.Encode(&c.env, c.env.Out, protocol.OpText, fmt.Appendf(nil, "%d/%d", i, j), false)
			}
			c.env.Out, _ = c.session.Encode(&c.env, c.env.Out, protocol.OpText, []byte("at once"), false)
			c.flush()
		}
		s.await("both of the pool", func() bool { return running.Load() == 2 })
		other := s.dial("/", nil)
		other.send(protocol.OpText, "at once")
		other.expect("at once")
		close(release)
		for i, c := range clients {
			for j := range 3 {
				c.expect(fmt.Sprintf("done %d/%d", i, j))
			}
			c.expect("at once")
		}
	})
}

// TestGoAndTheEnd: Conn.Context ends with the connection, OnClose waits for the
// function, and the connection counts as one until then.
func TestGoAndTheEnd(t *testing.T) {
	for _, way := range []string{"peer drops", "server closes", "cut by a shutdown"} {
		t.Run(way, func(t *testing.T) {
			order := make(chan string, 10)
			inside := make(chan *Conn, 1)
			s := serve(t, Config{Loops: 1, DrainTimeout: 20 * time.Millisecond, CloseTimeout: 20 * time.Millisecond}, Handler{
				OnMessage: func(c *Conn, m Message) {
					if err := c.Go(m, func(context.Context, Message) {
						inside <- c
						<-c.Context().Done()
						order <- "returned"
					}); err != nil {
						t.Error(err)
					}
				},
				OnClose: func(*Conn, *CloseError) { order <- "OnClose" },
			})
			cl := s.dial("/", nil)
			cl.send(protocol.OpText, "x")
			c := <-inside
			switch way {
			case "peer drops":
				_ = cl.Conn.Close()
			case "server closes":
				_ = c.Close(4000, "")
			default:
				_ = s.end()
			}
			if a, b := <-order, <-order; a != "returned" || b != "OnClose" {
				t.Errorf("%s, then %s", a, b)
			}
			s.await("it to be counted out", func() bool { return s.Stats().Connections == 0 })
		})
	}
}

// TestGoHangupBeforeTheFunction: a peer that leaves while the function waits for
// its turn is not waited for.
func TestGoHangupBeforeTheFunction(t *testing.T) {
	first, release := make(chan struct{}), make(chan struct{})
	conns, returned := make(chan *Conn, 2), make(chan struct{})
	s := serve(t, Config{Loops: 1, OffloadMax: 1}, Handler{OnMessage: func(c *Conn, m Message) {
		hold := m.Text() == "hold"
		_ = c.Go(m, func(context.Context, Message) {
			if hold {
				close(first)
				<-release
				return
			}
			<-c.Context().Done()
			close(returned)
		})
		conns <- c
	}})
	s.dial("/", nil).send(protocol.OpText, "hold")
	<-first
	<-conns
	cl := s.dial("/", nil)
	cl.send(protocol.OpText, "leave")
	c := <-conns
	_ = cl.Conn.Close()
	s.await("the hang-up", func() (hung bool) {
		s.onLoop(c, func() { hung = c.Context().Err() != nil })
		return hung
	})
	close(release)
	select {
	case <-returned:
	case <-time.After(patience):
		t.Fatal("the context of a connection that is gone did not end")
	}
}

func TestGoPanics(t *testing.T) {
	s := serve(t, Config{}, Handler{OnMessage: func(c *Conn, m Message) {
		_ = c.Go(m, func(context.Context, Message) { panic("off the loop") })
	}})
	c := s.dial("/", nil)
	c.send(protocol.OpText, "x")
	if info := c.closed(); info.Code != protocol.CloseInternalError {
		t.Errorf("closed with %v", info)
	}
	if s.logs.FilterMessageSnippet("panicked").Len() != 1 {
		t.Error("the panic was not logged")
	}
}
