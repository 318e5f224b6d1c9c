package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/protocol"
)

// TestWatchdog: a callback that holds its loop is named while it does, and
// counted. On a busy machine others may be, too.
func TestWatchdog(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, Config{Loops: 2, CallbackWarnAfter: 5 * time.Millisecond}, Handler{
		OnMessage: func(c *Conn, m Message) {
			<-release
			_ = c.Send(m)
		},
	})
	c := s.dial("/", nil)
	c.send(protocol.OpText, "x")
	warnings := func() []observer.LoggedEntry { return s.logs.FilterMessageSnippet("holds up its loop").All() }
	s.await("the warning", func() bool {
		return slices.ContainsFunc(warnings(), func(l observer.LoggedEntry) bool {
			return l.ContextMap()["callback"] == "OnMessage" && l.ContextMap()["conn"] == uint64(1)
		})
	})
	close(release)
	c.expect("x")
	s.await("the all-clear", func() bool { return s.logs.FilterMessageSnippet("the loop goes on").Len() == len(warnings()) })
	s.await("the count", func() bool { return s.Stats().LoopHeld == uint64(len(warnings())) })
}

// TestWatchdogNamesTimersAndPosts that hold their loop.
func TestWatchdogNamesTimersAndPosts(t *testing.T) {
	s := serve(t, Config{Loops: 1, CallbackWarnAfter: 5 * time.Millisecond}, Handler{})
	release := make(chan struct{})
	hold := func() { <-release }
	goesOn := 0
	for name, begin := range map[string]func(){
		"timer": func() { s.After(0, hold) },
		"post":  func() { _ = s.Loops()[0].Post(hold) },
	} {
		begin()
		s.await("the warning", func() bool {
			for _, l := range s.logs.FilterMessageSnippet("holds up its loop").All() {
				if l.ContextMap()["callback"] == name {
					return true
				}
			}
			return false
		})
		release <- struct{}{}
		goesOn++
		s.await("the all-clear", func() bool { return s.logs.FilterMessageSnippet("the loop goes on").Len() == goesOn })
	}
}

// The watchdog tells one long callback from a turn of many short ones, and from
// what the engine does itself.
func TestWatchdogNamesWhatIsLong(t *testing.T) {
	const after, tick = 100 * time.Millisecond, 25 * time.Millisecond
	const oneCallback, manyThings = "a callback holds up", "a turn holds up"
	short := func(w *worker) {
		for range 5 {
			w.callingAt(onMessage, 7)
		}
	}
	long := func(w *worker) {
		if w.watch.callback.Load() != onClose {
			w.callingAt(onClose, 8)
		}
	}
	for name, tt := range map[string]struct {
		ticks []func(w *worker) // what the loop does before each look
		want  []string          // message, callback, its connection, callbacks, time
	}{
		"one callback":              {slices.Repeat([]func(*worker){long}, 9), []string{oneCallback + " OnClose 8 <nil> 100ms"}},
		"many":                      {slices.Repeat([]func(*worker){short}, 40), []string{manyThings + " OnMessage 7 15 100ms"}},
		"many, and then a long":     {append(slices.Repeat([]func(*worker){short}, 9), slices.Repeat([]func(*worker){long}, 9)...), []string{manyThings + " OnMessage 7 15 100ms", oneCallback + " OnClose 8 <nil> 100ms"}},
		"a long, and then many":     {append(slices.Repeat([]func(*worker){long}, 9), slices.Repeat([]func(*worker){short}, 40)...), []string{oneCallback + " OnClose 8 <nil> 100ms"}},
		"the engine's own work":     {slices.Repeat([]func(*worker){(*worker).called}, 9), []string{manyThings + " none <nil> 0 100ms"}},
		"many, for a short time":    {slices.Repeat([]func(*worker){short}, 4), nil},
		"one callback, not so long": {slices.Repeat([]func(*worker){long}, 4), nil},
	} {
		t.Run(name, func(t *testing.T) {
			e, w, l := crowd(t, 1)
			core, logs := observer.New(zap.WarnLevel)
			e.log = zap.New(core)
			e.set.CallbackWarnAfter = after
			now := time.Now()
			d := watchdog{e: e, looks: make([]look, 1)}
			l.SetOn(true)
			w.beginTurn()
			for _, do := range tt.ticks {
				do(w)
				d.look(now)
				now = now.Add(tick)
			}
			w.endTurn()
			d.look(now)
			l.SetOn(false)
			var got []string
			for _, entry := range logs.FilterMessageSnippet("its loop").AllUntimed() {
				m := entry.ContextMap()
				what, _, _ := strings.Cut(entry.Message, " its loop")
				got = append(got, fmt.Sprintf("%s %v %v %v %v", what, m["callback"], m["conn"], m["callbacks"], m["held"]))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("logged %q, not %q", got, tt.want)
			}
			if n := logs.FilterMessage("the loop goes on").Len(); n != min(len(tt.want), 1) {
				t.Errorf("it is told %d times that the loop goes on", n)
			}
			if n := e.Stats().LoopHeld; n != uint64(len(tt.want)) {
				t.Errorf("%d counted", n)
			}
			if w.callingAt(onMessage, 1); w.watch.calls.Load() != d.looks[0].calls {
				t.Error("callbacks are counted in a turn that is not long")
			}
		})
	}
}

// A connection of which much arrives at once does not hold up the others: the
// rest of its input waits for later turns, in order.
func TestBatchIsInterrupted(t *testing.T) {
	const messages, each = 300, 5 * time.Millisecond
	e, w, l := crowd(t, 2)
	var now time.Duration
	e.test.clock = func() time.Duration { return now }
	var first []string
	second := 0
	e.main.handler.OnMessage = func(c *Conn, m Message) {
		now += each
		if c == w.conns[0] {
			first = append(first, string(m.Data))
		} else {
			second = len(first)
		}
	}
	var batch, want []string
	for i := range messages {
		want = append(want, fmt.Sprint(i))
		batch = append(batch, maskedFrame(0x81, want[i]))
	}
	l.SetOn(true)
	defer l.SetOn(false)
	l.Readable(&w.conns[0].sock, []byte(strings.Join(batch, "")))
	if n := len(first); n > 2*paceFirst {
		t.Errorf("%d callbacks of %v each in one turn", n, each)
	}
	before := len(first)
	l.Readable(&w.conns[1].sock, []byte(maskedFrame(0x81, "hello")))
	if second != before {
		t.Errorf("another connection comes after %d of %d messages", second, messages)
	}
	for range messages {
		n := len(first)
		if l.Woken(); len(first) > n+2*paceFirst {
			t.Fatalf("%d callbacks of %v each in one turn", len(first)-n, each)
		}
	}
	if !slices.Equal(first, want) {
		t.Errorf("received %q", first)
	}
	if c := w.conns[0]; c.in.halted || c.in.paused != 0 || w.turn.later.len() != 0 {
		t.Error("the connection does not go on reading")
	}
}
