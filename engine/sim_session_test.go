package engine

import (
	"errors"
	"time"
)

// SimStore is a session.Store as the simulation knows it. Session imports engine,
// so that the tests of this package cannot import it: sim_store_test.go, of the
// package engine_test, makes the Store.
type SimStore interface {
	Begin(c *Conn, state any) (token string, err error)
	Resume(c *Conn, token string, give func(state any)) error
	End(c *Conn) error
	Len() int
	Conns() int // holders and heirs
}

// NewSimStore makes a SimStore, and the errors below are its own.
var (
	NewSimStore func(e *Engine, grace time.Duration, sessionsMax int, expire func(state any)) (SimStore, error)

	ErrSimExpired, ErrSimFull, ErrSimNone error
)

// simState is the state of a session, and whose it is.
type simState struct {
	token  string
	holder *simConn
	newest *simConn // began or resumed it last, and is there
	over   bool     // expired, or ended
}

func (s *sim) newSessions() {
	var err error
	s.grace, s.sessionsMax = time.Duration(s.pick(100, 2000, 30_000))*time.Millisecond, s.pick(2, 100)
	s.sessions, err = NewSimStore(s.e, s.grace, s.sessionsMax, func(state any) {
		x := state.(*simState)
		if s.tracef("a state expires"); x.holder != nil || x.over {
			s.failf("a state expires that %v holds, over %v", x.holder, x.over)
		}
		if x.over = true; s.chance(100) {
			panic(errOnPurpose)
		}
	})
	if err != nil {
		panic(err)
	}
}

// session begins, resumes or ends the session of a connection, in one of its
// callbacks.
func (c *simConn) session() {
	s := c.s
	s.calling++
	defer func() { s.calling-- }()
	open := c.c.end.phase.Load() == phaseOpen
	switch has := c.resuming || c.state != nil && !c.state.over; {
	case has && s.chance(300):
		c.endSession()
	case !has && s.chance(400):
		x := new(simState)
		token, err := s.sessions.Begin(c.c, x)
		s.tracef("%v: the program begins a session: %v", c, err)
		switch {
		case err == nil && open:
			x.token, x.holder, x.newest, c.state = token, c, c, x
			s.states = append(s.states, x)
		case errors.Is(err, ErrClosed) && !open:
		case errors.Is(err, ErrSimFull) && s.sessions.Len() == s.sessionsMax:
		default:
			s.failf("%v: Begin says %v", c, err)
		}
	case !has && len(s.states) > 0:
		x := s.states[s.r.IntN(len(s.states))]
		err := s.sessions.Resume(c.c, x.token, func(state any) { c.given(state.(*simState)) })
		s.tracef("%v: the program resumes a session, over %v: %v", c, x.over, err)
		switch {
		case err == nil && open && !x.over:
			c.resuming, x.newest = true, c
		case errors.Is(err, ErrClosed) && !open:
		case errors.Is(err, ErrSimExpired) && x.over:
		default:
			s.failf("%v: Resume says %v", c, err)
		}
	}
}

// given is the function of every Resume.
func (c *simConn) given(x *simState) {
	s := c.s
	s.called(c.c, "the function of Resume")
	if !c.resuming || x.holder != nil || x.over || c.c.end.phase.Load() != phaseOpen {
		s.failf("%v: is given a state that %v holds, over %v, resuming %v, phase %d", c, x.holder, x.over, c.resuming, c.c.end.phase.Load())
	}
	c.resuming, c.state, x.holder = false, x, c
	switch {
	case s.chance(300):
		c.act()
	case s.chance(50):
		panic(errOnPurpose)
	}
}

// endSession ends the session that c has, or has resumed, unless a later
// connection has resumed it.
func (c *simConn) endSession() {
	s := c.s
	err := s.sessions.End(c.c)
	s.tracef("%v: the program ends a session: %v", c, err)
	for _, x := range s.states {
		if x.over || x.newest != c {
			continue
		}
		if err != nil {
			s.failf("%v: End says %v", c, err)
		}
		x.over, c.resuming = true, false
		return
	}
	if !errors.Is(err, ErrSimNone) {
		s.failf("%v: End says %v, of a session that is another's", c, err)
	}
}

// leaveState follows OnClose and the functions that it gave to Go: the state is
// nobody's until the engine says whose it is.
func (c *simConn) leaveState() {
	for _, x := range c.s.states {
		if x.holder == c {
			x.holder = nil
		}
		if x.newest == c {
			x.newest = nil
		}
	}
	c.resuming = false
}

// outwait lets the grace period of every session pass, and asserts that each
// state has come to its end once.
func (s *sim) outwait() {
	if s.stopped {
		s.e.callAtEnd()
	} else {
		s.advance(s.grace.Milliseconds() + 2)
		s.settle()
	}
	for i, x := range s.states {
		if !x.over {
			s.failf("state %d is left, %v holds it", i, x.holder)
		}
	}
	if n := s.sessions.Len(); n != 0 || s.sessions.Conns() != 0 {
		s.failf("%d sessions are left, and %d connections in them", n, s.sessions.Conns())
	}
}
