package outq

import (
	"unsafe"

	"github.com/sockmill/sockmill/codec"
)

// Bounds of what a Pool keeps free.
const (
	FreeListsMax  = 256
	FreeChunksMax = 1024
)

// What a queue costs beside its bytes.
const (
	chunkBytes = int(unsafe.Sizeof(chunk{}))
	listBytes  = int(unsafe.Sizeof(list{}))
)

// Pool is the memory of the queues of one loop. It needs no lock.
type Pool struct {
	Buffers *codec.Buffers

	lists  []*list
	chunks *chunk // linked by next
	free   int    // chunks that are linked there
	lent   int    // bytes
	shares int    // bytes of shared frames, counted once for each queue that holds them
	steps  int    // chunks and keys looked at: a test holds them against the number of messages
}

// LentBytes is the memory that the queues hold beside their buffers. A shared
// frame is counted by the loop that held it first, and taken off by the one that
// held it last: the sum of all loops is right, one of them may be below zero.
func (p *Pool) LentBytes() int { return p.lent }

// SharedBytes is how much the queues of this loop hold of shared frames: the same
// frame counts for each of them.
func (p *Pool) SharedBytes() int { return p.shares }

// Trim lets go of all that is kept free.
func (p *Pool) Trim() { p.lists, p.chunks, p.free = nil, nil, 0 }

func (p *Pool) hold(bytes int) { p.lent += bytes }

func (p *Pool) holdShared(s *Shared) {
	p.shares += len(s.Frame)
	p.hold(s.Owner.Hold())
}

func (p *Pool) releaseShared(s *Shared) {
	p.shares -= len(s.Frame) // which the owner may use again after this
	p.hold(-s.Owner.Release())
}

func (p *Pool) chunk() *chunk {
	p.hold(chunkBytes)
	c := p.chunks
	if c == nil {
		return new(chunk)
	}
	p.chunks = c.next
	p.free--
	return c
}

func (p *Pool) freeChunk(c *chunk) {
	p.hold(-chunkBytes)
	*c = chunk{}
	if p.free < FreeChunksMax {
		c.next = p.chunks
		p.chunks = c
		p.free++
	}
}

func (p *Pool) list() *list {
	last := len(p.lists) - 1
	if last < 0 {
		p.hold(listBytes)
		return new(list)
	}
	l := p.lists[last]
	p.lists[last] = nil
	p.lists = p.lists[:last]
	p.hold(l.cost())
	return l
}

func (l *list) cost() int { return listBytes + l.keys.most*keyBytes }

func (p *Pool) freeList(l *list) {
	if l.bytes != 0 || l.messages != 0 || l.removable != 0 || len(l.keys.m) != 0 || l.last != nil || l.oldest != nil || l.newest != nil {
		panic("outq: the accounts of a queue do not balance")
	}
	p.hold(-l.cost())
	l.keys.clear()
	if len(p.lists) < FreeListsMax {
		p.lists = append(p.lists, l)
	}
}

// encode appends to a buffer of the loop. Who encodes may append more than
// there is room for: what moved comes back into a buffer of the loop. If that
// fails, b is as it was.
func (p *Pool) encode(b []byte, encode func(dst []byte) ([]byte, error)) ([]byte, error) {
	out, err := encode(b)
	switch {
	case err != nil:
		return b, err
	case unsafe.SliceData(out) == unsafe.SliceData(b):
		return out, nil
	}
	moved := append(p.Buffers.Get(len(out)), out...)
	p.Buffers.Put(b)
	return moved, nil
}

// encodeNew is encode to a buffer of its own.
func (p *Pool) encodeNew(room int, encode func(dst []byte) ([]byte, error)) (b []byte, err error) {
	empty := p.Buffers.Get(room)
	done := false
	defer func() {
		if !done { // also if a program's codec panics
			p.Buffers.Put(empty)
		}
	}()
	b, err = p.encode(empty, encode)
	done = err == nil
	return b, err
}
