package codec

import (
	"errors"

	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/protocol"
)

// flushTail is how a flushed DEFLATE stream ends: the sender of a message
// removes it, the receiver appends it (RFC 7692 §7.2.1, §7.2.2).
const flushTail = "\x00\x00\xff\xff"

// compressors are a loop's: one for each level and for each smaller window that
// was asked for, about 1 MiB each.
type compressors struct {
	writers [windowBitsMax + 1 + flate.BestCompression]*flate.Writer // by window bits, then by level
	sink    sink
}

// sink is what a compressor writes to: a buffer that does not grow.
type sink struct {
	b     []byte
	limit int
}

var errIncompressible = errors.New("codec: not smaller when compressed")

func (k *sink) Write(p []byte) (int, error) {
	if len(k.b)+len(p) > k.limit {
		return 0, errIncompressible
	}
	k.b = append(k.b, p...)
	return len(p), nil
}

// writer returns a compressor that reaches back no further than a window, into
// n bytes of history and message together.
func (z *compressors) writer(level, bits, n int) *flate.Writer {
	i := bits
	if windowed := bits < windowBitsMax && n > 1<<bits; !windowed {
		i = windowBitsMax + level
	}
	if z.writers[i] == nil {
		var err error
		if i == bits {
			z.writers[i], err = flate.NewWriterWindow(nil, 1<<bits)
		} else {
			z.writers[i], err = flate.NewWriter(nil, level)
		}
		if err != nil {
			panic("codec: " + err.Error()) // Deflate out of its ranges
		}
	}
	return z.writers[i]
}

// compress returns payload as the payload of a compressed message (RFC 7692
// §7.2.1), in a buffer that the caller puts back; nil if that is not smaller.
func (z *compressors) compress(buffers *Buffers, d *Deflate, bits int, history, payload []byte) []byte {
	limit := len(payload) + len(flushTail) - 1
	z.sink = sink{b: buffers.Get(limit), limit: limit}
	w := z.writer(d.Level, bits, len(history)+len(payload))
	w.ResetDict(&z.sink, history)
	_, err := w.Write(payload)
	if err == nil {
		err = w.Flush()
	}
	packed := z.sink.b
	z.sink.b = nil
	if err != nil {
		buffers.Put(packed)
		return nil
	}
	return packed[:len(packed)-len(flushTail)]
}

// appendCompressed appends payload as a compressed frame, if the session may
// and if that is smaller. Only then does it become history: what is sent as it
// is, the peer's window does not see (RFC 7692 §7.2.1).
func (s *Session) appendCompressed(env *Env, dst []byte, op protocol.Opcode, payload []byte) (b []byte, ok bool) {
	d := s.opts.Deflate
	if len(payload) < d.ThresholdBytes {
		return dst, false
	}
	var history []byte
	if s.takeover != nil {
		history = s.takeover.sent
	}
	packed := env.compressors.compress(&env.Buffers, d, int(s.bits), history, payload)
	if packed == nil {
		return dst, false
	}
	s.Shared(env, payload)
	dst = s.appendFrame(env, dst, op, protocol.Rsv1, packed)
	env.Buffers.Put(packed)
	return dst, true
}

// EncodeShared appends a message as a server's compressed frame that refers to
// nothing before it, so that many sessions may send it: those that CanShare. ok
// is false if compression is off or does not pay.
func EncodeShared(env *Env, o *Options, dst []byte, op protocol.Opcode, payload []byte) (b []byte, ok bool) {
	s := Session{opts: o, agreement: agreement{bits: windowBitsMax}}
	if o.Deflate == nil || o.Role != Server {
		return dst, false
	}
	return s.appendCompressed(env, dst, op, payload)
}

// PayloadBytes is the length of the payload of a frame that EncodeShared made, as
// Compression counts it.
func PayloadBytes(frame []byte) int {
	h, _, _ := protocol.ParseHeader(frame)
	return int(h.Length)
}

// CanShare reports whether the session may send what EncodeShared made of a
// payload of n bytes. It must then be told by Shared.
func (s *Session) CanShare(n int) bool {
	return s.bits == windowBitsMax || n <= 1<<s.bits && s.bits > 0
}

// Shared notes that a compressed frame was sent: the peer's window has its
// payload now.
func (s *Session) Shared(env *Env, payload []byte) {
	if s.sentBits > 0 {
		t := s.context()
		t.sent = remember(&env.Buffers, t.sent, payload, 1<<s.sentBits)
	}
}
