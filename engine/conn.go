package engine

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
	"unique"
	"unsafe"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// Conn is a connection. Its methods may be called from any goroutine, at any
// time, unless said otherwise.
type Conn struct {
	// What a message touches comes first: in few cache lines, which are cold when
	// connections are many.
	w     *worker // set before Opened
	ep    *endpoint
	h     *Handler
	codec codec.Codec
	out   output
	extra *extra  // nil for nearly all
	tls   *sealed // nil without TLS
	in    input
	end   ending

	origin origin
	shown  shownHead // what callbacks may read of the opening handshake
	flow   flow
	pass   admit.Pass // its place among all connections, and its client; nothing while the http.Server or a dialing holds it

	live  liveness
	lists listed
	ws    codec.Session // what codec is, of a WebSocket
	sock  loop.Socket
	stats connStats

	who  identity
	dial *dialing // of a dialled connection; nil once it is open, unless Dial.Reconnect is set
	off  atomic.Pointer[offLoop]
}

// identity is what tells a connection from others.
type identity struct {
	id            uint64
	remote, local net.Addr              // remote: see shorten
	subprotocol   unique.Handle[string] // zero: none
	state         atomic.Pointer[any]   // nil: none
}

// listed is where a connection stands in the lists of its loop.
type listed struct {
	told   uint64       // see fanOuts
	topics atomic.Int32 // subscriptions, including those that wait in the inbox
	index  int32        // in worker.conns
}

// origin says how a connection came about.
type origin uint8

const (
	accepted origin = iota
	mounted         // it came through Engine.Upgrade
	dialled         // this side is the client
)

// shownHead is the head of the opening handshake, while callbacks may read it.
type shownHead uint8

const (
	noHead shownHead = iota
	requestHead
	responseHead
)

// extra is what only some connections have.
type extra struct {
	in    *extraInput  // nil for nearly all, as the next two are; see Conn.input
	end   *extraEnding // see Conn.ending
	watch *extraWatch  // see Conn.needWatch

	paused     int64 // when reading last paused
	topics     []membership
	followers  []Follower // called after the end
	timers     *Timer     // of the program, armed
	timerCount int32
	holds      int32 // calls of Hold that have not been released
}

// The phases of a connection, in order.
const (
	phaseOpening = iota // the handshake is under way
	phaseOpen
	phaseClosing // this side sent its close frame and awaits the peer's
	phaseEnding  // the session is over: flush, end the stream, discard, close
	phaseGone
)

// newCodec calls a function of Config.Codec or Config.Schemes, and recovers from its panic.
func newCodec(factory func() codec.Codec) (c codec.Codec, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("engine: the function that makes codecs panicked: %v", v)
		}
	}()
	return factory(), nil
}

// bareConn makes a Conn without a codec.
func bareConn(ep *endpoint, nc net.Conn) *Conn {
	c := &Conn{ep: ep, h: ep.handler, who: identity{id: ep.e.lastID.Add(1), remote: shorten(nc.RemoteAddr()), local: nc.LocalAddr()}}
	c.live.timer.Owner = (*owner)(c)
	return c
}

// arrival is what is known of a connection that does not come straight from its
// socket: after its TLS handshake, or through net/http.
type arrival struct {
	mounted bool
	head    []byte        // of net/http: the request as the client sent it, with what came behind it
	upgrade *Upgrade      // what Engine.Upgrade was given
	tls     *sealed       // nil without TLS
	since   time.Duration // the engine's time when it was accepted, of TLS
	remote  net.Addr      // nil: the socket's, as local is
	local   net.Addr
}

