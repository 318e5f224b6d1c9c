// Package wire is the arena's protocol: what a player and the server say to
// each other, as pure functions over bytes. The server, the bots and, in
// JavaScript, the page speak it; testdata/golden.json holds them to each other.
//
// All of it is binary and little endian. A message is its kind, one byte, and
// its fields, with nothing behind them. A string is its length in a byte, then
// UTF-8. A varint is an unsigned LEB128 of at most 5 bytes.
//
// Positions are quantised: 0 to 65535 across the world, which is a square of
// the size that the welcome told; so are radii, in sixteenths of a unit.
package wire

import (
	"encoding/binary"
	"errors"
	"math"
)

// Version is what a hello must carry; Subprotocol names the protocol in the
// opening handshake.
const (
	Version     = 1
	Subprotocol = "arena.1"
)

// The kinds of messages: of a client, then of the server.
const (
	KindHello   = 1
	KindInput   = 2
	KindPing    = 3
	KindRespawn = 4

	KindWelcome  = 129
	KindSnapshot = 130
	KindPong     = 131
	KindBoard    = 132
	KindDied     = 133
)

// ClientBytesMax is more than any message of a client is long.
const ClientBytesMax = 1 << 10

// TokenBytesMax bounds the token of a hello.
const TokenBytesMax = 256

// Flags of an Input.
const (
	Split = 1 << iota
	Eject
)

// The errors of parsing. A client that causes one is closed with 1002.
var (
	ErrUnknown   = errors.New("unknown message")
	ErrTruncated = errors.New("truncated message")
	ErrTrailing  = errors.New("bytes behind the message")
	ErrMalformed = errors.New("malformed message")
)

// reader takes fields off the front of a message; after the first that is
// missing, err is set and all fields are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(ErrTruncated)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) f32() float32 { return math.Float32frombits(r.u32()) }

func (r *reader) f64() float64 {
	if b := r.take(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (r *reader) str() string { return string(r.take(int(r.u8()))) }

func (r *reader) varint() uint32 {
	v, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.fail(ErrTruncated)
		return 0
	case n < 0 || n > 5 || v > math.MaxUint32:
		r.fail(ErrMalformed)
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

// end demands that nothing is left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = ErrTrailing
	}
	return r.err
}

var order = binary.LittleEndian

func appendF32(b []byte, v float32) []byte { return order.AppendUint32(b, math.Float32bits(v)) }
func appendF64(b []byte, v float64) []byte { return order.AppendUint64(b, math.Float64bits(v)) }

// appendStr cuts a string at 255 bytes; what the server says is shorter.
func appendStr[S []byte | string](b []byte, s S) []byte {
	n := min(len(s), math.MaxUint8)
	return append(append(b, byte(n)), s[:n]...)
}

func appendToken(b, token []byte) []byte {
	return append(order.AppendUint16(b, uint16(len(token))), token...)
}

func (r *reader) token() []byte {
	n := int(r.u16())
	if n > TokenBytesMax {
		r.fail(ErrMalformed)
		return nil
	}
	return r.take(n)
}
