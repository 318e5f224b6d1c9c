package codec

import (
	"unicode/utf8"

	"github.com/sockmill/sockmill/protocol"
)

// The violations that only the order of frames can show (RFC 6455 §5.4).
var (
	errStray     = &protocol.Error{Code: protocol.CloseProtocolError, Reason: "a continuation without a message to continue"}
	errInside    = &protocol.Error{Code: protocol.CloseProtocolError, Reason: "a new message inside a fragmented one"}
	errUTF8      = &protocol.Error{Code: protocol.CloseInvalidPayload, Reason: "a text message that is not UTF-8"}
	errTooBig    = &protocol.Error{Code: protocol.CloseMessageTooBig, Reason: "the message exceeds the limit"}
	errFragments = &protocol.Error{Code: protocol.CloseMessageTooBig, Reason: "the message has too many fragments"}
)

// frames decodes in the states Open and Closing. A frame that lies whole in
// the input is decoded there; of another, each piece is unmasked and validated
// as it comes.
func (s *Session) frames(env *Env, in []byte) (Event, int) {
	for at := 0; ; {
		var ev Event
		var n int
		var more bool // the input is used up, the frame is not complete
		if p := s.part; p != nil && p.inFrame {
			ev, n, more = s.piece(env, p, in[at:])
		} else {
			ev, n, more = s.frame(env, in[at:])
		}
		at += n
		switch {
		case s.state == StateClosed:
			return ev, len(in)
		case more || ev.Kind != NeedMore:
			return ev, at
		}
	}
}

// short takes the most frequent of frames from the front of in: a message in
// one piece, of up to 65,535 bytes, not compressed, whole in the input. It takes
// nothing, and judges nothing, if there is any other.
func (s *Session) short(env *Env, in []byte) (ev Event, n int) {
	const whole = 0x80 // FIN without a reserved bit
	if len(in) < 2 || in[0] != whole|byte(protocol.OpText) && in[0] != whole|byte(protocol.OpBinary) {
		return Event{}, 0
	}
	at, size, masked := 2, int(in[1]&0x7f), in[1] >= 0x80
	switch size {
	case 126:
		if len(in) < 4 {
			return Event{}, 0
		}
		if at, size = 4, int(in[2])<<8|int(in[3]); size < 126 {
			return Event{}, 0
		}
	case 127:
		return Event{}, 0
	}
	key := at
	if masked {
		at += 4
	}
	if masked != (s.opts.Role == Server) || len(in) < at+size || int64(size) > s.opts.MessageBytesMax {
		return Event{}, 0
	}
	payload := in[at : at+size : at+size]
	ascii := masked && protocol.Mask(payload, [4]byte(in[key:at]), 0)
	op := protocol.Opcode(in[0] & 0x0f)
	if op == protocol.OpText && !ascii && !utf8.Valid(payload) {
		return s.fail(env, errUTF8), len(in)
	}
	return Event{Kind: Message, Opcode: op, Data: payload}, at + size
}

// frame takes one frame from the front of in, or what there is of it.
func (s *Session) frame(env *Env, in []byte) (ev Event, n int, more bool) {
	p, b, kept := s.part, in, 0
	if p != nil && p.headerBytes > 0 { // the header comes in pieces
		kept = p.headerBytes
		b = p.header[:kept+copy(p.header[kept:], in)]
	}
	h, size, err := protocol.ParseHeader(b)
	if len(b) >= 2 {
		// Also if err is set: what the first two bytes show goes first, as it
		// does when they come alone. The reason is on the wire too.
		if broken := s.check(h, size > 0); broken != nil {
			err = broken
		}
	}
	if err != nil {
		return s.fail(env, err), len(in), true
	}
	if size == 0 {
		if len(in) > 0 {
			p = s.begin(env)
			p.headerBytes = kept + copy(p.header[kept:], in)
		}
		return Event{}, len(in), true
	}
	n = size - kept
	if kept > 0 || int64(len(in)-n) < h.Length {
		s.beginFrame(env, h)
		return Event{}, n, false
	}
	payload := in[n : n+int(h.Length)]
	ascii := h.Masked && protocol.Mask(payload, h.Key, 0)
	return s.whole(env, h, payload, ascii), n + len(payload), false
}

// check refuses what the header alone shows, before any memory is spent on the
// payload. Of an unfinished header only the first two bytes are known.
func (s *Session) check(h protocol.Header, complete bool) error {
	if err := h.Check(s.opts.Role == Server, s.rsv); err != nil {
		return err
	}
	if h.Opcode.Control() {
		return nil
	}
	p := s.part
	inside := p != nil && p.opcode != protocol.OpContinuation
	limit := s.opts.MessageBytesMax
	if h.Rsv != 0 || inside && p.packed {
		limit = s.opts.packedBytesMax()
	}
	switch {
	case h.Opcode == protocol.OpContinuation && !inside:
		return errStray
	case h.Opcode != protocol.OpContinuation && inside:
		return errInside
	case !complete:
		return nil
	case inside && p.fragments >= s.opts.FragmentsMax:
		return errFragments
	case inside && h.Length > limit-int64(len(p.message)), h.Length > limit:
		return errTooBig
	}
	return nil
}

