package engine

import (
	"fmt"
	"runtime/debug"
	"unique"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/internal/poison"
	"github.com/sockmill/sockmill/protocol"
)

// input is the state of what a connection reads.
type input struct {
	second, controls uint32       // control frames in the running second
	paused           pauseReasons // why nothing is to be read
	halted           bool         // nothing is read
	life             lifeState    // see lookForLife
}

// extraInput is what few connections have beside it.
type extraInput struct {
	head   []byte // read before the connection came to its loop, or before start
	parked []byte // arrived while reading was paused
	proxy  bool   // a PROXY header may come first
	eof    bool   // the peer ended its stream
	rates  *rates // what the peer sent lately, if there is a limit

	upgrade *Upgrade // what Engine.Upgrade was given; later the handshake, while a function of Upgrade.Go decides it
	pipe    *pipe    // joined by Pipe
}

// enrolled is told that the connection has come to its loop.
func (c *Conn) enrolled(l *loop.Loop) {
	w := l.Driver().(*worker)
	w.beginTurn()
	c.w = w
	c.live.since = uint32(w.now() / 1000) //nolint:gosec // 136 years
	w.add(c)
	c.beginHandshake()
	if c.origin == dialled {
		w.arm(&c.live.timer, c.dial.arrived(c))
	} else {
		w.arm(&c.live.timer, c.handshakeTime())
	}
	switch {
	case c.origin == dialled: // to a trusted proxy, maybe: that is no client
		c.guard(c.start)
		c.takeEarly()
	case c.input().head != nil:
		c.guard(c.start)
		c.takeEarly()
	case c.tls == nil && c.ep.proxies.trustPeer(c.who.remote): // before TLS it was read already
		c.needInput().proxy = true
	default:
		c.guard(c.start)
	}
	if c.tls != nil { // what came behind its handshake
		c.openRecords()
	}
	w.batch.conn = nil
	if w.drains.begun {
		_ = c.close(w.farewell(c))
	}
	w.endTurn()
}

// takeEarly takes what was read before the connection came to its loop.
func (c *Conn) takeEarly() {
	head := c.input().head
	if head == nil {
		return
	}
	c.needInput().head = nil
	c.arrived(head)
}

// readable brings input; b lies in the loop's read buffer.
func (c *Conn) readable(b []byte) {
	c.w.beginTurn()
	if c.tls != nil {
		c.unseal(b)
	} else {
		c.arrived(b)
	}
	c.w.endTurn()
}

// start sets the codec going.
func (c *Conn) start() {
	w := c.w
	w.batch.conn = c
	if ev := c.codec.Start(&w.env); ev.Kind == codec.Open {
		c.guard(c.open)
	}
	w.batch.conn = nil
	c.uncork()
}

func (c *Conn) arrived(b []byte) {
	c.noteRead(len(b))
	c.in.life = heard
	if c.ep.BytesPerSecond < limit.Unbounded {
		c.spend(0, len(b))
	}
	phase := c.end.phase.Load()
	if phase >= phaseClosing {
		c.ignore(len(b))
	}
	switch {
	case phase >= phaseEnding:
	case phase == phaseOpening && c.origin == accepted && !c.ep.raw && isClientHello(b):
		c.ep.e.log.Warn("a TLS ClientHello came to a port without TLS", zap.Stringer("listener", c.ep.listener), zap.Stringer("remote", c.who.remote))
		c.endSession(nil)
	case c.input().proxy:
		c.fromProxy(b)
	case phase == phaseOpening && c.origin == accepted && !c.ep.raw && isProxyHeader(b):
		c.logRefusal(kindProxy, zap.WarnLevel, errUntrusted, hintTrust)
		c.refuse(errUntrusted)
	case c.deciding():
		c.early(b)
	case c.in.halted:
		c.park(b)
	default:
		c.receive(b)
	}
}

// receive decodes a batch of input, calls back, and writes once what was sent
// to this connection meanwhile.
func (c *Conn) receive(in []byte) {
	w := c.w
	w.batch.conn, w.batch.in = c, in
	if done := c.decode(); !done {
		done = c.decode() // the rest, with the connection closing: no callback follows
		if !done {
			c.cut(errPanic)
		}
	}
	w.batch.conn, w.batch.in = nil, nil
	if w.batch.received > 0 {
		c.noteReceived(w.batch.received)
		w.batch.received = 0
	}
	c.uncork()
}

