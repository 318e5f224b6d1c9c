package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// watcher is a Follower.
type watcher struct{ closed func(c *Conn) }

func (w *watcher) Closed(c *Conn) { w.closed(c) }

// TestAfterClose: each follower is told once, in order, after OnClose and the
// functions that it gave to Go, on the loop, while the connection still has its
// place; a panic of one is logged, and the next is told.
func TestAfterClose(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		events := make(chan string, 20)
		told := func(name string) *watcher {
			return &watcher{func(c *Conn) {
				if inside := c.ep.e.gate.Counts().Inside; !c.Loop().On() || inside != 1 {
					t.Errorf("%s: on its loop %v, %d connections are inside", name, c.Loop().On(), inside)
				}
				if events <- name; name == "first" {
					panic(errOnPurpose)
				}
			}}
		}
		s := serve(t, Config{Loops: n}, Handler{
			OnMessage: func(c *Conn, m Message) {
				first := told("first")
				for _, f := range []*watcher{first, told("second"), first} {
					if err := c.AfterClose(f); err != nil {
						t.Error(err)
					}
				}
				_ = c.Send(m)
			},
			OnClose: func(c *Conn, e *CloseError) {
				events <- "OnClose"
				_ = c.Go(Message{}, func(context.Context, Message) { events <- "Go" })
				if err := c.AfterClose(told("late")); !errors.Is(err, ErrClosed) {
					t.Errorf("AfterClose in OnClose: %v", err)
				}
			},
		})
		c := s.dial("/", nil)
		c.send(protocol.OpText, "follow")
		c.expect("follow")
		abort(c.Conn)
		for _, want := range []string{"OnClose", "Go", "first", "second"} {
			if got := one(t, events, want); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
		s.await("the end", func() bool { return s.gate.Counts().Inside == 0 })
		if n := s.logs.FilterMessageSnippet("panicked").Len(); n != 1 || len(events) > 0 {
			t.Errorf("%d panics are logged; %d more events", n, len(events))
		}
	})
}

// TestHold: messages wait until the last has released, whoever does; the functions
// come before them, on the loop, never inside release. It is not PauseReading.
func TestHold(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		events, releases, conns := make(chan string, 20), make(chan func(func()), 2), make(chan *Conn, 1)
		s := serve(t, Config{Loops: n}, Handler{
			OnMessage: func(c *Conn, m Message) {
				events <- m.Text()
				if m.Text() != "hold" {
					return
				}
				for range 2 {
					release, err := c.Hold()
					if err != nil {
						t.Error(err)
					}
					releases <- release
				}
				conns <- c
			},
			OnClose: func(c *Conn, e *CloseError) {
				if _, err := c.Hold(); !errors.Is(err, ErrClosed) {
					t.Errorf("Hold in OnClose: %v", err)
				}
				events <- "OnClose"
			},
		})
		want := func(names ...string) {
			t.Helper()
			for _, name := range names {
				if got := one(t, events, name); got != name {
					t.Fatalf("%q, want %q", got, name)
				}
			}
		}
		hold := func() (c *client, conn *Conn, first, second func(func())) {
			c = s.dial("/", nil)
			_, _ = io.WriteString(c, maskedFrame(0x81, "hold")+maskedFrame(0x81, "next")) // in one segment
			want("hold")
			return c, one(t, conns, "OnMessage"), <-releases, <-releases
		}
		_, conn, first, second := hold()
		posted := func() {
			for range 2 { // so that the turn of the first has ended
				if err := conn.Loop().Post(func() { events <- "posted" }); err != nil {
					t.Fatal(err)
				}
				want("posted")
			}
		}
		_ = conn.ResumeReading()
		first(func() { events <- "first" })
		first(func() { events <- "twice" })
		want("first")
		posted()
		_ = conn.PauseReading()
		_ = conn.Loop().Post(func() {
			inside := true
			second(func() {
				if inside || !conn.Loop().On() {
					t.Errorf("inside release %v, on its loop %v", inside, conn.Loop().On())
				}
				events <- "second"
			})
			inside = false
		})
		want("second")
		posted()
		_ = conn.ResumeReading()
		want("next")

		c, _, first, second := hold()
		first(func() { panic(errOnPurpose) })
		if e := c.closed(); e.Code != protocol.CloseInternalError {
			t.Errorf("closed with %v", e)
		}
		want("OnClose")
		second(func() { t.Error("a function of a connection that is closed") })
		posted()
	})
}

