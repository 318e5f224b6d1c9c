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

// peerEnded is called when the peer has ended its stream. A peer may still read: it
// gets what is queued. A protocol without a closing handshake may have a last
// message.
func (c *Conn) peerEnded() {
	c.w.beginTurn()
	switch phase := c.end.phase.Load(); {
	case phase < phaseEnding && c.tls != nil && !c.tls.notified:
		c.cut(errTruncated)
	case phase == phaseOpen && c.ep.raw:
		c.endOfStream()
	case phase == phaseClosing && c.unsent():
		c.endSession(c.abnormal(io.EOF))
		fallthrough
	case phase == phaseEnding:
		c.needInput().eof = true
		if c.end.stream == streamOpen { // endStream may have to wait for its turn
			c.in.halted = c.sock.Pause()
		}
	case !c.unsent(): // the loop closes the descriptor
		c.shut()
	}
	c.w.endTurn()
}

// endOfStream ends a connection whose protocol has no closing handshake: at once,
// or, if its last message made reading pause, when it resumes.
func (c *Conn) endOfStream() {
	if in := c.needInput(); !in.eof {
		in.eof, c.needEnding().last = true, &CloseError{Code: protocol.CloseNormal, Remote: true}
		c.w.batch.conn = c
		c.guard(c.lastEvent)
		c.w.batch.conn = nil
		c.uncork()
	}
	if !c.in.halted && c.end.stream != streamCut && c.end.phase.Load() == phaseOpen {
		c.endSession(c.ending().last)
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
				c.w.returned()
				poison.Fill(ev.Data)
			}
		case codec.Close:
			c.needEnding().last = c.w.env.Closed
		}
	} else if b, ok := c.codec.(codec.Buffered); ok && b.Buffered() > 0 {
		c.needEnding().last = &CloseError{Code: protocol.CloseAbnormal, Remote: true, Err: io.ErrUnexpectedEOF}
	}
}

// endStream ends our stream once everything is written. If the peer has ended
// its own, reading pauses until then, or the loop would close the descriptor over
// what is still queued. The client of a WebSocket waits for the server to end the
// stream first (RFC 6455 §7.1.1).
func (c *Conn) endStream() {
	if !c.unsent() {
		c.shut()
	}
	if c.unsent() {
		if c.in.halted = c.input().eof && c.sock.Pause(); !c.in.halted {
			c.sock.Resume()
		}
		return
	}
	c.end.stream, c.in.halted = streamEnded, false
	wait := c.ep.CloseTimeout
	if c.origin != dialled || c.ep.raw {
		if err := c.sock.CloseWrite(); err != nil {
			c.cut(err)
			return
		}
		wait = lingerTimeout
	}
	c.beginWait(wait)
	c.sock.Resume()
}

// ignore discards input that comes while the connection ends. Closing the
// descriptor with unread input would reset the stream, and a peer in the midst
// of sending would not read our close frame.
func (c *Conn) ignore(n int) { c.needEnding().ignored += n }

// beginWait gives a peer time while the connection ends, and more if it is in the
// midst of sending then: see linger.
func (c *Conn) beginWait(d time.Duration) {
	if c.extra != nil && c.extra.end != nil {
		c.extra.end.ignored, c.extra.end.looked = 0, 0
	}
	c.w.arm(&c.live.timer, d)
}

// linger is called when a peer has not done in time what the end waits for: read
// what is queued, or end its stream. If it is in the midst of sending, it gets
// more time, up to DiscardTimeout. Otherwise, or after that, it is cut.
func (c *Conn) linger() {
	e, now := c.needEnding(), c.w.now()
	if e.looked == 0 {
		e.looked = now
	}
	left := c.ep.DiscardTimeout - time.Duration(now-e.looked)*time.Millisecond
	if e.ignored < lingerBytesMin || left <= 0 {
		c.cut(ErrTimeout)
		return
	}
	e.ignored = 0
	c.w.arm(&c.live.timer, min(max(lingerTimeout, c.ep.CloseTimeout), left))
}

// noAnswer is called when the peer has not answered our close frame in time. If
// it is in the midst of sending, the session is over, and the stream is ended
// so that the peer still gets to read the close frame.
func (c *Conn) noAnswer() {
	if c.unsent() || c.ending().ignored < lingerBytesMin {
		c.linger()
		return
	}
	c.noteCut(ErrTimeout)
	c.endSession(c.abnormal(ErrTimeout))
}