// decode takes events from w.in until it is used up. It reports false if a
// callback panicked; w.in then holds what is left.
func (c *Conn) decode() (done bool) {
	defer c.recoverPanic()
	w, tapped := c.w, c.tapped()
	for c.end.phase.Load() < phaseEnding && c.end.stream != streamCut {
		if c.in.halted && c.end.phase.Load() == phaseOpen && len(w.batch.in) > 0 {
			c.park(w.batch.in)
			w.batch.in = nil // and once more, so that the codec gives back what it lent
		}
		ev, n := c.codec.Decode(&w.env, w.batch.in)
		if tapped != nil {
			tapped.decoded(w.batch.in[:n], ev)
		}
		w.batch.in = w.batch.in[n:]
		switch ev.Kind {
		case codec.NeedMore:
			return true
		case codec.Message:
			w.batch.received++
			if c.ep.MessagesPerSecond < limit.Unbounded {
				c.spend(1, 0)
			}
			if f := c.h.OnMessage; f != nil {
				w.calling(onMessage, c)
				f(c, Message{Type: MessageType(ev.Opcode), Data: ev.Data})
				w.returned()
				poison.Fill(ev.Data)
			}
		case codec.Ping:
			c.spendControl()
			if f := c.h.OnPing; f != nil {
				w.calling(onPing, c)
				f(c, ev.Data)
				w.returned()
				poison.Fill(ev.Data)
			}
		case codec.Pong:
			c.spendControl()
			if f := c.h.OnPong; f != nil {
				w.calling(onPong, c)
				f(c, ev.Data)
				w.returned()
				poison.Fill(ev.Data)
			}
		case codec.Request:
			if c.ep.httpOnly && c.origin != mounted {
				c.plainHTTP(ev.Data)
			} else if c.upgrade(); c.deciding() {
				return true
			}
		case codec.HTTP:
			c.plainHTTP(ev.Data)
		case codec.Open:
			c.open()
		case codec.Close:
			c.logEnd(w.env.Closed)
			c.endSession(w.env.Closed)
		}
		if len(w.batch.in) > 0 && w.enough() {
			c.pause(pausedTurn)
			w.mark(c)
		}
	}
	return true
}

// park keeps input that is not to be decoded before reading resumes: what was
// left of a batch, and the read that may have been under way.
func (c *Conn) park(b []byte) {
	if len(b) == 0 {
		return
	}
	in, buffers := c.needInput(), &c.w.env.Buffers
	if in.parked == nil {
		in.parked = buffers.Get(len(b))
	}
	in.parked = append(buffers.Grow(in.parked, len(b)), b...)
}

// open makes the connection one that the program knows.
func (c *Conn) open() {
	if c.origin == dialled {
		c.who.subprotocol = unique.Make(c.w.env.Response.Fields.Get("Sec-WebSocket-Protocol"))
		c.dial.succeeded(c)
		c.shown = responseHead
		defer func() { c.shown = noHead }() // also if OnOpen panics
	}
	c.endHandshake()
	c.enter(phaseOpen)
	c.end.opened, c.flow.framed = true, true
	c.ep.gate.Opened(&c.pass)
	c.limitLife()
	c.lookForTraffic()
	if plan := c.w.drains.plan; plan != nil && c.origin != dialled {
		plan.add(c)
	}
	c.w.arm(&c.live.timer, c.ep.PingInterval/2)
	if f := c.h.OnOpen; f != nil {
		c.w.calling(onOpen, c)
		f(c)
		c.w.returned()
	}
}

var errPanic = fmt.Errorf("engine: panic")

// guard calls f and survives its panic.
func (c *Conn) guard(f func()) {
	defer c.recoverPanic()
	f()
}

// recoverPanic is deferred around callbacks and a user's codec: the connection
// is closed, the loop and everybody else on it go on.
func (c *Conn) recoverPanic() {
	if v := recover(); v != nil {
		c.panicked(v)
	}
}

func (c *Conn) panicked(v any) {
	c.ep.e.logPanic(v, c.who.id)
	_, upgrader := c.codec.(codec.Upgrader)
	err := fmt.Errorf("%w: %v", errPanic, v)
	switch phase := c.end.phase.Load(); {
	case phase >= phaseEnding:
	case phase == phaseOpening && c.origin == dialled:
		c.cut(err)
	case phase == phaseOpening && upgrader:
		c.refuse(&codec.HandshakeError{Status: 500, Reason: "internal server error"})
	case c.ep.codec != nil: // what panicked may be the codec: it is not asked again
		c.cut(err)
	case phase == phaseOpen:
		_ = c.close(&CloseError{Code: protocol.CloseInternalError, Reason: "internal error", Err: err})
	}
}

// logPanic must be called by the function that recovered. conn is 0 if what
// panicked belongs to no connection.
func (e *Engine) logPanic(v any, conn uint64) {
	if conn == 0 {
		e.log.Error("a function of a timer, of Loop.Post or of Engine.AtEnd panicked", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		return
	}
	e.log.Error("a callback panicked; its connection is closed", zap.Any("panic", v),
		zap.Uint64("conn", conn), zap.ByteString("stack", debug.Stack()))
}
