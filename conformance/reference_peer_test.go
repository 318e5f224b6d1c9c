package conformance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"unicode/utf8"

	"github.com/sockmill/sockmill/protocol"
)

// peer is an open connection of the reference server.
type peer struct {
	*reference
	nc      net.Conn
	r       *bufio.Reader
	deflate *serverDeflate

	opcode    protocol.Opcode // of the message in progress; OpContinuation: none
	packed    bool
	fragments int
	message   []byte
	text      protocol.UTF8
}

// errOver ends a connection without a close frame, or behind one.
var errOver = errors.New("over")

// run echoes until the connection is over.
func (p *peer) run() {
	for {
		h, err := p.header()
		if err == nil {
			err = p.frame(h)
		}
		var e *protocol.Error
		if errors.As(err, &e) {
			p.write(protocol.OpClose, 0, protocol.AppendClosePayload(nil, e.Code, e.Reason))
		}
		if err != nil {
			return
		}
	}
}

func fault(code protocol.CloseCode) error { return &protocol.Error{Code: code, Reason: "fault"} }

// header reads a frame header and judges it.
func (p *peer) header() (h protocol.Header, err error) {
	var b []byte
	for n := 0; n == 0; {
		c, err := p.r.ReadByte()
		if err != nil {
			return h, err
		}
		b = append(b, c)
		if h, n, err = protocol.ParseHeader(b); err != nil && !p.minimalEnough(b, &h, &n) {
			return h, err
		}
		if len(b) >= 2 {
			if err := p.check(h); err != nil {
				return h, err
			}
		}
	}
	return h, p.room(h)
}

// minimalEnough takes a length that is not minimal, if that is what is broken.
func (p *peer) minimalEnough(b []byte, h *protocol.Header, n *int) bool {
	if !p.is("lengths not minimal") || b[1]&0x7f != 126 {
		return false
	}
	if *n = 0; len(b) == 8 {
		h.Length, *n = int64(binary.BigEndian.Uint16(b[2:])), 8
		copy(h.Key[:], b[4:])
	}
	return true
}

// check judges what the first two bytes show.
func (p *peer) check(h protocol.Header) error {
	var allowed byte
	if p.deflate != nil {
		allowed = protocol.Rsv1
	}
	if p.is("reserved bits") || p.is("RSV1 on continuations") && h.Opcode == protocol.OpContinuation {
		h.Rsv = 0
	}
	if p.is("unmasked") {
		h.Masked = true
	}
	if p.is("reserved opcodes") && h.Opcode.Reserved() {
		h.Opcode = protocol.OpPong
	}
	if p.is("long control frames") && h.Opcode.Control() {
		h.Length = 0
	}
	if err := h.Check(true, allowed); err != nil {
		return err
	}
	inside := p.opcode != protocol.OpContinuation
	if !h.Opcode.Control() && inside != (h.Opcode == protocol.OpContinuation) && !p.is("stray continuations") {
		return fault(protocol.CloseProtocolError)
	}
	return nil
}

// room judges the length.
func (p *peer) room(h protocol.Header) error {
	if !h.Opcode.Control() && (h.Length > messageMax-int64(len(p.message)) || p.fragments >= fragmentsMax) {
		return fault(protocol.CloseMessageTooBig)
	}
	return nil
}

// frame reads the payload and acts on it.
func (p *peer) frame(h protocol.Header) error {
	control := h.Opcode.Control()
	if !control {
		if h.Opcode != protocol.OpContinuation {
			p.opcode, p.packed, p.fragments, p.message, p.text = h.Opcode, h.Rsv&protocol.Rsv1 != 0, 0, nil, protocol.UTF8{}
		}
		p.fragments++
	}
	var payload []byte
	for got := int64(0); got < h.Length; {
		if _, err := p.r.Peek(1); err != nil {
			return err
		}
		piece := make([]byte, min(h.Length-got, int64(p.r.Buffered())))
		_, _ = p.r.Read(piece)
		if h.Masked {
			protocol.Mask(piece, h.Key, int(got&3))
		}
		got += int64(len(piece))
		payload = append(payload, piece...)
		if p.opcode == protocol.OpText && !control && !p.packed && p.early() && !p.text.Write(piece) {
			return fault(protocol.CloseInvalidPayload)
		}
	}
	switch {
	case control:
		return p.control(h.Opcode, payload)
	case p.is("fragments alone"):
		p.write(p.opcode, 0, payload)
	}
	p.message = append(p.message, payload...)
	if h.Fin {
		return p.whole()
	}
	return nil
}

