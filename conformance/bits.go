package conformance

import "math/bits"

// lengthBase returns the shortest length of a length symbol, 257–285, and the
// number of bits that are added to it (RFC 1951 §3.2.5).
func lengthBase(symbol int) (length int, extra uint) {
	i := symbol - 257
	switch {
	case symbol == 285:
		return 258, 0
	case i < 8:
		return i + 3, 0
	}
	extra = uint(i/4 - 1)
	return (4+i%4)<<extra + 3, extra
}

// distanceBase is lengthBase for the distance symbols, 0–29.
func distanceBase(symbol int) (distance int, extra uint) {
	if symbol < 2 {
		return symbol + 1, 0
	}
	extra = uint(symbol/2 - 1)
	return (2+symbol%2)<<extra + 1, extra
}

// bitWriter builds DEFLATE data by hand, for what no compressor writes.
type bitWriter struct {
	b    []byte
	free uint // unused bits in the last byte
}

// put appends n bits of v, the lowest first.
func (w *bitWriter) put(v int, n uint) *bitWriter {
	for i := range n {
		if w.free == 0 {
			w.b, w.free = append(w.b, 0), 8
		}
		w.b[len(w.b)-1] |= byte(v>>i&1) << (8 - w.free)
		w.free--
	}
	return w
}

// code appends a codeword of n bits, the highest first.
func (w *bitWriter) code(v int, n uint) *bitWriter {
	return w.put(int(bits.Reverse16(uint16(v))>>(16-n)), n)
}

// align pads to a byte.
func (w *bitWriter) align() *bitWriter { return w.put(0, w.free) }

// fixed begins a block of the fixed codes.
func (w *bitWriter) fixed() *bitWriter { return w.put(0b010, 3) }

// symbol appends a literal or length symbol of the fixed code (RFC 1951 §3.2.6).
func (w *bitWriter) symbol(s int) *bitWriter {
	switch {
	case s < 144:
		return w.code(0x30+s, 8)
	case s < 256:
		return w.code(0x190+s-144, 9)
	case s < 280:
		return w.code(s-256, 7)
	}
	return w.code(0xc0+s-280, 8)
}

// literals appends s in the fixed code.
func (w *bitWriter) literals(s string) *bitWriter {
	for i := range len(s) {
		w.symbol(int(s[i]))
	}
	return w
}

// match appends a length of 3 to 10 and a distance in the fixed code.
func (w *bitWriter) match(length, distance int) *bitWriter {
	w.symbol(257 + length - 3)
	s := 0
	for s < 29 {
		if base, _ := distanceBase(s + 1); base > distance {
			break
		}
		s++
	}
	base, extra := distanceBase(s)
	return w.code(s, 5).put(distance-base, extra)
}

// stored appends a stored block.
func (w *bitWriter) stored(p []byte) *bitWriter {
	w.put(0, 3).align().put(len(p), 16).put(len(p)^0xffff, 16)
	w.b = append(w.b, p...)
	return w
}

// flushed ends a block of the fixed codes and the message: what is left off
// ends in 00 00 ff ff (RFC 7692 §7.2.1).
func (w *bitWriter) flushed() []byte { return w.symbol(256).put(0, 3).align().b }
