package protocol

import (
	"encoding/binary"
	"math/bits"
)

// Mask masks b in place, or unmasks it: the operation is its own inverse
// (RFC 6455 §5.3). offset is the position of b[0] in the payload, at least 0,
// so that a payload may be worked off in pieces of any size.
func Mask(b []byte, key [4]byte, offset int) {
	// Little-endian whatever the machine: byte i of the word masks byte i of b.
	k32 := bits.RotateLeft32(binary.LittleEndian.Uint32(key[:]), -8*(offset&3))
	k := uint64(k32)<<32 | uint64(k32)

	// The array pointer costs one bounds check per 64 bytes, none per word.
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		le := binary.LittleEndian
		le.PutUint64(p[0:8], le.Uint64(p[0:8])^k)
		le.PutUint64(p[8:16], le.Uint64(p[8:16])^k)
		le.PutUint64(p[16:24], le.Uint64(p[16:24])^k)
		le.PutUint64(p[24:32], le.Uint64(p[24:32])^k)
		le.PutUint64(p[32:40], le.Uint64(p[32:40])^k)
		le.PutUint64(p[40:48], le.Uint64(p[40:48])^k)
		le.PutUint64(p[48:56], le.Uint64(p[48:56])^k)
		le.PutUint64(p[56:64], le.Uint64(p[56:64])^k)
		b = b[64:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k)
		k >>= 8
	}
}
