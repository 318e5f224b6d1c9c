package outq

import "github.com/sockmill/sockmill/codec"

// Policy says what becomes of a message for which there is no room. The values
// are those of engine.Policy.
type Policy uint8

// The policies: see engine.Policy.
const (
	Close Policy = iota + 1
	DropNewest
	DropOldest
	Replace
)

// Verdict is what is to be done with a message.
type Verdict uint8

// The verdicts of Decide.
const (
	Send          Verdict = iota // like any other: no policy may remove it later
	SendRemovable                // so that a policy may remove it later: by AppendRemovable
	TakePlace                    // of the waiting message with its key: by ReplaceKey
	Drop                         // the message itself
	CloseSlow                    // the connection
)

// Decide carries out the policy of a message while the kernel takes no more and
// limit bytes may wait: it makes room, if the policy says so, and returns how
// many messages it removed.
func (x *Queue) Decide(p *Pool, policy Policy, key string, limit int) (do Verdict, removed int) {
	full := x.Bytes() >= limit
	switch policy {
	case Close:
		if full {
			return CloseSlow, 0
		}
		return Send, 0
	case Replace:
		if x.find(key) != nil {
			return TakePlace, 0
		}
		fallthrough
	case DropOldest:
		for full && x.removeOldest(p) {
			removed++
			full = x.Bytes() >= limit
		}
	}
	if full {
		return Drop, removed
	}
	return SendRemovable, removed
}

// AppendRemovable is Append of a message that a policy may remove. A later
// message may take its place if key is not empty: no message with that key may
// wait already.
func (x *Queue) AppendRemovable(p *Pool, room int, key string, encode func(dst []byte) ([]byte, error)) error {
	x.unshare(p)
	b, err := p.encodeNew(room, encode)
	if err != nil {
		return err
	}
	c := x.push(p, chunk{b: b, messages: 1, kind: removableChunk, key: key})
	l := x.list
	if l.newest == nil {
		l.oldest = c
	} else {
		l.newest.newer = c
	}
	l.newest = c
	l.removable++
	l.bytes += RemovableBytes
	if key != "" {
		p.hold(l.keys.set(c))
	}
	return nil
}

// ReplaceKey puts a message in the place of the waiting one with its key, which
// must be there.
func (x *Queue) ReplaceKey(p *Pool, room int, key string, encode func(dst []byte) ([]byte, error)) error {
	b, err := p.encodeNew(room, encode)
	if err != nil {
		return err
	}
	c := x.find(key)
	x.list.bytes += len(b) - len(c.b)
	p.Buffers.Put(c.b)
	c.b = b
	return nil
}

// find returns the message with that key of which nothing is written.
func (x *Queue) find(key string) *chunk {
	if x.list == nil || key == "" {
		return nil
	}
	return x.list.keys.m[key]
}

// removeOldest drops the oldest message that may be dropped; false if there is
// none.
func (x *Queue) removeOldest(p *Pool) bool {
	l := x.list
	if l == nil || l.oldest == nil {
		return false
	}
	p.steps++
	c := l.oldest
	l.forget(p, c)
	l.unlink(p, c)
	x.giveBack(p)
	return true
}

// begun notes that a part of a removable chunk is written: no policy may remove
// it any more.
func (l *list) begun(p *Pool, c *chunk) {
	l.forget(p, c)
	c.kind = restChunk
}

// forget takes a chunk off the list of those that may be removed. It is the
// oldest of them, whoever asks.
func (l *list) forget(p *Pool, c *chunk) {
	if c != l.oldest {
		panic("outq: a removable chunk is not the oldest")
	}
	if l.oldest, c.newer = c.newer, nil; l.oldest == nil {
		l.newest = nil
	}
	l.removable--
	l.bytes -= RemovableBytes
	if c.key != "" {
		held, moved := l.keys.remove(c)
		p.hold(held)
		p.steps += moved
		c.key = ""
	}
}

// Discard drops every message of which nothing is written, keeps the rest of
// one partly written, and returns how many messages it dropped.
func (x *Queue) Discard(p *Pool, c codec.Codec) (messages int) {
	x.unshare(p)
	l := x.list
	if l == nil {
		return 0
	}
	before := l.messages
	if first := l.first; first.kind == gatheredChunk && first.done > 0 && first.messages > 0 {
		keep, _ := boundary(c, first.b, first.done)
		dropped := min(countMessages(c, first.b[keep:]), int(first.messages))
		l.bytes -= len(first.b) - keep
		l.messages -= dropped
		first.b = first.b[:keep]
		first.messages -= int32(dropped)
	}
	for ch := l.first; ch != nil; {
		p.steps++
		next := ch.next
		if ch.kind == removableChunk {
			l.forget(p, ch)
		}
		if ch.done == 0 && ch.kind != restChunk {
			l.unlink(p, ch)
		}
		ch = next
	}
	messages = before - l.messages
	x.giveBack(p)
	return messages
}

// Written is how many of the messages that wait are written in truth: those of
// a chunk count when all of it is, and a part of it may be left.
func (x *Queue) Written(c codec.Codec) (messages int) {
	if x.list == nil {
		return 0
	}
	first := x.list.first
	if first.kind != gatheredChunk || first.done == 0 || first.messages == 0 {
		return 0
	}
	start := 0
	for start < first.done {
		n, _ := unit(c, first.b[start:])
		if start+n > first.done {
			break
		}
		start += n
	}
	return max(0, int(first.messages)-countMessages(c, first.b[start:]))
}

// Free drops all that waits.
func (x *Queue) Free(p *Pool) {
	if s := x.alone; s != nil {
		x.alone = nil
		p.releaseShared(s)
	}
	l := x.list
	if l == nil {
		return
	}
	for c := l.first; c != nil; c = l.first {
		p.steps++
		if c.kind == removableChunk {
			l.forget(p, c)
		}
		l.unlink(p, c)
	}
	x.giveBack(p)
}

// boundary returns the first end of a unit of b at or behind at, and whether
// that unit is a message.
func boundary(c codec.Codec, b []byte, at int) (end int, message bool) {
	for end < at {
		var n int
		n, message = unit(c, b[end:])
		end += n
	}
	return end, message
}

// countMessages counts the messages in b, which begins and ends with a unit.
func countMessages(c codec.Codec, b []byte) (messages int) {
	for len(b) > 0 {
		n, message := unit(c, b)
		if message {
			messages++
		}
		b = b[n:]
	}
	return messages
}

// unit asks the codec, and does not let its mistake become an endless loop.
func unit(c codec.Codec, b []byte) (n int, message bool) {
	if n, message = c.Unit(b); n <= 0 || n > len(b) {
		panic("engine: Unit of the codec must return the length of a unit at the front of its input")
	}
	return n, message
}
