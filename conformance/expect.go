package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"
)

// send writes the frames in one piece.
func (c *conn) send(frames ...frame) {
	c.saidClose = c.saidClose || slices.ContainsFunc(frames, func(f frame) bool { return f.op == opClose })
	c.write(join(frames...))
}

// next returns the next whole message or control frame. Pings, with which a
// server may watch a connection at any time, are answered and passed over.
func (c *conn) next(waiting string) frame {
	c.waiting = waiting
	for {
		f := c.frame()
		switch {
		case f.op == opPing:
			c.send(frame{op: opPong, payload: f.payload})
			continue
		case f.op >= opClose:
			return f
		case f.op != opContinuation:
			c.opcode, c.packed, c.message = f.op, f.rsv&rsv1 != 0, nil
		}
		if c.message == nil {
			c.message = f.payload
		} else {
			c.message = append(c.message, f.payload...)
		}
		if f.more {
			continue
		}
		m := frame{op: c.opcode, payload: c.message}
		c.opcode, c.message = 0, nil
		if c.packed {
			var err error
			if m.payload, err = c.deflate.unpack(m.payload); err != nil {
				c.t.Failf("the server's compressed message cannot be inflated: %v", err)
			}
		}
		if m.op == opText && !utf8.Valid(m.payload) {
			c.t.Failf("the server sent a text message that is not UTF-8")
		}
		return m
	}
}

// wantMessage expects a message.
func (c *conn) wantMessage(op byte, payload []byte) {
	want := frame{op: op, payload: payload}
	if got := c.next("the echo of " + want.String()); got.op != op || !bytes.Equal(got.payload, payload) {
		c.t.Failf("%v came in place of the echo of %v", got, want)
	}
}

// wantPong expects a pong.
func (c *conn) wantPong(payload []byte) {
	want := frame{op: opPong, payload: payload}
	if got := c.next(want.String()); got.op != opPong || !bytes.Equal(got.payload, payload) {
		c.t.Failf("%v came in place of %v", got, want)
	}
}

// echo sends a message and expects it back.
func (c *conn) echo(op byte, payload []byte) {
	c.send(frame{op: op, payload: payload})
	c.wantMessage(op, payload)
}

// wantAlive expects a message to be echoed as the next thing that comes.
func (c *conn) wantAlive() { c.echo(opText, []byte("still there?")) }

// wantClose expects a close frame with one of the codes as the next frame,
// answers it as a client does, and expects the end of TCP. Code 0 stands for
// the empty close frame.
func (c *conn) wantClose(codes ...int) {
	waiting := fmt.Sprintf("a close frame with %v", codes)
	if len(codes) == 1 {
		waiting = fmt.Sprintf("a close frame with %d", codes[0])
	}
	c.judgeClose(c.next(waiting), codes)
}

// wantCloseBehind is wantClose when a text was sent in the same segment before:
// a server that fails the connection need not echo it any more.
func (c *conn) wantCloseBehind(echo string, code int) {
	f := c.next(fmt.Sprintf("a close frame with %d", code))
	if f.op == opText && string(f.payload) == echo {
		c.wantClose(code)
		return
	}
	c.judgeClose(f, []int{code})
}

// judgeClose is wantClose for a frame that has been read.
func (c *conn) judgeClose(f frame, codes []int) {
	if f.op != opClose {
		c.t.Failf("%v came in place of %s", f, c.waiting)
	}
	code := 0
	switch len(f.payload) {
	case 0:
	case 1:
		c.t.Failf("the server's close frame has a payload of one byte")
	default:
		code = int(binary.BigEndian.Uint16(f.payload))
		if !utf8.Valid(f.payload[2:]) {
			c.t.Failf("the reason in the server's close frame is not UTF-8")
		}
	}
	if !slices.Contains(codes, code) {
		c.t.Failf("%v came in place of %s", f, c.waiting)
	}
	if !c.saidClose {
		c.send(frame{op: opClose, payload: f.payload})
	}
	c.wantEnd()
}

// String describes a message or control frame in a report.
func (f frame) String() string {
	name := map[byte]string{opText: "text", opBinary: "binary", opClose: "close", opPing: "ping", opPong: "pong"}[f.op]
	if name == "" {
		name = fmt.Sprintf("opcode %d", f.op)
	}
	switch n := len(f.payload); {
	case f.op == opClose && n >= 2:
		return fmt.Sprintf("close %d %q", binary.BigEndian.Uint16(f.payload), f.payload[2:])
	case n <= 40:
		return fmt.Sprintf("%s %q", name, f.payload)
	default:
		return fmt.Sprintf("%s %.16q… (%d bytes)", name, f.payload, n)
	}
}
