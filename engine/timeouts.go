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

// stall watches over a congested connection: as long as its peer takes nothing,
// the time runs.
func (c *Conn) stall(progress bool) {
	r := c.seldom()
	if r.stall.Owner = (*owner)(c); progress || !r.stall.Armed() {
		c.w.arm(&r.stall, c.ep.WriteStallTimeout)
	}
}

// expire is told that a timer of the connection ran out. A connection has one timer; what it is for
// follows from the phase. Few have others beside it. Every timer that cuts looks twice.
func (c *Conn) expire(t *wheel.Timer) {
	defer c.recoverPanic()
	if r := c.rare; r != nil {
		switch t {
		case &r.stall:
			if !c.w.looksAgain(t) {
				c.doom(ErrTimeout)
			}
			return
		case &r.idle:
			c.lookForTraffic()
			return
		case &r.life:
			c.goAway(&CloseError{Code: protocol.CloseGoingAway, Reason: "this connection has lived long enough: reconnect"})
			return
		}
		if r.rates != nil && t == &r.rates.next {
			c.unpause(pausedRate)
			return
		}
	}
	switch phase := c.phase.Load(); {
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
	r := c.seldom()
	r.life.Owner = (*owner)(c)
	jitter := time.Duration(c.w.env.Random() % uint64(longest/10+1))
	c.w.arm(&r.life, longest-jitter)
}

// idleLooks is how often a connection is looked at in an IdleTimeout.
const idleLooks = 4

// lookForTraffic closes a connection that has carried no message for
// Config.IdleTimeout. While we do not read, its time stands still.
func (c *Conn) lookForTraffic() {
	longest := c.ep.IdleTimeout
	if limit.Endless(longest) || c.phase.Load() != phaseOpen {
		return
	}
	r, s := c.seldom(), c.Stats()
	r.idle.Owner = (*owner)(c)
	n := 1 + s.MessagesIn + s.MessagesOut + s.Dropped + s.Replaced
	switch {
	case c.halted: // the time begins at the next look
		r.carried, r.looks = 0, 0
	case n != r.carried:
		r.carried, r.looks = n, 0
	case r.looks+1 < idleLooks:
		r.looks++
	default:
		if !c.w.looksAgain(&r.idle) {
			_ = c.close(&CloseError{Code: protocol.CloseGoingAway, Reason: "no message for too long", Err: ErrTimeout})
		}
		return
	}
	c.w.arm(&r.idle, longest/idleLooks)
}

func (c *Conn) handshakeTimeout() {
	if _, ok := c.codec.(codec.Upgrader); !ok || c.dialled {
		c.doom(ErrTimeout)
		return
	}
	if c.deciding() {
		c.ep.e.log.Warn("a function of Upgrade.Go did not decide within Config.HandshakeTimeout; the client gets 503", zap.Uint64("conn", c.id))
		c.refuse(&codec.HandshakeError{Status: 503, Reason: "the server did not decide in time, try again later"})
		return
	}
	c.refuse(&codec.HandshakeError{Status: 408, Reason: "the request head did not arrive in time"})
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
	if due, ok := w.wheel.Next(); ok && now-due >= lateAfter.Milliseconds() {
		w.lateUntil = now + secondLook.Milliseconds()
	}
	w.wheel.Advance(now, w.enough) // the alarm is set for the others
}

// looksAgain is asked when t, a timer that cuts, ran out. It reports that it is
// too early to cut, and has t run out once more. Whatever the peer does until
// then that arms t anew, or stops it, saves the connection.
func (w *worker) looksAgain(t *wheel.Timer) bool {
	if t.Again() {
		return false
	}
	w.wheel.Again(t, max(w.now()+1, w.lateUntil))
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
			from := w.rounds.Load()
			for w.loop.Wake(); w.live.Load() && w.rounds.Load() == from; {
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

// lookForLife pings a peer of which nothing arrived for PingInterval, again and
// again at that period while it is silent, and cuts it PongTimeout after the
// first ping without an answer; whatever arrives is one. No clock is read when
// something arrives: the looks are half of PingInterval apart, and a peer of
// which nothing arrived between two of them is pinged, at every second look. If
// PongTimeout ends between two of them, there is one more look then. While we do
// not read, pings go out, for the proxies on the way, but nobody is cut.
func (c *Conn) lookForLife() {
	due, now := c.timer.Due(), c.w.now()
	half, patience := (c.ep.PingInterval / 2).Milliseconds(), c.ep.PongTimeout.Milliseconds()
	next := due + half
	if next <= now {
		next = now + half
	}
	paused := c.halted // a ping may pause reading for the rest of the turn
	if paused {
		c.unanswered = false
	}
	switch over := c.unanswered && int64(uint32(due)-c.pingedAt) >= patience; {
	case over && !c.alive:
		if !c.w.looksAgain(&c.timer) {
			c.doom(ErrTimeout)
		}
		return
	case over && patience%half > 0: // the look in between
		c.alive, c.unanswered = false, false
		next = due + half - patience%half
	case c.alive:
		c.alive, c.pinged, c.unanswered = false, false, false
	case c.pinged:
		c.pinged = false
	default:
		c.pinged = true
		err := c.send(outgoing{op: protocol.OpPing})
		if c.phase.Load() != phaseOpen { // what was published before closed it: the timer is for that now
			return
		}
		if err == nil && !c.unanswered && !paused {
			c.unanswered, c.pingedAt = true, uint32(now)
		}
	}
	if c.unanswered {
		next = min(next, now+patience-int64(uint32(now)-c.pingedAt))
	}
	c.w.wheel.Arm(&c.timer, next)
}