func newConn(ep *endpoint, nc net.Conn, m *arrival) (c *Conn, err error) {
	c = bareConn(ep, nc)
	if ep.codec != nil {
		if c.codec, err = newCodec(ep.codec); err != nil {
			return nil, err
		}
	} else {
		c.ws.Init(&ep.options)
		c.codec = &c.ws
	}
	if m == nil {
		return c, nil
	}
	if c.tls = m.tls; m.mounted {
		in := c.needInput()
		in.head, in.upgrade = m.head, m.upgrade
		c.origin = mounted
	}
	if m.remote != nil {
		c.who.remote, c.who.local = shorten(m.remote), m.local
	}
	if c.tls != nil {
		c.tls.since = m.since
	}
	return c, nil
}

func (c *Conn) needExtra() *extra {
	if c.extra == nil {
		c.extra = new(extra)
	}
	return c.extra
}

// What input and ending return for a connection that has nothing of it. Nobody writes to them.
var (
	noInput  extraInput
	noEnding extraEnding
)

// input is what few connections have of it, to be read only: see needInput.
func (c *Conn) input() *extraInput {
	if c.extra == nil || c.extra.in == nil {
		return &noInput
	}
	return c.extra.in
}

func (c *Conn) needInput() *extraInput {
	r := c.needExtra()
	if r.in == nil {
		r.in = new(extraInput)
	}
	return r.in
}

// ending is what few connections have of it, to be read only: see needEnding.
func (c *Conn) ending() *extraEnding {
	if c.extra == nil || c.extra.end == nil {
		return &noEnding
	}
	return c.extra.end
}

func (c *Conn) needEnding() *extraEnding {
	r := c.needExtra()
	if r.end == nil {
		r.end = new(extraEnding)
	}
	return r.end
}

// ID is a number that no other connection of this engine has had.
func (c *Conn) ID() uint64 { return c.who.id }

// RemoteAddr is the peer's address, of a connection through a proxy the
// proxy's.
func (c *Conn) RemoteAddr() net.Addr {
	if a, ok := c.who.remote.(tcp4); ok {
		return a.long()
	}
	return c.who.remote
}

// LocalAddr is this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.who.local }

// Request is the opening handshake's request until OnOpen returns, then nil:
// an idle connection keeps nothing of it. It is for that callback alone: on other
// goroutines it is nil too.
func (c *Conn) Request() *protocol.Request {
	if !c.w.loop.On() || c.shown != requestHead {
		return nil
	}
	c.w.env.Shown = true
	return &c.w.env.Request
}

// Subprotocol is what OnUpgrade chose, or the server that was dialled (RFC 6455
// §1.9).
func (c *Conn) Subprotocol() string {
	if c.who.subprotocol == (unique.Handle[string]{}) {
		return ""
	}
	return c.who.subprotocol.Value()
}

// State is what OnUpgrade set in Upgrade.State, or Dial.State, or SetState after
// them. Any goroutine may call it: what it refers to needs a lock of its own if
// more than the connection's callbacks touch it.
func (c *Conn) State() any {
	if v := c.who.state.Load(); v != nil {
		return *v
	}
	return nil
}

// SetState sets what State returns. Any goroutine may call it.
func (c *Conn) SetState(v any) {
	if v == nil {
		c.who.state.Store(nil)
		return
	}
	c.who.state.Store(&v)
}

// Send sends a message. It copies the data, never blocks, and fails with
// ErrClosed, ErrBackpressure or ErrStopped. A nil error means that the message
// is on its way, not that it arrived.
func (c *Conn) Send(m Message) error {
	op, err := m.opcode()
	if err != nil {
		return err
	}
	if c.corking() {
		return c.cork(op, m.Data, m.Plain)
	}
	return c.dispatch(outgoing{op: op, policy: m.Policy, plain: m.Plain, key: m.Key, data: m.Data})
}

// SendText sends a text message: s must be UTF-8.
func (c *Conn) SendText(s string) error {
	data := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	return c.dispatch(outgoing{op: protocol.OpText, data: data})
}

// SendBinary sends a binary message.
func (c *Conn) SendBinary(b []byte) error {
	return c.dispatch(outgoing{op: protocol.OpBinary, data: b})
}

