package engine

import (
	"fmt"
	"sync/atomic"

	"github.com/sockmill/sockmill/codec"
)

// DeflateMode says whether messages are compressed (RFC 7692): it takes a
// client that offers it, as browsers do, and as the engine does where it dials.
type DeflateMode uint8

// The modes.
const (
	// DeflateTakeover compresses messages with the help of earlier ones of the
	// same connection, as long as DeflateTakeoverBytes last: for each direction
	// 1<<DeflateWindowBits bytes, and 32 KiB for what comes from a client that
	// cannot be asked for less (Safari, Firefox). When nothing is left, such a
	// client gets no compression, others get DeflateNoTakeover.
	DeflateTakeover DeflateMode = iota + 1
	// DeflateNoTakeover compresses each message by itself, for clients that can
	// be asked to do so: not for Safari and Firefox.
	DeflateNoTakeover
	// DeflateOff declines every offer. It is the default.
	DeflateOff
)

// deflate makes the compression options of server sessions; nil if compression is off.
func (e *Engine) deflate(set *settings) *codec.Deflate {
	if set.Deflate == DeflateOff {
		return nil
	}
	e.broadcasts.packs.Store(true)
	e.memory.takeover.max = int64(e.set.DeflateTakeoverBytes)
	takeover := set.Deflate == DeflateTakeover
	return &codec.Deflate{
		Level:               e.set.DeflateLevel,
		ThresholdBytes:      e.set.DeflateThresholdBytes,
		ServerTakeover:      takeover,
		ClientTakeover:      takeover,
		ServerMaxWindowBits: 15,
		ClientMaxWindowBits: e.set.DeflateWindowBits,
		HistoryBits:         e.set.DeflateWindowBits,
		Budget:              &e.memory.takeover,
	}
}

func (m DeflateMode) check() error {
	if m > DeflateOff {
		return fmt.Errorf("engine: Config.Deflate is %d: it must be DeflateTakeover, DeflateNoTakeover, DeflateOff, or 0 for the default", m)
	}
	return nil
}

// clientDeflate makes the compression options of dialled connections: it asks the
// server for a window that is no larger than what this side keeps.
func clientDeflate(server *codec.Deflate) *codec.Deflate {
	if server == nil {
		return nil
	}
	d := *server
	d.ServerMaxWindowBits = d.ClientMaxWindowBits
	return &d
}

// budget implements codec.Budget for the sessions of all loops.
type budget struct {
	max  int64
	used atomic.Int64
}

// Take implements codec.Budget.
func (b *budget) Take(n int) bool {
	if b.used.Add(int64(n)) > b.max {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// Give implements codec.Budget.
func (b *budget) Give(n int) { b.used.Add(-int64(n)) }
