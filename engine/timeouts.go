package engine

import (
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

// stall watches over a congested connection: as long as its peer takes nothing,
// the time runs.
func (c *Conn) stall(progress bool) {
	r := c.seldom()
	if r.stall.Owner = (*owner)(c); progress || !r.stall.Armed() {
		c.w.arm(&r.stall, c.e.cfg.WriteStallTimeout)
	}
}

// expire is told that a timer of the connection ran out. A connection has one timer; what it is for
// follows from the phase. Few have others beside it.
func (c *Conn) expire(t *wheel.Timer) {
	defer c.recoverPanic()
	if r := c.rare; r != nil {
		switch t {
		case &r.stall:
			c.doom(ErrTimeout)
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
	switch c.phase.Load() {
	case phaseOpening:
		c.handshakeTimeout()
	case phaseOpen:
		c.lookForLife()
	case phaseClosing:
		c.noAnswer()
	default:
		c.linger()
	}
}

// limitLife starts the time of Config.LifetimeMax, with a jitter, so that those
// who came together do not go together.
func (c *Conn) limitLife() {
	longest := c.e.cfg.LifetimeMax
	if longest >= forever {
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
	longest := c.e.cfg.IdleTimeout
	if longest >= forever || c.phase.Load() != phaseOpen {
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
		_ = c.close(&CloseError{Code: protocol.CloseGoingAway, Reason: "no message for too long", Err: ErrTimeout})
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
		c.e.log.Warn("a function of Upgrade.Go did not decide within Config.HandshakeTimeout; the client gets 503", zap.Uint64("conn", c.id))
		c.refuse(&codec.HandshakeError{Status: 503, Reason: "the server did not decide in time, try again later"})
		return
	}
	c.refuse(&codec.HandshakeError{Status: 408, Reason: "the request head did not arrive in time"})
}

// secondLook is long enough for a loop to read what waits, whatever its load.
const secondLook = 100 * time.Millisecond

// lookForLife finds out peers that are gone without a word. Anything that
// arrived since the last look is life; after an interval of silence the peer
// is pinged, and after PongTimeout more it is cut. While we do not read, its
// clock stands still. The cut comes only at a second look: after a stall of the
// whole process (a suspended machine) the pongs wait unread when the timers run
// out.
func (c *Conn) lookForLife() {
	switch {
	case c.alive || c.halted:
		c.alive, c.pinged, c.late = false, false, false
	case c.late:
		c.doom(ErrTimeout)
		return
	case c.pinged:
		c.late = true
		c.w.arm(&c.timer, secondLook)
		return
	case c.send(outgoing{op: protocol.OpPing}) == nil && c.e.cfg.PongTimeout < forever:
		c.pinged = true
		c.w.arm(&c.timer, c.e.cfg.PongTimeout)
		return
	}
	c.w.arm(&c.timer, c.e.cfg.PingInterval)
}
