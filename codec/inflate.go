package codec

import (
	"errors"
	"io"
	"math"

	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/protocol"
)

// RFC 7692 has no close code for a message that cannot be inflated; that it is
// 1007 is a convention.
var errInflate = &protocol.Error{Code: protocol.CloseInvalidPayload, Reason: "a compressed message that cannot be inflated"}

// finalBlocksMax bounds the blocks with BFINAL set in one message: each costs a
// fresh start, and RFC 7692 §7.2.3.4 has one in a message.
const finalBlocksMax = 1024

// packedBytesMax bounds what is taken of a compressed message: no compressor
// makes of MessageBytesMax more than this, which is nine bits for a byte.
func (o *Options) packedBytesMax() int64 {
	if o.MessageBytesMax > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return o.MessageBytesMax + o.MessageBytesMax/8 + 64
}

// inflater is a loop's.
type inflater struct {
	reader io.Reader // and a flate.Resetter
	source source
	probe  [1]byte
}

// source is a compressed message with the tail appended. It hands out bytes as
// the reader asks for them, and so sees where the reader stands: what belongs to
// stored blocks, their lengths and data, is asked for in pieces, all else byte
// by byte.
type source struct {
	b    []byte
	at   int
	tail bool // the last bytes were taken in one piece: by a stored block, which they end
	over bool // a single byte behind them was asked for: a next block's header
}

func (r *source) ReadByte() (byte, error) {
	if r.at == len(r.b) {
		r.over = true
		return 0, io.EOF
	}
	r.at++
	return r.b[r.at-1], nil
}

func (r *source) Read(p []byte) (int, error) {
	if r.at == len(r.b) {
		return 0, io.EOF
	}
	n := copy(p, r.b[r.at:])
	r.tail = n == len(p) && r.at+n == len(r.b)
	r.at += n
	return n, nil
}

// complete reports whether a reader that ended with err ended between two blocks,
// and not inside one that the tail happened to continue.
func (r *source) complete(err error) bool {
	return r.tail && (r.over && errors.Is(err, io.ErrUnexpectedEOF) || r.at == len(r.b) && errors.Is(err, io.EOF))
}

// start begins to inflate at the source, with a history.
func (z *inflater) start(history []byte) {
	if z.reader == nil {
		z.reader = flate.NewReaderDict(&z.source, history)
		return
	}
	_ = z.reader.(flate.Resetter).Reset(&z.source, history) // never fails
}

// inflate puts in the place of the compressed message in p what it says (RFC
// 7692 §7.2.2), at most MessageBytesMax, of which text is validated as it
// appears.
func (s *Session) inflate(env *Env, p *partial) error {
	packed := p.message
	if len(packed) == 0 { // zlib flushes nothing for an empty message behind another, and so clients send that
		return nil
	}
	packed = append(env.Buffers.Grow(packed, len(flushTail)), flushTail...)
	estimate := min(int64(4*len(packed)), s.opts.MessageBytesMax)
	p.message = env.Buffers.Get(int(estimate))
	var history []byte
	if s.takeover != nil {
		history = s.takeover.received
	}
	z := &env.inflater
	z.source = source{b: packed}
	err := z.message(env, p, history, s.opts.MessageBytesMax)
	z.source.b = nil
	if env.Buffers.Put(packed); err == nil {
		env.Inflated.Add(len(p.message), len(packed)-len(flushTail))
	}
	if err == nil && s.receivedBits > 0 {
		t := s.context()
		t.received = remember(&env.Buffers, t.received, p.message, 1<<s.receivedBits)
	}
	return err
}

// message inflates all blocks of the source to p.message.
func (z *inflater) message(env *Env, p *partial, history []byte, limit int64) error {
	z.start(history)
	for finals := 0; ; {
		room := z.room(env, p, limit)
		n, err := z.reader.Read(room)
		if n > 0 && int64(len(p.message)) == limit { // it was room for the probe
			return errTooBig
		}
		at := len(p.message)
		p.message = p.message[:at+n]
		if p.opcode == protocol.OpText && !p.text.Write(p.message[at:]) {
			return errUTF8
		}
		switch {
		case err == nil:
		case z.source.complete(err):
			return nil
		case errors.Is(err, io.EOF) && finals < finalBlocksMax: // more blocks follow one with BFINAL
			finals++
			z.restart(env, history, p.message)
		default:
			return errInflate
		}
	}
}

// room is where the next bytes of the message go. When it has as many as it may
// have, there is room for one that shows that it is too big.
func (z *inflater) room(env *Env, p *partial, limit int64) []byte {
	have := len(p.message)
	if int64(have) == limit {
		return z.probe[:]
	}
	if have == cap(p.message) {
		p.message = env.Buffers.Grow(p.message, int(min(int64(have), limit-int64(have))))
	}
	return p.message[have:min(int64(cap(p.message)), limit)]
}

// restart goes on behind a final block, with all that came before it as the
// history.
func (z *inflater) restart(env *Env, history, message []byte) {
	const window = 1 << windowBitsMax
	if len(message) >= window || len(history) == 0 {
		z.start(message[max(0, len(message)-window):])
		return
	}
	both := append(append(env.Buffers.Get(len(history)+len(message)), history...), message...)
	z.start(both[max(0, len(both)-window):])
	env.Buffers.Put(both)
}
