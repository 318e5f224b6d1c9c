package protocol

import "encoding/binary"

const (
	// HeaderBytesMax is the size of the longest frame header: two bytes, a
	// 64-bit length and a masking key (RFC 6455 §5.2).
	HeaderBytesMax = 14
	// ControlBytesMax is the longest payload of a control frame (RFC 6455 §5.5).
	ControlBytesMax = 125
)

// The reserved bits as they stand in [Header].Rsv (RFC 6455 §5.2).
const (
	Rsv1 byte = 4
	Rsv2 byte = 2
	Rsv3 byte = 1
)

// Header is the header of one frame (RFC 6455 §5.2).
type Header struct {
	Fin    bool
	Rsv    byte // Rsv1 | Rsv2 | Rsv3
	Opcode Opcode
	Masked bool
	Key    [4]byte // the masking key; zero unless Masked
	Length int64   // payload length in bytes, never negative
}

// Violations of framing. Package-level, so that refusing costs no allocation
// either; nobody may modify them.
var (
	errLengthNotMinimal  = &Error{CloseProtocolError, "payload length is not minimally encoded"}
	errLengthTopBit      = &Error{CloseProtocolError, "payload length has its top bit set"}
	errReservedBit       = &Error{CloseProtocolError, "reserved bit is set"}
	errReservedOpcode    = &Error{CloseProtocolError, "reserved opcode"}
	errControlFragmented = &Error{CloseProtocolError, "fragmented control frame"}
	errControlTooLong    = &Error{CloseProtocolError, "control frame longer than 125 bytes"}
	errUnmasked          = &Error{CloseProtocolError, "frame from the client is not masked"}
	errMasked            = &Error{CloseProtocolError, "frame from the server is masked"}
)

// ParseHeader reads the frame header at the start of b (RFC 6455 §5.2).
//
// n is the size of the header. n == 0 without an error means that b ends inside
// it; if b holds at least two bytes, h then carries what those two say, with
// the 7-bit length code (0–127) as Length, so that [Header.Check] can refuse the
// frame before the rest has arrived. With fewer than two bytes h is zero.
//
// A length that a shorter form could have carried, and one with the top bit
// set, are an [*Error] with [CloseProtocolError], as soon as the bytes show it.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] >> 4 & 7
	h.Opcode = Opcode(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	h.Length = int64(b[1] & 0x7f)

	length, n := h.Length, 2
	if length > 125 {
		length, n, err = parseExtendedLength(b)
		if n == 0 {
			return h, 0, err
		}
	}
	if h.Masked {
		if len(b) < n+4 {
			return h, 0, nil
		}
		h.Key = [4]byte(b[n : n+4])
		n += 4
	}
	h.Length = length
	return h, n, nil
}

// parseExtendedLength reads the 16-bit or 64-bit length that follows the first
// two bytes of b. n is where it ends, 0 if b ends inside it or err is set.
func parseExtendedLength(b []byte) (length int64, n int, err error) {
	if b[1]&0x7f == 126 {
		if len(b) < 4 {
			return 0, 0, nil
		}
		length = int64(binary.BigEndian.Uint16(b[2:]))
		if length < 126 {
			return 0, 0, errLengthNotMinimal
		}
		return length, 4, nil
	}
	if len(b) > 2 && b[2]&0x80 != 0 {
		return 0, 0, errLengthTopBit
	}
	// Six leading zero bytes mean 16 bits would have done: known two bytes early.
	if len(b) >= 8 && binary.BigEndian.Uint32(b[2:])|uint32(binary.BigEndian.Uint16(b[6:])) == 0 {
		return 0, 0, errLengthNotMinimal
	}
	if len(b) < 10 {
		return 0, 0, nil
	}
	return int64(binary.BigEndian.Uint64(b[2:])), 10, nil
}

// AppendHeader appends h in wire form, with the length minimally encoded
// (RFC 6455 §5.2). Bits of Rsv and Opcode beyond three and four are dropped; a
// negative Length is a mistake of the caller and panics.
func AppendHeader(dst []byte, h Header) []byte {
	b0 := byte(h.Opcode)&0x0f | h.Rsv&7<<4
	if h.Fin {
		b0 |= 0x80
	}
	var b1 byte
	if h.Masked {
		b1 = 0x80
	}
	switch length := uint64(h.Length); {
	case length <= 125:
		dst = append(dst, b0, b1|byte(length))
	case length <= 0xffff:
		dst = append(dst, b0, b1|126, byte(length>>8), byte(length))
	default:
		if h.Length < 0 {
			panic("protocol: negative frame length")
		}
		dst = binary.BigEndian.AppendUint64(append(dst, b0, b1|127), length)
	}
	if h.Masked {
		dst = append(dst, h.Key[:]...)
	}
	return dst
}

// Check reports what in h alone breaks RFC 6455, as an [*Error] with
// [CloseProtocolError]: a reserved bit that was not negotiated (§5.2), a reserved
// opcode (§5.2), a control frame that is fragmented or longer than
// [ControlBytesMax] (§5.5), a mask missing on a client's frame or present on a
// server's (§5.1).
//
// rsv holds the bits that an agreed extension may set on the first frame of a
// data message; continuations and control frames may never carry any (RFC 7692
// §6.1). Whether h may come at this point of the message is the session's to
// judge, not Check's.
func (h Header) Check(fromClient bool, rsv byte) error {
	// The common frame is settled where Check is inlined.
	if h.Opcode <= OpBinary && h.Rsv == 0 && h.Masked == fromClient {
		return nil
	}
	return h.check(fromClient, rsv)
}

func (h Header) check(fromClient bool, rsv byte) error {
	control := h.Opcode.Control()
	if control || h.Opcode == OpContinuation {
		rsv = 0
	}
	switch {
	case h.Rsv&^rsv != 0:
		return errReservedBit
	case h.Opcode.Reserved():
		return errReservedOpcode
	case control && !h.Fin:
		return errControlFragmented
	case control && h.Length > ControlBytesMax:
		return errControlTooLong
	case h.Masked != fromClient:
		if fromClient {
			return errUnmasked
		}
		return errMasked
	}
	return nil
}
