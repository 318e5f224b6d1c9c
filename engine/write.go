package engine

import (
	"sync/atomic"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/outq"
)

const (
	corkBytesMax = 64 << 10 // the cork is written when it holds this much, else at the end of the batch
	corkKeepMax  = 1 << 20  // a cork that grew above is not kept
)

// output is the state of what a connection writes.
type output struct {
	queue  outq.Queue   // what waits to be written
	queued atomic.Int64 // bytes in the inbox and in queue
}

// flow is how far the output of a connection is from its peer.
type flow struct {
	congested  bool // the kernel did not take all: the socket is watched
	backlogged bool // OnBackpressure was called, OnDrain not yet
	framed     bool // the opening handshake is over: from now on only frames are written
	marked     mark // the list of connections to be attended to that it is on
}

// uncork writes the cork of the connection at hand; what the kernel does not
// take is queued.
func (c *Conn) uncork() {
	w := c.w
	out := w.env.Out
	if len(out) == 0 {
		return
	}
	if w.env.Out = out[:0]; cap(out) > corkKeepMax {
		w.env.Out = nil
	}
	messages, head := w.batch.sent, w.batch.head
	w.batch.sent, w.batch.head = 0, 0
	c.noteSent(messages)
	if !c.flow.framed { // an HTTP answer
		head = len(out)
	}
	if c.end.stream != streamCut && (c.flow.congested || !c.out.queue.Empty()) {
		c.enqueueRemainder(out, head, 0, messages)
		if !c.flow.congested && c.end.stream != streamCut { // a fan-out that waits for its turn leaves with it
			c.flush()
		}
		return
	}
	n := 0
	var err error
	if c.end.stream != streamCut {
		w.scratch.pieces = append(w.scratch.pieces[:0], out)
		n, _, err = c.write(w.scratch.pieces)
	}
	switch {
	case err != nil:
		c.cut(err)
		fallthrough
	case c.end.stream == streamCut:
		c.noteDiscarded(messages)
	case n == len(out):
		c.noteWritten(n, messages)
	default:
		c.flow.congested = true
		c.enqueueRemainder(out, head, n, messages)
	}
}

// write gives the kernel what it takes now; n is less than all if it is full. It
// is the one way to the socket, through TLS if there is some: then the kernel
// takes sent bytes for the n. The pieces are forgotten.
func (c *Conn) write(pieces [][]byte) (n, sent int, err error) {
	tapped := c.tapped()
	if tapped != nil {
		tapped.writing(pieces)
	}
	if c.tls != nil {
		n, sent, err = c.writeSealed(pieces)
	} else {
		n, err = c.sock.WriteV(pieces)
		sent = n
	}
	if tapped != nil {
		tapped.wrote(n)
	}
	clear(pieces)
	return n, sent, err
}

// enqueueRemainder queues what the kernel did not take of out: see outq.
func (c *Conn) enqueueRemainder(out []byte, head, done, messages int) {
	before := c.out.queue.Bytes()
	written := c.out.queue.Remainder(&c.w.out, c.codec, out, head, done, messages)
	c.noteWritten(done, written)
	c.grew(before)
}

// enqueueFrames copies whole control frames behind what waits.
func (c *Conn) enqueueFrames(b []byte) {
	before := c.out.queue.Bytes()
	c.out.queue.Copy(&c.w.out, b, 0)
	c.grew(before)
}

// grew notes that more is queued than before: the connection is attended to at
// the end of the turn. Much of it is written at once, so that only what the peer
// does not take counts against it.
func (c *Conn) grew(before int) {
	c.recount(before)
	c.w.mark(c)
	if c.out.queue.Bytes() >= min(corkBytesMax, c.ep.SendBytesMax) && !c.flow.congested && c.end.stream != streamCut {
		c.flush()
	}
	if c.flow.congested || !c.out.queue.Alone() {
		c.pushBack()
	}
}

// pushBack pauses the reading of a connection for which too much waits, so that
// TCP makes its peer wait too.
func (c *Conn) pushBack() {
	if c.out.queue.Bytes() > c.ep.SendBytesHigh {
		c.pause(pausedBacklog)
	}
}

// recount keeps the count of queued bytes, when out has changed.
func (c *Conn) recount(before int) {
	more := int64(c.out.queue.Bytes() - before)
	c.out.queued.Add(more)
	c.w.stats.current.queued += more
}

// flush writes what is queued until the kernel is full, then has the socket
// watched.
func (c *Conn) flush() {
	if c.flow.congested && c.sock.AwaitsWritable() {
		return
	}
	w := c.w
	for c.unsent() {
		w.scratch.pieces = c.out.queue.Pieces(w.scratch.pieces[:0], loop.PiecesMax)
		total := 0
		for _, p := range w.scratch.pieces {
			total += len(p)
		}
		n, sent, err := c.write(w.scratch.pieces)
		if n > 0 {
			before := c.out.queue.Bytes()
			c.noteWritten(n, c.out.queue.Wrote(&w.out, n))
			c.recount(before)
		}
		if c.flow.congested = n < total || c.tls != nil && c.tls.rest != nil; c.flow.congested && err == nil {
			err = c.sock.Watch()
		}
		if err != nil {
			c.cut(err)
			return
		}
		if sent > 0 && c.end.phase.Load() >= phaseClosing {
			c.beginWait(c.ep.CloseTimeout) // the close frame has only now come so far
		}
		if c.flow.congested {
			c.stall(sent > 0)
			c.pushBack()
			return
		}
	}
	c.decongest()
}

// decongest ends the watch over the socket: nothing waits any more.
func (c *Conn) decongest() {
	c.flow.congested = false
	if c.extra != nil && c.extra.watch != nil {
		c.w.time.wheel.Stop(&c.extra.watch.stall)
		c.endStall()
	}
}

// freeQueue gives back what still waits when the descriptor is closed. Its
// messages are dropped, but for those that left with a part of a chunk.
func (c *Conn) freeQueue() {
	before, messages := c.out.queue.Bytes(), c.out.queue.Messages()
	if messages > 0 {
		written := 0
		c.guard(func() { written = c.out.queue.Written(c.codec) })
		c.noteWritten(0, written)
		c.noteDiscarded(messages - written)
	}
	c.out.queue.Free(&c.w.out)
	c.recount(before)
	c.decongest()
}
