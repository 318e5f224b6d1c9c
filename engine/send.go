package engine

import (
	"unsafe"

	"github.com/sockmill/sockmill/protocol"
)

const (
	corkBytesMax = 64 << 10 // the cork is written when it holds this much, else at the end of the batch
	corkKeepMax  = 1 << 20  // a cork that grew above is not kept

	// shareBytesMin: smaller frames of a broadcast are copied into the queues.
	shareBytesMin = 4 << 10
)

// outgoing is a message or ping on its way.
type outgoing struct {
	op     protocol.Opcode
	policy Policy
	plain  bool
	key    uint64
	data   []byte
}

// dispatch sends on the loop or through its inbox.
func (c *Conn) dispatch(m outgoing) error {
	if c.phase.Load() != phaseOpen {
		return ErrClosed
	}
	if m.policy == 0 {
		m.policy = c.e.cfg.Policy
	}
	if c.w.loop.On() {
		return c.send(m)
	}
	if !m.op.Control() && c.dropOffLoop(m.policy) {
		return ErrBackpressure
	}
	n := int64(len(m.data))
	c.queued.Add(n)
	err := c.w.postData(post{c: c, message: m}, m.data)
	if err != nil {
		c.queued.Add(-n)
	}
	return err
}

// dispatchShared is dispatch off the loop, of a message encoded already.
func (c *Conn) dispatchShared(b *broadcast) error {
	if c.dropOffLoop(b.m.policy) {
		return ErrBackpressure
	}
	n := int64(len(b.plain))
	c.queued.Add(n)
	b.refs.Add(1)
	err := c.w.post(post{c: c, shared: b})
	if err != nil {
		b.release()
		c.queued.Add(-n)
	}
	return err
}

// dropOffLoop carries out a policy off the loop if too much waits already. For
// the policies that make room the loop does, if its inbox has some.
func (c *Conn) dropOffLoop(p Policy) bool {
	if c.queued.Load() < int64(c.e.cfg.SendBytesMax) || p != PolicyClose && p != PolicyDropNewest {
		return false
	}
	if p == PolicyClose {
		_ = c.postClose(c.closeSlow)
	}
	c.stats.dropped.Add(1)
	return true
}

// corking reports whether the caller answers c in the midst of its own batch,
// which is when most messages are sent.
func (c *Conn) corking() bool {
	return c.phase.Load() == phaseOpen && c.w.loop.On() && c.w.cur == c && !c.congested
}

// cork encodes a message behind what answers the batch already.
func (c *Conn) cork(op protocol.Opcode, data []byte, plain bool) error {
	w := c.w
	out, err := c.codec.Encode(&w.env, w.env.Out, op, data, plain)
	if err != nil {
		return err
	}
	w.env.Out = out
	if !op.Control() {
		w.sent++
	}
	if len(w.env.Out) >= corkBytesMax {
		c.uncork()
	}
	return nil
}

// send sends on the loop: into the cork if the connection's own batch is being
// decoded, else into its queue, which is written at the end of this turn. Of a
// congested connection the policy of the message is asked.
func (c *Conn) send(m outgoing) (err error) {
	if c.phase.Load() != phaseOpen {
		return ErrClosed
	}
	w := c.w
	if c.congested && !m.op.Control() {
		done, err := c.sendCongested(m)
		if done {
			return err
		}
	}
	if w.cur == c {
		return c.cork(m.op, m.data, m.plain)
	}
	q := c.ensureQueue()
	tail := q.open(&w.env.Buffers, len(m.data)+protocol.HeaderBytesMax)
	before := len(tail.b)
	if tail.b, err = c.encode(tail.b, m, m.plain); err == nil && !m.op.Control() {
		c.stats.messagesOut.add(1)
	}
	c.grew(q, len(tail.b)-before)
	return err
}

// sendCongested carries out the policy of a message for a connection whose
// peer does not take what waits already. done is false if the message is to be
// sent like any other. What may be removed later is not compressed: to inflate
// what follows, the peer would need it.
func (c *Conn) sendCongested(m outgoing) (done bool, err error) {
	q, limit := c.queue, c.e.cfg.SendBytesMax
	full := q.bytes >= limit
	switch m.policy {
	case PolicyClose:
		if full {
			c.stats.dropped.Add(1)
			c.closeSlow()
			return true, ErrBackpressure
		}
		return false, nil
	case PolicyReplace:
		if old := q.find(m.key); m.key != 0 && old != nil {
			return true, c.replace(q, old, m)
		}
		fallthrough
	case PolicyDropOldest:
		before := q.bytes
		for full && q.removeOldest(&c.w.env.Buffers) {
			c.stats.removed(1)
			full = q.bytes >= limit
		}
		c.queued.Add(int64(q.bytes - before))
	}
	if full {
		c.stats.dropped.Add(1)
		return true, ErrBackpressure
	}
	buffers := &c.w.env.Buffers
	b, err := c.encode(buffers.Get(len(m.data)+protocol.HeaderBytesMax), m, true)
	if err != nil {
		buffers.Put(b)
		return true, err
	}
	if c.w.cur == c {
		c.uncork() // what was sent before goes before
	}
	key := m.key
	if m.policy != PolicyReplace {
		key = 0
	}
	q.addRemovable(b, key)
	c.stats.messagesOut.add(1)
	c.grew(q, len(b)+removableOverhead)
	return true, nil
}