// TestCloseNow: the peer gets the close frame, and OnClose is called without its
// answer, with the cause; not inside CloseNow, and after functions of Go.
func TestCloseNow(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		cause := errors.New("the cause")
		told, conns, running, leave := make(chan *CloseError, 1), make(chan *Conn, 1), make(chan bool), make(chan bool)
		s := serve(t, Config{Loops: n}, Handler{
			OnOpen:  func(c *Conn) { conns <- c },
			OnClose: func(c *Conn, e *CloseError) { told <- e },
			OnMessage: func(c *Conn, m Message) {
				_ = c.Go(m, func(context.Context, Message) { running <- true; <-leave })
			},
		})
		now := &CloseError{Code: 4001, Reason: "go", Remote: true, Err: cause}
		for _, how := range []string{"on the loop", "elsewhere", "after Close", "while a function of Go runs"} {
			c := s.dial("/", nil) // which does not read, and so does not answer, before OnClose
			conn, code := one(t, conns, "OnOpen"), protocol.CloseCode(4001)
			switch how {
			case "on the loop":
				_ = conn.Loop().Post(func() {
					if err := conn.CloseNow(now); err != nil || len(told) > 0 || !errors.Is(conn.SendText("x"), ErrClosed) {
						t.Errorf("%v; OnClose inside: %v", err, len(told) > 0)
					}
				})
			case "after Close":
				code = 4000
				if err := errors.Join(conn.Close(code, "enough"), conn.CloseNow(now)); err != nil {
					t.Error(err)
				}
			case "while a function of Go runs":
				c.send(protocol.OpText, "run")
				<-running
				fallthrough
			default:
				if err := conn.CloseNow(now); err != nil {
					t.Error(err)
				}
			}
			if how == "while a function of Go runs" {
				if info := c.closed(); info == nil || info.Code != code || len(told) > 0 {
					t.Errorf("%s: the peer was told %+v, OnClose %d times", how, info, len(told))
				}
				leave <- true
			}
			if e := one(t, told, "OnClose"); e.Code != code || e.Remote || errors.Is(e, cause) != (code == 4001) {
				t.Errorf("%s: OnClose was told %+v", how, e)
			}
			if err := conn.CloseNow(now); !errors.Is(err, ErrClosed) {
				t.Errorf("%s: again: %v", how, err)
			}
			if how == "while a function of Go runs" {
				continue
			}
			if info := c.closed(); info == nil || info.Code != code {
				t.Errorf("%s: the peer was told %+v", how, info)
			}
		}
		_ = s.dial("/", nil)
		if err := one(t, conns, "OnOpen").CloseNow(&CloseError{Code: 1005}); err == nil {
			t.Error("a code was taken that may not be sent")
		}
	})
}

// TestAtEnd: the functions are called in order, those given meanwhile too, when
// all callbacks have returned and before Run does.
func TestAtEnd(t *testing.T) {
	var events []string
	opened := make(chan bool)
	s := serve(t, Config{Loops: 2}, Handler{
		OnOpen:  func(*Conn) { close(opened) },
		OnClose: func(*Conn, *CloseError) { events = append(events, "OnClose") }, // the race detector looks on
	})
	for i := range 3 {
		if err := s.AtEnd(func() {
			events = append(events, fmt.Sprint(i))
			if err := s.AtEnd(func() { events = append(events, fmt.Sprint("more ", i)) }); err != nil {
				t.Error(err)
			}
			if i == 1 {
				panic(errOnPurpose)
			}
		}); err != nil {
			t.Error(err)
		}
	}
	c := s.dial("/", nil)
	<-opened
	abort(c.Conn)
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if want := []string{"OnClose", "0", "1", "2", "more 0", "more 1", "more 2"}; !slices.Equal(events, want) {
		t.Errorf("%q, want %q", events, want)
	}
	if n := s.logs.FilterMessageSnippet("panicked").Len(); n != 1 {
		t.Errorf("%d panics are logged", n)
	}
	if err := s.AtEnd(func() {}); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}

	unused, err := New(Config{}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	called := false
	if err := errors.Join(unused.AtEnd(func() { called = true }), unused.Shutdown(context.Background())); err != nil || !called {
		t.Errorf("an engine that never ran: called %v, %v", called, err)
	}
}
