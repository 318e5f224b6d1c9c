package engine

import (
	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

// stall watches over a congested connection: as long as its peer takes nothing,
// the time runs.
func (c *Conn) stall(progress bool) {
	r := c.seldom()
	if r.stall.Owner = c; progress || !r.stall.Armed() {
		c.w.arm(&r.stall, c.e.cfg.WriteStallTimeout)
	}
}

// Expire implements wheel.Expirer. A connection has one timer; what it is for
// follows from the phase. Only a congested one has a second.
func (c *Conn) Expire(t *wheel.Timer) {
	if t != &c.timer { // the backlog stalls
		c.doom(ErrTimeout)
		return
	}
	switch c.phase.Load() {
	case phaseOpening:
		c.handshakeTimeout()
	case phaseOpen:
		c.lookForLife()
	default: // no answer to our close frame, or the stream did not end
		c.doom(ErrTimeout)
	}
}

func (c *Conn) handshakeTimeout() {
	if _, ok := c.codec.(codec.Upgrader); !ok {
		c.doom(ErrTimeout)
		return
	}
	c.refuse(&codec.HandshakeError{Status: 408, Reason: "the request head did not arrive in time"})
}

// lookForLife finds out peers that are gone without a word. Anything that
// arrived since the last look is life; after an interval of silence the peer
// is pinged, and after PongTimeout more it is cut. While we do not read, its
// clock stands still.
func (c *Conn) lookForLife() {
	switch {
	case c.alive || c.halted:
		c.alive, c.pinged = false, false
	case c.pinged:
		c.doom(ErrTimeout)
		return
	case c.send(outgoing{op: protocol.OpPing}) == nil:
		c.pinged = true
		c.w.arm(&c.timer, c.e.cfg.PongTimeout)
		return
	}
	c.w.arm(&c.timer, c.e.cfg.PingInterval)
}
