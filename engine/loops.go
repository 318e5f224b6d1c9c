package engine

import "time"

// Loop is one event loop of an Engine: one goroutine, on which its connections,
// its timers and what is posted to it have their turns. State that only one
// loop touches needs no lock. The methods of a Loop may be called from any
// goroutine, also before Run.
type Loop struct {
	w     *worker
	index int
}

// Loops returns the engine's loops by their Index: Config.Loops of them, from
// New on.
func (e *Engine) Loops() []*Loop {
	loops := make([]*Loop, len(e.loops))
	for i, w := range e.loops {
		loops[i] = &w.api
	}
	return loops
}

// Loop is the one on which the connection lives, from its first callback to its
// last.
func (c *Conn) Loop() *Loop { return &c.w.api }

// Index is the loop's place in Engine.Loops.
func (l *Loop) Index() int { return l.index }

// On reports whether the caller runs on this loop: in a callback of one of its
// connections, in a timer's function, in what was posted to it.
func (l *Loop) On() bool { return l.w.on() }

// Post has the loop call f, which must not block. Calls that one goroutine
// posts come in that order, one at a time; f never runs inside Post, whoever
// calls. What is posted before Run is called when the loop runs. Post fails with
// ErrStopped after the end of the engine, and with ErrBackpressure while the
// loop's queue is full (docs/LIMITS.md). A nil error means that f is queued: what waits when
// the engine ends is not called. A panic in f is logged, and the loop goes on.
func (l *Loop) Post(f func()) error {
	if f == nil {
		panic("engine: Loop.Post was given no function")
	}
	return l.w.post(post{kind: programPost, do: f})
}

// After has f called on this loop, once, when d has passed: see Timer.
func (l *Loop) After(d time.Duration, f func()) *Timer { return newTimer(l.w, nil, d, f, nil) }

// Every has f called on this loop at every multiple of d from now on: see Timer
// and Tick.
func (l *Loop) Every(d time.Duration, f func(Tick)) *Timer { return newTimer(l.w, nil, d, nil, f) }

// After has f called once, when d has passed: on the caller's loop if it runs on
// one, else on a loop of the engine's choice. See Timer.
func (e *Engine) After(d time.Duration, f func()) *Timer { return newTimer(e.choose(), nil, d, f, nil) }

// Every has f called at every multiple of d from now on, on a loop that is chosen
// as by After. See Timer and Tick.
func (e *Engine) Every(d time.Duration, f func(Tick)) *Timer {
	return newTimer(e.choose(), nil, d, nil, f)
}

// choose returns the loop that the caller runs on, or else the next loop in turn.
func (e *Engine) choose() *worker {
	for _, w := range e.loops {
		if w.on() {
			return w
		}
	}
	return e.loops[int(e.turn.Add(1)-1)%len(e.loops)]
}

// After has f called on the connection's loop, once, when d has passed, if the
// connection is open then: see Timer.
func (c *Conn) After(d time.Duration, f func()) *Timer { return newTimer(c.w, c, d, f, nil) }

// Every has f called on the connection's loop at every multiple of d from now on,
// as long as the connection is open: see Timer and Tick.
func (c *Conn) Every(d time.Duration, f func(Tick)) *Timer { return newTimer(c.w, c, d, nil, f) }
