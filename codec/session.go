package codec

import (
	"errors"
	"fmt"

	"github.com/sockmill/sockmill/protocol"
)

// Role says which end of the connection a session is.
type Role uint8

// The roles of RFC 6455: a client masks what it sends, a server does not.
const (
	Server Role = iota
	Client
)

// State is where a session stands. There are four, and this is the whole of
// what happens between them:
//
//	state    input                          next      reply              event
//	Opening  a valid upgrade request        Opening   —                  Request
//	         … Accept                       Open      101                (the caller opens)
//	         … Refuse                       Closed    4xx or 5xx         —
//	         a plain HTTP request           Opening   —                  HTTP
//	         a malformed head               Closed    4xx or 5xx         Close
//	         (client) a valid 101           Open      —                  Open
//	         Close called                   Closed    503 (server)       —
//	Open     a whole data message           Open      —                  Message
//	         a ping, a pong                 Open      pong, —            Ping, Pong
//	         a close frame                  Closed    close, same code   Close
//	         a violation                    Closed    close, its code    Close
//	         Close called                   Closing   close              —
//	Closing  a data message, a ping, a pong Closing   —                  —
//	         a close frame, a violation     Closed    —                  Close
//	Closed   anything                       Closed    —                  —
//
// Accept and Refuse in another state than Opening are mistakes of the caller:
// they panic and append nothing.
type State uint8

// The states, in the order in which a session passes through them.
const (
	StateOpening State = iota
	StateOpen
	StateClosing
	StateClosed
)

// successors holds the arrows of the table above.
var successors = [...]uint8{
	StateOpening: 1<<StateOpen | 1<<StateClosed,
	StateOpen:    1<<StateClosing | 1<<StateClosed,
	StateClosing: 1 << StateClosed,
	StateClosed:  0,
}

// Options are what sessions have in common; one value is shared by all the
// connections of an engine and never changes. Every limit must be positive.
type Options struct {
	Role              Role
	HandshakeBytesMax int   // a request or response head, its terminator included; above: 431
	HeaderFieldsMax   int   // fields of a head; above: 431
	MessageBytesMax   int64 // a message, all its fragments together; above: 1009
	FragmentsMax      int   // frames of one message; above: 1009

	// Deflate, if not nil, is how permessage-deflate is offered or accepted.
	Deflate *Deflate

	// What a client asks for (RFC 6455 §4.1); a server ignores it.
	Host         string
	Target       string
	Subprotocols []string
	Fields       []protocol.Field
}

// Session is one WebSocket connection without its socket (RFC 6455). Between
// messages it owns nothing but this struct, and what it was granted for context
// takeover (RFC 7692 §7.1.1); what an unfinished head, frame or message needs
// stands in a partial, borrowed from the loop.
type Session struct {
	opts     *Options
	part     *partial
	takeover *takeover // nil before there is something to remember
	agreement
	state    State
	rsv      byte // the reserved bits that were agreed to
	bodiless bool // the request is a HEAD: its refusal has no body
}

// partial is what a session keeps while something is unfinished.
type partial struct {
	// The head of a handshake, as far as it came and as far as it was scanned.
	head    []byte
	scanned int

	// What only a client has: the nonce that it sent, as base64, and how many
	// interim responses came. After a refusal, head is the body, as far as it came,
	// of which body bytes are awaited.
	key      string
	interims int
	refusal  *HandshakeError
	body     int

	// A frame header of which the first bytes came.
	header      [protocol.HeaderBytesMax]byte
	headerBytes int

	// A frame whose header is read, and how much of its payload came.
	inFrame bool
	frame   protocol.Header
	got     int64
	control []byte // the payload of an unfinished control frame

	// A data message of which a part came, unmasked and (text) validated.
	opcode    protocol.Opcode // OpContinuation: no message in progress
	packed    bool            // compressed: message is that, until it is whole
	message   []byte
	fragments int
	text      protocol.UTF8

	lent bool // the payload of p.frame was returned; it goes back at the next call
}

// NewSession returns a session in the Opening state.
func NewSession(o *Options) *Session {
	s := new(Session)
	s.Init(o)
	return s
}

// Init makes s, a zero Session that may be part of a larger struct, a session
// in the Opening state.
func (s *Session) Init(o *Options) { *s = Session{opts: o} }

// State tells where the session stands.
func (s *Session) State() State { return s.state }

// Start appends the opening handshake if this is a client.
func (s *Session) Start(env *Env) Event {
	if s.opts.Role == Client {
		s.startClient(env)
	}
	return Event{}
}

// Decode implements Codec; see the table at State.
func (s *Session) Decode(env *Env, in []byte) (Event, int) {
	if s.part == nil && s.state == StateOpen { // the usual case
		if len(in) == 0 {
			return Event{}, 0
		}
		if ev, n := s.short(env, in); n > 0 {
			return ev, n
		}
	} else if p := s.part; p != nil && p.lent {
		s.settle(env, p)
	}
	switch s.state {
	case StateOpening:
		if s.opts.Role == Client {
			return s.openClient(env, in)
		}
		return s.openServer(env, in)
	case StateOpen, StateClosing:
		return s.frames(env, in)
	default:
		return Event{}, len(in)
	}
}

