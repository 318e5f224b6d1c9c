package engine

import "github.com/sockmill/sockmill/codec"

const (
	chunkBytesMax = 64 << 10 // small messages are gathered into chunks up to this
	piecesMax     = 64       // chunks in one write
	freeQueuesMax = 256

	// removableOverhead is what a message that a policy may remove costs beside
	// its bytes: it has a chunk of its own.
	removableOverhead = 64
)

// queue is what waits to be written to one connection, in order. It is
// borrowed from the loop while something waits.
type queue struct {
	chunks []chunk
	first  int // chunks before it are written or removed
	bytes  int // that wait, removableOverhead included

	removable int            // chunks that a policy may remove
	keys      map[uint64]int // where in chunks the message of a key is, base included
	base      int            // chunks that were taken off the front of the slice
}

// chunk is a piece of output.
type chunk struct {
	b    []byte
	done int // bytes of b that are written
	kind chunkKind
	key  uint64 // of a removable chunk: see Message.Key

	owner *broadcast // of a shared chunk: it holds a reference
}

type chunkKind uint8

const (
	gathered  chunkKind = iota // whole frames; pooled, and may grow
	rest                       // the end of a frame whose beginning is written; pooled
	removable                  // one message that a policy may remove; pooled
	shared                     // whole frames that other connections hold too
	removed
)

// open returns a gathered chunk at the end with room for n bytes. The caller
// appends to it and counts what it appended in bytes.
func (q *queue) open(buffers *codec.Buffers, n int) *chunk {
	if last := len(q.chunks) - 1; last >= q.first {
		c := &q.chunks[last]
		if c.kind == gathered && (cap(c.b)-len(c.b) >= n || len(c.b)+n <= chunkBytesMax) {
			c.b = buffers.Grow(c.b, n)
			return c
		}
	}
	return q.add(chunk{b: buffers.Get(n)})
}

func (q *queue) add(c chunk) *chunk {
	q.chunks = append(q.chunks, c)
	return &q.chunks[len(q.chunks)-1]
}

// pieces appends what is to be written next to dst.
func (q *queue) pieces(dst [][]byte) [][]byte {
	for i := q.first; i < len(q.chunks) && len(dst) < piecesMax; i++ {
		if c := &q.chunks[i]; c.kind != removed {
			dst = append(dst, c.b[c.done:])
		}
	}
	return dst
}

// wrote notes that the first n bytes left, and gives back their chunks. It
// returns by how much the queue shrank.
func (q *queue) wrote(n int, buffers *codec.Buffers) (freed int) {
	before := q.bytes
	q.bytes -= n
	for q.first < len(q.chunks) {
		c := &q.chunks[q.first]
		left := len(c.b) - c.done
		if n < left {
			c.done += n
			break
		}
		n -= left
		q.free(q.first, buffers)
		q.first++
	}
	if q.first == len(q.chunks) || q.first >= piecesMax && 2*q.first >= len(q.chunks) {
		kept := copy(q.chunks, q.chunks[q.first:])
		clear(q.chunks[kept:])
		q.base += q.first
		q.chunks, q.first = q.chunks[:kept], 0
	}
	return before - q.bytes
}

// free gives back the memory of a chunk whose bytes are not counted any more.
func (q *queue) free(i int, buffers *codec.Buffers) {
	c := &q.chunks[i]
	if c.kind == removable {
		q.bytes -= removableOverhead
		q.removable--
		if q.keys[c.key] == q.base+i {
			delete(q.keys, c.key)
		}
	}
	switch c.kind {
	case shared:
		c.owner.release()
	case removed:
	default:
		buffers.Put(c.b)
	}
	*c = chunk{kind: removed}
}

// remove drops a chunk of which nothing is written yet.
func (q *queue) remove(i int, buffers *codec.Buffers) {
	q.bytes -= len(q.chunks[i].b)
	q.free(i, buffers)
}

// removeOldest drops the oldest message that may be dropped and of which
// nothing is written; false if there is none.
func (q *queue) removeOldest(buffers *codec.Buffers) bool {
	for i := q.first; i < len(q.chunks) && q.removable > 0; i++ {
		if c := &q.chunks[i]; c.kind == removable && c.done == 0 {
			q.remove(i, buffers)
			return true
		}
	}
	return false
}

// addRemovable appends a message that a policy may remove, encoded in a buffer
// of its own.
func (q *queue) addRemovable(b []byte, key uint64) {
	q.add(chunk{b: b, kind: removable, key: key})
	q.removable++
	if key != 0 {
		if q.keys == nil {
			q.keys = make(map[uint64]int)
		}
		q.keys[key] = q.base + len(q.chunks) - 1
	}
}

// find returns the message of that key if nothing of it is written, else nil.
func (q *queue) find(key uint64) *chunk {
	at, ok := q.keys[key]
	if !ok || q.chunks[at-q.base].done > 0 {
		return nil
	}
	return &q.chunks[at-q.base]
}

// discard drops every message of which nothing is written, keeps the rest of
// one partly written, and reports how many messages it dropped.
func (q *queue) discard(c codec.Codec, buffers *codec.Buffers) (messages int) {
	for i := q.first; i < len(q.chunks); i++ {
		ch := &q.chunks[i]
		keep := ch.done
		switch {
		case ch.kind == removed, ch.kind == rest:
			continue
		case ch.done > 0:
			keep = boundary(c, ch.b, ch.done)
		}
		messages += countMessages(c, ch.b[keep:])
		if keep == 0 {
			q.remove(i, buffers)
			continue
		}
		q.bytes -= len(ch.b) - keep
		ch.b = ch.b[:keep]
	}
	return messages
}

// boundary is the first end of a unit of b at or behind at.
func boundary(c codec.Codec, b []byte, at int) int {
	end := 0
	for end < at {
		n, _ := c.Unit(b[end:])
		end += n
	}
	return end
}

// countMessages counts the messages in b, which begins and ends with a unit.
func countMessages(c codec.Codec, b []byte) (messages int) {
	for len(b) > 0 {
		n, message := c.Unit(b)
		if message {
			messages++
		}
		b = b[n:]
	}
	return messages
}
