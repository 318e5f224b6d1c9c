package engine

import "github.com/sockmill/sockmill/codec"

const (
	chunkBytesMax = 64 << 10 // small messages are gathered into chunks up to this
	piecesMax     = 64       // chunks in one write
	freeQueuesMax = 256
)

// queue is what waits to be written to one connection, in order. It is
// borrowed from the loop while something waits.
type queue struct {
	chunks []chunk
	first  int // chunks before it are written
	bytes  int
}

// chunk is a piece of output: pooled and then owned by the queue, or shared
// among many connections and then only read.
type chunk struct {
	b      []byte
	done   int // bytes of b that are written
	pooled bool
}

// tail returns a pooled chunk with room for n bytes. The caller appends to it
// and counts what it appended in bytes.
func (q *queue) tail(buffers *codec.Buffers, n int) *chunk {
	if last := len(q.chunks) - 1; last >= q.first {
		c := &q.chunks[last]
		if c.pooled && cap(c.b)-len(c.b) >= n {
			return c
		}
		if c.pooled && len(c.b)+n <= chunkBytesMax {
			c.b = buffers.Grow(c.b, n)
			return c
		}
	}
	q.chunks = append(q.chunks, chunk{b: buffers.Get(n), pooled: true})
	return &q.chunks[len(q.chunks)-1]
}

// share appends bytes that others hold too and nobody changes; the caller
// counts them in bytes.
func (q *queue) share(b []byte) {
	q.chunks = append(q.chunks, chunk{b: b})
}

// pieces appends what is to be written next to dst.
func (q *queue) pieces(dst [][]byte) [][]byte {
	for i := q.first; i < len(q.chunks) && len(dst) < piecesMax; i++ {
		c := &q.chunks[i]
		dst = append(dst, c.b[c.done:])
	}
	return dst
}

// wrote notes that the first n bytes left, and gives back their chunks.
func (q *queue) wrote(n int, buffers *codec.Buffers) {
	q.bytes -= n
	for q.first < len(q.chunks) {
		c := &q.chunks[q.first]
		left := len(c.b) - c.done
		if n < left {
			c.done += n
			break
		}
		n -= left
		if c.pooled {
			buffers.Put(c.b)
		}
		*c = chunk{}
		q.first++
	}
	if q.first == len(q.chunks) {
		q.chunks, q.first = q.chunks[:0], 0
	} else if q.first >= piecesMax && 2*q.first >= len(q.chunks) {
		kept := copy(q.chunks, q.chunks[q.first:])
		clear(q.chunks[kept:])
		q.chunks, q.first = q.chunks[:kept], 0
	}
}

// drop forgets everything and reports how much it was.
func (q *queue) drop(buffers *codec.Buffers) int {
	n := q.bytes
	q.wrote(n, buffers)
	return n
}
