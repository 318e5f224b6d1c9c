// Package protocol is the WebSocket wire as pure functions: frame headers,
// masking, close codes, UTF-8, the HTTP head and the opening handshake.
//
// Nothing here reads, writes, waits or remembers: bytes come in as arguments,
// bytes go out appended to a slice of the caller's, and what a function has to
// know about earlier bytes is handed to it. The state machines live one floor
// up, in package codec.
//
// Three kinds of answer run through the package. "More bytes are needed" is a
// value, never an error. A peer that breaks RFC 6455 is an [*Error], which
// carries the close code. A peer that breaks HTTP or the opening handshake is a
// [*HandshakeError], which carries the status of the reply.
package protocol
