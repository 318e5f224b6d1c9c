package engine

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// TestGoLeavesNothing: when the functions of Go have returned, the connection keeps nothing
// for them, unless somebody has asked for its context.
func TestGoLeavesNothing(t *testing.T) {
	conns, ended := make(chan *Conn, 1), make(chan struct{})
	s := serve(t, Config{Loops: 1}, Handler{
		OnOpen:  func(c *Conn) { conns <- c },
		OnClose: func(*Conn, *CloseError) { close(ended) },
		OnMessage: func(c *Conn, m Message) {
			for range 3 {
				if err := c.Go(m, func(_ context.Context, m Message) { _ = c.Send(m) }); err != nil {
					t.Error(err)
				}
			}
		},
	})
	cl := s.dial("/", nil)
	c := one(t, conns, "the connection")
	for _, text := range []string{"first", "second"} {
		o := c.offLoop() // as a goroutine has it that is about to give it a function
		cl.send(protocol.OpText, text)
		for range 3 {
			cl.expect(text)
		}
		s.await("the connection to let go", func() bool { return c.off.Load() == nil })
		if _, err := o.accept(Message{}, nil); !errors.Is(err, errLeft) || o.context() != nil {
			t.Errorf("what the connection has let go of takes a function: %v", err)
		}
	}
	ctx := c.Context()
	cl.send(protocol.OpText, "third")
	for range 3 {
		cl.expect("third")
	}
	s.await("the functions to return", func() bool { return !c.working() })
	if c.Context() != ctx || ctx.Err() != nil {
		t.Errorf("another context, or it has ended: %v", ctx.Err())
	}
	_ = cl.Conn.Close()
	one(t, ended, "OnClose")
	if ctx.Err() == nil || c.Context().Err() == nil {
		t.Error("the context has not ended")
	}
}

// TestContextAfterGo: who asks for the context only at the end gets one that has ended.
func TestContextAfterGo(t *testing.T) {
	errs := make(chan error, 1)
	s := serve(t, Config{Loops: 1}, Handler{
		OnMessage: func(c *Conn, m Message) {
			_ = c.Go(m, func(_ context.Context, m Message) { _ = c.Send(m) })
		},
		OnClose: func(c *Conn, _ *CloseError) { errs <- c.Context().Err() },
	})
	cl := s.dial("/", nil)
	cl.send(protocol.OpText, "x")
	cl.expect("x")
	_ = cl.Conn.Close()
	if err := one(t, errs, "OnClose"); err == nil {
		t.Error("the context that OnClose asks for has not ended")
	}
}

// TestGoFromEverywhere: functions that several goroutines give to Go, each when its last one
// has returned, all run once and one at a time, while the connection lets go of what they need again and again.
func TestGoFromEverywhere(t *testing.T) {
	const goroutines, functions = 4, 200
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	cl := s.dial("/", nil)
	c := one(t, conns, "the connection")
	var running, ran atomic.Int32
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range functions {
				done := make(chan struct{})
				err := c.Go(Message{}, func(context.Context, Message) {
					if running.Add(1) > 1 {
						t.Error("two run at once")
					}
					ran.Add(1)
					running.Add(-1)
					close(done)
				})
				if err != nil {
					t.Error(err)
					return
				}
				<-done
			}
		})
	}
	all.Wait()
	if n := ran.Load(); n != goroutines*functions {
		t.Errorf("%d functions ran, want %d", n, goroutines*functions)
	}
	s.await("the connection to let go", func() bool { return c.off.Load() == nil })
	cl.send(protocol.OpText, "x")
	_ = cl.Conn.Close()
}

// TestGoWhileLettingGo: a goroutine that gives a function to Go has found what the connection is about to let go of, and
// tries again.
func TestGoWhileLettingGo(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	s.dial("/", nil)
	c := one(t, conns, "the connection")
	for range 100 {
		s.await("the connection to let go", func() bool { return c.off.Load() == nil })
		left, ran := &offLoop{stage: offLeft}, make(chan error, 1)
		c.off.Store(left)
		go func() {
			if err := c.Go(Message{}, func(context.Context, Message) { ran <- nil }); err != nil {
				ran <- err
			}
		}()
		for range 10 { // so that it finds left, mostly
			runtime.Gosched()
		}
		c.off.Store(nil)
		if err := one(t, ran, "the function"); err != nil {
			t.Fatal(err)
		}
	}
}
