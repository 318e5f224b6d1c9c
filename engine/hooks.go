package engine

import (
	"errors"
	"slices"
	"sync/atomic"
)

// This file has what a package needs that keeps something of its own for each
// connection, as engine/session does.

// Follower is told when connections are over: see Conn.AfterClose. It must be
// comparable, such as a pointer.
type Follower interface {
	// Closed is called once, when OnClose of c has returned, and so have the
	// functions that OnClose gave to Conn.Go; only then is the connection's place
	// given to another. It runs on the loop of c and must not block; if the engine
	// has ended before a function of Conn.Go did, it runs on another goroutine,
	// where OnClose does too. A panic is logged.
	Closed(c *Conn)
}

var errElsewhere = errors.New("engine: Conn.AfterClose and Hold are for callbacks on the connection's loop: " +
	"from elsewhere, such as a function of Conn.Go, have that loop call them (Conn.Loop, Loop.Post)")

// forCallbacks is the error of what only callbacks of an open connection may call.
func (c *Conn) forCallbacks() error {
	switch {
	case !c.w.on():
		return errElsewhere
	case c.end.phase.Load() != phaseOpen:
		return ErrClosed
	}
	return nil
}

// AfterClose has f told when the connection is over. A connection may have
// several followers; they are told in the order of the calls. A call with one that
// it has already changes nothing.
//
// AfterClose is for callbacks of c, or what is posted to its loop (Conn.Loop),
// and fails elsewhere. It fails with ErrClosed if c is not open: in OnClose too.
func (c *Conn) AfterClose(f Follower) error {
	if err := c.forCallbacks(); err != nil {
		return err
	}
	if r := c.needExtra(); !slices.Contains(r.followers, f) {
		r.followers = append(r.followers, f)
	}
	return nil
}

// tellFollowers is called once, when all that OnClose began is done.
func (c *Conn) tellFollowers() {
	for _, f := range c.extra.followers {
		c.w.calling(onClosed, c)
		c.guard(func() { f.Closed(c) })
		c.w.returned()
	}
	c.extra.followers = nil
}

// Hold pauses reading until release is called, for what the connection needs
// before its next message and gets from elsewhere: the state of a session,
// an answer of another server.
//
//	release, err := c.Hold()
//	if err != nil { … }
//	go func() {
//		user, err := find(id)
//		release(func() { c.SetState(user) })
//	}()
//
// release has f called on the loop of c, as one of its callbacks, if c is still
// open: before the messages that were held back, and never inside release. A
// panic of f closes c with 1011. f may be nil. Any goroutine may call release; a
// second call does nothing. Several may hold a connection at a time, beside
// PauseReading: reading goes on when nobody does any more. Who never calls
// release leaves the connection unread until this side closes it.
//
// Where the system cannot pause reading (macOS), messages may come before f.
//
// Hold is for callbacks of c, or what is posted to its loop (Conn.Loop), and
// fails elsewhere. It fails with ErrClosed if c is not open.
func (c *Conn) Hold() (release func(f func()), err error) {
	if err := c.forCallbacks(); err != nil {
		return nil, err
	}
	c.needExtra().holds++
	c.pause(pausedHeld)
	var released atomic.Bool
	return func(f func()) {
		if !released.Swap(true) {
			_ = c.w.post(post{kind: ownPost, c: c, do: func() { c.released(f) }}) // fails after the end, when c is gone
		}
	}, nil
}

// released runs on the loop after a Hold.
func (c *Conn) released(f func()) {
	if c.extra.holds--; c.extra.holds == 0 {
		c.unpause(pausedHeld)
	}
	if f != nil && c.end.phase.Load() == phaseOpen && c.end.stream != streamCut {
		c.w.calling(onRelease, c)
		c.guard(f)
		c.w.returned()
	}
}

// AtEnd has f called when the engine has ended: after the last callback of every
// loop, before Shutdown and Run return, on the goroutine of Shutdown. (As with
// OnClose, a connection whose function of Conn.Go outlasts the shutdown ends
// later.) It is called too if Run never was. Several functions are called in the
// order of the calls; f itself may call AtEnd. A panic of f is logged. Any
// goroutine may call AtEnd; it fails with ErrStopped when the functions have been
// called.
func (e *Engine) AtEnd(f func()) error {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if e.life.ended {
		return ErrStopped
	}
	e.life.atEnd = append(e.life.atEnd, f)
	return nil
}

// callAtEnd calls what was given to AtEnd, until nothing is left.
func (e *Engine) callAtEnd() {
	for {
		e.life.mu.Lock()
		due := e.life.atEnd
		e.life.atEnd, e.life.ended = nil, len(due) == 0
		e.life.mu.Unlock()
		if len(due) == 0 {
			return
		}
		for _, f := range due {
			e.callLast(f)
		}
	}
}

func (e *Engine) callLast(f func()) {
	defer func() {
		if v := recover(); v != nil {
			e.logPanic(v, 0)
		}
	}()
	f()
}
