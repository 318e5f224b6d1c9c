package engine

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// TestPostKeepsOrder: what one goroutine posts to a loop is called in order, one
// at a time, on that loop, and never inside Post; begun before Run.
func TestPostKeepsOrder(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		const senders, each = 4, 2000
		e, err := New(Config{Loops: n}, Handler{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		seen := make([][senders + 1]int, n) // by loop and sender: without a lock
		var all sync.WaitGroup
		post := func(l *Loop, sender, i int) {
			all.Add(1)
			if err := l.Post(func() {
				defer all.Done()
				if !l.On() || e.Loops()[l.Index()] != l {
					t.Error("elsewhere than on its loop")
				}
				if s := &seen[l.Index()][sender]; *s != i {
					t.Errorf("sender %d: %d after %d", sender, i, *s)
				} else {
					*s++
				}
			}); err != nil {
				t.Error(err)
				all.Done()
			}
		}
		var senders1 sync.WaitGroup
		begun := make(chan struct{}, senders)
		for sender := range senders {
			senders1.Go(func() {
				for i := range each {
					for _, l := range e.Loops() {
						post(l, sender, i)
					}
					if i == 100 {
						begun <- struct{}{}
					}
				}
			})
		}
		<-begun // some posts wait before the loops run
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		for _, l := range e.Loops() { // and a loop posts to itself
			all.Add(1)
			_ = l.Post(func() {
				defer all.Done()
				for i := range each {
					inside := true
					post(l, senders, i)
					all.Add(1)
					_ = l.Post(func() {
						defer all.Done()
						if inside {
							t.Error("called inside Post")
						}
					})
					inside = false
				}
			})
		}
		senders1.Wait()
		all.Wait()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for i, s := range seen {
			for sender, n := range s {
				if n != each {
					t.Errorf("loop %d, sender %d: %d calls", i, sender, n)
				}
			}
		}
		for _, l := range e.Loops() {
			if err := l.Post(func() { t.Error("called after the end") }); !errors.Is(err, ErrStopped) || l.On() {
				t.Errorf("after the end: %v", err)
			}
		}
	})
}

// TestPostToAnEngineThatNeverRuns: nothing is called, and after Shutdown Post
// says so.
func TestPostToAnEngineThatNeverRuns(t *testing.T) {
	e, err := New(Config{Loops: 2}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	l := e.Loops()[1]
	if err := l.Post(func() { t.Error("called") }); err != nil {
		t.Error(err)
	}
	timer := l.After(0, func() { t.Error("called") })
	if err := e.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := l.Post(func() { t.Error("called") }); !errors.Is(err, ErrStopped) {
		t.Errorf("Post says %v", err)
	}
	timer.Reset(0)
	timer.Stop()
	if n := l.w.time.wheel.Len(); n != 0 {
		t.Errorf("%d timers are armed", n)
	}
}

// TestPostsLeftAtTheEnd: what waits when the loops end is not called, and what a
// full queue does not take is an error.
func TestPostsLeftAtTheEnd(t *testing.T) {
	k := newClockwork(t, 1)
	k.run()
	for range inboxPostsMax {
		if err := k.Loops()[0].Post(func() { t.Fatal("called") }); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Loops()[0].Post(func() { t.Fatal("called") }); !errors.Is(err, ErrBackpressure) {
		t.Errorf("Post says %v", err)
	}
	k.stop()
}

// TestPostingForEverStarvesNobody: a function that posts itself, one that is
// posted twice as often, and a timer that is always due leave the loop time for
// its connections.
func TestPostingForEverStarvesNobody(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{OnMessage: echo})
	l := s.Loops()[0]
	var again func()
	again = func() { _ = l.Post(again) }
	for range 100 {
		_ = l.Post(again)
	}
	_ = l.Post(func() {
		var always *Timer
		always = l.After(0, func() { always.Reset(0) })
	})
	c := s.dial("/", nil)
	for range 20 {
		c.send(protocol.OpText, "x")
		c.expect("x")
	}
}

// TestPostAllocatesNothing but the closure.
func TestPostAllocatesNothing(t *testing.T) {
	k := newClockwork(t, 1)
	k.run()
	calls := 0
	f := func() { calls++ }
	l := k.Loops()[0]
	round := func() { _ = l.Post(f); k.sims[0].Woken() }
	round()
	round()
	if n := testing.AllocsPerRun(1000, round); n != 0 || calls < 1000 {
		t.Errorf("%v allocations, %d calls", n, calls)
	}
}

// TestALoopWakesItselfOnce: what is posted while posts are carried out needs no
// system call.
func TestALoopWakesItselfOnce(t *testing.T) {
	k := newClockwork(t, 1)
	k.run()
	calls := 0
	k.on(0, func() {
		_ = k.Loops()[0].Post(func() { calls++ })
		if k.sims[0].awake {
			t.Error("woken")
		}
	})
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}
