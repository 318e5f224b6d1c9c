package engine

import "errors"

var errElsewhere = errors.New("engine: Sessions.Begin and Resume are for callbacks on the connection's loop: " +
	"from elsewhere, such as a function of Conn.Go, have that loop call them (Conn.Loop, Loop.Post)")

// check refuses a connection that cannot have a session of s.
func (s *Sessions) check(c *Conn) error {
	switch {
	case c.e != s.e:
		return errors.New("engine: these Sessions are for the connections of another Engine")
	case !c.w.loop.On():
		return errElsewhere
	case c.phase.Load() != phaseOpen:
		return ErrClosed
	case c.rare != nil && c.rare.sessions != nil && c.rare.sessions != s:
		return errors.New("engine: the connection has used other Sessions: one is for all sessions of a connection")
	}
	return nil
}

// attach has s told of the end of c. s.mu is held.
func (s *Sessions) attach(c *Conn) error {
	if s.byConn[c] != nil {
		return errors.New("engine: the connection has a session: End it first")
	}
	c.seldom().sessions = s
	return nil
}

// of returns the session of c, unless another connection has resumed it. s.mu is
// held.
func (s *Sessions) of(c *Conn) *session {
	if x := s.byConn[c]; x != nil && (x.heir == c || x.heir == nil) {
		return x
	}
	return nil
}

// forget takes a session out of the registry. s.mu is held.
func (s *Sessions) forget(x *session) {
	delete(s.byID, x.id)
	delete(s.byConn, x.holder)
	delete(s.byConn, x.heir)
}

// promote makes the heir the holder. s.mu is held, so that what follows from a
// later Resume is posted behind this.
func (s *Sessions) promote(x *session) {
	if x.grace != nil {
		x.grace.Stop()
		x.grace = nil
	}
	c, give := x.heir, x.give
	x.holder, x.heir, x.give = c, nil, nil
	_ = c.w.post(post{do: func() { s.handOver(x, c, give) }, own: true}) // fails when c is gone
}

// handOver runs on the loop of c.
func (s *Sessions) handOver(x *session, c *Conn, give func(any)) {
	s.mu.Lock()
	holds := s.byConn[c] == x
	s.mu.Unlock()
	c.unpause(pausedResume)
	if holds && c.phase.Load() == phaseOpen { // or it is lost, with the state, as by lost
		c.w.calling(onResume, c)
		c.guard(func() { give(x.state) })
	}
}

// supersede ends a connection without waiting for the peer, which may be gone:
// its OnClose runs, unless a function of Go does.
func (c *Conn) supersede() {
	if c.phase.Load() < phaseEnding {
		_ = c.close(errResumed()) // fails if it closes already
		c.end(c.rare.closing)
	}
}

// lost is told that OnClose of c has returned: mostly on the loop of c, but see
// Conn.Go.
func (s *Sessions) lost(c *Conn) {
	s.mu.Lock()
	x := s.byConn[c]
	delete(s.byConn, c)
	switch {
	case x == nil: // it was ended
	case x.heir == c: // the holder is on its way out
		x.heir, x.give = nil, nil
	case x.heir != nil:
		s.promote(x)
	case s.stopped:
		s.forget(x)
		s.mu.Unlock()
		s.expired(x)
		return
	default:
		x.holder = nil
		x.losses++
		loss := x.losses
		x.grace = c.w.api.After(s.cfg.Grace, func() { s.expire(x, loss) })
	}
	s.mu.Unlock()
}

// expire ends the grace period after a loss.
func (s *Sessions) expire(x *session, loss int) {
	s.mu.Lock()
	due := x.grace != nil && x.losses == loss // it was not resumed
	if due {
		s.forget(x)
	}
	s.mu.Unlock()
	if due {
		s.expired(x)
	}
}

// end is called when the loops have ended: nobody can come back.
func (s *Sessions) end() {
	var left []*session
	s.mu.Lock()
	s.stopped = true
	for _, x := range s.byID {
		if x.holder == nil {
			left = append(left, x)
		}
	}
	for _, x := range left {
		s.forget(x)
	}
	s.mu.Unlock()
	for _, x := range left {
		s.expired(x)
	}
}

// expired tells the program.
func (s *Sessions) expired(x *session) {
	defer func() {
		if v := recover(); v != nil {
			s.e.logPanic(v, 0)
		}
	}()
	if f := s.cfg.OnExpire; f != nil {
		f(x.state)
	}
}
