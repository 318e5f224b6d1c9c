package engine

import (
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/engine/internal/loop"
)

// clockwork is an engine on simulated loops without connections, and with
// simulated time: nothing happens but in turn.
type clockwork struct {
	*Engine
	t    *testing.T
	now  time.Duration
	sims []*gear
	logs *observer.ObservedLogs
}

// gear is a loop; it notes that it was woken.
type gear struct {
	loop.Simulated
	w     *worker
	awake bool
}

func (g *gear) Write(b []byte) (int, error) { g.awake = true; return len(b), nil }

// newClockwork makes an engine that does not run yet.
func newClockwork(t *testing.T, loops int) *clockwork {
	core, logs := observer.New(zap.DebugLevel)
	e, err := New(Config{Loops: loops, Logger: zap.New(core)}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	k := &clockwork{Engine: e, t: t, logs: logs}
	e.test.clock = func() time.Duration { return k.now }
	return k
}

// run lets the loops begin.
func (k *clockwork) run() {
	for _, w := range k.loops {
		g := &gear{w: w}
		g.Simulated = loop.Simulate(nil, g, func(l *loop.Loop) loop.Driver { w.loop = l; return w })
		k.sims = append(k.sims, g)
		w.begin()
	}
	k.life.run()
	k.turn()
}

// on calls f as something that runs on a loop, and then lets everything happen
// that is due.
func (k *clockwork) on(i int, f func()) {
	if err := k.Loops()[i].Post(f); err != nil {
		k.t.Fatal(err)
	}
	k.turn()
}

// pass lets time pass, and then everything happen that is due.
func (k *clockwork) pass(d time.Duration) {
	k.now += d
	k.turn()
}

// turn has every loop take turns until none is woken. The alarm rings as the
// runtime's timer does.
func (k *clockwork) turn() {
	for moved := true; moved; {
		moved = false
		for _, g := range k.sims {
			if at := g.w.time.alarmAt; at != 0 && at <= k.now.Milliseconds() {
				_ = g.w.post(post{kind: ownPost, do: g.w.rang})
			}
			if g.awake {
				g.awake, moved = false, true
				g.SetOn(true)
				g.Woken()
				g.SetOn(false)
			}
		}
	}
}

// stop ends the loops, as a shutdown does.
func (k *clockwork) stop() {
	for _, w := range k.loops {
		w.end()
	}
}

// testClock is the time of an engine with real loops and sockets, which does
// not pass by itself.
type testClock struct{ now atomic.Int64 }

func (c *testClock) read() time.Duration { return time.Duration(c.now.Load()) }

// pass lets time pass and returns when every loop has carried out what was due.
func (s *server) pass(d time.Duration) {
	s.t.Helper()
	s.clock.now.Add(int64(d))
	for _, w := range s.running() {
		for settled := make(chan bool); ; {
			if w.post(post{kind: ownPost, do: func() {
				w.rang()
				due, armed := w.time.wheel.Next()
				settled <- !armed || due > w.now()
			}}) != nil {
				break // it has ended
			}
			if one(s.t, settled, "the loop to turn") {
				break
			}
		}
	}
}

// lapse lets a time limit run out that began now. What cuts looks twice; the loop
// counts as late, for this clock jumps.
func (s *server) lapse(d time.Duration) {
	s.t.Helper()
	s.pass(d)
	s.pass(secondLook)
}
