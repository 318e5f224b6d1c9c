package engine

import "time"

const (
	// lingerTimeout is how long the peer may take to end its stream after we
	// ended ours, unless it is in the midst of sending. It keeps the promise
	// that a connection is gone within a second of its closing handshake.
	lingerTimeout = 900 * time.Millisecond

	// lingerBytesMin is what a peer in the midst of sending sends at least from
	// one look to the next.
	lingerBytesMin = 4 << 10
)

// sayFarewell ends our stream once everything is written. Until then reading
// pauses: at the peer's end of stream the loop would close the descriptor over
// what is still queued. A client waits for the server to end the stream first
// (RFC 6455 §7.1.1).
func (c *Conn) sayFarewell() {
	if !c.out.Empty() {
		c.halted = c.sock.Pause()
		return
	}
	c.farewell, c.halted = true, false
	wait := c.e.cfg.CloseTimeout
	if !c.dialled {
		if err := c.sock.CloseWrite(); err != nil {
			c.doom(err)
			return
		}
		wait = lingerTimeout
	}
	r := c.seldom()
	r.ignored, r.said = 0, c.w.now()
	c.w.arm(&c.timer, wait)
	c.sock.Resume()
}

// ignore discards input that comes while the connection ends. Closing the
// descriptor with unread input would reset the stream, and a peer in the midst
// of sending would not come to read our last words.
func (c *Conn) ignore(n int) { c.seldom().ignored += n }

// linger is called when the peer has not ended its stream in time. If it is in
// the midst of sending, it gets more time, up to DiscardTimeout; then, or else,
// it is cut.
func (c *Conn) linger() {
	r := c.seldom()
	left := c.e.cfg.DiscardTimeout - time.Duration(c.w.now()-r.said)*time.Millisecond
	if r.ignored < lingerBytesMin || left <= 0 {
		c.doom(ErrTimeout)
		return
	}
	r.ignored = 0
	c.w.arm(&c.timer, min(max(lingerTimeout, c.e.cfg.CloseTimeout), left))
}

// noAnswer is called when the peer has not answered our close frame in time. If
// it is in the midst of sending, the session is over, and the stream is ended
// so that the peer still gets to read the close frame; else it is cut.
func (c *Conn) noAnswer() {
	if !c.out.Empty() || c.seldom().ignored < lingerBytesMin {
		c.doom(ErrTimeout)
		return
	}
	c.noteCut(ErrTimeout)
	c.end(c.abnormal(ErrTimeout))
}
