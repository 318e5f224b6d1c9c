package codec

import (
	"fmt"
	"maps"
	"math/bits"
	"unsafe"

	"github.com/sockmill/sockmill/internal/poison"
)

const (
	bufferBytesMin  = 512     // the smallest class
	bufferBytesMax  = 1 << 20 // the largest class that is kept
	bufferClasses   = 12      // 512 B … 1 MiB in powers of two
	freeBytesMax    = 4 << 20 // kept free at most, all classes together
	classBytesFirst = 9       // log2(bufferBytesMin)
	lentKeepMax     = 1024    // a map of what is lent that had more is replaced when few are left
	lentEntryBytes  = 39      // what a slice costs there: a map of Go has at most 16 places for 7, of 17 bytes each
)

// Buffers are free lists of byte slices in powers of two. They belong to one
// loop and need no lock; what they keep free is bounded by 4 MiB. They know
// every slice that is lent, so that a mistake of the borrower's panics where it
// is made. The zero value is ready.
type Buffers struct {
	free      [bufferClasses][][]byte
	freeBytes int
	lent      map[*byte]int // the capacity of each slice that is lent, by its first byte
	lentMost  int           // that lent has had: it has room for them
	lentBytes int
}

// Get returns an empty slice with room for at least n bytes.
func (p *Buffers) Get(n int) []byte {
	b := p.take(n)
	if p.lent == nil {
		p.lent = make(map[*byte]int)
	}
	p.lent[unsafe.SliceData(b)] = cap(b)
	p.lentMost = max(p.lentMost, len(p.lent))
	p.lentBytes += cap(b)
	return b
}

func (p *Buffers) take(n int) []byte {
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

// Put takes back a slice that Get or Grow returned; it may have been shortened
// at its end, but not at its front. Nobody may use it after: the build tag
// sockmill_debug makes such a use show. Nil, and any other slice without
// memory, is nothing to take back. Put panics if it is given another slice, one
// that append moved, or one for the second time.
func (p *Buffers) Put(b []byte) {
	start := unsafe.SliceData(b)
	size, ok := p.lent[start]
	switch {
	case !ok && cap(b) == 0:
		return
	case !ok:
		panic(fmt.Sprintf("codec: Buffers.Put of a slice of %d bytes that is not lent: it was put back twice, "+
			"does not begin where the slice that Get or Grow returned began, or was moved by an append beyond its capacity (use Grow)", cap(b)))
	}
	delete(p.lent, start)
	if p.lentMost > lentKeepMax && 4*len(p.lent) < p.lentMost { // maps do not shrink
		fewer := make(map[*byte]int, len(p.lent))
		maps.Copy(fewer, p.lent)
		p.lent, p.lentMost = fewer, len(fewer)
	}
	p.lentBytes -= size
	b = unsafe.Slice(start, size)
	poison.Fill(b)
	if size > bufferBytesMax || p.freeBytes+size > freeBytesMax {
		return // the garbage collector's
	}
	class := bufferClass(size)
	p.free[class] = append(p.free[class], b[:0])
	p.freeBytes += size
}

// Grow returns b with room for n more bytes, moved to a buffer of at least
// twice the size if need be: so memory grows with the bytes that arrive. If b
// has no memory, Grow is Get. Grow panics as Put does when it must move a slice
// that is not lent.
func (p *Buffers) Grow(b []byte, n int) []byte {
	if cap(b) > 0 && cap(b)-len(b) >= n {
		return b
	}
	moved := append(p.Get(max(len(b)+n, 2*cap(b))), b...)
	p.Put(b)
	return moved
}

// LentBytes is the memory of the slices that were taken and not given back, and
// of a list of many.
func (p *Buffers) LentBytes() int {
	if p.lentMost <= lentKeepMax {
		return p.lentBytes
	}
	return p.lentBytes + p.lentMost*lentEntryBytes
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
func (p *Buffers) Lent() int { return len(p.lent) }

// bufferClass is the smallest class that holds n bytes.
func bufferClass(n int) int {
	if n <= bufferBytesMin {
		return 0
	}
	return bits.Len(uint(n-1)) - classBytesFirst
}
