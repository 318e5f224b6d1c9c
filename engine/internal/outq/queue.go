// Package outq is the output queue of a connection: what waits to be written to
// the socket, in order, as plaintext. It knows codecs and their buffers, but
// neither connections nor sockets.
//
// A queue is a list of chunks. Every chunk begins with a frame, so that whole
// messages can be removed; only the rest of a frame whose beginning is written
// does not, and it stands at the front. Adding and removing a message takes
// constant time, and a queue holds memory for what waits, not for what was
// removed. The accounts are exact: a queue that is empty and counts something
// panics.
package outq

import "github.com/sockmill/sockmill/codec"

const (
	// ChunkBytesMax is the size up to which small messages are gathered into a chunk.
	ChunkBytesMax = 64 << 10

	// ShareBytesMin is the size below which a shared frame is copied behind what waits.
	ShareBytesMin = 4 << 10

	// RemovableBytes is what a message that a policy may remove counts for in
	// Queue.Bytes beside its own bytes: it has a chunk of its own.
	RemovableBytes = 64
)

// Queue is what waits for one connection. The zero value is empty. Its methods
// take the Pool of the loop that the connection lives on.
type Queue struct {
	list  *list   // nil: nothing waits but, perhaps, alone
	alone *Shared // a shared frame, while nothing else waits: then no list is needed
}

// list is borrowed from the Pool while something waits.
type list struct {
	first, last *chunk
	bytes       int // that wait, RemovableBytes included
	messages    int // that wait, whole or in part

	oldest, newest *chunk // ends of the list of removable chunks, by age
	removable      int
	keys           keys
}

// chunk is a piece of output.
type chunk struct {
	b          []byte
	done       int // bytes of b that are written
	prev, next *chunk

	newer    *chunk  // of a removable chunk: the next one
	key      string  // of a removable chunk; empty is none
	shared   *Shared // of a shared chunk: it holds a reference
	messages int32   // whole ones, and one whose beginning is written
	kind     kind
}

type kind uint8

const (
	gatheredChunk  kind = iota // whole frames; pooled, and may grow
	restChunk                  // the end of a frame whose beginning is written; pooled
	removableChunk             // one message of which nothing is written and that a policy may remove; pooled
	sharedChunk                // one message that other queues hold too
)

// Shared is a frame that many queues hold.
type Shared struct {
	Frame []byte
	Owner Owner
}

// Owner counts the queues that hold a shared frame.
type Owner interface {
	// Hold adds one. It returns the memory of the frame if that is the first.
	Hold() (bytes int)
	// Release takes one back. It returns the memory of the frame if that was the
	// last.
	Release() (bytes int)
}

// Bytes is how many bytes wait, with RemovableBytes for each message that may
// be removed.
func (x *Queue) Bytes() int {
	switch {
	case x.alone != nil:
		return len(x.alone.Frame)
	case x.list != nil:
		return x.list.bytes
	}
	return 0
}

// Messages is how many messages wait, one partly written included.
func (x *Queue) Messages() int {
	switch {
	case x.alone != nil:
		return 1
	case x.list != nil:
		return x.list.messages
	}
	return 0
}

// Empty reports whether nothing waits.
func (x *Queue) Empty() bool { return x.list == nil && x.alone == nil }

// Alone reports whether all that waits is one shared frame.
func (x *Queue) Alone() bool { return x.alone != nil }

// Append lets encode append a frame behind what waits: to a buffer with room
// for so many bytes, or more. messages is 0 for a control frame. If encode
// fails, or panics, the queue is as it was.
func (x *Queue) Append(p *Pool, room, messages int, encode func(dst []byte) ([]byte, error)) error {
	x.unshare(p)
	if l := x.list; l != nil {
		c := l.last
		if c.kind == gatheredChunk && (cap(c.b)-len(c.b) >= room || len(c.b)+room <= ChunkBytesMax) {
			c.b = p.Buffers.Grow(c.b, room)
			b, err := p.encode(c.b, encode)
			if err != nil {
				return err
			}
			l.bytes += len(b) - len(c.b)
			l.messages += messages
			c.b = b
			c.messages += int32(messages)
			return nil
		}
	}
	b, err := p.encodeNew(room, encode)
	if err != nil {
		return err
	}
	x.push(p, chunk{b: b, messages: int32(messages)})
	return nil
}

// Copy appends whole frames with so many messages.
func (x *Queue) Copy(p *Pool, frames []byte, messages int) {
	_ = x.Append(p, len(frames), messages, func(dst []byte) ([]byte, error) { return append(dst, frames...), nil })
}

// Share appends a shared message.
func (x *Queue) Share(p *Pool, s *Shared) {
	p.holdShared(s)
	if x.Empty() {
		x.alone = s
		return
	}
	x.unshare(p)
	x.share(p, s)
}

func (x *Queue) share(p *Pool, s *Shared) {
	if len(s.Frame) <= ShareBytesMin { // a chunk of its own would cost more than the copy
		x.Copy(p, s.Frame, 1)
		p.releaseShared(s)
		return
	}
	x.push(p, chunk{b: s.Frame, shared: s, messages: 1, kind: sharedChunk})
}

