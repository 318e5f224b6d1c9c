//go:build sockmill_debug

package codec

import (
	"fmt"
	"slices"
)

// poison is what released memory is filled with. It is no UTF-8, as a length
// it is huge, and in a dump it stands out.
const poison = 0xDB

// Poison overwrites memory that its owner has released, so that whoever still
// reads it sees 0xDB in place of somebody else's bytes. The engine calls it for
// the data of a message, ping or pong when the callback has returned. It works
// under the build tag sockmill_debug only.
func Poison(b []byte) {
	for i := range b {
		b[i] = poison
	}
}

// lend is called for a buffer that leaves the free lists: nobody may have
// written to it there.
func (p *Buffers) lend(b []byte) {
	b = b[:cap(b)]
	if i := slices.IndexFunc(b, func(c byte) bool { return c != poison }); i >= 0 {
		panic(fmt.Sprintf("codec: byte %d of a buffer of %d was overwritten with 0x%02x after its release: "+
			"somebody kept the data of a message or ping (Message.Clone keeps a message), or a slice given to Put", i, len(b), b[i]))
	}
}
