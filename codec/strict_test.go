package codec_test

import (
	"errors"
	"fmt"
	"slices"
)

// strict inflates message after message by the letter of RFC 1951 and RFC 7692
// §7.2.2, one bit after the other. It refuses what a receiver with exactly the
// agreed window could not inflate.
type strict struct {
	window   int    // bytes
	takeover bool   // else each message stands alone
	out      []byte // everything so far that may be referred to
	in       []byte
	at       int // bits
	farthest int // the greatest distance seen
}

var errStrict = errors.New("strict: the stream ends inside a block")

// message inflates the payload of a compressed message.
func (z *strict) message(payload string) (data string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = r.(error)
		}
	}()
	if !z.takeover {
		z.out = nil
	}
	begin := len(z.out)
	z.in, z.at = []byte(payload+"\x00\x00\xff\xff"), 0
	for z.at < 8*len(z.in) {
		final, kind := z.bits(1), z.bits(2)
		if final != 0 {
			return "", errors.New("strict: a final block")
		}
		switch kind {
		case 0:
			z.stored()
		case 1:
			z.block(canonical(slices.Concat(slices.Repeat([]int{8}, 144), slices.Repeat([]int{9}, 112),
				slices.Repeat([]int{7}, 24), slices.Repeat([]int{8}, 8))), canonical(slices.Repeat([]int{5}, 30)))
		case 2:
			z.dynamic()
		default:
			return "", errors.New("strict: a reserved block")
		}
	}
	return string(z.out[begin:]), nil
}

func (z *strict) bits(n int) (v int) {
	for i := range n {
		if z.at == 8*len(z.in) {
			panic(errStrict)
		}
		v |= int(z.in[z.at/8]>>(z.at%8)&1) << i
		z.at++
	}
	return v
}

func (z *strict) stored() {
	z.at = (z.at + 7) &^ 7
	n, inverse := z.bits(16), z.bits(16)
	if n^inverse != 0xffff {
		panic(errors.New("strict: a stored block's length"))
	}
	for range n {
		z.out = append(z.out, byte(z.bits(8)))
	}
}

// canonical gives each code word, as a string of bits behind a one, its symbol
// (RFC 1951 §3.2.2).
func canonical(lengths []int) map[int]int {
	words, code := map[int]int{}, 0
	for n := 1; n <= 15; n++ {
		code <<= 1
		for symbol, length := range lengths {
			if length == n {
				words[1<<n|code] = symbol
				code++
			}
		}
	}
	return words
}

func (z *strict) symbol(words map[int]int) int {
	for word, n := 1, 0; n < 15; n++ {
		word = word<<1 | z.bits(1)
		if symbol, ok := words[word]; ok {
			return symbol
		}
	}
	panic(errors.New("strict: no such code"))
}

func (z *strict) dynamic() {
	literals, distances, codes := 257+z.bits(5), 1+z.bits(5), 4+z.bits(4)
	var lengths [19]int
	for i := range codes {
		lengths[[]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[i]] = z.bits(3)
	}
	words, all := canonical(lengths[:]), []int{}
	for len(all) < literals+distances {
		value, times := z.symbol(words), 1
		switch value {
		case 16:
			value, times = all[len(all)-1], 3+z.bits(2)
		case 17:
			value, times = 0, 3+z.bits(3)
		case 18:
			value, times = 0, 11+z.bits(7)
		}
		for range times {
			all = append(all, value)
		}
	}
	z.block(canonical(all[:literals]), canonical(all[literals:literals+distances]))
}

func (z *strict) block(literals, distances map[int]int) {
	for {
		symbol := z.symbol(literals)
		switch {
		case symbol < 256:
			z.out = append(z.out, byte(symbol))
			continue
		case symbol == 256:
			return
		}
		length := 3
		switch n := symbol - 257; {
		case n < 8:
			length += n
		case n == 28:
			length = 258
		default:
			extra := n/4 - 1
			length += (4+n%4)<<extra + z.bits(extra)
		}
		distance := z.symbol(distances)
		if extra := distance/2 - 1; extra > 0 {
			distance = (2+distance%2)<<extra + z.bits(extra)
		}
		distance++
		z.farthest = max(z.farthest, distance)
		if distance > z.window || distance > len(z.out) {
			panic(fmt.Errorf("strict: a distance of %d, the window has %d and there are %d", distance, z.window, len(z.out)))
		}
		for range length {
			z.out = append(z.out, z.out[len(z.out)-distance])
		}
	}
}
