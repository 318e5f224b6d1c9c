// Package codec holds the sans-I/O state machines that turn bytes into events
// and messages into bytes. A codec reads no socket, starts no goroutine, asks
// no clock: the engine hands it the bytes that arrived and sends what it
// appended to [Env.Out]. The same machine therefore runs in a test, in a
// simulation and on an event loop.
//
// Four implementations live here: [Session] speaks WebSocket (RFC 6455) in the
// server's and in the client's role, [Lines] are lines of text, [Frames] are
// messages with their length in front, and [Raw] passes bytes as they come. A
// program brings its own by implementing [Codec]: example_codec_test.go of package
// engine is one.
package codec

import (
	"errors"
	"fmt"

	"github.com/sockmill/sockmill/protocol"
)

// Codec is the protocol of one connection. Its calls come one at a time, from
// the goroutine of the loop that the connection lives on, with the [Env] of
// that loop.
type Codec interface {
	// Start is called once, before the first Decode. It may append to env.Out
	// (a client's opening handshake) and returns Open if the protocol needs no
	// handshake, else NeedMore.
	Start(env *Env) Event

	// Decode takes bytes from the front of in and returns the next event and
	// how many bytes it took. It may change in and may return parts of it as
	// Event.Data, which stay valid until the next call. The caller calls again
	// with the rest until the event is NeedMore: by then all of in is taken,
	// what must be kept has been copied, and buffers behind delivered events
	// are back in env.Buffers. Replies that the protocol gives by itself
	// (pongs, close frames, refusals) are appended to env.Out.
	Decode(env *Env, in []byte) (Event, int)

	// Encode appends one message, or a ping or pong, to dst. An opcode that
	// the protocol does not have is ErrOpcode. A message that is plain is
	// encoded as if it were the only one: it is not compressed, and may be left
	// out, or replaced by another plain one, without harm to what follows. All
	// others must be sent in the order in which they were encoded.
	Encode(env *Env, dst []byte, op protocol.Opcode, payload []byte, plain bool) ([]byte, error)

	// Unit returns the length of what one Encode appended at the front of b,
	// and whether it was a message. b begins with it.
	Unit(b []byte) (n int, message bool)

	// Close begins the protocol's own farewell, if it has one, in env.Out, and
	// reports whether the peer's answer is to be awaited. After it, Decode
	// returns no Message.
	Close(env *Env, code protocol.CloseCode, reason string) (await bool)

	// Release gives every buffer back. The codec is not used afterwards.
	Release(env *Env)
}

// Upgrader is a Codec whose connections open with a request that the program
// may refuse: the event Request or HTTP must be followed by one of these calls,
// or by the end of the connection, before the next Decode.
type Upgrader interface {
	Codec

	// Accept answers the request in env.Request and opens the session. An
	// error means that nothing was appended: the answer would break RFC 6455.
	Accept(env *Env, a Accept) error

	// Refuse answers with an HTTP error; the session is closed.
	Refuse(env *Env, e *HandshakeError)
}

// Ender is implemented by a Codec without a closing handshake that is to be told
// of the end of the peer's stream, once, after the last Decode. It returns
// Message if what it kept is a message, such as a last line without a newline;
// Close if the stream ended where it should not, with env.Closed saying how; or
// else NeedMore: the connection then ended well. A Codec that is no Ender, but
// Buffered, has ended well if it keeps nothing.
type Ender interface {
	End(env *Env) Event
}

// Buffered is implemented by a Codec that keeps input between calls.
type Buffered interface {
	// Buffered is how many bytes it keeps.
	Buffered() int
}

// Kind says what an Event is.
type Kind uint8

// The kinds of events. Which fields of Event are set is said beside each.
const (
	NeedMore Kind = iota // all input is taken; nothing to report
	Request              // an opening handshake in env.Request awaits Accept or Refuse: Data is its head as it came
	HTTP                 // a plain HTTP request in env.Request: Data is its head as it came
	Open                 // messages may flow from here on
	Message              // Opcode, Data
	Ping                 // Data; the pong is in env.Out already
	Pong                 // Data
	Close                // the session is over: env.Closed says how; input is discarded from here on
)

// Event is one thing that Decode found. It has four words, which a call returns
// without a detour through memory.
type Event struct {
	Kind   Kind
	Opcode protocol.Opcode
	Data   []byte // valid until the next call of the codec
}

// HandshakeError is a refused opening handshake: it becomes the HTTP reply.
type HandshakeError = protocol.HandshakeError

// CloseError says how a connection ended.
type CloseError struct {
	// Code is the code of the close frame that ended the session (RFC 6455
	// §7.4): protocol.CloseNoStatus if that frame had none,
	// protocol.CloseAbnormal if there was no close frame. Of a protocol without a
	// closing handshake, where the end of the stream is the farewell, it is
	// protocol.CloseNormal, unless something broke.
	Code   protocol.CloseCode
	Reason string // at most 123 bytes
	Remote bool   // the peer closed, not this side
	Err    error  // what broke, if something did: *protocol.Error, *HandshakeError, an I/O error
}

func (e *CloseError) Error() string {
	side := "this side"
	if e.Remote {
		side = "the peer"
	}
	s := fmt.Sprintf("closed by %s: %d", side, uint16(e.Code))
	if e.Reason != "" {
		s += " " + e.Reason
	}
	var violation *protocol.Error
	if e.Err != nil && !(errors.As(e.Err, &violation) && violation.Reason == e.Reason) {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

// ErrOpcode is returned by Encode for an opcode that the protocol cannot send.
var ErrOpcode = errors.New("codec: this protocol cannot send that opcode")

// Env is what a loop lends to the codecs of its connections: output, free
// lists, scratch space. It belongs to one goroutine and needs no lock.
type Env struct {
	// Out gathers what is to be sent to the peer of the connection at hand.
	Out []byte

	// Buffers are the loop's free lists.
	Buffers Buffers

	// Request is the last request head parsed. The next one overwrites it, its
	// strings too unless Shown says that the program has seen it: what it may
	// have kept stays valid.
	Request protocol.Request
	Shown   bool

	// Response is the last response head parsed, by a client: like Request.
	Response protocol.Response

	// Closed says how the session ended whose event Close came last.
	Closed *CloseError

	// Random returns unpredictable bits, for masking keys and handshake keys
	// (RFC 6455 §5.3, §4.1). Only the client's role needs it.
	Random func() uint64

	// Compressed and Inflated count the messages that Encode compressed, and that
	// Decode inflated.
	Compressed, Inflated Compression

	head        []byte // the memory of Request's strings
	partials    []*partial
	compressors compressors
	inflater    inflater
}
