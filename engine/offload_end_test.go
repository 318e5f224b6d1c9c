package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// TestGoOutlivesThePeer: what Go accepted runs, in order, with a context that
// lives, although the peer resets during the first; then comes OnClose, which has
// one more run behind it. The connection keeps its place until that has returned.
func TestGoOutlivesThePeer(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		const functions = 60
		began, saving, save := make(chan struct{}), make(chan struct{}), make(chan struct{})
		var order []string // without a lock: each comes after the one before it
		s := serve(t, Config{Loops: n}, Handler{
			OnMessage: func(c *Conn, m Message) {
				for i := range functions {
					if err := c.Go(m, func(ctx context.Context, m Message) {
						if i == 0 {
							close(began)
							<-c.Context().Done() // the peer is gone
						}
						order = append(order, fmt.Sprint(m.Text(), i, ctx.Err(), c.Context().Err() != nil))
					}); err != nil {
						t.Error(err)
					}
				}
			},
			OnClose: func(c *Conn, _ *CloseError) {
				err := c.Go(Message{Data: []byte("player")}, func(ctx context.Context, m Message) {
					close(saving)
					<-save
					order = append(order, fmt.Sprint(m.Text(), "is saved", ctx.Err()))
				})
				order = append(order, fmt.Sprint("OnClose", err))
			},
		})
		cl := s.dial("/", nil)
		cl.send(protocol.OpText, "x")
		one(t, began, "the first function")
		_ = cl.Conn.(*net.TCPConn).SetLinger(0)
		_ = cl.Conn.Close()
		one(t, saving, "the function of OnClose")
		if n := s.Stats().Connections; n != 1 {
			t.Errorf("%d connections while one is saved", n)
		}
		close(save)
		s.await("the place to be given back", func() bool { return s.Stats().Connections == 0 })
		if err := s.end(); err != nil {
			t.Error(err)
		}
		var want []string
		for i := range functions {
			want = append(want, fmt.Sprint("x", i, nil, true))
		}
		want = append(want, "OnClose<nil>", "playeris saved<nil>")
		if !slices.Equal(order, want) {
			t.Errorf("got %q", order)
		}
	})
}

// TestShutdownWaitsForGo: a shutdown reads nothing new, lets the functions that
// run and that were accepted finish and send, and only then says 1001. Run waits
// also for what OnClose gave to Go.
func TestShutdownWaitsForGo(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		began, answer := make(chan struct{}), make(chan struct{})
		messages, saved := 0, false
		s := serve(t, Config{Loops: n, DrainTimeout: patience}, Handler{
			OnMessage: func(c *Conn, m Message) {
				messages++
				for i := range 3 {
					_ = c.Go(m, func(ctx context.Context, m Message) {
						if i == 0 {
							close(began)
							<-answer
						}
						if ctx.Err() != nil || c.Context().Err() != nil {
							t.Errorf("a context has ended: %v, %v", ctx.Err(), c.Context().Err())
						}
						if err := c.SendText(fmt.Sprint(m.Text(), i)); err != nil {
							t.Error(err)
						}
					})
				}
			},
			OnClose: func(c *Conn, e *CloseError) {
				if e.Code != protocol.CloseGoingAway || e.Remote {
					t.Errorf("OnClose: %v", e)
				}
				if err := c.Go(Message{}, func(ctx context.Context, _ Message) { saved = ctx.Err() == nil }); err != nil {
					t.Error(err)
				}
			},
		})
		cl := s.dial("/", nil)
		cl.send(protocol.OpText, "x")
		one(t, began, "the first function")
		cl.send(protocol.OpText, "new")
		s.stop()
		s.await("the drain", func() bool { // a loop hears of it like of everything else
			for _, w := range s.running() {
				drains := make(chan bool)
				if w.post(post{kind: ownPost, do: func() { drains <- w.drains.begun }}) != nil || !<-drains {
					return false
				}
			}
			return true
		})
		close(answer)
		cl.expect("x0")
		cl.expect("x1")
		cl.expect("x2")
		if info := cl.closed(); info.Code != protocol.CloseGoingAway {
			t.Errorf("closed with %v", info)
		}
		if err := s.end(); err != nil || messages != 1 || !saved {
			t.Errorf("Run: %v; %d messages; saved %v", err, messages, saved)
		}
		s.balanced()
	})
}

