package codec

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/sockmill/sockmill/protocol"
)

// ErrNewline is returned by Lines.Encode for a message that contains LF: the
// peer would take it for several messages.
var ErrNewline = errors.New("codec: a message that contains LF cannot be sent as a line")

var errLineUTF8 = errors.New("codec: a line is not UTF-8")

// Lines is the codec of messages that are lines of text. A line ends with LF or
// CRLF, which is not part of the message. An empty line is an empty message.
// What follows the last ending when the peer ends its stream is no message: the
// engine then reports protocol.CloseAbnormal with io.ErrUnexpectedEOF.
//
// Messages arrive as protocol.OpText. A line that is not UTF-8 ends the session
// with protocol.CloseInvalidPayload, when its ending has come; one that is too
// long with protocol.CloseMessageTooBig, as soon as that shows. CloseError.Err
// says what was wrong. There is no farewell, no ping and no pong.
//
// A line that lies whole in the input is not copied. Of an unfinished one
// Lines keeps the bytes that came, in a buffer of Env.Buffers. Between lines it
// keeps nothing.
//
// Use NewLines. A value serves one connection.
type Lines struct{ gather }

// NewLines returns a codec that takes lines of up to maxBytes bytes, their
// endings not counted. It panics if maxBytes is not positive.
func NewLines(maxBytes int) *Lines {
	if maxBytes <= 0 {
		panic(fmt.Sprintf("codec: NewLines: maxBytes is %d: it must be positive", maxBytes))
	}
	return &Lines{gather{bytesMax: maxBytes}}
}

// Decode returns the line at the front of in, or keeps what there is of it.
func (l *Lines) Decode(env *Env, in []byte) (Event, int) {
	if l.over(env) {
		return Event{}, len(in)
	}
	end := bytes.IndexByte(in, '\n')
	piece, n := in, len(in)
	if end >= 0 {
		piece, n = in[:end], end+1
	}
	size := len(l.kept) + len(piece)
	if endsWithCR(piece) || len(piece) == 0 && endsWithCR(l.kept) {
		size-- // it belongs to the ending, or a byte that is too much follows
	}
	if size > l.bytesMax {
		return l.fail(env, protocol.CloseMessageTooBig, fmt.Errorf("codec: a line is longer than %d bytes", l.bytesMax)), len(in)
	}
	line := l.add(env, piece, end >= 0)
	if end < 0 {
		return Event{}, n
	}
	if endsWithCR(line) {
		line = line[:len(line)-1]
	}
	if !utf8.Valid(line) {
		return l.fail(env, protocol.CloseInvalidPayload, errLineUTF8), len(in)
	}
	return Event{Kind: Message, Opcode: protocol.OpText, Data: line}, n
}

func endsWithCR(b []byte) bool { return len(b) > 0 && b[len(b)-1] == '\r' }

// Encode appends a text or binary message and LF. The peer cannot tell the two
// kinds apart, and takes a CR at the end of a message for a part of the ending.
// A message that contains LF is ErrNewline. What is sent is neither checked for
// UTF-8 nor for the length that this side takes.
func (*Lines) Encode(_ *Env, dst []byte, op protocol.Opcode, payload []byte, _ bool) ([]byte, error) {
	if op != protocol.OpText && op != protocol.OpBinary {
		return dst, ErrOpcode
	}
	if bytes.IndexByte(payload, '\n') >= 0 {
		return dst, ErrNewline
	}
	return append(append(dst, payload...), '\n'), nil
}

// Unit is the line at the front of b with its ending.
func (*Lines) Unit(b []byte) (int, bool) { return bytes.IndexByte(b, '\n') + 1, true }

// Buffered is how many bytes of an unfinished line are kept: up to the limit and
// one CR.
func (l *Lines) Buffered() int { return len(l.kept) }
