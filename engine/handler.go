package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// Handler holds the callbacks of a connection; a nil one is left out. They run
// on the connection's loop and must not block: see the contract in the package
// documentation.
type Handler struct {
	// OnUpgrade sees the opening handshake after the engine has found it valid
	// and its origin allowed. A nil error accepts it; Refuse makes an error
	// that refuses it; any other error is logged and answered with 500, that of a
	// Dial (*DialError) with the status of the server that refused, or with 502.
	// What takes time is for Upgrade.Go. That of a Handler given to New or
	// Engine.Listen is called, not that of Upgrade.Handler or Dial.Handler. Protocols
	// without an HTTP handshake, such as tls and text, have none.
	OnUpgrade func(u *Upgrade) error

	// OnOpen is called when the handshake is over: from now on messages may be sent
	// and received.
	OnOpen func(c *Conn)

	// OnMessage gets each message, whole. m.Data is valid until it returns.
	OnMessage func(c *Conn, m Message)

	// OnClose is called once, as the last callback, with how the connection ended.
	OnClose func(c *Conn, e *CloseError)

	// OnBackpressure is told that more than SendBytesHigh bytes wait for the
	// peer, whose reading is paused meanwhile; OnDrain, that they are
	// SendBytesLow or fewer again. They alternate.
	OnBackpressure, OnDrain func(c *Conn)

	// OnPing and OnPong see the peer's pings, answered already, and pongs,
	// asked for or not: at most 125 bytes, valid until they return.
	OnPing, OnPong func(c *Conn, data []byte)

	// OnPacket gets each UDP packet of a listener on udp://, which needs it: see
	// Packet. data lies in a buffer of the loop: it is valid until OnPacket returns, and
	// may be changed by it. It may be empty. It runs on a loop and must not block, like
	// the others; packets that the kernel has no room for meanwhile are lost. A panic
	// is logged, and the next packet comes.
	OnPacket func(p Packet, data []byte)
}

// Upgrade is an opening handshake that waits for an answer. It is valid until
// OnUpgrade returns; after Upgrade.Go, until that function returns. What
// Engine.Upgrade was given is in it already.
type Upgrade struct {
	// Request is what the client asked. Its strings may be kept, at the price
	// of the whole head; the value itself may not. Engine.Upgrade ignores what
	// is set here, and in the two fields that follow.
	Request *protocol.Request

	// RemoteAddr is the peer's end of the connection.
	RemoteAddr net.Addr

	// ClientAddr is the client's IP address: see Conn.ClientAddr.
	ClientAddr netip.Addr

	// Subprotocol is to be set to one that the client offered, or left empty:
	// then a browser that offered any fails the connection.
	Subprotocol string

	// Header are more fields for the response.
	Header []protocol.Field

	// State is what Conn.State returns in every later callback.
	State any

	// Handler is to be set to serve this connection by other callbacks.
	Handler *Handler

	c      *Conn // while OnUpgrade or decide may run
	decide func(ctx context.Context) error
}

// Refuse makes the error by which OnUpgrade refuses a handshake: an HTTP
// status from 400 to 599 and a body that the client is shown.
func Refuse(status int, body string, fields ...protocol.Field) error {
	return &codec.HandshakeError{Status: status, Reason: body, Fields: fields}
}

// MessageType tells text from binary messages (RFC 6455 §5.6).
type MessageType byte

// The types of messages. The zero value is taken for Binary.
const (
	Text   = MessageType(protocol.OpText)
	Binary = MessageType(protocol.OpBinary)
)

// Message is a message received or to be sent.
type Message struct {
	Type MessageType

	// Data of a received message is valid until the callback returns, and may
	// be changed by it. Data of a sent message is copied by Send; of a Text it
	// must be UTF-8, or the peer will close the
	// connection (1007, some browsers 1002).
	Data []byte

	// Plain asks that a sent message is not compressed: it is known not to get
	// smaller, or holds a secret beside text that the peer may choose.
	Plain bool

	// Policy says what becomes of a sent message for which there is no room;
	// 0 is Config.Policy.
	Policy Policy

	// Key, of a message with PolicyReplace: while a message of the same
	// key and connection waits to be sent, this one takes its place. An empty
	// key is none: such a message replaces none.
	Key string
}

// Policy says what becomes of a message that is sent while SendBytesMax bytes
// wait for its connection. Control frames are never dropped, and a message of
// which a part is written always leaves whole.
type Policy uint8

// The policies. The messages of a policy other than PolicyClose may be removed from
// the queue as long as nothing of them is written; each is then counted in
// ConnStats.Dropped or Replaced.
const (
	// PolicyClose closes the connection with Config.SlowCode, and discards what is queued. It is
	// the default: a peer that misses a message without knowing is worse off.
	PolicyClose Policy = iota + 1
	// PolicyDropNewest drops the message itself; Send returns ErrBackpressure.
	PolicyDropNewest
	// PolicyDropOldest drops the oldest waiting messages that may be dropped, until
	// there is room.
	PolicyDropOldest
	// PolicyReplace puts the message in the place of a waiting one with the same Key,
	// also while fewer than SendBytesMax bytes wait. If none with that Key waits, it
	// is sent as by PolicyDropOldest. It is for state of which only the latest matters.
	PolicyReplace
)

// Text returns a copy of the data.
func (m Message) Text() string { return string(m.Data) }

// Clone returns a message that stays valid.
func (m Message) Clone() Message {
	m.Data = slices.Clone(m.Data)
	return m
}

func (m Message) opcode() (protocol.Opcode, error) {
	if m.Policy > PolicyReplace {
		return 0, fmt.Errorf("engine: Message.Policy is %d: it must be PolicyClose, PolicyDropNewest, PolicyDropOldest, PolicyReplace, or 0 for Config.Policy", m.Policy)
	}
	switch m.Type {
	case Text, Binary:
		return protocol.Opcode(m.Type), nil
	case 0:
		return protocol.OpBinary, nil
	}
	return 0, fmt.Errorf("engine: Message.Type is %d: it must be Text or Binary", m.Type)
}

// CloseError says how a connection ended.
type CloseError = codec.CloseError

// The errors of Send, Close, Ping and Broadcast, for errors.Is.
var (
	// ErrClosed: the connection, or the listener of a packet, is closed or closing;
	// nothing was sent.
	ErrClosed = errors.New("engine: the connection is closed")

	// ErrBackpressure: the peer does not read; more than SendBytesMax waits
	// for it and the message's Policy dropped it or closed the connection, or
	// its loop is overwhelmed by sends from elsewhere. The message will not
	// arrive. It counts in ConnStats as sent, and then as dropped.
	ErrBackpressure = errors.New("engine: too much is waiting to be sent")

	// ErrStopped: the engine was shut down, or Run has not been called.
	ErrStopped = errors.New("engine: the engine does not run")

	// ErrListenerStopped is found in CloseError.Err after Listener.Shutdown.
	ErrListenerStopped = errors.New("engine: the listener was shut down")

	// ErrAborted is found in CloseError.Err after Conn.Abort.
	ErrAborted = errors.New("engine: the connection was aborted")

	// ErrTimeout is found in CloseError.Err if the peer was silent too long: no
	// pong, no answer to a close frame, or nothing taken of a backlog.
	ErrTimeout = errors.New("engine: the peer did not answer in time")
)
