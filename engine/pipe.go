package engine

import (
	"errors"
	"sync/atomic"

	"github.com/sockmill/sockmill/protocol"
)

// Pipe joins two open connections of one Engine until they end: each message of one
// is sent to the other, in order, with its type. Either may be accepted or
// dialled, on any loop, and of any protocol that can send the messages of the
// other. Messages that a callback got before are the program's matter. A dialled
// connection is usually joined in its OnOpen; the accepted one was paused until
// then (PauseReading), or was not open yet (Upgrade.Go).
//
// Any goroutine may call Pipe. On the loop of a connection it takes effect at
// once for that one; elsewhere soon after, in the order of what the caller asks
// of the connection (PauseReading, Pipe, ResumeReading), and until then OnMessage
// may be called. After that OnMessage is not called any more; all other callbacks
// are. Pings and pongs are not passed on: each side answers its own peer. What
// the program sends itself, and publishes, goes between the messages of the
// pipe; limits, timers and subscriptions are as before.
//
// While more than SendBytesHigh bytes wait for one connection, reading of the
// other pauses, until they are SendBytesLow. So one message more may wait, and one
// that is on its way from another loop; none is dropped, and none closes, whatever the
// policy is. (Where the system cannot pause reading, on macOS, SendBytesMax
// closes the slow one with Config.SlowCode.) A slow reader is not read from either, as always,
// and is cut after WriteStallTimeout.
//
// When one connection has ended, and its OnClose has returned, the other is
// closed with the same code and reason, behind the messages that wait for it; as by Close,
// it is not dialled again. OnClose may close it with another code. A close frame
// without a code is passed on as one. An end without a close frame has no code
// that may be sent (RFC 6455 §7.4.1): instead of 1006 the other peer gets 1011 if a server that
// was dialled broke off, or a codec panicked, and else 1001.
//
// Pipe fails with ErrClosed if a connection is not open, with ErrJoined if it is
// joined already, with ErrStopped after the end of the engine, and if a and b
// are the same, nil, or of two engines. After an error nothing is joined.
func Pipe(a, b *Conn) error {
	switch {
	case a == nil || b == nil:
		return errors.New("engine: Pipe needs two connections, not nil")
	case a == b:
		return errors.New("engine: Pipe needs two connections, not the same one twice")
	case a.ep.e != b.ep.e:
		return errors.New("engine: Pipe joins connections of one Engine, not of two")
	}
	if err := a.reserve(); err != nil {
		return err
	}
	if err := b.reserve(); err != nil {
		a.end.posted.And(^uint32(joined))
		return err
	}
	pa, pb := &pipe{c: a}, &pipe{c: b}
	pa.other, pb.other = pb, pa
	if err := pa.settle(); err != nil {
		return err
	}
	return pb.settle()
}

// ErrJoined is returned by Pipe.
var ErrJoined = errors.New("engine: the connection is joined to another already")

// pipe is the end of a Pipe at c. But for waits, it belongs to the loop of c.
type pipe struct {
	c     *Conn
	other *pipe
	ended *CloseError // c has ended before it was joined
	waits atomic.Bool // reading of c pauses until other has sent what it has
}

// reserve has no other Pipe join c. It looks at the phase last: if c ends after
// that, endPipe sees that it is reserved.
func (c *Conn) reserve() error {
	if c.end.posted.Or(joined)&joined != 0 {
		if c.end.phase.Load() > phaseOpen {
			return ErrClosed
		}
		return ErrJoined
	}
	if c.end.phase.Load() != phaseOpen {
		return ErrClosed
	}
	return nil
}

// settle has the loop of the connection join it.
func (p *pipe) settle() error {
	if p.c.w.on() {
		p.join()
		return nil
	}
	return p.c.w.post(post{kind: ownPost, c: p.c, do: p.join})
}

// join gives the messages of the connection to the pipe.
func (p *pipe) join() {
	in := p.c.needInput()
	if in.pipe != nil {
		p.other.c.tellEnd(in.pipe.ended)
		return
	}
	in.pipe = p
	h := *p.c.h
	h.OnMessage = passOn
	p.c.h = &h
	p.c.w.mark(p.c) // other may wait already
}

