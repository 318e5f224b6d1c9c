package engine

// sendShared sends a message that many connections share. If it is one of many,
// their turn to be written to comes later.
func (c *Conn) sendShared(b *broadcast, many bool) error {
	if c.phase.Load() != phaseOpen {
		return ErrClosed
	}
	if c.dialled { // what others share is not masked (RFC 6455 §5.1)
		return c.send(b.m)
	}
	if c.congested {
		if b.m.policy != PolicyClose {
			_, err := c.sendCongested(b.m)
			return err
		}
		if c.queue.bytes >= c.e.cfg.SendBytesMax {
			c.stats.dropped.Add(1)
			c.closeSlow()
			return ErrBackpressure
		}
	}
	w := c.w
	frame, compressed := b.frame(c)
	small := len(frame) <= shareBytesMin // a chunk of its own would cost more than the copy
	if w.cur == c {
		if small {
			w.env.Out = append(w.env.Out, frame...)
			if w.sent++; len(w.env.Out) >= corkBytesMax {
				c.uncork()
			}
			return nil
		}
		c.uncork() // what was sent before goes before
	}
	c.stats.messagesOut.add(1)
	if many {
		w.markLater(c)
	}
	switch {
	case c.queue == nil && c.shared == nil && len(frame) < corkBytesMax: // nothing else waits
		b.refs.Add(1)
		c.shared, c.compressed = b, compressed
		c.queued.Add(int64(len(frame)))
		w.mark(c)
	case small:
		c.enqueue(frame)
	default:
		q := c.ensureQueue()
		b.refs.Add(1)
		q.add(chunk{b: frame, kind: shared, owner: b})
		c.grew(q, len(frame))
	}
	return nil
}

// takeShared moves a shared frame that waits alone into the queue.
func (c *Conn) takeShared() {
	b := c.shared
	if b == nil {
		return
	}
	c.shared = nil
	frame := b.frameOf(c.compressed)
	c.queued.Add(-int64(len(frame))) // counted anew
	if len(frame) <= shareBytesMin {
		c.enqueue(frame)
		b.release()
		return
	}
	q := c.ensureQueue()
	q.add(chunk{b: frame, kind: shared, owner: b})
	c.grew(q, len(frame))
}

// flushShared writes a shared frame that waits alone; what the kernel does not
// take is queued.
func (c *Conn) flushShared() {
	b := c.shared
	frame := b.frameOf(c.compressed)
	n, err := c.sock.Write(frame)
	c.stats.bytesOut.add(uint64(n))
	if err != nil {
		c.doom(err)
		return
	}
	c.shared = nil
	c.queued.Add(-int64(len(frame)))
	if n == len(frame) {
		b.release()
		return
	}
	c.congested = true
	q := c.ensureQueue()
	q.add(chunk{b: frame, done: n, kind: shared, owner: b})
	c.grew(q, len(frame)-n)
}
