package engine

import "github.com/sockmill/sockmill/engine/internal/outq"

// sendShared sends a message that many connections share. In a fan-out to many
// connections, the write to the socket is left for a later turn.
func (c *Conn) sendShared(b *broadcast, many bool) error {
	if c.end.phase.Load() != phaseOpen {
		return ErrClosed
	}
	if !c.ep.shares { // such as dialled: what others share is not masked (RFC 6455 §5.1)
		return c.sendNow(b.m)
	}
	if c.flow.congested {
		if done, err := c.sendCongested(b.m); done {
			return err
		}
	}
	w := c.w
	s := b.frame(c)
	if w.batch.conn == c {
		if len(s.Frame) <= outq.ShareBytesMin { // a chunk of its own would cost more than the copy
			w.env.Out = append(w.env.Out, s.Frame...)
			if w.batch.sent++; len(w.env.Out) >= corkBytesMax {
				c.uncork()
			}
			return nil
		}
		c.uncork() // to keep the order
	}
	if many {
		w.markLater(c)
	}
	before := c.out.queue.Bytes()
	c.out.queue.Share(&w.out, s)
	c.noteSent(1)
	c.grew(before)
	return nil
}

// queueRef is the reference of a queue: these are counted in the upper half, too.
const queueRef = 1<<32 | 1

// Hold implements outq.Owner.
func (b *broadcast) Hold() (bytes int) {
	if b.refs.Add(queueRef)>>32 == 1 {
		return b.bytes
	}
	return 0
}

// Release implements outq.Owner.
func (b *broadcast) Release() (bytes int) {
	size := b.bytes // without the reference b may serve again
	n := b.refs.Add(-queueRef)
	if b.released(n); n>>32 == 0 {
		return size
	}
	return 0
}