// passOn sends a message of c to the other connection.
func passOn(c *Conn, m Message) {
	p := c.input().pipe
	to, out := p.other.c, outgoing{op: protocol.Opcode(m.Type), data: m.Data}
	var err error
	if to.w == c.w {
		err = to.sendPiped(out)
	} else {
		err = to.postPiped(out)
	}
	switch most := to.out.queued.Load(); {
	case err != nil: // it closes: c is closed when that is done
		c.pause(pausedPipe)
	case most > int64(to.ep.SendBytesHigh):
		p.waits.Store(true)
		if c.pause(pausedPipe); !c.in.halted && most >= int64(to.ep.SendBytesMax) {
			_ = to.onLoop(to.closeSlow)
		}
		if to.out.queued.Load() <= int64(to.ep.SendBytesLow) { // meanwhile: its loop may not have seen that c waits
			p.goOn()
		}
	}
}

// postPiped has the loop of c send a message. A full inbox takes it: who reads on
// is decided by what waits for c.
func (c *Conn) postPiped(m outgoing) error {
	if c.end.phase.Load() != phaseOpen {
		return ErrClosed
	}
	n := int64(len(m.data))
	c.out.queued.Add(n)
	err := c.w.postData(post{kind: pipedPost, c: c, message: m}, m.data)
	if err != nil {
		c.out.queued.Add(-n)
	}
	return err
}

// sendPiped sends a message of the other connection, on the loop of c and without a
// policy. A codec that cannot send it ends the pipe.
func (c *Conn) sendPiped(m outgoing) error {
	defer c.recoverPanic() // of a user's codec, which is not the other connection's fault
	if c.catchUp(); c.end.phase.Load() != phaseOpen {
		return ErrClosed
	}
	err := c.enqueue(m)
	if err != nil {
		_ = c.close(&CloseError{Code: protocol.CloseInternalError, Reason: "a message could not be passed on", Err: err})
	}
	return err
}

// drained is called when output of the connection has left: if little waits, the
// other is read again.
func (p *pipe) drained() {
	if p.other.waits.Load() && p.c.out.queued.Load() <= int64(p.c.ep.SendBytesLow) {
		p.other.goOn()
	}
}

// goOn ends the pause of the connection. Both loops may call it.
func (p *pipe) goOn() {
	switch {
	case !p.waits.Swap(false):
	case p.c.w.on():
		p.c.unpause(pausedPipe)
	default:
		_ = p.c.w.post(post{kind: ownPost, c: p.c, do: func() { p.c.unpause(pausedPipe) }})
	}
}

// endPipe is called after OnClose of c.
func (c *Conn) endPipe(info *CloseError) {
	if c.end.posted.Load()&joined == 0 {
		return
	}
	info = c.passedOn(info)
	in := c.needInput()
	if in.pipe == nil { // join finds it
		in.pipe = &pipe{c: c, ended: info}
		return
	}
	to := in.pipe.other.c
	in.pipe = nil // the other may live on for long
	to.tellEnd(info)
}

// tellEnd has the loop of c call endWith.
func (c *Conn) tellEnd(info *CloseError) {
	if c.w.on() {
		c.endWith(info)
		return
	}
	_ = c.w.post(post{kind: ownPost, c: c, do: func() { c.endWith(info) }}) // fails when c has ended with its loop
}

// passedOn returns how the other connection is closed after c ended by info.
func (c *Conn) passedOn(info *CloseError) *CloseError {
	code, reason := info.Code, info.Reason
	switch {
	case code.Valid() || code == protocol.CloseNoStatus:
	case c.origin == dialled || errors.Is(info.Err, errPanic):
		code, reason = protocol.CloseInternalError, "the connection behind this one broke off"
	default:
		code, reason = protocol.CloseGoingAway, "the other side has gone"
	}
	return &CloseError{Code: code, Reason: reason}
}

// endWith closes c because the other connection has ended, behind what its
// functions of Go send.
func (c *Conn) endWith(info *CloseError) {
	if c.end.phase.Load() != phaseOpen {
		return
	}
	if c.dial != nil {
		c.dial.stop()
	}
	c.goAway(info)
}