// early reports whether text is judged as it comes.
func (p *peer) early() bool { return !p.is("UTF-8") && !p.is("UTF-8 late") && !p.is("surrogates") }

// whole echoes a complete message.
func (p *peer) whole() error {
	op := p.opcode
	p.opcode = protocol.OpContinuation
	if p.packed {
		var err error
		if p.message, err = p.deflate.inflate(p.message); err != nil {
			return err
		}
	}
	if op == protocol.OpText && !p.valid(p.message) {
		return fault(protocol.CloseInvalidPayload)
	}
	if p.is("large messages cut") {
		p.message = p.message[:min(len(p.message), 1<<20-1)]
	}
	if p.is("text as binary") {
		op = protocol.OpBinary
	}
	if !p.is("fragments alone") {
		p.send(op, p.message)
	}
	p.message = nil
	return nil
}

func (p *peer) valid(b []byte) bool {
	if p.is("UTF-8") || p.is("inflated UTF-8") && p.packed {
		return true
	}
	if p.is("surrogates") {
		return !invalidButSurrogates(b)
	}
	return utf8.Valid(b)
}

// invalidButSurrogates is a validator that lets surrogates pass.
func invalidButSurrogates(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			if len(b) < 3 || b[0] != 0xed || b[1] < 0xa0 {
				return true
			}
			n = 3
		}
		b = b[n:]
	}
	return false
}

// control acts on a control frame.
func (p *peer) control(op protocol.Opcode, payload []byte) error {
	switch op {
	case protocol.OpPing:
		if p.is("pong between fragments missing") && p.opcode != protocol.OpContinuation {
			return nil
		}
		if p.is("empty pongs") {
			payload = nil
		}
		if p.is("compressed control frames") && p.deflate != nil {
			p.write(protocol.OpPong, protocol.Rsv1, p.deflate.compress(payload))
			return nil
		}
		p.write(protocol.OpPong, 0, payload)
	case protocol.OpPong:
		if p.is("pongs answered") {
			p.write(protocol.OpPong, 0, payload)
		}
	case protocol.OpClose:
		return p.closed(payload)
	}
	return nil
}

func (p *peer) closed(payload []byte) error {
	if p.is("close reason") {
		payload = payload[:min(len(payload), 2)]
	}
	code, _, err := protocol.ParseClosePayload(payload)
	if err != nil && !p.is("close codes") {
		return err
	}
	switch p.broken {
	case "close not answered":
		return errOver
	case "close answered with 1000":
		code = protocol.CloseNormal
	case "close answered twice":
		p.write(protocol.OpClose, 0, protocol.AppendClosePayload(nil, code, ""))
	case "close codes":
		code = protocol.CloseCode(binary.BigEndian.Uint16(payload))
		p.write(protocol.OpClose, 0, binary.BigEndian.AppendUint16(nil, uint16(code)))
		return errOver
	}
	p.write(protocol.OpClose, 0, protocol.AppendClosePayload(nil, code, ""))
	if p.is("messages after close") {
		return nil
	}
	return errOver
}

// send echoes a message, compressed if that was agreed.
func (p *peer) send(op protocol.Opcode, message []byte) {
	if p.deflate != nil {
		p.write(op, protocol.Rsv1, p.deflate.compress(message))
		return
	}
	p.write(op, 0, message)
}

func (p *peer) write(op protocol.Opcode, rsv byte, payload []byte) {
	h := protocol.Header{Fin: true, Rsv: rsv, Opcode: op, Length: int64(len(payload)), Masked: p.is("masked")}
	b := protocol.AppendHeader(nil, h)
	if p.is("long lengths") && len(payload) == 126 {
		b = []byte{b[0], 127, 0, 0, 0, 0, 0, 0, 0, 126}
	}
	_, _ = p.nc.Write(append(b, payload...)) // if it fails, so does the next read
}
