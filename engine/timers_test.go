package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/sockmill/sockmill/protocol"
)

// TestTicksDoNotDrift: thousands of ticks of an odd period, none before its
// instant or a millisecond after it, each at start + N × period to the
// nanosecond.
func TestTicksDoNotDrift(t *testing.T) {
	for _, period := range []time.Duration{time.Millisecond, 33333333, 16666667, 7*time.Second + 1} {
		k := newClockwork(t, 1)
		k.run()
		k.pass(123456789)
		start, n := k.now, uint64(0)
		k.Loops()[0].Every(period, func(tick Tick) {
			n++
			due := start + time.Duration(n)*period
			if want := k.began.Add(due); tick.N != n || tick.Missed != 0 || !tick.Due.Equal(want) {
				t.Fatalf("%v: tick %d is %+v, want %v", period, n, tick, want)
			}
			if late := k.now - due; late < 0 || late >= time.Millisecond {
				t.Fatalf("%v: tick %d comes %v late", period, n, late)
			}
		})
		k.turn()
		for n < 5000 && !t.Failed() {
			next := time.Duration(k.loops[0].time.alarmAt) * time.Millisecond
			if next <= k.now || next > k.now+period+time.Millisecond {
				t.Fatalf("%v: at %v the alarm is set to %v", period, k.now, next)
			}
			k.pass(next - k.now)
		}
	}
}

