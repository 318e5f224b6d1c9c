package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

// Dial says where Engine.Dial connects to, and what becomes of the connection.
// It may be used again, also at once.
type Dial struct {
	// URL is ws://host:port/path?query, or wss:// for TLS; without a port it is 80 or
	// 443. A unix socket is ws+unix:///path, with a target
	// ws+unix:///path:/target?query. The other protocols of Config.Addr are
	// tcp://host:port, tls://, text://, frame:// and those of Config.Schemes, which
	// need a port, and may have +tls and +unix behind the name too.
	URL string

	// TLS is for a URL that asks for TLS; nil: the defaults of crypto/tls. It is copied. Without a
	// ServerName it is the host of URL. What it finds wrong with the server is
	// DialError.Err, such as a *tls.CertificateVerificationError.
	TLS *tls.Config

	// Proxy, if set, returns the HTTP proxy through which an attempt goes, by CONNECT
	// (RFC 9110 §9.3.6), or nil for none; such as ProxyFromEnvironment, or
	// http.ProxyURL with a fixed one. It is called on a goroutine of each attempt.
	// The proxy's URL begins with http://, and may have user information. A proxy that
	// refuses is a *ProxyError in DialError.Err. Unix sockets need none.
	Proxy func(target *url.URL) (*url.URL, error)

	// Handler are the callbacks; nil is the Handler given to New. OnUpgrade is
	// for accepted connections only. Many Dials may share one.
	Handler *Handler

	// Loop is the one of Engine.Loops on which the connections live, such as that
	// of a connection for whose sake they are made; nil: the loops take turns.
	Loop *Loop

	// State is what Conn.State returns, from OnOpen on, of each connection that
	// is made.
	State any

	// Subprotocols are offered to the server, the best first (RFC 6455 §1.9);
	// Conn.Subprotocol is what it chose.
	Subprotocols []string

	// Header are more fields of the request, such as Authorization, Cookie or
	// Origin.
	Header []protocol.Field

	// LocalAddr is the address to connect from; nil: the system chooses.
	LocalAddr net.Addr

	// Control, if set, is called with each socket before it connects, on a
	// goroutine of its own: it may set options of the socket, such as the size of
	// its buffers. Its error fails the attempt. See net.Dialer.
	Control func(network, address string, c syscall.RawConn) error

	// Timeout bounds an attempt, from the moment when its turn has come (see
	// Config.DialsMax) to the end of the handshake; 0 is
	// Config.HandshakeTimeout.
	Timeout time.Duration

	// OnFailure is told of each attempt that failed. It runs on the loop on
	// which the connections of this Dial live, and never beside their callbacks.
	// If the engine is shut down without a Run, it is told of ErrStopped on the
	// goroutine of Shutdown, before that returns.
	OnFailure func(e *DialError)

	// Reconnect says that another attempt follows one that failed, and a
	// connection that was lost. None follows when Conn.Close was called, when
	// the server closed with 1000, when the context has ended, or when the
	// engine is shut down; any other end is a loss, whoever caused it. After a
	// loss comes OnClose, and then OnOpen with another Conn.
	//
	// The wait is drawn anew each time, from BackoffMin to a bound that doubles,
	// beginning at twice BackoffMin, up to BackoffMax. A connection that was
	// open for BackoffMax lets it begin anew.
	Reconnect bool

	// BackoffMin is 500 ms unless set, BackoffMax 30 s, or BackoffMin if that is
	// longer.
	BackoffMin, BackoffMax time.Duration
}

// DialError says why an attempt of Engine.Dial failed.
type DialError struct {
	URL     string        // without its query
	Attempt int           // 1 is the first since Dial, or since a connection that lasted
	Retry   time.Duration // until the next attempt; 0: there is none

	// Err is the cause, for errors.Is and errors.As: a *codec.HandshakeError
	// with the server's status if it refused, and the first 256 bytes of what it says to that,
	// or with 502 if its answer breaks the RFC or is not HTTP (TLS, say); ErrTimeout; ErrStopped; the
	// context's; or what the system said (*net.OpError).
	Err error
}

func (e *DialError) Error() string {
	next := ""
	if e.Retry > 0 {
		next = fmt.Sprintf("; again in %v", e.Retry)
	}
	return fmt.Sprintf("engine: dialling %s, attempt %d: %v%s", e.URL, e.Attempt, e.Err, next)
}

// Unwrap returns Err.
func (e *DialError) Unwrap() error { return e.Err }

// Bounds of Dial's durations, and their defaults.
const (
	backoffMinDefault = 500 * time.Millisecond
	backoffMaxDefault = 30 * time.Second
)

// dialer is what all calls of Dial share. Engine.life.mu guards the fields after
// failed.
type dialer struct {
	pool   pool[*dialing]
	last   atomic.Pointer[target]
	failed atomic.Uint64 // attempts
	lanes  []*lane       // of the connections that are made
	early  []*dialing    // calls before Run, or before a Shutdown without it
	begun  int           // counts the calls that chose no loop, so that the loops take turns
}

// dialing is one call of Dial: its attempts, and with Dial.Reconnect the connection
// that it made. All connections of a dialing live on one loop, which owns what
// changes here.
type dialing struct {
	Dial   // without the fields that target holds
	e      *Engine
	ctx    context.Context
	w      *worker
	target *target
	pass   admit.Pass // the place of its connections

	attempt  int
	conn     *Conn         // the last one
	deadline int64         // of the attempt, by the loop's clock; 0: none
	failure  error         // why its handshake failed
	opened   int64         // when it had succeeded, by the loop's clock
	over     atomic.Bool   // no attempt is to follow
	waiting  bool          // for the next attempt, with timer
	asked    time.Duration // what the server has asked to wait for; see RetryAfter
	isAsked  bool
	timer    wheel.Timer
	unwatch  func() bool // ends the watching of ctx
}

