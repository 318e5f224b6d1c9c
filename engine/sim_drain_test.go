package engine

import (
	"errors"
	"time"
)

// simDrain is a stop in stages: at one step the loops make their plans, at a later one they begin to
// close. What Engine.Drain does on its own goroutine is not simulated.
type simDrain struct {
	plans          []*drainPlan
	begins, closes int // the steps
	stage          DrainStage
}

func (s *sim) setUpDrain() {
	x := &draining{e: s.e, Drain: Drain{
		Over:     time.Duration(s.pick(0, 100, 1000)) * time.Millisecond,
		Comeback: time.Duration(s.pick(0, 10_000)) * time.Millisecond,
	}}
	d := &s.drain
	for _, w := range s.e.loops {
		d.plans = append(d.plans, &drainPlan{x: x, w: w})
	}
	d.begins, d.closes = s.cfg.steps, s.cfg.steps
	if s.chance(300) {
		d.begins = s.r.IntN(s.cfg.steps / 2)
		d.closes = d.begins + s.r.IntN(s.cfg.steps/4)
	}
}

// stepDrain begins what begins at this step.
func (s *sim) stepDrain() {
	d := &s.drain
	switch {
	case s.steps >= s.cfg.steps: // finishDrain does
	case d.stage == NotDraining && s.steps >= d.begins:
		s.drainTo(DrainUnready)
	case d.stage == DrainUnready && s.steps >= d.closes:
		s.drainTo(DrainClosing)
	}
}

func (s *sim) drainTo(stage DrainStage) {
	s.tracef("the drain: %v", stage)
	s.drain.stage = stage
	for _, p := range s.drain.plans {
		do := p.begin
		if stage == DrainClosing {
			do = p.close
		}
		_ = p.w.post(post{kind: ownPost, do: do})
	}
}

// checkDrained asserts, when a connection begins to close, that a drain has not closed it in the
// midst of something.
func (c *simConn) checkDrained() {
	e := c.c.ending().closing
	if e == nil || !errors.Is(e, ErrStopped) || c.l.w.drains.begun {
		return
	}
	switch in := len(c.sock.in); {
	case c.d != nil:
		c.s.failf("%v: the drain closes a dialled connection", c)
	case in > 0 || c.parked() > 0:
		c.s.failf("%v: the drain closes it with %d bytes unread and %d undelivered", c, in, c.parked())
	case c.ordered > 0 || c.active:
		c.s.failf("%v: the drain closes it while a function of Go runs", c)
	}
}

// finishDrain lets a drain come to its end, when all is calm: of what has opened nobody is left but
// those of whom a part of a message has come.
func (s *sim) finishDrain() {
	switch s.drain.stage {
	case NotDraining:
		return
	case DrainUnready:
		s.drainTo(DrainClosing)
	}
	for range 100 {
		s.settle()
		if s.failure != "" || s.drainOver() {
			return
		}
		s.advance(drainStepMax.Milliseconds())
	}
	s.failf("the drain does not end")
}

func (s *sim) drainOver() bool {
	for _, p := range s.drain.plans {
		if !p.over.Load() {
			return false
		}
	}
	for _, c := range s.conns {
		if c.d == nil && c.c.end.phase.Load() == phaseOpen && c.c.settled() {
			return false
		}
	}
	return true
}
