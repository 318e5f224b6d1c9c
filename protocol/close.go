package protocol

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

// CloseCode says why a connection was closed (RFC 6455 §7.4).
type CloseCode uint16

// The registered close codes (RFC 6455 §7.4.1 and IANA's registry). CloseNoStatus,
// CloseAbnormal and CloseTLSHandshake never stand in a frame: they tell an
// application what happened without one.
const (
	CloseNormal             CloseCode = 1000
	CloseGoingAway          CloseCode = 1001
	CloseProtocolError      CloseCode = 1002
	CloseUnsupportedData    CloseCode = 1003
	CloseNoStatus           CloseCode = 1005
	CloseAbnormal           CloseCode = 1006
	CloseInvalidPayload     CloseCode = 1007
	ClosePolicyViolation    CloseCode = 1008
	CloseMessageTooBig      CloseCode = 1009
	CloseMandatoryExtension CloseCode = 1010
	CloseInternalError      CloseCode = 1011
	CloseServiceRestart     CloseCode = 1012
	CloseTryAgainLater      CloseCode = 1013
	CloseBadGateway         CloseCode = 1014
	CloseTLSHandshake       CloseCode = 1015
)

// closeReasonBytesMax is what the code leaves of a control frame's payload.
const closeReasonBytesMax = ControlBytesMax - 2

var (
	errClosePayloadShort = &Error{CloseProtocolError, "close payload of one byte"}
	errCloseCode         = &Error{CloseProtocolError, "invalid close code"}
	errCloseReason       = &Error{CloseInvalidPayload, "close reason is not valid UTF-8"}
)

// Valid reports whether c may stand in a close frame: 1000–1003, 1007–1014 and
// 3000–4999 (RFC 6455 §7.4.1, §7.4.2).
func (c CloseCode) Valid() bool {
	return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
}

// String returns the number of c, followed by its name if it is registered.
func (c CloseCode) String() string {
	s := strconv.Itoa(int(c))
	if name := c.name(); name != "" {
		return s + " " + name
	}
	return s
}

func (c CloseCode) name() string {
	switch c {
	case CloseNormal:
		return "normal closure"
	case CloseGoingAway:
		return "going away"
	case CloseProtocolError:
		return "protocol error"
	case CloseUnsupportedData:
		return "unsupported data"
	case CloseNoStatus:
		return "no status received"
	case CloseAbnormal:
		return "abnormal closure"
	case CloseInvalidPayload:
		return "invalid payload data"
	case ClosePolicyViolation:
		return "policy violation"
	case CloseMessageTooBig:
		return "message too big"
	case CloseMandatoryExtension:
		return "mandatory extension"
	case CloseInternalError:
		return "internal error"
	case CloseServiceRestart:
		return "service restart"
	case CloseTryAgainLater:
		return "try again later"
	case CloseBadGateway:
		return "bad gateway"
	case CloseTLSHandshake:
		return "TLS handshake"
	}
	return ""
}

// AppendClosePayload appends the payload of a close frame (RFC 6455 §5.5.1), at
// most [ControlBytesMax] bytes. A code that may not stand in a frame ([CloseNoStatus],
// 0, anything else that is not [CloseCode.Valid]) gives the empty payload.
// Invalid UTF-8 in reason becomes U+FFFD, and what exceeds 123 bytes is cut off
// between two code points.
func AppendClosePayload(dst []byte, code CloseCode, reason string) []byte {
	if !code.Valid() {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	room := closeReasonBytesMax
	for _, r := range reason {
		if room -= utf8.RuneLen(r); room < 0 {
			break
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// ParseClosePayload reads the payload of a close frame (RFC 6455 §5.5.1). The empty
// payload gives [CloseNoStatus]. A payload of one byte and a code that is not
// [CloseCode.Valid] are an [*Error] with [CloseProtocolError], a reason that is not
// UTF-8 one with [CloseInvalidPayload].
func ParseClosePayload(p []byte) (code CloseCode, reason string, err error) {
	switch len(p) {
	case 0:
		return CloseNoStatus, "", nil
	case 1:
		return 0, "", errClosePayloadShort
	}
	code = CloseCode(binary.BigEndian.Uint16(p))
	if !code.Valid() {
		return 0, "", errCloseCode
	}
	if !utf8.Valid(p[2:]) {
		return 0, "", errCloseReason
	}
	return code, string(p[2:]), nil
}
