package protocol_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

func naiveMask(b []byte, key [4]byte, offset int) {
	for i := range b {
		b[i] ^= key[(offset+i)%4]
	}
}

// pattern returns n bytes that do not repeat at a distance a mask could hide.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i + i>>8)
	}
	return b
}

func TestRFC6455Section5_3_Mask(t *testing.T) {
	lengths := []int{255, 256, 257, 1023, 4096, 4099}
	for n := range 200 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		for offset := range 9 {
			for align := range 9 {
				got := pattern(align + n + 9)
				want := bytes.Clone(got)
				naiveMask(want[align:align+n], key, offset)
				protocol.Mask(got[align:align+n], key, offset)
				if !bytes.Equal(got, want) {
					t.Fatalf("length %d, offset %d, alignment %d differ", n, offset, align)
				}
			}
		}
	}
}

// One byte above ASCII, wherever it lies, is noticed; what lies beside is not.
func TestMaskTellsASCII(t *testing.T) {
	for n := range 150 {
		for offset := range 4 {
			b := bytes.Repeat([]byte{0xff}, n+2)
			text := b[1 : 1+n]
			masked := func(high int) []byte {
				for i := range text {
					text[i] = byte(i) & 0x7f
				}
				if high >= 0 {
					text[high] |= 0x80
				}
				naiveMask(text, key, offset)
				return text
			}
			if !protocol.Mask(masked(-1), key, offset) {
				t.Fatalf("%d bytes of ASCII at offset %d are not recognised", n, offset)
			}
			for high := range n {
				if protocol.Mask(masked(high), key, offset) {
					t.Fatalf("byte %d of %d is above ASCII, offset %d", high, n, offset)
				}
			}
		}
	}
}

func TestRFC6455Section5_3_MaskInPieces(t *testing.T) {
	const n = 300
	want := pattern(n)
	naiveMask(want, key, 0)
	for size := 1; size <= n; size++ {
		got := pattern(n)
		for at := 0; at < n; at += size {
			protocol.Mask(got[at:min(at+size, n)], key, at)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("pieces of %d differ", size)
		}
	}
}

// The offset is a position in a payload that may be longer than 32 bits count.
func TestRFC6455Section5_3_MaskFarOffset(t *testing.T) {
	for _, offset := range []int{1<<31 - 1, int(^uint(0) >> 1)} {
		got, want := pattern(13), pattern(13)
		naiveMask(want, key, offset%4)
		protocol.Mask(got, key, offset)
		if !bytes.Equal(got, want) {
			t.Errorf("offset %d differs", offset)
		}
	}
}

func TestRFC6455Section5_7_MaskedHello(t *testing.T) {
	b := unhex(t, "7f9f4d5158")
	if protocol.Mask(b, key, 0); string(b) != "Hello" {
		t.Errorf("unmasked %q", b)
	}
}

func TestMaskAllocations(t *testing.T) {
	b := pattern(1000)
	wantAllocs(t, 0, func() { protocol.Mask(b, key, 3) })
}

func BenchmarkMask(b *testing.B) {
	for _, n := range []int{8, 32, 125, 1024, 16 << 10, 64 << 10} {
		p := pattern(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				protocol.Mask(p, key, 1)
			}
		})
	}
}