// Encode appends one frame: a whole message, a ping or a pong. A client masks
// the copy, never the caller's payload. A message is compressed if that was
// agreed to, unless it is plain, short, or would not get smaller.
func (s *Session) Encode(env *Env, dst []byte, op protocol.Opcode, payload []byte, plain bool) ([]byte, error) {
	if op.Reserved() || op == protocol.OpContinuation || op == protocol.OpClose ||
		op.Control() && len(payload) > protocol.ControlBytesMax {
		return dst, ErrOpcode
	}
	if s.bits > 0 && !plain && !op.Control() {
		if b, ok := s.appendCompressed(env, dst, op, payload); ok {
			env.Compressed.Add(len(payload), PayloadBytes(b[len(dst):]))
			return b, nil
		}
	}
	return s.appendFrame(env, dst, op, 0, payload), nil
}

// Unit returns the length of the frame that b begins with.
func (*Session) Unit(b []byte) (n int, message bool) {
	h, n, err := protocol.ParseHeader(b)
	if err != nil || n == 0 {
		panic("codec: no frame of this side's")
	}
	return n + int(h.Length), !h.Opcode.Control()
}

func (s *Session) appendFrame(env *Env, dst []byte, op protocol.Opcode, rsv byte, payload []byte) []byte {
	if s.opts.Role == Server && len(payload) <= 125 { // the usual case
		return append(append(dst, 0x80|rsv<<4|byte(op), byte(len(payload))), payload...)
	}
	h := protocol.Header{Fin: true, Rsv: rsv, Opcode: op, Length: int64(len(payload))}
	if s.opts.Role == Server {
		return append(protocol.AppendHeader(dst, h), payload...)
	}
	h.Masked, h.Key = true, maskingKey(env)
	dst = protocol.AppendHeader(dst, h)
	at := len(dst)
	dst = append(dst, payload...)
	protocol.Mask(dst[at:], h.Key, 0)
	return dst
}

// Close sends a close frame and waits for the peer's (RFC 6455 §7.1.2). While
// the handshake is under way, a server answers it with 503 instead.
func (s *Session) Close(env *Env, code protocol.CloseCode, reason string) (await bool) {
	switch s.state {
	case StateOpening:
		if s.opts.Role == Server {
			env.Out = protocol.AppendReply(env.Out, 503, "the server is going away", nil)
		}
		s.to(env, StateClosed)
	case StateOpen:
		s.sendClose(env, code, reason)
		s.to(env, StateClosing)
		if p := s.part; p != nil && p.message != nil && !p.lent { // will not be delivered
			env.Buffers.Put(p.message)
			p.message = nil
		}
		return true
	}
	return s.state == StateClosing
}

func (s *Session) sendClose(env *Env, code protocol.CloseCode, reason string) {
	var payload [protocol.ControlBytesMax]byte
	env.Out = s.appendFrame(env, env.Out, protocol.OpClose, 0, protocol.AppendClosePayload(payload[:0], code, reason))
}

// fail answers a violation with the close code chosen where it was found
// (RFC 6455 §7.1.7).
func (s *Session) fail(env *Env, err error) Event {
	var e *protocol.Error
	if !errors.As(err, &e) {
		panic("codec: a violation without a close code: " + err.Error())
	}
	if s.state == StateOpen {
		s.sendClose(env, e.Code, e.Reason)
	}
	s.to(env, StateClosed)
	env.Closed = &CloseError{Code: e.Code, Reason: e.Reason, Err: e}
	return Event{Kind: Close}
}

// to is the only place that changes the state.
func (s *Session) to(env *Env, next State) {
	if successors[s.state]&(1<<next) == 0 {
		panic(fmt.Sprintf("codec: session goes from state %d to %d", s.state, next))
	}
	s.state = next
	if next == StateClosed {
		s.Release(env)
	}
}

// Release gives every buffer back, and the budget for context takeover.
func (s *Session) Release(env *Env) {
	s.drop(env)
	s.endDeflate(env)
}

// drop gives back what was unfinished.
func (s *Session) drop(env *Env) {
	p := s.part
	if p == nil {
		return
	}
	for _, b := range [...][]byte{p.head, p.control, p.message} {
		if b != nil {
			env.Buffers.Put(b)
		}
	}
	*p = partial{}
	s.part = nil
	if len(env.partials) < freePartialsMax {
		env.partials = append(env.partials, p)
	}
}

// freePartialsMax bounds a loop's free list of partials, about 200 bytes each.
const freePartialsMax = 1024

// Buffered is how many bytes of an unfinished head, frame or message are kept.
func (s *Session) Buffered() int {
	if s.part == nil {
		return 0
	}
	return len(s.part.head) + len(s.part.control) + len(s.part.message)
}

// Unread tells how far the session is in a frame that has not come as a whole: header
// is what came of a header, valid until the next Decode, and left how many bytes of a
// payload are still to come. With neither, the next byte begins a frame.
func (s *Session) Unread() (header []byte, left int64) {
	switch p := s.part; {
	case p == nil:
		return nil, 0
	case p.inFrame:
		return nil, p.frame.Length - p.got
	default:
		return p.header[:p.headerBytes], 0
	}
}

// Compression tells whether messages may be compressed, and with the help of earlier
// ones (context takeover).
func (s *Session) Compression() (on, takeover bool) {
	return s.bits > 0, s.sentBits > 0 || s.receivedBits > 0
}

// begin makes sure that there is a partial.
func (s *Session) begin(env *Env) *partial {
	if s.part == nil {
		if n := len(env.partials); n > 0 {
			s.part = env.partials[n-1]
			env.partials = env.partials[:n-1]
		} else {
			s.part = new(partial)
		}
	}
	return s.part
}

func maskingKey(env *Env) (key [4]byte) {
	r := env.Random()
	return [4]byte{byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)}
}
