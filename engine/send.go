package engine

import "github.com/sockmill/sockmill/protocol"

const (
	corkBytesMax = 64 << 10 // the cork is written when it holds this much, else at the end of the batch
	corkKeepMax  = 1 << 20  // a cork that grew above is not kept
)

// dispatch sends on the loop or through its inbox.
func (c *Conn) dispatch(op protocol.Opcode, data []byte) error {
	if c.phase.Load() != phaseOpen {
		return ErrClosed
	}
	if c.w.loop.On() {
		return c.send(op, data)
	}
	if c.full() && !op.Control() {
		_ = c.w.post(post{c: c, closing: errSlow()})
		return ErrBackpressure
	}
	c.queued.Add(int64(len(data)))
	err := c.w.postData(post{c: c, op: op}, data)
	if err != nil {
		c.queued.Add(-int64(len(data)))
	}
	return err
}

// full reports whether nothing more may be queued.
func (c *Conn) full() bool { return c.queued.Load() >= int64(c.e.cfg.SendBytesMax) }

// send sends on the loop: into the cork if the connection's own batch is being
// decoded, else into its queue, which is written at the end of this turn.
func (c *Conn) send(op protocol.Opcode, data []byte) (err error) {
	if c.phase.Load() != phaseOpen {
		return ErrClosed
	}
	w := c.w
	if c.queue != nil && c.full() && !op.Control() {
		_ = c.close(errSlow())
		return ErrBackpressure
	}
	if w.cur == c {
		if w.env.Out, err = c.codec.Encode(&w.env, w.env.Out, op, data); err == nil {
			w.sent++
		}
		if len(w.env.Out) >= corkBytesMax {
			c.uncork()
		}
		return err
	}
	q := c.ensureQueue()
	tail := q.tail(&w.env.Buffers, len(data)+protocol.HeaderBytesMax)
	before := len(tail.b)
	if tail.b, err = c.codec.Encode(&w.env, tail.b, op, data); err == nil {
		c.stats.messagesOut.add(1)
	}
	c.grew(q, len(tail.b)-before)
	return err
}

// sendShared sends a frame that many connections share and nobody changes.
func (c *Conn) sendShared(frame []byte) {
	switch {
	case c.phase.Load() != phaseOpen:
		return
	case c.queue != nil && c.full():
		_ = c.close(errSlow())
		return
	}
	if c.w.cur == c {
		c.uncork() // what was sent before goes before
	}
	c.stats.messagesOut.add(1)
	q := c.ensureQueue()
	q.share(frame)
	c.grew(q, len(frame))
}

// say lets the codec append to the output of c, whichever connection's batch
// is under way.
func (c *Conn) say(f func()) {
	w := c.w
	if w.cur == c {
		f()
		return
	}
	cork := w.env.Out
	w.env.Out = w.spare[:0]
	f()
	words := w.env.Out
	w.env.Out, w.spare = cork, words[:0]
	if len(words) > 0 {
		c.enqueue(words)
	}
}

// uncork writes the cork of the connection at hand; what the kernel does not
// take is queued.
func (c *Conn) uncork() {
	w := c.w
	out := w.env.Out
	if len(out) == 0 {
		return
	}
	if w.sent > 0 {
		c.stats.messagesOut.add(w.sent)
		w.sent = 0
	}
	if w.env.Out = out[:0]; cap(out) > corkKeepMax {
		w.env.Out = nil
	}
	if c.queue == nil && !c.doomed {
		n, err := c.sock.Write(out)
		if err != nil {
			c.doom(err)
			return
		}
		c.stats.bytesOut.add(uint64(n))
		out = out[n:]
	}
	if len(out) > 0 {
		c.enqueue(out)
	}
}

// enqueue copies output behind what waits already.
func (c *Conn) enqueue(b []byte) {
	q := c.ensureQueue()
	tail := q.tail(&c.w.env.Buffers, len(b))
	tail.b = append(tail.b, b...)
	c.grew(q, len(b))
}

func (c *Conn) ensureQueue() *queue {
	if c.queue == nil {
		w := c.w
		if n := len(w.free); n > 0 {
			c.queue = w.free[n-1]
			w.free = w.free[:n-1]
		} else {
			c.queue = new(queue)
		}
	}
	return c.queue
}

// grew notes n more queued bytes: the connection is attended to at the end of
// the turn, and if they are too many, its reading pauses, so that TCP pushes
// back.
func (c *Conn) grew(q *queue, n int) {
	q.bytes += n
	c.queued.Add(int64(n))
	if q.bytes > c.e.high && !c.paused && c.phase.Load() == phaseOpen {
		c.paused = c.sock.Pause()
	}
	c.w.mark(c)
}

// flush writes what is queued until the kernel is full, then has the socket
// watched.
func (c *Conn) flush() {
	w, q := c.w, c.queue
	for q != nil && q.bytes > 0 {
		w.pieces = q.pieces(w.pieces[:0])
		total := 0
		for _, p := range w.pieces {
			total += len(p)
		}
		n, err := c.sock.WriteV(w.pieces)
		clear(w.pieces)
		if err == nil && n < total {
			err = c.sock.Watch()
		}
		q.wrote(n, &w.env.Buffers)
		c.queued.Add(-int64(n))
		c.stats.bytesOut.add(uint64(n))
		if err != nil {
			c.doom(err)
			return
		}
		if n < total {
			return
		}
	}
	c.freeQueue()
}

func (c *Conn) freeQueue() {
	if c.queue == nil {
		return
	}
	c.queue.drop(&c.w.env.Buffers)
	if len(c.w.free) < freeQueuesMax && cap(c.queue.chunks) <= 4*piecesMax {
		c.w.free = append(c.w.free, c.queue)
	}
	c.queue = nil
}

// resume reads again, and first takes what arrived while reading was paused.
func (c *Conn) resume() {
	c.paused = false
	c.sock.Resume()
	if c.rare == nil || c.rare.parked == nil {
		return
	}
	parked := c.rare.parked
	c.rare.parked = nil
	if c.phase.Load() < phaseEnding {
		c.receive(parked)
	}
	c.w.env.Buffers.Put(parked)
}