// unshare moves a shared frame that waits alone into the list.
func (x *Queue) unshare(p *Pool) {
	if s := x.alone; s != nil {
		x.alone = nil
		x.share(p, s)
	}
}

// Remainder appends what the kernel did not take of out, which holds so many
// messages: the first done bytes are written, and the first head bytes are no
// frames. What is left of these, or of the frame that is cut, becomes a chunk of
// its own, so that all others begin with a frame. It returns how many messages
// are written.
func (x *Queue) Remainder(p *Pool, c codec.Codec, out []byte, head, done, messages int) (written int) {
	x.unshare(p)
	end, cut := head, 0
	if done > head {
		n, message := boundary(c, out[head:], done-head)
		if end += n; message && end > done && messages > 0 {
			cut = 1
		}
	}
	behind := messages
	if end > head {
		behind = min(countMessages(c, out[end:]), messages-cut)
	}
	if end > done {
		x.push(p, chunk{b: append(p.Buffers.Get(end-done), out[done:end]...), messages: int32(cut), kind: restChunk})
	}
	if end < len(out) {
		x.Copy(p, out[end:], behind)
	}
	return messages - cut - behind
}

// push appends a chunk, whose bytes and messages it counts.
func (x *Queue) push(p *Pool, with chunk) *chunk {
	if x.list == nil {
		x.list = p.list()
	}
	l, c := x.list, p.chunk()
	*c = with
	if c.prev = l.last; c.prev == nil {
		l.first = c
	} else {
		c.prev.next = c
	}
	l.last = c
	l.bytes += len(c.b) - c.done
	l.messages += int(c.messages)
	return c
}

// Holds is the memory that the queue takes: that of its buffers, and of what
// keeps them in order. Shared frames are not its own.
func (x *Queue) Holds() (bytes int) {
	l := x.list
	if l == nil {
		return 0
	}
	for c := l.first; c != nil; c = c.next {
		bytes += chunkBytes + len(c.key)
		if c.kind != sharedChunk {
			bytes += cap(c.b)
		}
	}
	return bytes + l.cost()
}

// SharedBytes is the size of the shared frames in the queue.
func (x *Queue) SharedBytes() (bytes int) {
	if x.alone != nil {
		return len(x.alone.Frame)
	}
	if x.list != nil {
		for c := x.list.first; c != nil; c = c.next {
			if c.kind == sharedChunk {
				bytes += len(c.b)
			}
		}
	}
	return bytes
}

// Cut is how many bytes at the front are the rest of a frame whose beginning is
// written, or of the opening handshake.
func (x *Queue) Cut(c codec.Codec) int {
	if x.list == nil {
		return 0
	}
	switch first := x.list.first; {
	case first.kind == restChunk:
		return len(first.b) - first.done
	case first.done > 0:
		end, _ := boundary(c, first.b, first.done)
		return end - first.done
	}
	return 0
}

// Pieces appends to dst what is to be written next, up to limit pieces in all.
func (x *Queue) Pieces(dst [][]byte, limit int) [][]byte {
	switch {
	case x.alone != nil:
		dst = append(dst, x.alone.Frame)
	case x.list != nil:
		for c := x.list.first; c != nil && len(dst) < limit; c = c.next {
			dst = append(dst, c.b[c.done:])
		}
	}
	return dst
}

// Wrote notes that the first n bytes left, and gives back their memory. It
// returns how many messages are written with them: those of a chunk count when
// all of it is.
func (x *Queue) Wrote(p *Pool, n int) (messages int) {
	if s := x.alone; s != nil {
		switch {
		case n == len(s.Frame):
			x.alone = nil
			p.releaseShared(s)
			return 1
		case n > 0:
			x.alone = nil
			x.push(p, chunk{b: s.Frame, done: n, shared: s, messages: 1, kind: sharedChunk})
		}
		return 0
	}
	l := x.list
	for c := l.first; c != nil; c = l.first {
		p.steps++
		left := len(c.b) - c.done
		if n > 0 && c.kind == removableChunk {
			l.begun(p, c)
		}
		if n < left {
			c.done += n
			l.bytes -= n
			return messages
		}
		n -= left
		messages += int(c.messages)
		l.unlink(p, c)
	}
	x.giveBack(p)
	return messages
}

// unlink takes a chunk out of the list, and gives its memory back.
func (l *list) unlink(p *Pool, c *chunk) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	l.bytes -= len(c.b) - c.done
	l.messages -= int(c.messages)
	if c.kind == sharedChunk {
		p.releaseShared(c.shared)
	} else {
		p.Buffers.Put(c.b)
	}
	p.freeChunk(c)
}

// giveBack returns the list to the pool if it is empty.
func (x *Queue) giveBack(p *Pool) {
	if x.list != nil && x.list.first == nil {
		p.freeList(x.list)
		x.list = nil
	}
}
