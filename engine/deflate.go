package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// DeflateMode says whether messages are compressed (RFC 7692): it takes a
// client that offers it, as browsers do.
type DeflateMode uint8

// The modes.
const (
	// DeflateTakeover compresses messages with the help of earlier ones of the
	// same connection, as long as DeflateTakeoverBytes last. It is the default.
	DeflateTakeover DeflateMode = iota + 1
	// DeflateNoTakeover compresses each message by itself.
	DeflateNoTakeover
	// DeflateOff declines every offer.
	DeflateOff
)

// deflate is what the sessions are told; nil if compression is off.
func (e *Engine) deflate() *codec.Deflate {
	if e.cfg.Deflate == DeflateOff {
		return nil
	}
	e.takeover.max = int64(e.cfg.DeflateTakeoverBytes)
	takeover := e.cfg.Deflate == DeflateTakeover
	return &codec.Deflate{
		Level:               e.cfg.DeflateLevel,
		ThresholdBytes:      e.cfg.DeflateThresholdBytes,
		ServerTakeover:      takeover,
		ClientTakeover:      takeover,
		ServerMaxWindowBits: 15,
		ClientMaxWindowBits: e.cfg.DeflateWindowBits,
		HistoryBits:         e.cfg.DeflateWindowBits,
		Budget:              &e.takeover,
	}
}

func (m DeflateMode) check() error {
	if m > DeflateOff {
		return fmt.Errorf("engine: Config.Deflate is %d: it must be DeflateTakeover, DeflateNoTakeover, DeflateOff, or 0 for the default", m)
	}
	return nil
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

// broadcast is a message in the frames that many connections share.
type broadcast struct {
	plain  []byte
	once   sync.Once
	packed []byte // after once: compressed, or nil if that does not pay
}

// frame is what c may be sent. The first connection that can take the
// compressed frame has it made; a loop that needs it meanwhile waits for no
// longer than it would take to make it.
func (b *broadcast) frame(c *Conn, m outgoing) []byte {
	if m.plain || !c.ws.CanShare(len(m.data)) {
		return b.plain
	}
	b.once.Do(func() { b.pack(c, m) })
	if b.packed == nil {
		return b.plain
	}
	c.ws.Shared(&c.w.env, m.data)
	return b.packed
}

func (b *broadcast) pack(c *Conn, m outgoing) {
	room := make([]byte, 0, len(m.data)/2+protocol.HeaderBytesMax)
	if frame, ok := codec.EncodeShared(&c.w.env, &c.e.options, room, m.op, m.data); ok {
		b.packed = frame
	}
}
