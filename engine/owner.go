package engine

import (
	"io"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/wheel"
)

// owner is a Conn as its socket and its timers know it: what they call is no
// part of the public Conn.
type owner Conn

// Opened and the five that follow implement loop.Owner.
func (o *owner) Opened(l *loop.Loop) { (*Conn)(o).enrolled(l) }
func (o *owner) Readable(b []byte)   { (*Conn)(o).readable(b) }
func (o *owner) Writable()           { (*Conn)(o).writable() }
func (o *owner) HungUp()             { (*Conn)(o).hungUp() }
func (o *owner) Ended()              { (*Conn)(o).peerEnded() }
func (o *owner) Closed(err error)    { (*Conn)(o).closed(err) }

// Expire implements wheel.Expirer.
func (o *owner) Expire(t *wheel.Timer) { (*Conn)(o).expire(t) }

// writable goes on with what the kernel did not take.
func (c *Conn) writable() {
	c.w.beginTurn()
	c.w.mark(c)
	c.w.endTurn()
}

// hungUp is called when the peer has ended its stream, and ends Conn.Context. A peer
// that does so during the opening handshake is not answered any more.
func (c *Conn) hungUp() {
	c.w.beginTurn()
	_ = c.Context() // make it now, if it was not, so that functions that begin later find it ended
	c.endContext()
	if c.deciding() {
		c.cut(io.EOF)
	}
	c.w.mark(c)
	c.w.endTurn()
}
