package engine

import (
	"errors"

	"github.com/sockmill/sockmill/engine/internal/outq"
	"github.com/sockmill/sockmill/protocol"
)

// outgoing is a message or ping on its way.
type outgoing struct {
	op     protocol.Opcode
	policy Policy
	plain  bool
	key    string
	data   []byte
}

// dispatch sends: at once on the loop, from elsewhere through the loop's inbox.
func (c *Conn) dispatch(m outgoing) error {
	if c.end.phase.Load() != phaseOpen {
		return ErrClosed
	}
	if c.w.loop.On() {
		return c.send(m)
	}
	if !m.op.Control() && c.dropOffLoop(m.policy) {
		return ErrBackpressure
	}
	n := int64(len(m.data))
	c.out.queued.Add(n)
	err := c.w.postData(post{kind: messagePost, c: c, message: m}, m.data)
	if err != nil {
		c.out.queued.Add(-n)
		c.notTaken(m.op, err)
	}
	return err
}

// dispatchShared is dispatch off the loop, of a message encoded already.
func (c *Conn) dispatchShared(b *broadcast) error {
	if c.dropOffLoop(b.m.policy) {
		return ErrBackpressure
	}
	n := int64(len(b.plain))
	c.out.queued.Add(n)
	b.refs.Add(1)
	err := c.w.post(post{kind: sharedPost, c: c, shared: b})
	if err != nil {
		b.release()
		c.out.queued.Add(-n)
		c.notTaken(b.m.op, err)
	}
	return err
}

// dropOffLoop carries out a policy off the loop if too much waits already. For
// the policies that make room the loop does, if its inbox has some.
func (c *Conn) dropOffLoop(p Policy) bool {
	p = c.policy(p)
	if c.out.queued.Load() < int64(c.ep.SendBytesMax) || p != PolicyClose && p != PolicyDropNewest {
		return false
	}
	if p == PolicyClose {
		_ = c.postClose(c.closeSlow)
	}
	c.noteRefused()
	return true
}

// policy is that of a message which may name none.
func (c *Conn) policy(p Policy) Policy {
	if p == 0 {
		return c.ep.Policy
	}
	return p
}

// notTaken counts a message for which the loop's inbox had no room.
func (c *Conn) notTaken(op protocol.Opcode, err error) {
	if !op.Control() && errors.Is(err, ErrBackpressure) {
		c.noteRefused()
	}
}

// corking reports whether the caller answers c in the midst of its own batch,
// which is when most messages are sent.
func (c *Conn) corking() bool {
	return c.end.phase.Load() == phaseOpen && c.w.loop.On() && c.w.batch.conn == c && !c.flow.congested && c.w.fans.len() == 0
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
		w.batch.sent++
	}
	if len(w.env.Out) >= corkBytesMax {
		c.uncork()
	}
	return nil
}

// send is sendNow behind what was published before.
func (c *Conn) send(m outgoing) error {
	c.catchUp()
	return c.sendNow(m)
}

// sendNow sends on the loop: into the cork if the connection's own batch is being
// decoded, else into its queue, which is written at the end of this turn. Of a
// congested connection the policy of the message is asked.
func (c *Conn) sendNow(m outgoing) error {
	if c.end.phase.Load() != phaseOpen {
		return ErrClosed
	}
	w := c.w
	if c.flow.congested && !m.op.Control() {
		done, err := c.sendCongested(m)
		if done {
			return err
		}
	}
	if w.batch.conn == c {
		return c.cork(m.op, m.data, m.plain)
	}
	return c.enqueue(m)
}

// enqueue encodes a message or ping behind what waits.
func (c *Conn) enqueue(m outgoing) error {
	before, messages := c.out.queue.Bytes(), 1
	if m.op.Control() {
		messages = 0
	}
	err := c.out.queue.Append(&c.w.out, m.room(), messages, func(dst []byte) ([]byte, error) {
		return c.codec.Encode(&c.w.env, dst, m.op, m.data, m.plain)
	})
	if err == nil {
		c.noteSent(messages)
	}
	c.grew(before)
	return err
}

// sendCongested carries out the policy of a message for a connection whose
// peer does not take what waits already. done is false if the message is to be
// sent like any other. What may be removed later is not compressed: to inflate
// what follows, the peer would need it.
func (c *Conn) sendCongested(m outgoing) (done bool, err error) {
	w, before, key := c.w, c.out.queue.Bytes(), ""
	if m.policy = c.policy(m.policy); m.policy == PolicyReplace {
		key = m.key
	}
	plainly := func(dst []byte) ([]byte, error) { return c.codec.Encode(&w.env, dst, m.op, m.data, true) }
	verdict, removed := c.out.queue.Decide(&w.out, outq.Policy(m.policy), key, c.ep.SendBytesMax)
	if removed > 0 {
		c.noteDropped(removed)
		c.recount(before)
	}
	before = c.out.queue.Bytes()
	switch verdict {
	case outq.Send:
		return false, nil
	case outq.CloseSlow:
		c.noteSent(1)
		c.noteDropped(1)
		c.closeSlow()
		return true, ErrBackpressure
	case outq.Drop:
		c.noteDropped(1)
		err = ErrBackpressure
	case outq.TakePlace:
		if err = c.out.queue.ReplaceKey(&w.out, m.room(), key, plainly); err == nil {
			c.noteReplaced()
		}
	case outq.SendRemovable:
		if w.batch.conn == c {
			c.uncork() // to keep the order
			before = c.out.queue.Bytes()
		}
		err = c.out.queue.AppendRemovable(&w.out, m.room(), key, plainly)
	}
	if err == nil || verdict == outq.Drop {
		c.noteSent(1)
	}
	c.grew(before)
	return true, err
}

// room is what a message takes in a frame, if it is not compressed.
func (m *outgoing) room() int { return len(m.data) + protocol.HeaderBytesMax }

// appendOutput lets the codec append to the output of c, whichever connection's batch
// is under way.
func (c *Conn) appendOutput(f func()) {
	w := c.w
	if w.batch.conn == c {
		f()
		return
	}
	cork := w.env.Out
	w.env.Out = w.scratch.output[:0]
	var words []byte
	func() {
		defer func() { words, w.env.Out = w.env.Out, cork }() // also if f, a user's codec, panics
		f()
	}()
	w.scratch.output = words[:0]
	if len(words) > 0 {
		c.enqueueFrames(words)
	}
}