// replace puts m in the place of a waiting message.
func (c *Conn) replace(q *queue, old *chunk, m outgoing) error {
	buffers := &c.w.env.Buffers
	b, err := c.encode(buffers.Get(len(m.data)+protocol.HeaderBytesMax), m, true)
	if err != nil {
		buffers.Put(b)
		return err
	}
	before := len(old.b)
	buffers.Put(old.b)
	old.b = b
	c.stats.replaced.add(1) // the waiting one leaves MessagesOut, this one enters it
	c.grew(q, len(b)-before)
	return nil
}

// encode appends m to a buffer of the loop. A codec may append more than there
// is room for: what moved comes back into a buffer of the loop. If it fails,
// b is as it was.
func (c *Conn) encode(b []byte, m outgoing, plain bool) ([]byte, error) {
	out, err := c.codec.Encode(&c.w.env, b, m.op, m.data, plain)
	switch {
	case err != nil:
		return b, err
	case unsafe.SliceData(out) == unsafe.SliceData(b):
		return out, nil
	}
	buffers := &c.w.env.Buffers
	moved := append(buffers.Get(len(out)), out...)
	buffers.Put(b)
	return moved, nil
}

// waiting is how many bytes wait on the loop for the peer.
func (c *Conn) waiting() (bytes int) {
	if c.queue != nil {
		bytes = c.queue.bytes
	}
	if c.shared != nil {
		bytes += len(c.shared.frameOf(c.compressed))
	}
	return bytes
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
	var words []byte
	func() {
		defer func() { words, w.env.Out = w.env.Out, cork }() // also if f, a user's codec, panics
		f()
	}()
	w.spare = words[:0]
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
	defer func() { w.head = 0 }()
	switch {
	case c.doomed:
	case c.queue != nil || c.shared != nil:
		c.enqueue(out)
		if !c.congested && !c.doomed { // a fan-out that waits for its turn leaves with it
			c.flush()
		}
	default:
		n, err := c.sock.Write(out)
		if err != nil {
			c.doom(err)
			return
		}
		c.stats.bytesOut.add(uint64(n))
		if n < len(out) {
			c.congest(out, n)
		}
	}
}

// congest queues what the kernel did not take of out, the first n bytes of
// which are written. The frame that is cut there becomes a chunk of its own, so
// that all others begin with a frame.
func (c *Conn) congest(out []byte, n int) {
	c.congested = true
	end := len(out) // of an HTTP answer, which is no frame
	if head := c.w.head; c.framed {
		end = max(head, head+boundary(c.codec, out[head:], n-head))
	}
	if end > n {
		b := append(c.w.env.Buffers.Get(end-n), out[n:end]...)
		q := c.ensureQueue()
		q.add(chunk{b: b, kind: rest})
		c.grew(q, len(b))
	}
	if end < len(out) {
		c.enqueue(out[end:])
	}
}

// enqueue copies whole frames behind what waits already.
func (c *Conn) enqueue(b []byte) {
	q := c.ensureQueue()
	tail := q.open(&c.w.env.Buffers, len(b))
	tail.b = append(tail.b, b...)
	c.grew(q, len(b))
}

// ensureQueue returns the queue, in which all that waits is from then on.
func (c *Conn) ensureQueue() *queue {
	c.takeShared()
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
// the turn. Much of it is written at once, so that only what the peer does not
// take counts against it; if that is too much, its reading pauses, so that TCP
// pushes back.
func (c *Conn) grew(q *queue, n int) {
	q.bytes += n
	c.queued.Add(int64(n))
	c.w.mark(c)
	if q.bytes >= min(corkBytesMax, c.e.cfg.SendBytesMax) && !c.congested && !c.doomed {
		c.flush()
	}
	if c.queue != nil && c.queue.bytes > c.e.high {
		c.pause(pausedBacklog)
	}
}

// flush writes what is queued until the kernel is full, then has the socket
// watched.
func (c *Conn) flush() {
	if c.shared != nil {
		c.flushShared()
		if c.doomed {
			return
		}
	}
	if c.congested && c.sock.AwaitsWritable() {
		return
	}
	w, q := c.w, c.queue
	for q != nil && q.bytes > 0 {
		w.pieces = q.pieces(w.pieces[:0])
		total := 0
		for _, p := range w.pieces {
			total += len(p)
		}
		n, err := c.sock.WriteV(w.pieces)
		clear(w.pieces)
		if c.congested = n < total; c.congested && err == nil {
			err = c.sock.Watch()
		}
		c.queued.Add(-int64(q.wrote(n, &w.env.Buffers)))
		c.stats.bytesOut.add(uint64(n))
		if err != nil {
			c.doom(err)
			return
		}
		if n > 0 && c.phase.Load() >= phaseClosing {
			w.arm(&c.timer, c.e.cfg.CloseTimeout) // the close frame has only now come so far
		}
		if c.congested {
			c.stall(n > 0)
			return
		}
	}
	c.freeQueue()
}

func (c *Conn) freeQueue() {
	if b := c.shared; b != nil { // the connection is gone
		c.shared = nil
		b.release()
	}
	q := c.queue
	if q == nil {
		return
	}
	c.congested = false
	if c.rare != nil {
		c.w.wheel.Stop(&c.rare.stall)
	}
	for i := q.first; i < len(q.chunks); i++ {
		if ch := &q.chunks[i]; ch.kind != removed {
			q.bytes -= len(ch.b) - ch.done
			q.free(i, &c.w.env.Buffers)
		}
	}
	if q.bytes != 0 || q.removable != 0 || len(q.keys) != 0 {
		panic("engine: the queue's accounts do not balance")
	}
	q.chunks, q.first, q.base = q.chunks[:0], 0, 0
	if len(c.w.free) < freeQueuesMax && cap(q.chunks) <= 4*piecesMax {
		c.w.free = append(c.w.free, q)
	}
	c.queue = nil
}
