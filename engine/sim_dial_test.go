package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sockmill/sockmill/codec"
)

// simDial is a call of Dial.
type simDial struct {
	s    *sim
	x    *dialing
	l    *simLoop
	ctx  *simContext
	last *simConn // made last
}

// simContext ends when the simulation says so: what watches a real one does so
// on a goroutine.
type simContext struct {
	context.Context
	err error
}

func (c *simContext) Err() error { return c.err }

// dialOut calls Dial, or ends the context of such a call.
func (s *sim) dialOut() {
	switch n := len(s.dials); {
	case n > 0 && s.chance(50):
		s.dials[s.r.IntN(n)].cancel()
	case s.chance(500) && len(s.live())+len(s.e.dialer.pool.waiting) < s.cfg.connsMax:
		d := &simDial{s: s, ctx: &simContext{Context: context.Background()}}
		s.dials = append(s.dials, d)
		least := time.Duration(s.pick(1, 500)) * time.Millisecond
		err := s.e.Dial(d.ctx, Dial{
			URL: "ws://sim/", State: d, Timeout: time.Duration(s.pick(20, 3000, 10_000)) * time.Millisecond, OnFailure: d.failed,
			Reconnect: s.chance(600), BackoffMin: least, BackoffMax: least * time.Duration(s.pick(1, 10)),
		})
		if err != nil {
			s.failf("Dial says %v", err)
			return
		}
		d.x = s.e.dialer.pool.waiting[len(s.e.dialer.pool.waiting)-1]
		d.l = s.loops[slices.IndexFunc(s.loops, func(l *simLoop) bool { return l.w == d.x.w })]
		s.tracef("the program dials")
	default:
		s.connect()
	}
}

// cancel ends the context, of which the loop hears sooner or later.
func (d *simDial) cancel() {
	if d.ctx.err == nil && d.x != nil {
		d.s.tracef("the context of a Dial ends")
		d.ctx.err = context.Canceled
		_ = d.x.w.post(post{kind: ownPost, do: d.x.cancelled})
	}
}

// connect ends an attempt as a goroutine of the pool would.
func (s *sim) connect() bool {
	waiting := s.e.dialer.pool.waiting
	if len(waiting) == 0 {
		return false
	}
	i := s.r.IntN(len(waiting))
	x := waiting[i]
	s.e.dialer.pool.waiting = slices.Delete(slices.Clone(waiting), i, i+1)
	d := x.State.(*simDial)
	defer s.e.gate.Arrived()
	x.startClock()
	err := errOnPurpose
	switch {
	case s.e.life.serving.Err() != nil:
		err = ErrStopped
	case d.ctx.err != nil:
		err = d.ctx.err
	case !s.chance(200):
		d.arrive()
		return true
	}
	s.tracef("an attempt of Dial fails: %v", err)
	_ = x.w.post(post{kind: ownPost, do: func() { x.failed(err) }})
	return true
}

// arrive puts the connection of an attempt on its loop.
func (d *simDial) arrive() {
	s := d.s
	if c := d.last; c != nil && !c.sock.closed {
		s.failf("%v: another attempt while it is there", c)
	}
	c := &simConn{s: s, id: len(s.conns), d: d, l: d.l, sent: map[string]*simSend{}, closingAt: -1}
	c.peer = newPeer(c)
	c.sock = s.open(c, c.l)
	c.c, _ = d.x.newConn(simNetConn{})
	if s.chance(s.cfg.tls) {
		c.c.tls = c.shake()
	}
	d.last = c
	s.conns = append(s.conns, c)
	s.of[c.c] = c
	s.tracef("%v: is dialled, descriptor %d", c, c.sock.fd)
	s.onLoop(c.l, func() { c.l.Opened(&c.c.sock, (*owner)(c.c), c.sock.fd) })
	if c.c.tls != nil {
		c.sock.unsealed(true)
	}
	s.check(c.l)
}

// opened checks what must hold of each OnOpen.
func (d *simDial) opened(c *simConn) {
	if c != d.last || c.c.State() != d || d.x.waiting {
		d.s.failf("%v: opened out of turn", c)
	}
	for _, other := range d.s.conns {
		if other.d == d && other != c && other.opens != other.closes {
			d.s.failf("%v: OnOpen before OnClose of %v", c, other)
		}
	}
}

func (d *simDial) failed(e *DialError) {
	s := d.s
	var refused *codec.HandshakeError
	s.tracef("OnFailure: %v", e)
	switch c := d.last; {
	case !d.l.on && !s.stopped || s.calling > 0:
		s.failf("OnFailure runs elsewhere than on its loop, or inside a call of the program's")
	case c != nil && (c.opens != c.closes || c.c.end.phase.Load() != phaseGone):
		s.failf("%v: OnFailure while it is there", c)
	case e.Retry > 0 != (d.x.Reconnect && d.ctx.err == nil && s.e.life.serving.Err() == nil) && !d.x.over.Load():
		s.failf("%v: another attempt follows, or none", e)
	case e.Retry > 0 && (e.Retry < d.x.BackoffMin || e.Retry > d.x.BackoffMax):
		s.failf("%v: out of range", e)
	case c != nil && c.peer.honest && errors.As(e, &refused) && refused.Status != 401 && refused.Status != 503:
		s.failf("%v: refused with %v", c, e)
	}
	if s.chance(30) {
		d.cancel()
	}
}