// TestShutdownDeadlineEndsGo: at the deadline of a shutdown the context of Go
// ends. What was accepted is still called; nothing more is accepted, and the
// error counts what had not returned.
func TestShutdownDeadlineEndsGo(t *testing.T) {
	began := make(chan struct{})
	ended := make(chan string, 10)
	s := serve(t, Config{Loops: 1, DrainTimeout: 20 * time.Millisecond}, Handler{
		OnMessage: func(c *Conn, m Message) {
			for i := range 2 {
				_ = c.Go(m, func(ctx context.Context, _ Message) {
					if i == 0 {
						close(began)
						<-ctx.Done()
						<-c.ep.e.life.done // longer than the shutdown
					}
					ended <- fmt.Sprint(i, ctx.Err())
				})
			}
		},
		OnClose: func(c *Conn, _ *CloseError) {
			ended <- fmt.Sprint("OnClose", errors.Is(c.Go(Message{}, func(context.Context, Message) {}), ErrStopped))
		},
	})
	cl := s.dial("/", nil)
	cl.send(protocol.OpText, "x")
	one(t, began, "the first function")
	err := s.end()
	var cut *CutError
	if !errors.As(err, &cut) || *cut != (CutError{Connections: 1, Functions: 2}) {
		t.Errorf("Run: %v", err)
	}
	for _, want := range []string{"0 context canceled", "1 context canceled", "OnClosetrue"} {
		if got := one(t, ended, want); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	s.await("the place to be given back", func() bool { return s.Stats().Connections == 0 })
}

// TestGoIsBounded: in number and in bytes; what was accepted before runs.
func TestGoIsBounded(t *testing.T) {
	for what, c := range map[string]struct {
		data     []byte
		accepted int
	}{
		"number": {nil, functionsPerConnMax},
		"bytes":  {make([]byte, functionBytesMax/4+1), 4},
	} {
		t.Run(what, func(t *testing.T) {
			var ran atomic.Int32
			refused := make(chan struct{})
			s := serve(t, Config{}, Handler{OnMessage: func(cc *Conn, m Message) {
				call := func() error {
					return cc.Go(Message{Data: c.data}, func(context.Context, Message) { <-refused; ran.Add(1) })
				}
				if m.Text() == "again" {
					if err := call(); err != nil {
						t.Error(err)
					}
					return
				}
				for range c.accepted {
					if err := call(); err != nil {
						t.Error(err)
					}
				}
				if err := call(); !errors.Is(err, ErrBackpressure) {
					t.Errorf("one too many: %v", err)
				}
				close(refused)
			}})
			cl := s.dial("/", nil)
			cl.send(protocol.OpText, "x")
			cl.send(protocol.OpText, "again")
			s.await("all to run", func() bool { return int(ran.Load()) == c.accepted+1 })
		})
	}
}

// TestGoElsewhere: any goroutine may call Go; what it accepts runs, in the order
// of each caller, beside callbacks that call it too, until OnClose has returned.
func TestGoElsewhere(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		const callers, each = 4, 200
		conns, closed := make(chan *Conn, 1), make(chan struct{})
		var ran, accepted int // without a lock: one function at a time
		var next [callers]int
		s := serve(t, Config{Loops: n}, Handler{
			OnOpen: func(c *Conn) { conns <- c },
			OnMessage: func(c *Conn, m Message) {
				if err := c.Go(m, func(_ context.Context, m Message) { ran++; _ = c.Send(m) }); err != nil {
					t.Error(err)
				}
			},
			OnClose: func(*Conn, *CloseError) { close(closed) },
		})
		cl := s.dial("/", nil)
		c := one(t, conns, "OnOpen")
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for j := range each {
					if err := c.Go(Message{}, func(context.Context, Message) {
						if ran++; next[i] != j {
							t.Errorf("caller %d: function %d after %d", i, j, next[i])
						}
						next[i]++
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := range each {
			cl.send(protocol.OpText, fmt.Sprint(i))
			cl.expect(fmt.Sprint(i))
		}
		all.Wait()
		accepted = callers*each + each
		_ = cl.Conn.Close()
		one(t, closed, "OnClose")
		if ran != accepted {
			t.Errorf("%d of %d ran before OnClose", ran, accepted)
		}
		s.await("the refusal", func() bool { return errors.Is(c.Go(Message{}, func(context.Context, Message) {}), ErrClosed) })
	})
}

// TestLifetimeWaitsForGo: a connection that has lived long enough gets what its
// functions send before its 1001.
func TestLifetimeWaitsForGo(t *testing.T) {
	s := serve(t, Config{Loops: 1, LifetimeMax: 10 * time.Millisecond}, Handler{OnOpen: func(c *Conn) {
		_ = c.Go(Message{}, func(context.Context, Message) {
			for left := false; !left; {
				done := make(chan struct{})
				_ = c.Loop().Post(func() { left = c.ending().leaving != nil; close(done) })
				<-done
			}
			if err := c.SendText("done"); err != nil {
				t.Error(err)
			}
		})
	}})
	cl := s.dial("/", nil)
	cl.expect("done")
	if info := cl.closed(); info.Code != protocol.CloseGoingAway {
		t.Errorf("closed with %v", info)
	}
}
