package conformance

import (
	"encoding/binary"
	"fmt"
)

// The opcodes of RFC 6455 §11.8.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The reserved bits as they stand in frame.rsv.
const (
	rsv1 = 4
	rsv2 = 2
	rsv3 = 1
)

// lengthMax bounds the frames that the suite takes from a server.
const lengthMax = 64 << 20

// frame is a frame on the wire. The zero values of all but op and payload are
// those of a proper frame from a client, so that a case only names what it
// breaks.
type frame struct {
	op       byte
	payload  []byte
	more     bool   // FIN is not set
	rsv      byte   // rsv1, rsv2, rsv3
	bare     bool   // not masked
	key      uint32 // of the mask; 0: maskingKey
	zeroKey  bool   // the masking key is zero
	form     int    // bytes of the extended length, 2 or 8; 0: as few as possible
	announce uint64 // the length in the header; 0: that of payload
}

// maskingKey has four different bytes, none of them zero.
const maskingKey = 0x37fa213d

// header encodes all of f but the payload.
func (f frame) header() []byte {
	b0 := f.rsv<<4 | f.op
	if !f.more {
		b0 |= 0x80
	}
	b1 := byte(0x80)
	if f.bare {
		b1 = 0
	}
	length := f.announce
	if length == 0 {
		length = uint64(len(f.payload))
	}
	var b []byte
	switch {
	case f.form == 8 || f.form == 0 && length > 0xffff:
		b = binary.BigEndian.AppendUint64([]byte{b0, b1 | 127}, length)
	case f.form == 2 || length > 125:
		b = binary.BigEndian.AppendUint16([]byte{b0, b1 | 126}, uint16(length))
	default:
		b = []byte{b0, b1 | byte(length)}
	}
	if !f.bare {
		b = binary.BigEndian.AppendUint32(b, f.mask())
	}
	return b
}

func (f frame) mask() uint32 {
	switch {
	case f.zeroKey:
		return 0
	case f.key != 0:
		return f.key
	}
	return maskingKey
}

// wire encodes f.
func (f frame) wire() []byte {
	b := f.header()
	at := len(b)
	b = append(b, f.payload...)
	if !f.bare {
		mask(b[at:], f.mask())
	}
	return b
}

// mask masks b (RFC 6455 §5.3), eight bytes at a time while there are as many.
func mask(b []byte, key uint32) {
	for key8 := uint64(key)<<32 | uint64(key); len(b) >= 8; b = b[8:] {
		binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(b)^key8)
	}
	for i := range b {
		b[i] ^= byte(key >> (24 - 8*(i&3)))
	}
}

func text(s string) frame   { return frame{op: opText, payload: []byte(s)} }
func bin(p []byte) frame    { return frame{op: opBinary, payload: p} }
func ping(p string) frame   { return frame{op: opPing, payload: []byte(p)} }
func pong(p string) frame   { return frame{op: opPong, payload: []byte(p)} }
func rest(s string) frame   { return frame{op: opContinuation, payload: []byte(s)} }
func (f frame) part() frame { f.more = true; return f }

// closing is a close frame.
func closing(code int, reason string) frame {
	return frame{op: opClose, payload: append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)}
}

// join encodes frames one behind the other.
func join(frames ...frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.wire()...)
	}
	return b
}

// fragments cuts a message into frames of at most n bytes, at least one.
func fragments(op byte, payload []byte, n int) []frame {
	var frames []frame
	for len(payload) > n {
		frames = append(frames, frame{op: op, payload: payload[:n], more: true})
		op, payload = opContinuation, payload[n:]
	}
	return append(frames, frame{op: op, payload: payload})
}

// frame reads one frame and judges what a client has to judge (RFC 6455 §5).
func (c *conn) frame() frame {
	h := c.full(2)
	f := frame{op: h[0] & 15, more: h[0]&0x80 == 0, rsv: h[0] >> 4 & 7, bare: true}
	length := uint64(h[1] & 0x7f)
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(c.full(2)))
	case 127:
		length = binary.BigEndian.Uint64(c.full(8))
	}
	if fault := c.fault(f, h[1], length); fault != "" {
		c.t.Failf("the server sent %s (bytes %#02x %#02x) in place of %s", fault, h[0], h[1], c.waiting)
	}
	f.payload = c.full(int(length))
	return f
}

// fault returns what is wrong with a frame from the server, "" if nothing is.
func (c *conn) fault(f frame, b1 byte, length uint64) string {
	allowed := byte(0)
	if c.deflate != nil && (f.op == opText || f.op == opBinary) {
		allowed = rsv1
	}
	control := f.op >= opClose
	code := uint64(b1 & 0x7f)
	switch {
	case b1&0x80 != 0:
		return "a masked frame"
	case f.rsv&^allowed != 0:
		return fmt.Sprintf("a frame with reserved bits %03b", f.rsv)
	case f.op > opBinary && f.op < opClose || f.op > opPong:
		return fmt.Sprintf("a frame with the reserved opcode %d", f.op)
	case control && f.more:
		return "a fragmented control frame"
	case control && length > 125:
		return "a control frame of more than 125 bytes"
	case code == 126 && length < 126, code == 127 && length < 65536:
		return "a length that is not minimally encoded"
	case length > lengthMax:
		return fmt.Sprintf("a frame of %d bytes", length)
	case f.op == opContinuation && c.opcode == 0:
		return "a continuation without a message"
	case !control && f.op != opContinuation && c.opcode != 0:
		return "a new message inside a fragmented one"
	}
	return ""
}
