package protocol

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
)

// keyGUID is what RFC 6455 §4.2.2 appends to the key before hashing.
const keyGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// keyBytes is the length of Sec-WebSocket-Key: 16 bytes in base64.
const keyBytes = 24

// Expects100 reports whether the client waits for a 100 (Continue) first (RFC
// 9110 §10.1.1). Before a 101 it has to be sent (§7.8).
func (r *Request) Expects100() bool { return r.Fields.HasToken("Expect", "100-continue") }

// Upgrade reports whether r names the token websocket in Upgrade: an opening
// handshake is meant, well-formed or not. Otherwise it is plain HTTP.
func (r *Request) Upgrade() bool { return r.Fields.HasToken("Upgrade", "websocket") }

// CheckUpgrade reports whether the parsed r is an opening handshake that a server
// may accept (RFC 6455 §4.2.1). Otherwise it returns a [*HandshakeError] whose
// Status and Fields make the reply:
//
//   - 405 with Allow: the method is not GET
//   - 505: the version is HTTP/1.0
//   - 426 with Upgrade, Connection and Sec-WebSocket-Version: Upgrade does not
//     name websocket, or the version of WebSocket is not 13 (§4.4)
//   - 413: the request announces a body
//   - 400: anything else, from a missing token in Connection to a malformed
//     Sec-WebSocket-Extensions
//
// It sets r.Extensions. Which origins, subprotocols and extensions to accept is
// left to the caller.
func CheckUpgrade(r *Request) error {
	f := r.Fields
	switch {
	case r.Method != "GET":
		return refuse(405, "method is not GET", Field{"Allow", "GET"})
	case r.Minor < 1:
		return refuse(505, "the handshake needs HTTP/1.1")
	case !r.Upgrade():
		return upgradeRequired("this is a WebSocket, and the Upgrade of the request does not name websocket")
	case !f.HasToken("Connection", "Upgrade"):
		return refuse(400, "Connection does not name Upgrade")
	case f.Count("Sec-WebSocket-Version") > 1:
		return refuse(400, "repeated Sec-WebSocket-Version")
	case f.Get("Sec-WebSocket-Version") != "13":
		return upgradeRequired("Sec-WebSocket-Version is not 13")
	case f.Count("Sec-WebSocket-Key") != 1:
		return refuse(400, "missing or repeated Sec-WebSocket-Key")
	case !validKey(f.Get("Sec-WebSocket-Key")):
		return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64")
	case f.Count("Origin") > 1:
		return refuse(400, "repeated Origin")
	case !validSubprotocols(f):
		return refuse(400, "malformed Sec-WebSocket-Protocol")
	}
	var err error
	if r.Extensions, err = parseExtensions(r.Extensions[:0], f); err != nil {
		return err
	}
	if length, _ := parseLength(f.Get("Content-Length")); length > 0 || f.Count("Transfer-Encoding") > 0 {
		return refuse(413, "the handshake has a body")
	}
	return nil
}

func upgradeRequired(reason string) error {
	return refuse(426, reason,
		Field{"Upgrade", "websocket"}, Field{"Connection", "Upgrade"}, Field{"Sec-WebSocket-Version", "13"})
}

// HandshakeField reports whether the opening handshake itself decides the
// response field of that name, so that a program must not add it.
func HandshakeField(name string) bool {
	const prefix = "Sec-WebSocket-"
	for _, own := range [...]string{"Upgrade", "Connection", "Content-Length", "Transfer-Encoding"} {
		if equalFold(name, own) {
			return true
		}
	}
	return len(name) > len(prefix) && equalFold(name[:len(prefix)], prefix)
}

// validKey does not insist on zero bits in the padding: the example key of
// RFC 6455 §4.1 has some set.
func validKey(key string) bool {
	if len(key) != keyBytes {
		return false
	}
	var src, dst [keyBytes]byte
	copy(src[:], key)
	n, err := base64.StdEncoding.Decode(dst[:], src[:])
	return err == nil && n == 16
}

// validSubprotocols reports whether Sec-WebSocket-Protocol is absent or a list of
// distinct tokens (RFC 6455 §4.1, §11.3.4).
func validSubprotocols(f Fields) bool {
	if f.Count("Sec-WebSocket-Protocol") == 0 {
		return true
	}
	// Sorted, since comparing each with each would let a head full of names
	// hold up the loop.
	names := make([]string, 0, 8)
	for name := range f.Tokens("Sec-WebSocket-Protocol") {
		if !isToken(name) {
			return false
		}
		names = append(names, name)
	}
	slices.Sort(names)
	offered := len(names)
	return offered > 0 && len(slices.Compact(names)) == offered
}

// AppendAcceptKey appends the Sec-WebSocket-Accept that answers key (RFC 6455
// §4.2.2), 28 bytes.
func AppendAcceptKey(dst []byte, key string) []byte {
	var room [keyBytes + len(keyGUID)]byte
	sum := sha1.Sum(append(append(room[:0], key...), keyGUID...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// AcceptKey returns what [AppendAcceptKey] appends.
func AcceptKey(key string) string { return string(AppendAcceptKey(nil, key)) }
