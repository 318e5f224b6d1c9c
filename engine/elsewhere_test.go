package engine

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// TestCallbackMethodsElsewhere: what is for callbacks says so on another
// goroutine, and touches nothing of the loop's; what any goroutine may call works.
func TestCallbackMethodsElsewhere(t *testing.T) {
	server := make(chan string, 4)
	s := serve(t, Config{}, Handler{
		OnOpen: func(c *Conn) {
			if c.Request() == nil {
				t.Error("there is no Request in OnOpen")
			}
			var all sync.WaitGroup
			for range 4 { // beside OnOpen
				all.Go(func() {
					if r := c.Request(); r != nil {
						t.Errorf("Request elsewhere: %v", r)
					}
					if err := c.AfterClose(new(watcher)); !errors.Is(err, errElsewhere) {
						t.Errorf("AfterClose elsewhere: %v", err)
					}
					if _, err := c.Hold(); !errors.Is(err, errElsewhere) {
						t.Errorf("Hold elsewhere: %v", err)
					}
				})
			}
			all.Wait()
		},
		OnMessage: func(c *Conn, m Message) {
			var all sync.WaitGroup
			for _, v := range []any{"a text", 7, nil} { // beside each other, and State
				all.Go(func() { c.SetState(v); _ = c.State() })
			}
			all.Wait()
			c.SetState(m.Text())
			server <- c.State().(string)
			c.SetState(nil)
			if c.State() != nil {
				t.Errorf("State is %v", c.State())
			}
		},
	})
	cl := s.dial("/", nil)
	cl.send(protocol.OpText, "set")
	if got := one(t, server, "the state"); got != "set" {
		t.Errorf("State is %q", got)
	}

	opened := make(chan *protocol.Response, 1)
	pure(t, Config{}, Handler{OnOpen: func(c *Conn) {
		here, elsewhere := c.Response(), make(chan *protocol.Response)
		go func() { elsewhere <- c.Response() }()
		if r := <-elsewhere; r != nil {
			t.Errorf("Response elsewhere: %v", r)
		}
		opened <- here
	}}).mustDial(Dial{URL: s.url("/")})
	if one(t, opened, "the response") == nil {
		t.Error("there is no Response in OnOpen")
	}
}

// TestStopTellsOfACallUnderWay: after Stop has reported that none is, none runs or
// begins.
func TestStopTellsOfACallUnderWay(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{})
	l := s.Loops()[0]

	inside, leave, own := make(chan bool), make(chan bool), make(chan bool, 1)
	var timer *Timer
	made := make(chan bool)
	timer = l.After(time.Millisecond, func() {
		<-made
		inside <- true
		<-leave
		own <- timer.Stop()
		panic("on purpose")
	})
	close(made)
	<-inside
	if timer.Stop() {
		t.Error("idle, while the function runs")
	}
	leave <- true
	if <-own {
		t.Error("idle, in the function itself")
	}
	after := make(chan bool)
	if err := l.Post(func() { close(after) }); err != nil {
		t.Fatal(err)
	}
	<-after // what is posted comes after the call
	if !timer.Stop() {
		t.Error("not idle, after a panic")
	}

	type stopped struct {
		timer *Timer
		calls atomic.Int32
		seen  int32 // calls when Stop had reported idle, or -1
	}
	for range 500 { // stopped one after the other, while the loop calls one after the other
		timers := make([]stopped, 500)
		due := make(chan bool)
		_ = l.Post(func() {
			for i := range timers {
				x := &timers[i]
				x.timer = l.After(0, func() { x.calls.Add(1) })
			}
			close(due)
		})
		<-due
		for i := range timers {
			x := &timers[i]
			if x.seen = -1; x.timer.Stop() {
				x.seen = x.calls.Load()
			}
		}
		done := make(chan bool)
		_ = l.Post(func() { close(done) })
		<-done
		for i := range timers {
			if x := &timers[i]; x.seen >= 0 && x.calls.Load() != x.seen {
				t.Fatal("a call began after Stop had reported that none is under way")
			}
		}
	}
}
