//go:build sockmill_debug

package codec

import (
	"fmt"
	"slices"

	"github.com/sockmill/sockmill/internal/poison"
)

// lend is called for a buffer that leaves the free lists: nobody may have
// written to it there.
func (p *Buffers) lend(b []byte) {
	b = b[:cap(b)]
	if i := slices.IndexFunc(b, func(c byte) bool { return c != poison.Byte }); i >= 0 {
		panic(fmt.Sprintf("codec: byte %d of a buffer of %d was overwritten with 0x%02x after its release: "+
			"somebody kept the data of a message or ping (Message.Clone keeps a message), or a slice given to Put", i, len(b), b[i]))
	}
}