// Dial connects to a server, mostly of WebSocket: the connection lives on one of the
// engine's loops like an accepted one, with the same callbacks, limits and
// methods. It does not wait: OnOpen follows, or Dial.OnFailure. What is wrong
// with d is an error here, and so are ErrStopped, and a lack of room
// below Config.ConnectionsMax: a dialled connection counts from this call on. Any
// goroutine may call it, also before Run, which then makes the attempt; a
// Shutdown without a Run calls OnFailure with ErrStopped, and gives the place back.
//
// ctx is for the attempts: when it ends, the one under way fails and none
// follows. A connection that is open stays so.
func (e *Engine) Dial(ctx context.Context, d Dial) error {
	if err := e.settleDial(&d); err != nil {
		return err
	}
	t, err := e.target(&d)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.URL, d.Subprotocols, d.Header = "", nil, nil
	x := &dialing{Dial: d, e: e, ctx: ctx, target: t, attempt: 1}
	x.timer.Owner = x
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	var why admit.Refusal
	switch x.pass, why = e.gate.Reserve(); why {
	case admit.Closed:
		return ErrStopped
	case admit.Full:
		return errFull
	}
	x.settleOn(d.Loop)
	if e.life.phase == engineNew {
		e.dialer.early = append(e.dialer.early, x)
		return nil
	}
	x.begin()
	return nil
}

// settleDial fills in the defaults and checks the ranges.
func (e *Engine) settleDial(d *Dial) error {
	if d.Loop != nil && d.Loop.w.e != e {
		return fmt.Errorf("engine: Dial.Loop is another engine's: take one of Engine.Loops of this one")
	}
	if d.Handler == nil {
		d.Handler = e.main.handler
	}
	if d.Timeout == 0 {
		d.Timeout = e.set.HandshakeTimeout
	}
	if d.BackoffMin == 0 {
		d.BackoffMin = backoffMinDefault
	}
	if d.BackoffMax == 0 {
		d.BackoffMax = max(backoffMaxDefault, d.BackoffMin)
	}
	switch {
	case d.Timeout < time.Millisecond:
		return fmt.Errorf("engine: Dial.Timeout is %v: it must be at least 1ms, or 0 for Config.HandshakeTimeout", d.Timeout)
	case d.BackoffMin < time.Millisecond:
		return fmt.Errorf("engine: Dial.BackoffMin is %v: it must be at least 1ms, or 0 for the default", d.BackoffMin)
	case d.BackoffMax < d.BackoffMin || d.BackoffMax > time.Duration(day):
		return fmt.Errorf("engine: Dial.BackoffMax is %v: it must be from BackoffMin, %v, to 24h, or 0 for the default", d.BackoffMax, d.BackoffMin)
	}
	return nil
}

// settleOn picks the loop: l, or the next in turn if that is nil. life.mu is held.
func (d *dialing) settleOn(l *Loop) {
	if e := d.e; l == nil {
		l = &e.loops[e.dialer.begun%len(e.loops)].api
		e.dialer.begun++
	}
	d.w = l.w
}

// begin makes the first attempt. life.mu is held and the engine runs.
func (d *dialing) begin() {
	_ = d.e.gate.Depart() // it is open: life.mu is held
	d.watch()
	d.e.dialer.pool.submit(d)
}

// try is one attempt. It runs off the loops, on a goroutine of the pool, until
// the connection is on its loop; it is counted among those that are arriving.
func (d *dialing) try() {
	defer d.e.gate.Arrived()
	l, err := d.connect()
	if err == nil {
		err = d.enroll(l)
	}
	if err != nil { // the loop is there: it does not end before what is arriving
		_ = d.w.post(post{kind: ownPost, do: func() { d.failed(err) }})
	}
}

// startClock notes when the attempt has to be over.
func (d *dialing) startClock() {
	if !limit.Endless(d.Timeout) {
		d.deadline = d.w.now() + max(d.Timeout.Milliseconds(), 1)
	}
}

// enroll puts the connection on the dialing's loop, where the handshake begins.
func (d *dialing) enroll(l *line) error {
	if err := d.target.limitKernel(l.nc); err != nil {
		d.e.log.Debug("going on without", zap.Error(err))
	}
	c, err := d.newConn(l.nc)
	if err != nil {
		_ = l.nc.Close()
		return err
	}
	if len(l.early) > 0 {
		c.needInput().head = l.early
	}
	nc := l.nc
	if l.tls != nil {
		nc, c.tls = l.tls.Detach(), &sealed{TLS: l.tls}
	}
	if err := d.w.loop.Enroll(nc, &c.sock, (*owner)(c)); err != nil {
		return err
	}
	return nil
}

func (d *dialing) newConn(nc net.Conn) (*Conn, error) {
	c, err := newConn(&d.target.endpoint, nc, nil)
	if err == nil {
		c.dial, c.origin = d, dialled
	}
	return c, err
}

// Dialled reports whether Engine.Dial made the connection, rather than the
// peer.
func (c *Conn) Dialled() bool { return c.origin == dialled }

// Response is the server's answer to the opening handshake of a dialled
// connection until OnOpen returns, else nil. It is for that callback alone, and
// nil on other goroutines;
// strings taken from it stay valid, but keep the whole head alive.
func (c *Conn) Response() *protocol.Response {
	if !c.w.loop.On() || c.shown != responseHead {
		return nil
	}
	return &c.w.env.Response
}
