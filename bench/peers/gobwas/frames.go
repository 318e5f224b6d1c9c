package main

import (
	"bytes"
	"errors"
	"io"

	"github.com/gobwas/ws"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

// message is a whole message.
type message struct {
	op      ws.OpCode
	payload []byte // behind its header at the end of out, or, if moved, elsewhere
	moved   bool
	control bool // a ping or pong
}

var errClosing = errors.New("closing")

// next reads one message, or one ping or pong. It appends to out what the answer
// is: the message as one frame if it came as one that is not compressed, the
// pong; or, with errClosing, the close frame.
func (c *conn) next(out *[]byte) (message, error) {
	state := ws.StateServerSide
	if c.deflate {
		state |= ws.StateExtended
	}
	h, err := c.readHeader(out, state)
	if err != nil {
		return message{}, err
	}
	if h.OpCode.IsControl() {
		return message{control: true}, c.control(out, h)
	}
	m, at := message{op: h.OpCode}, len(*out)
	compressed := h.Rsv != 0
	if h.Fin && !compressed { // the way that counts
		*out = appendHeader(*out, h.OpCode, 0, int(h.Length))
		m.payload, err = c.readPayload(out, h)
	} else {
		m.moved = true
		m.payload, err = c.assemble(out, h, state|ws.StateFragmented)
		if err == nil && compressed {
			m.payload, err = inflate(m.payload)
		}
	}
	if err != nil {
		return m, err
	}
	if !valid(m.op, m.payload) {
		*out = (*out)[:at]
		return m, refuse(out, ws.StatusInvalidFramePayloadData)
	}
	return m, nil
}

// assemble reads the rest of a message that begins with h.
func (c *conn) assemble(out *[]byte, h ws.Header, state ws.State) (whole []byte, err error) {
	for {
		if len(whole)+int(h.Length) > peer.MessageBytesMax {
			return nil, refuse(out, ws.StatusMessageTooBig)
		}
		if _, err := c.readPayload(&whole, h); err != nil {
			return nil, err
		}
		if h.Fin {
			return whole, nil
		}
		for {
			if h, err = c.readHeader(out, state); err != nil {
				return nil, err
			}
			if !h.OpCode.IsControl() {
				break
			}
			at := len(*out)
			if err := c.control(out, h); err != nil {
				return nil, err
			}
			if _, err := c.Write((*out)[at:]); err != nil {
				return nil, err
			}
			*out = (*out)[:at]
		}
	}
}

func (c *conn) readHeader(out *[]byte, state ws.State) (ws.Header, error) {
	h, err := ws.ReadHeaderBuffer(c.br, c.header[:0])
	if err != nil {
		return h, err
	}
	if ws.CheckHeader(h, state) != nil || h.Rsv&3 != 0 || h.Rsv != 0 && (h.OpCode.IsControl() || h.OpCode == ws.OpContinuation) {
		return h, refuse(out, ws.StatusProtocolError)
	}
	if h.Length > peer.MessageBytesMax {
		return h, refuse(out, ws.StatusMessageTooBig)
	}
	return h, nil
}

// readPayload appends the payload of h to b and returns it.
func (c *conn) readPayload(b *[]byte, h ws.Header) ([]byte, error) {
	at, n := len(*b), int(h.Length)
	if cap(*b)-at < n {
		*b = append(*b, make([]byte, n)...)
	}
	*b = (*b)[:at+n]
	payload := (*b)[at:]
	if _, err := io.ReadFull(c.br, payload); err != nil {
		return nil, err
	}
	ws.Cipher(payload, h.Mask, 0)
	return payload, nil
}

// control answers a control frame.
func (c *conn) control(out *[]byte, h ws.Header) error {
	at := len(*out)
	op := ws.OpPong
	if h.OpCode == ws.OpClose {
		op = ws.OpClose
	}
	*out = appendHeader(*out, op, 0, int(h.Length))
	if _, err := c.readPayload(out, h); err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpClose:
		return errClosing
	case ws.OpPong:
		*out = (*out)[:at]
	}
	return nil
}

// refuse appends a close frame to out.
func refuse(out *[]byte, code ws.StatusCode) error {
	*out = appendHeader(*out, ws.OpClose, 0, 2)
	*out = append(*out, byte(code>>8), byte(code))
	return errClosing
}

// appendHeader appends the header of a frame that is a whole message.
func appendHeader(b []byte, op ws.OpCode, rsv byte, length int) []byte {
	var scratch [ws.MaxHeaderSize]byte
	w := bytes.NewBuffer(b)
	_ = ws.WriteHeaderBuffer(w, ws.Header{Fin: true, Rsv: rsv, OpCode: op, Length: int64(length)}, scratch[:]) // a Buffer takes everything
	return w.Bytes()
}
