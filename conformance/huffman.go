package conformance

import (
	"errors"
	"math/bits"
)

// codeBitsMax is the length of the longest codeword of DEFLATE.
const codeBitsMax = 15

// huffman decodes one prefix code: the next bits of the input, as many as the
// longest codeword has and the first in the lowest place, select a symbol and, in
// the low four bits, the length of its codeword. 0 is no codeword.
type huffman struct {
	table [1 << codeBitsMax]uint16
	used  []uint16 // the part of table that the longest codeword needs
}

var (
	errCodeOver  = errors.New("more codewords than a prefix code can have")
	errCodeUnder = errors.New("an incomplete prefix code")
)

// build assigns the canonical codewords (RFC 1951 §3.2.2). A code that leaves
// bit patterns unused is refused, but for the one of a single codeword of one
// bit, or of none at all, that §3.2.7 grants to distances.
func (h *huffman) build(lengths []uint8, distances bool) error {
	var count [codeBitsMax + 1]int
	for _, n := range lengths {
		count[n]++
	}
	used := len(lengths) - count[0]
	count[0] = 0
	room, longest := 1, 0
	for n, words := range count[1:] {
		if words > 0 {
			longest = n + 1
		}
		if room = room*2 - words; room < 0 {
			return errCodeOver
		}
	}
	h.used = h.table[:1<<longest]
	clear(h.used)
	if single := used == 0 || used == 1 && count[1] == 1; room > 0 && !(distances && single) {
		return errCodeUnder
	}
	var next [codeBitsMax + 2]int
	for n := 1; n <= codeBitsMax; n++ {
		next[n+1] = (next[n] + count[n]) << 1
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		word := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		for i := word; i < len(h.used); i += 1 << n {
			h.used[i] = uint16(symbol)<<4 | uint16(n)
		}
	}
	return nil
}
