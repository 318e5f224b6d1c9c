package conformance

import (
	"errors"
	"fmt"
)

// inflater decodes DEFLATE (RFC 1951) as permessage-deflate uses it. It is
// stricter than the usual ones: a distance that reaches back further than the
// agreed window is an error even where the byte is known.
type inflater struct {
	window int    // bytes that a distance may reach back
	out    []byte // what was decoded: history first
	in     []byte
	acc    uint64 // bits taken from in and not used yet, the next in the lowest place
	accN   uint

	literals, distances huffman
}

var errTruncated = errors.New("the compressed data ends too early")

// message inflates the payload of one message (RFC 7692 §7.2.2). Blocks behind a
// BFINAL block are decoded as well; as the end of a DEFLATE stream, it is padded
// to a byte.
func (z *inflater) message(payload []byte) ([]byte, error) {
	if n := len(z.out); n > z.window {
		z.out = append([]byte(nil), z.out[n-z.window:]...)
	}
	begun := len(z.out)
	z.in = append(append([]byte(nil), payload...), 0, 0, 0xff, 0xff)
	z.acc, z.accN = 0, 0
	for len(z.in) > 0 || z.accN > 0 {
		if err := z.block(); err != nil {
			return nil, err
		}
	}
	return append([]byte(nil), z.out[begun:]...), nil
}

// forget drops the history, as no_context_takeover demands.
func (z *inflater) forget() { z.out = nil }

// take returns the next n bits.
func (z *inflater) take(n uint) (int, error) {
	if z.fill(); z.accN < n {
		return 0, errTruncated
	}
	v := int(z.acc & (1<<n - 1))
	z.acc >>= n
	z.accN -= n
	return v, nil
}

// fill makes sure of at least 48 bits, as far as the input reaches.
func (z *inflater) fill() {
	for z.accN <= 48 && len(z.in) > 0 {
		z.acc |= uint64(z.in[0]) << z.accN
		z.accN += 8
		z.in = z.in[1:]
	}
}

// align skips to the next byte.
func (z *inflater) align() {
	z.acc >>= z.accN % 8
	z.accN -= z.accN % 8
}

// block decodes one block (RFC 1951 §3.2.3).
func (z *inflater) block() error {
	header, err := z.take(3)
	if err != nil {
		return err
	}
	switch header >> 1 {
	case 0:
		err = z.stored()
	case 1:
		if err = z.fixed(); err == nil {
			err = z.compressed()
		}
	case 2:
		if err = z.dynamic(); err == nil {
			err = z.compressed()
		}
	default:
		err = errors.New("the reserved block type 3")
	}
	if header&1 != 0 {
		z.align()
	}
	return err
}

// stored copies an uncompressed block (RFC 1951 §3.2.4).
func (z *inflater) stored() error {
	z.align()
	length, err := z.take(16)
	if err != nil {
		return err
	}
	check, err := z.take(16)
	if err != nil {
		return err
	}
	if length != check^0xffff {
		return errors.New("LEN and NLEN of a stored block disagree")
	}
	for range length {
		b, err := z.take(8)
		if err != nil {
			return err
		}
		z.out = append(z.out, byte(b))
	}
	return nil
}

// fixed sets the codes of RFC 1951 §3.2.6.
func (z *inflater) fixed() error {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	if err := z.literals.build(lengths[:], false); err != nil {
		return err
	}
	var five [32]uint8
	for i := range five {
		five[i] = 5
	}
	return z.distances.build(five[:], true)
}

// symbol decodes the next codeword.
func (z *inflater) symbol(h *huffman) (int, error) {
	z.fill()
	entry := h.used[z.acc&uint64(len(h.used)-1)]
	n := uint(entry & 15)
	switch {
	case n > z.accN:
		return 0, errTruncated
	case n == 0:
		return 0, errors.New("a bit pattern that is no codeword")
	}
	z.acc >>= n
	z.accN -= n
	return int(entry >> 4), nil
}

// lengthOrder is how the lengths of the code length code are sent (RFC 1951 §3.2.7).
var lengthOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the codes of a block (RFC 1951 §3.2.7).
func (z *inflater) dynamic() error {
	counts, err := z.take(14)
	if err != nil {
		return err
	}
	literals, distances, codes := counts&31+257, counts>>5&31+1, counts>>10+4
	if literals > 286 || distances > 30 {
		return errors.New("too many symbols in a dynamic block")
	}
	var order [19]uint8
	for _, i := range lengthOrder[:codes] {
		n, err := z.take(3)
		if err != nil {
			return err
		}
		order[i] = uint8(n)
	}
	if err := z.literals.build(order[:], false); err != nil {
		return err
	}
	lengths, err := z.codeLengths(literals + distances)
	if err != nil {
		return err
	}
	if lengths[256] == 0 {
		return errors.New("a dynamic block without an end-of-block codeword")
	}
	if err := z.literals.build(lengths[:literals], false); err != nil {
		return err
	}
	return z.distances.build(lengths[literals:], true)
}

// codeLengths reads n code lengths; z.literals holds the code that they are in.
func (z *inflater) codeLengths(n int) ([]uint8, error) {
	var lengths []uint8
	for len(lengths) < n {
		symbol, err := z.symbol(&z.literals)
		if err != nil {
			return nil, err
		}
		if symbol < 16 {
			lengths = append(lengths, uint8(symbol))
			continue
		}
		repeat := [3]struct {
			bits uint
			base int
		}{{2, 3}, {3, 3}, {7, 11}}[symbol-16]
		more, err := z.take(repeat.bits)
		if err != nil {
			return nil, err
		}
		var value uint8
		if symbol == 16 {
			if len(lengths) == 0 {
				return nil, errors.New("a repeated code length before the first")
			}
			value = lengths[len(lengths)-1]
		}
		for range repeat.base + more {
			lengths = append(lengths, value)
		}
	}
	if len(lengths) > n {
		return nil, errors.New("more code lengths than announced")
	}
	return lengths, nil
}

// compressed decodes the symbols of a block (RFC 1951 §3.2.5).
func (z *inflater) compressed() error {
	for {
		symbol, err := z.symbol(&z.literals)
		switch {
		case err != nil:
			return err
		case symbol == 256:
			return nil
		case symbol < 256:
			z.out = append(z.out, byte(symbol))
			continue
		case symbol > 285:
			return fmt.Errorf("the reserved length symbol %d", symbol)
		}
		if err := z.match(symbol); err != nil {
			return err
		}
	}
}

// match copies what a length symbol and the distance behind it point to.
func (z *inflater) match(symbol int) error {
	length, bits := lengthBase(symbol)
	more, err := z.take(bits)
	if err != nil {
		return err
	}
	length += more
	code, err := z.symbol(&z.distances)
	if err != nil {
		return err
	}
	if code > 29 {
		return fmt.Errorf("the reserved distance symbol %d", code)
	}
	distance, bits := distanceBase(code)
	if more, err = z.take(bits); err != nil {
		return err
	}
	distance += more
	if distance > z.window {
		return fmt.Errorf("a distance of %d in a window of %d bytes", distance, z.window)
	}
	if distance > len(z.out) {
		return fmt.Errorf("a distance of %d, but only %d bytes came before", distance, len(z.out))
	}
	for range length {
		z.out = append(z.out, z.out[len(z.out)-distance])
	}
	return nil
}
