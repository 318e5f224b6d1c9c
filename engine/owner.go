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

// hungUp ends the context of functions of Go: the peer has ended its stream. Who
// does so during the opening handshake wants no WebSocket any more.
func (c *Conn) hungUp() {
	c.w.beginTurn()
	_ = c.Context() // made by now, so that it stays ended for functions yet to begin
	c.endContext()
	if c.deciding() {
		c.cut(io.EOF)
	}
	c.w.mark(c)
	c.w.endTurn()
}