// Ping sends a ping of at most 125 bytes; the answer comes to OnPong. The
// engine pings silent peers by itself: see Config.PingInterval.
func (c *Conn) Ping(data []byte) error {
	if len(data) > protocol.ControlBytesMax {
		return fmt.Errorf("engine: a ping carries at most %d bytes, not %d", protocol.ControlBytesMax, len(data))
	}
	return c.dispatch(outgoing{op: protocol.OpPing, data: data})
}

// Close begins the closing handshake (RFC 6455 §7.1.2): what was sent before is
// delivered, no further message is received. The code must be one that may be
// sent, such as protocol.CloseNormal or one of 3000 to 4999; the reason is cut
// to 123 bytes. Code 0, with no reason, sends a close frame without a code (RFC
// 6455 §5.5.1), and OnClose gets protocol.CloseNoStatus on both sides.
// OnClose follows when the peer has answered, or has not for
// Config.CloseTimeout. A connection that was dialled with Dial.Reconnect is not
// made again, even if Close finds it closed.
func (c *Conn) Close(code protocol.CloseCode, reason string) error {
	info, err := closeInfo(code, reason)
	if err != nil {
		return err
	}
	if c.dial != nil {
		c.dial.stop()
	}
	if c.end.phase.Load() > phaseOpen {
		return ErrClosed
	}
	if c.w.loop.On() {
		return c.close(info)
	}
	return c.postClose(func() { _ = c.close(info) })
}

// closeInfo checks what Close is to send.
func closeInfo(code protocol.CloseCode, reason string) (*CloseError, error) {
	switch {
	case code == 0 && reason == "":
		code = protocol.CloseNoStatus
	case !code.Valid():
		return nil, &protocol.Error{Code: code, Reason: "this close code may not be sent"}
	}
	return &CloseError{Code: code, Reason: reason}, nil
}

// CloseNow is Close for a connection whose peer is not to be waited for, since it
// may have been gone for long: the close frame is sent, and OnClose follows at
// once, as soon as functions of Conn.Go have returned. OnClose gets e, whose Err
// may tell why; e.Remote is ignored. It may follow a Close whose end is not to be
// waited for: then OnClose gets what that was given. It fails with ErrClosed if
// the connection is over.
func (c *Conn) CloseNow(e *CloseError) error {
	info, err := closeInfo(e.Code, e.Reason)
	if err != nil {
		return err
	}
	info.Err = e.Err
	if c.dial != nil {
		c.dial.stop()
	}
	switch {
	case c.end.phase.Load() >= phaseEnding:
		return ErrClosed
	case c.w.loop.On():
		c.closeNow(info)
		return nil
	}
	return c.postOnce(closeNowPosted, func() { c.closeNow(info) })
}

// Abort ends the connection at once: no close frame is sent, what is queued is
// dropped, and a TCP peer sees a reset. No callback but OnClose follows, whose
// CloseError.Err is ErrAborted. It may follow a Close whose end is not to be
// waited for, and fails with ErrClosed if the connection is gone. A connection
// that was dialled with Dial.Reconnect is not made again.
func (c *Conn) Abort() error {
	if c.dial != nil {
		c.dial.stop()
	}
	switch {
	case c.end.phase.Load() == phaseGone:
		return ErrClosed
	case c.w.loop.On():
		c.abort()
		return nil
	}
	return c.postOnce(abortPosted, c.abort)
}

// Of each of these, a connection has one post at most, however often it is asked for.
const (
	closePosted = 1 << iota
	closeNowPosted
	abortPosted
	joined // not a post: Pipe has been called for the connection
)

func (c *Conn) postClose(do func()) error { return c.postOnce(closePosted, do) }

func (c *Conn) postOnce(what uint32, do func()) error {
	if c.end.posted.Or(what)&what != 0 {
		return ErrClosed
	}
	return c.w.post(post{kind: ownPost, c: c, do: do})
}
