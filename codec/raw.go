package codec

import "github.com/sockmill/sockmill/protocol"

// Raw is the codec without a protocol: every piece of bytes that arrives is a
// binary message, cut wherever TCP cut it, and messages are sent as they are.
// Its zero value is ready, owns no memory and has no farewell.
type Raw struct{ closing bool }

// Start opens at once.
func (*Raw) Start(*Env) Event { return Event{Kind: Open} }

// Decode returns all of in as one message.
func (r *Raw) Decode(_ *Env, in []byte) (Event, int) {
	if len(in) == 0 || r.closing {
		return Event{}, len(in)
	}
	return Event{Kind: Message, Opcode: protocol.OpBinary, Data: in}, len(in)
}

// Encode appends the payload of a text or binary message.
func (*Raw) Encode(_ *Env, dst []byte, op protocol.Opcode, payload []byte, _ bool) ([]byte, error) {
	if op != protocol.OpText && op != protocol.OpBinary {
		return dst, ErrOpcode
	}
	return append(dst, payload...), nil
}

// Unit is all of b: without frames there is nothing to lose by a cut.
func (*Raw) Unit(b []byte) (int, bool) { return len(b), true }

// Close has nothing to say: the end of the stream is the farewell.
func (r *Raw) Close(*Env, protocol.CloseCode, string) bool {
	r.closing = true
	return false
}

// Release has nothing to give back.
func (*Raw) Release(*Env) {}
