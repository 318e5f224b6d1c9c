package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// lineBytesMax bounds a line: what a peer can make a codec keep must have a bound.
const lineBytesMax = 64 << 10

// lines is a codec of one's own: each message is a line of text, which ends with
// a newline. One value serves one connection.
type lines struct {
	start   []byte // of a line whose end has not arrived, from env.Buffers
	given   bool   // start was the data of the event before this call
	closing bool
}

// Start opens at once: there is no handshake.
func (l *lines) Start(*codec.Env) codec.Event { return codec.Event{Kind: codec.Open} }

// Decode returns the line at the front of in, or keeps what there is of it.
func (l *lines) Decode(env *codec.Env, in []byte) (codec.Event, int) {
	if l.given {
		l.Release(env)
	}
	if l.closing {
		return codec.Event{}, len(in)
	}
	end := bytes.IndexByte(in, '\n')
	n, piece := end+1, in[:max(end, 0)]
	if end < 0 {
		n, piece = len(in), in
	}
	if len(l.start)+len(piece) > lineBytesMax {
		l.closing = true
		env.Closed = &codec.CloseError{Code: protocol.CloseMessageTooBig, Err: errors.New("a line is too long")}
		return codec.Event{Kind: codec.Close}, len(in)
	}
	line := codec.Event{Kind: codec.Message, Opcode: protocol.OpText, Data: piece}
	if end >= 0 && l.start == nil {
		return line, n // as it lies in the loop's buffer: nothing is copied
	}
	if len(piece) > 0 {
		if l.start == nil {
			l.start = env.Buffers.Get(len(piece))
		}
		l.start = append(env.Buffers.Grow(l.start, len(piece)), piece...)
	}
	if end < 0 {
		return codec.Event{}, n // codec.NeedMore
	}
	l.given, line.Data = true, l.start
	return line, n
}

// Encode appends a line. Pings are not known here.
func (l *lines) Encode(_ *codec.Env, dst []byte, op protocol.Opcode, payload []byte, _ bool) ([]byte, error) {
	if op != protocol.OpText {
		return dst, codec.ErrOpcode
	}
	return append(append(dst, payload...), '\n'), nil
}

// Unit is the line at the front of b: a policy that drops messages drops whole lines.
func (l *lines) Unit(b []byte) (int, bool) { return bytes.IndexByte(b, '\n') + 1, true }

// Close writes nothing: the end of the stream says enough.
func (l *lines) Close(*codec.Env, protocol.CloseCode, string) bool {
	l.closing = true
	return false
}

// End delivers a last line without a newline.
func (l *lines) End(*codec.Env) codec.Event {
	if l.closing || l.given || l.start == nil {
		return codec.Event{} // codec.NeedMore
	}
	l.given = true
	return codec.Event{Kind: codec.Message, Opcode: protocol.OpText, Data: l.start}
}

// Release gives the buffer back.
func (l *lines) Release(env *codec.Env) {
	if l.start != nil {
		env.Buffers.Put(l.start)
		l.start = nil
	}
	l.given = false
}

// A codec of one's own: lines of text over TCP, without WebSocket.
func ExampleConfig_codec() {
	e, err := engine.New(engine.Config{
		Addr:  "tcp://127.0.0.1:0",
		Codec: func() codec.Codec { return new(lines) },
	}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.SendText("you said " + m.Text()) },
	})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()

	peer, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprint(peer, "hel")
	fmt.Fprint(peer, "lo\nworld\nbye") // no newline: the end of the stream ends the last line
	_ = peer.(*net.TCPConn).CloseWrite()
	for answers := bufio.NewScanner(peer); answers.Scan(); {
		fmt.Println(answers.Text())
	}
	_ = peer.Close()
	stop()
	fmt.Println(<-ended)
	// Output:
	// you said hello
	// you said world
	// you said bye
	// <nil>
}