// TestTickCatchUp: a late loop makes up for five ticks, one after the other;
// older ones are skipped and counted.
func TestTickCatchUp(t *testing.T) {
	const period = 10 * time.Millisecond
	type seen struct {
		n, missed uint64
		at        time.Duration
	}
	for _, c := range []struct {
		name  string
		pass  []time.Duration
		holds time.Duration // each call takes so long
		want  []seen
	}{
		{"in time", []time.Duration{10 * time.Millisecond, 10 * time.Millisecond}, 0, []seen{{1, 0, 10}, {2, 0, 20}}},
		{"at the cap", []time.Duration{69 * time.Millisecond, time.Millisecond}, 0,
			[]seen{{1, 0, 69}, {2, 0, 69}, {3, 0, 69}, {4, 0, 69}, {5, 0, 69}, {6, 0, 69}, {7, 0, 70}}},
		{"above", []time.Duration{70 * time.Millisecond}, 0,
			[]seen{{2, 1, 70}, {3, 0, 70}, {4, 0, 70}, {5, 0, 70}, {6, 0, 70}, {7, 0, 70}}},
		{"far above", []time.Duration{10*time.Second + 5*time.Millisecond, 5 * time.Millisecond}, 0,
			[]seen{{995, 994, 10005}, {996, 0, 10005}, {997, 0, 10005}, {998, 0, 10005}, {999, 0, 10005}, {1000, 0, 10005}, {1001, 0, 10010}}},
		{"each takes four periods", []time.Duration{30 * time.Millisecond}, 4 * period, // 1 to 3 are due
			[]seen{{1, 0, 30}, {2, 0, 70}, {6, 3, 110}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newClockwork(t, 1)
			k.run()
			var got []seen
			var timer *Timer
			timer = k.Every(period, func(tick Tick) {
				if due := k.began.Add(time.Duration(tick.N) * period); !tick.Due.Equal(due) {
					t.Errorf("%+v is due at %v", tick, due)
				}
				got = append(got, seen{tick.N, tick.Missed, k.now / time.Millisecond})
				if k.now += c.holds; len(got) == 3 && c.holds > 0 {
					timer.Stop() // or it would go on for ever
				}
			})
			k.turn()
			for _, d := range c.pass {
				k.pass(d)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

// TestTimerModel arms, resets and stops timers at random, inside of their
// functions and elsewhere, and holds what is called against a plain model.
func TestTimerModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		k := newClockwork(t, 2)
		type entry struct {
			timer  *Timer
			due    time.Duration // 0: not armed
			period time.Duration
			n      uint64
			heard  time.Duration // when its loop heard of it or called last
		}
		var all []*entry
		calls := 0
		var act func(x *entry)
		check := func(x *entry, w *worker, tick *Tick) {
			calls++
			if !w.on() {
				t.Fatalf("seed %d: called elsewhere than on its loop", seed)
			}
			switch {
			case x.due == 0 || x.due > k.now:
				t.Fatalf("seed %d: at %v called, due at %v", seed, k.now, x.due)
			case tick == nil:
				x.due = 0
			default:
				x.n += tick.Missed + 1
				due := x.due + time.Duration(tick.Missed)*x.period
				if tick.N != x.n || !tick.Due.Equal(k.began.Add(due)) {
					t.Fatalf("seed %d: %+v, want %d at %v", seed, *tick, x.n, due)
				}
				x.due, x.heard = due+x.period, k.now
			}
			if r.IntN(3) == 0 {
				act(all[r.IntN(len(all))])
			}
		}
		act = func(x *entry) {
			if r.IntN(3) == 0 {
				x.timer.Stop()
				x.due = 0
				return
			}
			d := time.Duration(r.Int64N(int64(50*time.Millisecond))) - 5*time.Millisecond
			x.timer.Reset(d)
			if d = max(d, 0); x.period > 0 {
				d = max(d, time.Millisecond)
				x.period = d
			}
			x.due, x.n = max(k.now+d, 1), 0
		}
		k.run()
		for i := range 10 {
			x := &entry{due: k.now + time.Hour}
			w := k.loops[i%2]
			if i < 5 {
				x.timer = w.api.After(time.Hour, func() { check(x, w, nil) })
			} else {
				x.period = time.Hour
				x.timer = w.api.Every(time.Hour, func(tick Tick) { check(x, w, &tick) })
			}
			all = append(all, x)
		}
		for range 300 {
			switch x := all[r.IntN(len(all))]; r.IntN(4) {
			case 0:
				act(x) // its loop hears of it in its next turn
				x.heard = -1
			case 1:
				k.on(r.IntN(2), func() { act(x) })
			default:
				k.pass(time.Duration(r.Int64N(int64(4 * time.Millisecond))))
				for _, x := range all {
					if x.heard < 0 {
						x.heard = k.now
					}
					if x.due > 0 && max(x.due, x.heard)+time.Millisecond <= k.now {
						t.Fatalf("seed %d: at %v not called, due at %v", seed, k.now, x.due)
					}
				}
			}
		}
		for _, x := range all {
			act(x)
			x.timer.Stop()
		}
		k.turn()
		if n := k.loops[0].time.wheel.Len() + k.loops[1].time.wheel.Len(); n != 0 || calls == 0 {
			t.Fatalf("seed %d: %d timers are left after %d calls", seed, n, calls)
		}
	}
}

// TestTimerStoppedOrResetElsewhere: once Stop has returned, no call begins, also
// while the loop has not heard of it; the same of Reset and the time before.
func TestTimerStoppedOrResetElsewhere(t *testing.T) {
	k := newClockwork(t, 1)
	k.run()
	var calls []string
	a := k.After(time.Millisecond, func() { calls = append(calls, "a") })
	b := k.After(time.Millisecond, func() { calls = append(calls, "b") })
	c := k.Every(time.Millisecond, func(Tick) { calls = append(calls, "c") })
	k.After(time.Millisecond, func() { calls = append(calls, "d") })
	k.turn()
	k.now += time.Second // all are due, and the loop is about to turn
	a.Stop()
	b.Reset(time.Second)
	c.Stop()
	k.turn()
	if !slices.Equal(calls, []string{"d"}) {
		t.Errorf("called: %v", calls)
	}
	k.pass(time.Second)
	if !slices.Equal(calls, []string{"d", "b"}) {
		t.Errorf("called: %v", calls)
	}
	a.Reset(0) // after a stop
	b.Reset(0) // after it ran
	k.turn()
	k.pass(time.Millisecond)
	if !slices.Equal(calls, []string{"d", "b", "a", "b"}) {
		t.Errorf("called: %v", calls)
	}
}

// TestTimersBeforeRun: their time begins with Run.
func TestTimersBeforeRun(t *testing.T) {
	k := newClockwork(t, 1)
	var calls []string
	k.Every(10*time.Millisecond, func(tick Tick) { calls = append(calls, fmt.Sprint("tick ", tick.N, tick.Missed)) })
	k.After(15*time.Millisecond, func() { calls = append(calls, "after") })
	k.After(15*time.Millisecond, func() { calls = append(calls, "stopped") }).Stop()
	k.pass(time.Hour)
	if k.run(); len(calls) != 0 {
		t.Errorf("called at once: %v", calls)
	}
	for range 4 {
		k.pass(5 * time.Millisecond)
	}
	if !slices.Equal(calls, []string{"tick 1 0", "after", "tick 2 0"}) {
		t.Errorf("called: %v", calls)
	}
}

// TestTimerExtremes: no duration leads astray.
func TestTimerExtremes(t *testing.T) {
	k := newClockwork(t, 1)
	k.run()
	calls, ticks := 0, 0
	k.After(-1<<63, func() { calls++ })
	k.After(0, func() { calls++ })
	k.After(1<<63-1, func() { t.Error("called") })
	k.Every(1<<63-1, func(Tick) { t.Error("called") })
	k.Every(-1, func(Tick) { ticks++ })
	k.turn()
	for range 10 {
		k.pass(time.Millisecond)
	}
	if calls != 2 || ticks != 10 {
		t.Errorf("%d calls, %d ticks", calls, ticks)
	}
	for _, f := range []func(){
		func() { k.After(0, nil) }, func() { k.Every(0, nil) }, func() { _ = k.Loops()[0].Post(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no function, and nobody says so")
				}
			}()
			f()
		}()
	}
}

// TestTimersAllocateNothing: neither per tick nor to arm a timer again, and no
// goroutine.
func TestTimersAllocateNothing(t *testing.T) {
	k := newClockwork(t, 1)
	k.run()
	ticks := 0
	every := k.Every(time.Millisecond, func(Tick) { ticks++ })
	once := k.After(time.Hour, func() {})
	measure := func(what string, f func()) {
		t.Helper()
		f()
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	k.turn()
	measure("a tick", func() {
		k.loops[0].time.alarmAt = 0
		k.now += time.Millisecond
		k.loops[0].time.wheel.Advance(k.now.Milliseconds(), nil)
	})
	if ticks < 1000 {
		t.Errorf("%d ticks", ticks)
	}
	measure("a reset elsewhere", func() { once.Reset(time.Hour); every.Reset(time.Hour); k.sims[0].Woken() })
	measure("a stop elsewhere", func() { once.Stop(); every.Stop(); k.sims[0].Woken() })
	k.on(0, func() { measure("a reset on the loop", func() { once.Reset(time.Hour); every.Reset(time.Minute) }) })
	before := runtime.NumGoroutine()
	for range 10_000 {
		k.After(time.Hour, func() {})
	}
	if k.turn(); k.loops[0].time.wheel.Len() != 10_002 || runtime.NumGoroutine() > before {
		t.Errorf("%d timers, %d goroutines, before %d", k.loops[0].time.wheel.Len(), runtime.NumGoroutine(), before)
	}
}

// TestTimersOnRealLoops: in real time, on the loop they belong to, also armed on
// another one.
func TestTimersOnRealLoops(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		done := make(chan error, 10)
		h := Handler{OnOpen: func(c *Conn) {
			start, said := time.Now(), false
			c.Every(3*time.Millisecond, func(tick Tick) {
				switch {
				case !c.Loop().On():
					done <- errors.New("not on the loop of the connection")
				case time.Now().Before(tick.Due) || tick.Due.Before(start.Add(3*time.Millisecond)):
					done <- fmt.Errorf("%v: %+v", time.Now(), tick)
				case tick.N >= 5 && said:
					panic(errOnPurpose) // which ends them
				}
			})
			last := c.ep.e.Loops()[n-1]
			last.After(time.Millisecond, func() {
				c.After(time.Millisecond, func() {
					if !c.Loop().On() {
						done <- errors.New("not on the loop of the connection")
					}
					done <- c.SendText("at last")
					said = true
				})
				if !last.On() {
					done <- errors.New("not on the last loop")
				}
			})
		}}
		s := serve(t, Config{Loops: n}, h)
		cl := s.dial("/", nil)
		cl.expect("at last")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if e := cl.closed(); e.Code != protocol.CloseInternalError {
			t.Errorf("closed with %v", e)
		}
		select {
		case err := <-done:
			t.Error(err)
		default:
		}
	})
}

// TestTimersDieWithTheirConnection: whichever way it ends, the last call comes
// before OnClose, and what is armed later is never called.
func TestTimersDieWithTheirConnection(t *testing.T) {
	for _, way := range []string{"peer drops", "peer closes", "server closes", "closed in a timer", "a timer panics", "a callback panics", "shutdown"} {
		t.Run(way, func(t *testing.T) {
			clock := new(testClock)
			conns, closed := make(chan *Conn, 1), make(chan *CloseError, 1)
			calls, over := 0, false // on the loop
			call := func() {
				if calls++; over {
					t.Error("called when it was over")
				}
			}
			s := serveAt(t, clock, Config{Loops: 1}, Handler{
				OnOpen: func(c *Conn) {
					c.Every(time.Millisecond, func(Tick) { call() })
					c.After(time.Millisecond, call)
					c.After(time.Hour, call)
					conns <- c
				},
				OnMessage: func(*Conn, Message) { panic(errOnPurpose) },
				OnClose: func(c *Conn, e *CloseError) {
					if c.extra.timers != nil || c.extra.timerCount != 0 {
						t.Error("timers are left")
					}
					over = true
					c.After(0, call)
					closed <- e
				},
			})
			cl := s.dial("/", nil)
			c := <-conns
			s.pass(10 * time.Millisecond)
			s.onLoop(c, func() {
				if calls != 7 { // 1, and 5 to 10
					t.Errorf("%d calls", calls)
				}
			})
			code := protocol.CloseInternalError
			switch way {
			case "peer drops":
				code = protocol.CloseAbnormal
				_ = cl.Conn.Close()
			case "peer closes":
				code = 4001
				cl.close(code, "")
				_ = cl.closed()
			case "server closes", "closed in a timer":
				code = 4000
				f := func() { _ = c.Close(code, ""); over = true }
				if way == "server closes" {
					s.onLoop(c, f)
				} else {
					s.onLoop(c, func() { c.After(time.Millisecond, f) })
					s.pass(time.Millisecond)
				}
				s.pass(time.Second)
				_ = cl.closed()
			case "a timer panics":
				s.onLoop(c, func() { c.After(time.Millisecond, func() { over = true; panic(errOnPurpose) }) })
				s.pass(time.Millisecond)
				_ = cl.closed()
			case "a callback panics":
				cl.send(protocol.OpText, "x")
				_ = cl.closed()
			case "shutdown":
				code = protocol.CloseGoingAway
				s.stop()
				_ = cl.closed()
			}
			if e := <-closed; e.Code != code {
				t.Errorf("OnClose: %v", e)
			}
			c.After(0, call)
			s.pass(time.Hour)
			if err := s.end(); err != nil {
				t.Error(err)
			}
			c.After(0, call)
		})
	}
}

// TestTimerPanics: a connection's closes it, see above; others are logged, and
// go on.
func TestTimerPanics(t *testing.T) {
	k := newClockwork(t, 1)
	k.run()
	ticks, calls := 0, 0
	k.Every(time.Millisecond, func(Tick) { ticks++; panic(errOnPurpose) })
	k.After(time.Millisecond, func() { panic(errOnPurpose) })
	k.After(time.Millisecond, func() { calls++ })
	k.turn()
	k.pass(time.Millisecond)
	k.pass(time.Millisecond)
	_ = k.Loops()[0].Post(func() { panic(errOnPurpose) })
	k.on(0, func() { calls++ })
	if ticks != 2 || calls != 2 {
		t.Errorf("%d ticks, %d calls", ticks, calls)
	}
	if l := k.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("panicked"); l.Len() != 4 || l.All()[0].ContextMap()["stack"] == nil {
		t.Errorf("%d panics were logged", l.Len())
	}
}

// TestTooManyTimers: the bound holds of armed timers alone, and closes.
func TestTooManyTimers(t *testing.T) {
	opened := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1}, Handler{
		OnOpen: func(c *Conn) {
			for range 10 * timersPerConnMax {
				c.After(time.Hour, func() {}).Stop()
			}
			for range timersPerConnMax {
				c.After(time.Hour, func() {})
			}
			opened <- c
		},
		OnMessage: func(c *Conn, m Message) { c.After(time.Hour, func() {}); c.Every(time.Hour, func(Tick) {}) },
	})
	cl := s.dial("/", nil)
	c := <-opened
	s.onLoop(c, func() {
		if n := s.loops[0].time.wheel.Len(); c.end.phase.Load() != phaseOpen || n != timersPerConnMax+1 {
			t.Errorf("in phase %d, %d timers", c.end.phase.Load(), n)
		}
	})
	cl.send(protocol.OpText, "x")
	if e := cl.closed(); e.Code != protocol.CloseInternalError {
		t.Errorf("closed with %v", e)
	}
	if s.logs.FilterMessageSnippet("too many timers").Len() != 1 {
		t.Error("nothing is logged")
	}
}

// Of many timers that are due, a turn runs as many as it has time for.
func TestTimersAreInterrupted(t *testing.T) {
	const timers, perTurn = 100, 10
	e, w, l := crowd(t, 1)
	now, ran, done := time.Duration(0), 0, 0
	e.test.clock = func() time.Duration { return now }
	e.test.tired = func() bool { done++; return done >= perTurn }
	l.SetOn(true)
	w.live.Store(true)
	for range timers {
		w.api.After(time.Millisecond, func() { ran++ })
	}
	now = time.Second
	for want := perTurn; want <= timers; want += perTurn {
		done = 0
		if l.Woken(); ran != want {
			t.Errorf("%d timers ran, not %d", ran, want)
		}
		if due, ok := w.time.wheel.Next(); want < timers && (!ok || w.time.alarmAt == 0 || w.time.alarmAt > due) {
			t.Error("no alarm is set for the others")
		}
	}
	l.SetOn(false)
	w.end()
}
