package engine

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

// extraWatch has the timers that few connections need. Their Owner is the connection.
type extraWatch struct {
	stall   wheel.Timer   // runs while a backlog makes no progress
	life    wheel.Timer   // runs if there is a LifetimeMax
	idle    wheel.Timer   // runs if there is an IdleTimeout
	stalled time.Duration // the engine's time when the kernel took no more, with Config.Timings; 0: it does
	carried uint64        // messages in both directions, at its last look
	looks   int           // at which nothing was new
}

func (c *Conn) needWatch() *extraWatch {
	r := c.needExtra()
	if r.watch == nil {
		o := (*owner)(c)
		r.watch = &extraWatch{stall: wheel.Timer{Owner: o}, life: wheel.Timer{Owner: o}, idle: wheel.Timer{Owner: o}}
	}
	return r.watch
}

// stall starts WriteStallTimeout for a congested connection. The time runs while its
// peer takes nothing.
func (c *Conn) stall(progress bool) {
	if t := &c.needWatch().stall; progress || !t.Armed() {
		c.w.arm(t, c.ep.WriteStallTimeout)
	}
	c.beginStall()
}

// expire is told that a timer of the connection ran out. A connection has one timer; what it is for
// follows from the phase. Few have others beside it. Every timer that cuts looks twice.
func (c *Conn) expire(t *wheel.Timer) {
	defer c.recoverPanic()
	if r := c.extra; r != nil {
		switch watch := r.watch; {
		case watch == nil:
		case t == &watch.stall:
			if !c.w.looksAgain(t) {
				c.cut(ErrTimeout)
			}
			return
		case t == &watch.idle:
			c.lookForTraffic()
			return
		case t == &watch.life:
			c.goAway(&CloseError{Code: protocol.CloseGoingAway, Reason: "this connection has lived long enough: reconnect"})
			return
		}
	}
	if r := c.input().rates; r != nil && t == &r.next {
		c.unpause(pausedRate)
		return
	}
	switch phase := c.end.phase.Load(); {
	case phase == phaseOpen:
		c.lookForLife()
	case c.w.looksAgain(t):
	case phase == phaseOpening:
		c.handshakeTimeout()
	case phase == phaseClosing:
		c.noAnswer()
	default:
		c.linger()
	}
}

// limitLife starts the time of Config.LifetimeMax, with a jitter, so that those
// who came together do not go together.
func (c *Conn) limitLife() {
	longest := c.ep.LifetimeMax
	if limit.Endless(longest) {
		return
	}
	jitter := time.Duration(c.w.env.Random() % uint64(longest/10+1))
	c.w.arm(&c.needWatch().life, longest-jitter)
}

// idleLooks is how often a connection is looked at in an IdleTimeout.
const idleLooks = 4

// lookForTraffic closes a connection that has carried no message for
// Config.IdleTimeout. While we do not read, its time stands still.
func (c *Conn) lookForTraffic() {
	longest := c.ep.IdleTimeout
	if limit.Endless(longest) || c.end.phase.Load() != phaseOpen {
		return
	}
	watch, s := c.needWatch(), c.Stats()
	n := 1 + s.MessagesIn + s.MessagesOut + s.Dropped + s.Replaced
	switch {
	case c.in.halted: // the time begins at the next look
		watch.carried, watch.looks = 0, 0
	case n != watch.carried:
		watch.carried, watch.looks = n, 0
	case watch.looks+1 < idleLooks:
		watch.looks++
	default:
		if !c.w.looksAgain(&watch.idle) {
			_ = c.close(&CloseError{Code: protocol.CloseGoingAway, Reason: "no message for too long", Err: ErrTimeout})
		}
		return
	}
	c.w.arm(&watch.idle, longest/idleLooks)
}

func (c *Conn) handshakeTimeout() {
	late := &codec.HandshakeError{Status: 408, Reason: "the request head did not arrive in time"}
	if _, ok := c.codec.(codec.Upgrader); !ok || c.origin == dialled {
		c.cut(ErrTimeout)
		return
	}
	if c.deciding() {
		c.ep.e.log.Warn("a function of Upgrade.Go did not decide within Config.HandshakeTimeout; the client gets 503", zap.Uint64("conn", c.who.id))
		c.refuse(&codec.HandshakeError{Status: 503, Reason: "the server did not decide in time, try again later"})
		return
	}
	c.logRefusal("408", zap.InfoLevel, late, "Config.HandshakeTimeout is over")
	c.refuse(late)
}

// A timer that cuts looks twice, for what the peer sent, or took, in time may
// not have been noticed when the timer runs out: the loop was busy, or the whole
// process stood still. The second look comes after everything that was ready at
// the first: a millisecond later if the loop is on time. If it was late by
// lateAfter, the second look comes after secondLook, which is long enough for a
// loop to read what waits, whatever its load, and for a peer that was held up
// with us to answer.
const (
	secondLook = 100 * time.Millisecond
	lateAfter  = 10 * time.Millisecond
)

// advance expires the timers that are due, as many as a turn has time for.
func (w *worker) advance() {
	now := w.now()
	if due, ok := w.time.wheel.Next(); ok && now-due >= lateAfter.Milliseconds() {
		w.time.lateUntil = now + secondLook.Milliseconds()
	}
	w.time.wheel.Advance(now, w.enough) // the alarm is set for the others
}

// looksAgain is asked when t, a timer that cuts, ran out. It reports that it is
// too early to cut, and has t run out once more. Whatever the peer does until
// then that arms t anew, or stops it, saves the connection.
func (w *worker) looksAgain(t *wheel.Timer) bool {
	if t.Again() {
		return false
	}
	w.time.wheel.Again(t, max(w.now()+1, w.time.lateUntil))
	return true
}

// lastLook is the second look of a shutdown, when its time is over: every loop
// serves what was ready then, and if a loop or the process was late, the peers
// get secondLook for their last answers. A loop that is held up is waited for,
// as it is by the end of the loops.
func (e *Engine) lastLook(ctx context.Context) {
	began := time.Now()
	if deadline, ok := ctx.Deadline(); ok {
		began = deadline
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, w := range e.loops {
		for range 2 { // what was ready before the first is served before the second
			from := w.turn.rounds.Load()
			for w.loop.Wake(); w.live.Load() && w.turn.rounds.Load() == from; {
				<-tick.C
			}
		}
	}
	if time.Since(began) < lateAfter {
		return
	}
	select {
	case <-e.gate.Empty():
	case <-time.After(secondLook):
	}
}
