package engine

import (
	"io"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/internal/poison"
	"github.com/sockmill/sockmill/protocol"
)

const (
	// lingerTimeout is how long the peer may take to end its stream after we
	// ended ours, unless it is in the midst of sending. It keeps the promise
	// that a connection is gone within a second of its closing handshake.
	lingerTimeout = 900 * time.Millisecond

	// lingerBytesMin is what a peer in the midst of sending sends at least from
	// one look to the next.
	lingerBytesMin = 4 << 10
)

// streamEnded is told that the peer has ended its stream. Who reads on gets what
// is queued; a protocol without a closing handshake may have a last message.
func (c *Conn) streamEnded() {
	c.w.beginTurn()
	switch phase := c.phase.Load(); {
	case phase == phaseOpen && c.ep.raw:
		c.endOfStream()
	case phase == phaseClosing && !c.out.Empty():
		c.end(c.abnormal(io.EOF))
		fallthrough
	case phase == phaseEnding:
		c.seldom().eof = true
	}
	c.w.endTurn()
}

// endOfStream ends a connection whose protocol has no closing handshake: at once,
// or, if its last message made reading pause, when it resumes.
func (c *Conn) endOfStream() {
	if r := c.seldom(); !r.eof {
		r.eof, r.last = true, &CloseError{Code: protocol.CloseNormal, Remote: true}
		c.w.cur = c
		c.guard(c.lastEvent)
		c.w.cur = nil
		c.uncork()
	}
	if !c.halted && !c.doomed && c.phase.Load() == phaseOpen {
		c.end(c.rare.last)
	}
}

// lastEvent asks the codec what the stream ended with.
func (c *Conn) lastEvent() {
	if e, ok := c.codec.(codec.Ender); ok {
		switch ev := e.End(&c.w.env); ev.Kind {
		case codec.Message:
			c.noteReceived(1)
			if f := c.h.OnMessage; f != nil {
				c.w.calling(onMessage, c)
				f(c, Message{Type: MessageType(ev.Opcode), Data: ev.Data})
				poison.Fill(ev.Data)
			}
		case codec.Close:
			c.rare.last = c.w.env.Closed
		}
	} else if b, ok := c.codec.(codec.Buffered); ok && b.Buffered() > 0 {
		c.rare.last = &CloseError{Code: protocol.CloseAbnormal, Remote: true, Err: io.ErrUnexpectedEOF}
	}
}

// sayFarewell ends our stream once everything is written. If the peer has ended
// its own, reading pauses until then, or the loop would close the descriptor over
// what is still queued. A client waits for the server to end the stream first
// (RFC 6455 §7.1.1).
func (c *Conn) sayFarewell() {
	if !c.out.Empty() {
		if c.halted = c.rare != nil && c.rare.eof && c.sock.Pause(); !c.halted {
			c.sock.Resume()
		}
		return
	}
	c.farewell, c.halted = true, false
	wait := c.ep.CloseTimeout
	if !c.dialled {
		if err := c.sock.CloseWrite(); err != nil {
			c.doom(err)
			return
		}
		wait = lingerTimeout
	}
	c.beginWait(wait)
	c.sock.Resume()
}

// ignore discards input that comes while the connection ends. Closing the
// descriptor with unread input would reset the stream, and a peer in the midst
// of sending would not come to read our last words.
func (c *Conn) ignore(n int) { c.seldom().ignored += n }

// beginWait gives a peer time while the connection ends, and more if it is in the
// midst of sending then: see linger.
func (c *Conn) beginWait(d time.Duration) {
	if r := c.rare; r != nil {
		r.ignored, r.looked = 0, 0
	}
	c.w.arm(&c.timer, d)
}

// linger is called when a peer has not done in time what the end waits for: read
// what is queued, or end its stream. If it is in the midst of sending, it gets
// more time, up to DiscardTimeout; then, or else, it is cut.
func (c *Conn) linger() {
	r, now := c.seldom(), c.w.now()
	if r.looked == 0 {
		r.looked = now
	}
	left := c.ep.DiscardTimeout - time.Duration(now-r.looked)*time.Millisecond
	if r.ignored < lingerBytesMin || left <= 0 {
		c.doom(ErrTimeout)
		return
	}
	r.ignored = 0
	c.w.arm(&c.timer, min(max(lingerTimeout, c.ep.CloseTimeout), left))
}

// noAnswer is called when the peer has not answered our close frame in time. If
// it is in the midst of sending, the session is over, and the stream is ended
// so that the peer still gets to read the close frame.
func (c *Conn) noAnswer() {
	if !c.out.Empty() || c.seldom().ignored < lingerBytesMin {
		c.linger()
		return
	}
	c.noteCut(ErrTimeout)
	c.end(c.abnormal(ErrTimeout))
}
