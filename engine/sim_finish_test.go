package engine

import "reflect"

// The end of a simulation: everything comes to rest, then everything ends.

// restsWithin bounds the rounds after which a simulation must have come to rest.
const restsWithin = 20_000

// settle lets everything happen that is due, with healthy peers and kernel,
// until nothing does. No time passes.
func (s *sim) settle() {
	for round := 0; s.failure == ""; round++ {
		s.steps++
		moved := s.runJob()
		moved = s.connect() || moved
		s.advance(0)
		for _, l := range s.loops {
			moved = s.poll(l) || moved
		}
		for _, c := range s.conns {
			p := c.peer
			if p.over() {
				continue
			}
			moved = p.transmit(1+s.r.IntN(1+s.pick(300, 100_000))) || moved
			if !p.deaf {
				moved = p.receive(1+s.r.IntN(1+s.pick(1000, 100_000))) || moved
			}
		}
		for _, k := range s.fds {
			if k != nil {
				_, out := k.ready()
				moved = moved || out
			}
		}
		if !moved {
			return
		}
		if round > restsWithin {
			s.failf("nothing comes to rest")
		}
	}
}

func (s *sim) finish() {
	s.tracef("calm")
	s.calm = true
	for _, c := range s.conns {
		c.sock.inMax, c.sock.outMax = 100_000, 100_000
		if c.c.end.phase.Load() == phaseOpen {
			c.api("ResumeReading", c.c.ResumeReading)
		}
	}
	s.settle()
	s.advance(2) // so that a timer of which its loop has just heard is due
	s.settle()
	for _, c := range s.conns {
		if s.failure == "" {
			c.checkTimers()
			c.checkOpen()
		}
	}
	s.finishDrain()
	how := s.r.IntN(4)
	if s.drain.stage != NotDraining { // the engine ends
		how = how / 2 * 3
	}
	if how == 0 || how == 3 {
		s.e.life.endServing()
	} else {
		for _, d := range s.dials {
			d.cancel()
		}
	}
	for s.connect() {
	}
	for _, c := range s.conns { // work for what follows to wait for
		if c.opens > c.closes && s.chance(300) {
			c.offload(Message{})
		}
	}
	switch how {
	case 0:
		s.tracef("the engine drains")
		for _, l := range s.loops {
			_ = l.w.post(post{do: l.w.drain})
		}
	case 1:
		s.tracef("the peers close")
		for _, c := range s.conns {
			c.peer.bye()
		}
	case 2:
		s.tracef("the peers fall silent")
		for _, c := range s.conns {
			c.peer.deaf = true
		}
	case 3:
		s.tracef("the engine stops")
		s.stop()
	}
	s.outlive()
	s.outwait()
	s.ended()
}

// outlive lets time pass until every connection is gone.
func (s *sim) outlive() {
	deadline := s.now + 1_000_000
	for s.failure == "" {
		s.settle()
		alive := false
		next := deadline
		for _, c := range s.conns {
			if !c.sock.closed {
				alive = true
				if c.peer.deaf || c.c.end.phase.Load() == phaseOpen { // would answer pings for ever
					c.peer.mute()
				}
			}
		}
		for _, l := range s.loops {
			if l.w.time.alarmAt != 0 {
				next = min(next, l.w.time.alarmAt)
			}
		}
		switch {
		case !alive:
			s.settle()
			return
		case next == deadline:
			c := s.live()[0]
			s.failf("some connections never end, %v among them: in phase %d, paused for %b, congested %v", c, c.c.end.phase.Load(), c.c.in.paused, c.c.flow.congested)
		}
		s.advance(max(next-s.now, 0))
	}
}

// mute makes a peer say nothing any more, nor read.
func (p *peer) mute() {
	p.deaf = true
	p.stream = nil
	p.honest = false
}

// stop ends the loops with all that is on them.
func (s *sim) stop() {
	s.stopped = true
	s.e.life.endWork()
	for _, l := range s.loops {
		_ = l.w.post(post{do: l.w.drain}) // comes too late
		s.onLoop(l, func() {
			for _, k := range s.fds {
				if k != nil && k.l == l {
					k.close(nil)
				}
			}
		})
	}
	for s.runJob() {
	}
	for _, x := range s.states {
		if !x.over && x.newest == nil { // its timer is on a loop that ends
			s.graces++
		}
	}
	for _, l := range s.loops {
		l.w.end() // and OnClose comes that waited for a function of Go
	}
}

// ended asserts that nothing is left of anything.
func (s *sim) ended() {
	var sum ConnStats
	timers := 0
	for _, c := range s.conns {
		if s.failure == "" {
			c.checkGone()
		}
		sum.add(c.c.Stats())
	}
	if !reflect.ValueOf(noInput).IsZero() || !reflect.ValueOf(noEnding).IsZero() {
		s.failf("what connections have nothing of was written to: %+v, %+v", noInput, noEnding)
	}
	for _, d := range s.dials {
		if d.x.waiting || d.x.timer.Armed() {
			s.failf("a dialing waits for ever")
		}
	}
	for _, l := range s.loops {
		if n := l.w.env.Buffers.Lent(); n != 0 {
			s.failf("%d buffers are not given back", n)
		}
		if len(l.w.conns) != 0 {
			s.failf("%d connections are listed", len(l.w.conns))
		}
	}
	for _, p := range s.drain.plans {
		if p.timer.Armed() && !s.stopped {
			s.failf("the timer of a drain still runs")
		}
		p.w.time.wheel.Stop(&p.timer)
	}
	for _, l := range s.loops {
		timers += l.w.time.wheel.Len()
	}
	if timers != s.graces {
		s.failf("%d timers run, %d of them for sessions", timers, s.graces)
	}
	s.checkGate()
	s.checkMetrics()
	if st := s.e.Stats(); st.Connections != 0 || st.Open != 0 || int(st.Accepted+st.Dialled) != len(s.conns) || st.Closed != st.Accepted+st.Dialled || st.MessagesSent != st.MessagesOut+st.Dropped+st.Replaced || st.ConnStats != sum {
		s.failf("%+v after %d connections with %+v", st, len(s.conns), sum)
	}
}
