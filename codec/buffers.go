package codec

import "math/bits"

const (
	bufferBytesMin  = 512     // the smallest class
	bufferBytesMax  = 1 << 20 // the largest class that is kept
	bufferClasses   = 12      // 512 B … 1 MiB in powers of two
	freeBytesMax    = 4 << 20 // kept free at most, all classes together
	classBytesFirst = 9       // log2(bufferBytesMin)
)

// Buffers are free lists of byte slices in powers of two. They belong to one
// loop and need no lock; what they keep free is bounded by 4 MiB. The zero
// value is ready.
type Buffers struct {
	free      [bufferClasses][][]byte
	freeBytes int
	lent      int
}

// Get returns an empty slice with room for at least n bytes.
func (p *Buffers) Get(n int) []byte {
	p.lent++
	if n > bufferBytesMax {
		return make([]byte, 0, n)
	}
	class := bufferClass(n)
	if list := p.free[class]; len(list) > 0 {
		b := list[len(list)-1]
		list[len(list)-1] = nil // or the list would hold on to what it no longer counts
		p.free[class] = list[:len(list)-1]
		p.freeBytes -= cap(b)
		p.lend(b)
		return b
	}
	return make([]byte, 0, bufferBytesMin<<class)
}

// Put takes back a slice that Get or Grow returned. Nobody may use it after:
// the build tag sockmill_debug makes such a use show.
func (p *Buffers) Put(b []byte) {
	p.lent--
	p.reclaim(b)
	size := cap(b)
	if size < bufferBytesMin || size > bufferBytesMax || size&(size-1) != 0 || p.freeBytes+size > freeBytesMax {
		return // the garbage collector's: too much, or not from here but moved by an append elsewhere
	}
	class := bufferClass(size)
	p.free[class] = append(p.free[class], b[:0])
	p.freeBytes += size
}

// Grow returns b with room for n more bytes, moved to a buffer of at least
// twice the size if need be: so memory grows with the bytes that arrive.
func (p *Buffers) Grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	moved := append(p.Get(max(len(b)+n, 2*cap(b))), b...)
	p.Put(b)
	return moved
}

// Trim lets go of all that is kept free.
func (p *Buffers) Trim() {
	for class, list := range p.free {
		for _, b := range list {
			p.lend(b)
		}
		p.free[class] = nil
	}
	p.freeBytes = 0
}

// Lent is the number of slices that were taken and not given back.
func (p *Buffers) Lent() int { return p.lent }

// bufferClass is the smallest class that holds n bytes.
func bufferClass(n int) int {
	if n <= bufferBytesMin {
		return 0
	}
	return bits.Len(uint(n-1)) - classBytesFirst
}