// whole takes a frame whose payload lies complete and unmasked in the input.
func (s *Session) whole(env *Env, h protocol.Header, payload []byte, ascii bool) Event {
	if h.Opcode.Control() {
		return s.control(env, h.Opcode, payload)
	}
	if h.Fin && h.Opcode != protocol.OpContinuation && h.Rsv == 0 { // nothing is copied
		if s.state != StateOpen {
			return Event{}
		}
		if h.Opcode == protocol.OpText && !ascii && !utf8.Valid(payload) {
			return s.fail(env, errUTF8)
		}
		return Event{Kind: Message, Opcode: h.Opcode, Data: payload}
	}
	s.beginFrame(env, h)
	if err := s.keep(env, s.part, payload, ascii); err != nil {
		return s.fail(env, err)
	}
	return s.endFrame(env, s.part)
}

// beginFrame notes a frame whose payload follows.
func (s *Session) beginFrame(env *Env, h protocol.Header) {
	p := s.begin(env)
	p.headerBytes = 0
	p.inFrame, p.frame, p.got = true, h, 0
	switch {
	case h.Opcode.Control():
		p.control = env.Buffers.Get(protocol.ControlBytesMax)
		return
	case h.Opcode != protocol.OpContinuation:
		p.opcode, p.packed, p.fragments, p.text = h.Opcode, h.Rsv != 0, 0, protocol.UTF8{}
	}
	p.fragments++
}

// piece takes the next piece of an unfinished frame's payload.
func (s *Session) piece(env *Env, p *partial, in []byte) (ev Event, n int, more bool) {
	n = int(min(int64(len(in)), p.frame.Length-p.got))
	in = in[:n]
	ascii := p.frame.Masked && protocol.Mask(in, p.frame.Key, int(p.got&3))
	if p.frame.Opcode.Control() {
		p.got += int64(n)
		p.control = append(p.control, in...)
	} else if err := s.keep(env, p, in, ascii); err != nil {
		return s.fail(env, err), n, true
	}
	if p.got < p.frame.Length {
		return Event{}, n, true
	}
	return s.endFrame(env, p), n, false
}

// keep adds a piece of a data message, unmasked already and known, perhaps, to be
// ASCII. In the state Closing the message will not be delivered, so nothing is
// kept of it.
func (s *Session) keep(env *Env, p *partial, piece []byte, ascii bool) error {
	p.got += int64(len(piece))
	if s.state != StateOpen || len(piece) == 0 {
		return nil
	}
	if p.opcode == protocol.OpText && !p.packed && !(ascii && p.text.Complete()) && !p.text.Write(piece) {
		return errUTF8
	}
	if p.message == nil {
		p.message = env.Buffers.Get(len(piece))
	}
	p.message = append(env.Buffers.Grow(p.message, len(piece)), piece...)
	return nil
}

// endFrame ends a frame that came in pieces or is a fragment. The payload that
// it returns stays in p until the next call.
func (s *Session) endFrame(env *Env, p *partial) Event {
	p.inFrame = false
	if p.frame.Opcode.Control() {
		p.lent = true
		ev := s.control(env, p.frame.Opcode, p.control)
		if ev.Kind == NeedMore && s.part == p {
			s.settle(env, p)
		}
		return ev
	}
	if !p.frame.Fin {
		return Event{}
	}
	if s.state != StateOpen {
		s.drop(env)
		return Event{}
	}
	if p.packed {
		if err := s.inflate(env, p); err != nil {
			return s.fail(env, err)
		}
	}
	if p.opcode == protocol.OpText && !p.text.Complete() {
		return s.fail(env, errUTF8)
	}
	p.lent = true
	return Event{Kind: Message, Opcode: p.opcode, Data: p.message}
}

// settle takes back the payload that the last event lent to the caller.
func (s *Session) settle(env *Env, p *partial) {
	p.lent = false
	if !p.frame.Opcode.Control() || p.opcode == protocol.OpContinuation {
		s.drop(env)
		return
	}
	env.Buffers.Put(p.control)
	p.control = nil
}

// control answers a control frame (RFC 6455 §5.5). In the state Closing only
// the peer's close frame counts.
func (s *Session) control(env *Env, op protocol.Opcode, payload []byte) Event {
	switch {
	case op == protocol.OpClose:
		return s.closed(env, payload)
	case s.state != StateOpen:
		return Event{}
	case op == protocol.OpPing:
		env.Out = s.appendFrame(env, env.Out, protocol.OpPong, 0, payload)
		return Event{Kind: Ping, Data: payload}
	default:
		return Event{Kind: Pong, Data: payload}
	}
}

// closed answers the peer's close frame with its own code, an empty one with
// an empty one (RFC 6455 §5.5.1), unless this side has sent its close before.
func (s *Session) closed(env *Env, payload []byte) Event {
	code, reason, err := protocol.ParseClosePayload(payload)
	if err != nil {
		return s.fail(env, err)
	}
	if s.state == StateOpen {
		s.sendClose(env, code, "")
	}
	s.to(env, StateClosed)
	env.Closed = &CloseError{Code: code, Reason: reason, Remote: true}
	return Event{Kind: Close}
}
