//go:build sockmill_debug

// Package poison marks memory that its owner has released, in programs that are
// built with the tag sockmill_debug.
package poison

// Byte is what released memory is filled with. It is no UTF-8, as a length it
// is huge, and in a dump it stands out.
const Byte = 0xDB

// Fill overwrites released memory, so that whoever still reads it sees Byte in
// place of somebody else's bytes.
func Fill(b []byte) {
	for i := range b {
		b[i] = Byte
	}
}
