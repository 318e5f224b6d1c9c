package engine

import (
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

// liveness is what the engine knows of a peer that may have left without a word.
type liveness struct {
	// pingedAt is when the first ping without an answer went out, in milliseconds of the
	// loop's clock. Until the connection is open, it is when it came, in microseconds, if
	// Config.Timings asks for that.
	pingedAt uint32
	since    uint32      // when the connection came to its loop, in seconds of that clock
	timer    wheel.Timer // what it is for follows from the phase; of an open connection the next look
}

// lifeState is what the last look at a peer found, and what happened since.
type lifeState uint8

const (
	heard   lifeState = iota // something has arrived since the last look
	quiet                    // nothing has
	pinged                   // nothing has: the last look sent a ping
	pending                  // nothing has: a look before the last sent a ping
)

// lookForLife pings a peer of which nothing arrived for PingInterval, again and
// again at that period while it is silent, and cuts it PongTimeout after the
// first ping without an answer; whatever arrives is one. No clock is read when
// something arrives: the looks are half of PingInterval apart, and a peer of
// which nothing arrived between two of them is pinged, at every second look. If
// PongTimeout ends between two of them, there is one more look then. While we do
// not read, pings go out, for the proxies on the way, but nobody is cut.
func (c *Conn) lookForLife() {
	l, life := &c.live, &c.in.life
	due, now := l.timer.Due(), c.w.now()
	half, patience := (c.ep.PingInterval / 2).Milliseconds(), c.ep.PongTimeout.Milliseconds()
	next := due + half
	if next <= now {
		next = now + half
	}
	paused := c.in.halted // a ping may pause reading for the rest of the turn
	switch waited := int64(uint32(due) - l.pingedAt); {
	case *life == heard && waited == patience && patience%half > 0: // the look in between
		next = due + half - patience%half
	case *life == heard:
		*life = quiet
	case *life != quiet && waited >= patience && !paused:
		if !c.w.looksAgain(&l.timer) {
			c.w.stats.pingsUnanswered.add(1)
			c.cut(ErrTimeout)
		}
		return
	case *life == pinged:
		*life = pending
	default:
		err := c.send(outgoing{op: protocol.OpPing})
		if c.end.phase.Load() != phaseOpen { // what was published before closed it: the timer is for that now
			return
		}
		if *life == quiet {
			l.pingedAt = uint32(now)
		}
		if err == nil {
			c.w.stats.pings.add(1)
			*life = pinged
		}
	}
	if (*life == pinged || *life == pending) && !paused {
		next = min(next, now+patience-int64(uint32(now)-l.pingedAt))
	}
	c.w.time.wheel.Arm(&l.timer, next)
}
