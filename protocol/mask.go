package protocol

import (
	"encoding/binary"
	"math/bits"
)

// Mask masks b in place, or unmasks it: the operation is its own inverse
// (RFC 6455 §5.3). offset is the position of b[0] in the payload, at least 0,
// so that a payload may be worked off in pieces of any size. It reports whether
// b is then all ASCII, which costs nothing here and spares text a second look.
func Mask(b []byte, key [4]byte, offset int) (ascii bool) {
	// Little-endian whatever the machine: byte i of the word masks byte i of b.
	k32 := bits.RotateLeft32(binary.LittleEndian.Uint32(key[:]), -8*(offset&3))
	k := uint64(k32)<<32 | uint64(k32)
	seen := uint64(0) // every byte that results, one upon the other

	// The array pointer costs one bounds check per 64 bytes, none per word.
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		le := binary.LittleEndian
		w0, w1 := le.Uint64(p[0:8])^k, le.Uint64(p[8:16])^k
		w2, w3 := le.Uint64(p[16:24])^k, le.Uint64(p[24:32])^k
		le.PutUint64(p[0:8], w0)
		le.PutUint64(p[8:16], w1)
		le.PutUint64(p[16:24], w2)
		le.PutUint64(p[24:32], w3)
		w4, w5 := le.Uint64(p[32:40])^k, le.Uint64(p[40:48])^k
		w6, w7 := le.Uint64(p[48:56])^k, le.Uint64(p[56:64])^k
		le.PutUint64(p[32:40], w4)
		le.PutUint64(p[40:48], w5)
		le.PutUint64(p[48:56], w6)
		le.PutUint64(p[56:64], w7)
		seen |= w0 | w1 | w2 | w3 | w4 | w5 | w6 | w7
		b = b[64:]
	}
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b) ^ k
		binary.LittleEndian.PutUint64(b, w)
		seen |= w
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k)
		seen |= uint64(b[i])
		k >>= 8
	}
	return seen&0x8080808080808080 == 0
}
