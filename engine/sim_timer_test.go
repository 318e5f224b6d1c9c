package engine

import "time"

// simTimer is a timer of a connection, and what the program may expect of it.
type simTimer struct {
	timer  *Timer
	due    int64 // not before; -1: not armed
	period int64
	ticks  uint64
}

// timer arms, resets or stops a timer of the connection, on its loop or
// elsewhere.
func (c *simConn) timer() {
	s := c.s
	if c.c.end.phase.Load() < phaseOpen { // nobody knows it yet
		return
	}
	s.calling++
	defer func() { s.calling-- }()
	if len(c.timers) > 3 {
		x := c.timers[s.r.IntN(len(c.timers))]
		if s.chance(500) {
			s.tracef("%v: the program stops a timer", c)
			x.timer.Stop()
			x.due = -1
			return
		}
		s.tracef("%v: the program resets a timer", c)
		d := c.delay(x)
		x.timer.Reset(d)
		return
	}
	x := new(simTimer)
	c.timers = append(c.timers, x)
	if s.chance(500) {
		x.period = 1
		x.timer = c.c.Every(c.delay(x), func(t Tick) { c.ticked(x, &t) })
	} else {
		x.timer = c.c.After(c.delay(x), func() { c.ticked(x, nil) })
	}
	s.tracef("%v: the program makes a timer, due at %d", c, x.due)
}

// delay notes when x is due.
func (c *simConn) delay(x *simTimer) time.Duration {
	d := int64(c.s.pick(0, 1, 50, 3000))
	if x.period > 0 {
		d += 200
		x.period = d
	}
	x.due, x.ticks = c.s.now+d, 0
	return time.Duration(d) * time.Millisecond
}

// ticked is the function of every timer.
func (c *simConn) ticked(x *simTimer, t *Tick) {
	s := c.s
	s.called(c.c, "a timer")
	if c.c.end.phase.Load() != phaseOpen {
		s.failf("%v: a timer in phase %d", c, c.c.end.phase.Load())
	}
	if x.due < 0 || x.due > s.now {
		s.failf("%v: a timer is called that is due at %d", c, x.due)
	}
	if t == nil {
		x.due = -1
	} else {
		x.ticks += t.Missed + 1
		x.due += int64(t.Missed) * x.period
		if want := s.e.began.Add(time.Duration(x.due) * time.Millisecond); t.N != x.ticks || !t.Due.Equal(want) {
			s.failf("%v: %+v, want %d at %v", c, *t, x.ticks, want)
		}
		x.due += x.period
	}
	if s.chance(200) {
		c.act()
	}
	if s.chance(5) {
		panic(errOnPurpose)
	}
}

// post has the loop of the connection call a function.
func (c *simConn) post() {
	s, l, from := c.s, c.l, c.here()
	seq := l.posted[from]
	l.posted[from]++
	s.calling++
	err := l.w.api.Post(func() {
		switch {
		case s.calling > 0 || !l.on:
			s.failf("what was posted is called in a call, or elsewhere")
		case l.carried[from] != seq:
			s.failf("post %d is called after %d", seq, l.carried[from])
		}
		l.carried[from]++
		if s.chance(200) {
			c.act()
		}
		if s.chance(50) {
			panic(errOnPurpose)
		}
	})
	if s.calling--; err != nil {
		s.failf("Post says %v", err)
	}
}

// checkTimers asserts, at rest, that what was due was called.
func (c *simConn) checkTimers() {
	for _, x := range c.timers {
		if c.c.end.phase.Load() == phaseOpen && x.period == 0 && x.due >= 0 && x.due <= c.s.now-2 {
			c.s.failf("%v: a timer was not called that was due at %d", c, x.due)
		}
	}
}
