package protocol

import "strconv"

// Error says that the peer broke RFC 6455 after the handshake. Values returned
// by this package are shared: do not modify them.
type Error struct {
	Code   CloseCode // what to send in the close frame
	Reason string    // a short sentence in ASCII, fit for the close frame
}

// Error returns the close code and the reason.
func (e *Error) Error() string { return "websocket: " + e.Code.String() + ": " + e.Reason }

// HandshakeError says why an HTTP head or an opening handshake was refused.
type HandshakeError struct {
	Status int     // of the HTTP reply
	Reason string  // a short sentence, safe to show to the peer; in ASCII, unless a server or the program said it
	Fields []Field // what the reply has to carry besides, such as Allow
}

// Error returns the status and the reason.
func (e *HandshakeError) Error() string {
	return "websocket: handshake: " + strconv.Itoa(e.Status) + ": " + e.Reason
}

func refuse(status int, reason string, fields ...Field) error {
	return &HandshakeError{Status: status, Reason: reason, Fields: fields}
}
