package codec

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sockmill/sockmill/protocol"
)

const lengthBytes = 4 // in front of each message of Frames

// Frames is the codec of binary messages with their length in front: Workerman's
// frame protocol. The length is a 32-bit number in network byte order that counts
// its own 4 bytes too. What came of a frame when the peer ends its stream is no
// message: the engine then reports protocol.CloseAbnormal with
// io.ErrUnexpectedEOF.
//
// Messages arrive as protocol.OpBinary. A length below 4 ends the session with
// protocol.CloseProtocolError, one of a message that is too long with
// protocol.CloseMessageTooBig: both when the length has come, before anything is
// kept of the message. CloseError.Err says what was wrong. There is no farewell,
// no ping and no pong.
//
// A message that lies whole in the input is not copied. Of an unfinished one
// Frames keeps the bytes that came, however many were announced, in a buffer of
// Env.Buffers. Between messages it keeps nothing.
//
// Use NewFrames. A value serves one connection.
type Frames struct {
	gather
	length      [lengthBytes]byte
	lengthBytes uint8 // that came
}

// NewFrames returns a codec that takes messages of up to maxBytes bytes, their
// lengths not counted. It panics if maxBytes is not positive.
func NewFrames(maxBytes int) *Frames {
	if maxBytes <= 0 {
		panic(fmt.Sprintf("codec: NewFrames: maxBytes is %d: it must be positive", maxBytes))
	}
	return &Frames{gather: gather{bytesMax: maxBytes}}
}

// Decode returns the message at the front of in, or keeps what there is of it.
func (f *Frames) Decode(env *Env, in []byte) (Event, int) {
	if f.over(env) {
		return Event{}, len(in)
	}
	n := 0
	if f.lengthBytes < lengthBytes {
		n = copy(f.length[f.lengthBytes:], in)
		if f.lengthBytes += uint8(n); f.lengthBytes < lengthBytes {
			return Event{}, n
		}
	}
	size := int64(binary.BigEndian.Uint32(f.length[:])) - lengthBytes
	switch {
	case size < 0:
		return f.fail(env, protocol.CloseProtocolError,
			fmt.Errorf("codec: the length of a frame is %d: it counts its own 4, so it must be at least 4", size+lengthBytes)), len(in)
	case size > int64(f.bytesMax):
		return f.fail(env, protocol.CloseMessageTooBig,
			fmt.Errorf("codec: a message of %d bytes: the limit is %d", size, f.bytesMax)), len(in)
	}
	piece := in[n:]
	left := int(size) - len(f.kept)
	whole := len(piece) >= left
	if whole {
		piece = piece[:left]
	}
	n += len(piece)
	data := f.add(env, piece, whole)
	if !whole {
		return Event{}, n
	}
	f.lengthBytes = 0
	return Event{Kind: Message, Opcode: protocol.OpBinary, Data: data}, n
}

// Encode appends a text or binary message with its length in front. The peer
// cannot tell the two kinds apart. A message of more than 4,294,967,291 bytes
// is an error: its length has no form. What is sent is not checked for the
// length that this side takes.
func (*Frames) Encode(_ *Env, dst []byte, op protocol.Opcode, payload []byte, _ bool) ([]byte, error) {
	if op != protocol.OpText && op != protocol.OpBinary {
		return dst, ErrOpcode
	}
	n := uint64(len(payload)) + lengthBytes
	if n > math.MaxUint32 {
		return dst, fmt.Errorf("codec: a message of %d bytes: a frame holds at most %d", len(payload), int64(math.MaxUint32-lengthBytes))
	}
	return append(binary.BigEndian.AppendUint32(dst, uint32(n)), payload...), nil
}

// Unit is the message at the front of b with its length.
func (*Frames) Unit(b []byte) (int, bool) { return int(binary.BigEndian.Uint32(b)), true }

// Buffered is how many bytes of an unfinished frame are kept, its length
// included.
func (f *Frames) Buffered() int {
	if f.closing {
		return 0
	}
	return int(f.lengthBytes) + len(f.kept)
}
