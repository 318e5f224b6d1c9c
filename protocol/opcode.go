package protocol

import "strconv"

// Opcode is the four-bit type of a frame (RFC 6455 §5.2).
type Opcode byte

// The opcodes that RFC 6455 §11.8 registers; all others are reserved.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// Control reports whether o belongs to the control frames, reserved ones
// included (RFC 6455 §5.5).
func (o Opcode) Control() bool { return o >= OpClose }

// Reserved reports whether RFC 6455 gives o no meaning: 3–7, 11 and above.
func (o Opcode) Reserved() bool { return o > OpBinary && o < OpClose || o > OpPong }

// String returns the RFC's name of o, or its number if it is reserved.
func (o Opcode) String() string {
	switch o {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return "opcode " + strconv.Itoa(int(o))
}
