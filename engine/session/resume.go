package session

import (
	"errors"
	"slices"

	"github.com/sockmill/sockmill/engine"
)

var (
	errElsewhere = errors.New("session: Begin and Resume are for callbacks on the connection's loop: " +
		"from elsewhere, such as a function of Conn.Go, have that loop call them (Conn.Loop, Loop.Post)")
	errSecond = errors.New("session: the connection has a session: End it first")
)

// follow has s told of the end of c. It refuses a connection that cannot have a
// session of s.
func (s *Store) follow(c *engine.Conn) error {
	switch {
	case !slices.Contains(s.loops, c.Loop()):
		return errors.New("session: this Store is for the connections of another Engine")
	case !c.Loop().On():
		return errElsewhere
	}
	return c.AfterClose((*follower)(s))
}

// follower is a Store as the engine knows it: what that calls is no part of the
// public Store.
type follower Store

// Closed implements engine.Follower.
func (f *follower) Closed(c *engine.Conn) { (*Store)(f).lost(c) }

// of returns the session of c, unless another connection has resumed it, even one
// that is lost by now. s.mu is held.
func (s *Store) of(c *engine.Conn) *session {
	if x := s.byConn[c]; x != nil && x.newest == c {
		return x
	}
	return nil
}

// forget takes a session out of the registry. s.mu is held.
func (s *Store) forget(x *session) {
	delete(s.byID, x.id)
	delete(s.byConn, x.holder)
	delete(s.byConn, x.heir)
}

// promote makes the heir the holder. s.mu is held, so that what follows from a
// later Resume is posted behind this.
func (s *Store) promote(x *session) {
	if x.grace != nil {
		x.grace.Stop()
		x.grace = nil
	}
	c, give, read := x.heir, x.give, x.read
	x.holder, x.heir, x.give, x.read = c, nil, nil, nil
	read(func() { s.handOver(x, c, give) })
}

// handOver runs on the loop of c, which is open. If another connection has resumed
// the session meanwhile, c is closed here, before a message of its own comes. If c
// has no longer the session, the program ended it.
func (s *Store) handOver(x *session, c *engine.Conn, give func(any)) {
	s.mu.Lock()
	newest, holds := x.newest == c, s.byConn[c] == x
	s.mu.Unlock()
	switch {
	case !newest:
		_ = c.CloseNow(errResumed())
	case holds:
		give(x.state)
	}
}

// lost is told that OnClose of c has returned: mostly on the loop of c, but see
// engine.Follower.
func (s *Store) lost(c *engine.Conn) {
	s.mu.Lock()
	x := s.byConn[c]
	delete(s.byConn, c)
	if x != nil && x.newest == c {
		x.newest = nil
	}
	switch {
	case x == nil: // the program ended it
	case x.heir == c: // the holder is being closed
		x.heir, x.give, x.read = nil, nil, nil
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
		x.grace = s.after(c.Loop(), s.cfg.Grace, func() { s.expire(x, loss) })
	}
	s.mu.Unlock()
}

// expire ends the grace period after a loss.
func (s *Store) expire(x *session, loss int) {
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
func (s *Store) end() {
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
		_ = s.e.AtEnd(func() { s.expired(x) }) // one by one: a panic of one is none of the next
	}
}

// expired tells the program. The engine logs a panic.
func (s *Store) expired(x *session) {
	if f := s.cfg.OnExpire; f != nil {
		f(x.state)
	}
}
