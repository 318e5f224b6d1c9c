package engine

import (
	"errors"
	"sync/atomic"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// ending is how far a connection is on its way to its end.
type ending struct {
	phase  atomic.Uint32 // a phase, changed by the loop only
	posted atomic.Uint32 // closePosted, closeNowPosted, abortPosted, joined
	opened bool          // OnOpen was called, and OnClose is to follow
	stream streamState
	answer uint8 // to the handshake, if that is refused: its place in handshakeResults
	how    uint8 // it ended: see closeKind
}

// streamState is the state of the stream to the peer.
type streamState uint8

const (
	streamOpen  streamState = iota
	streamEnded             // everything was written, and the stream was ended
	streamCut               // nothing more is written: the descriptor is closed at the end of this turn
)

// extraEnding is the part of it that few connections need at a time.
type extraEnding struct {
	closing *CloseError // what this side gave to close; nil if the peer began
	over    bool        // this side does not wait for the peer's answer to it
	closed  bool        // the descriptor is closed; the place is given back when the functions of Go have returned
	cause   error       // why the socket failed
	ignored int         // bytes that came since this side began to close, or since the last look
	looked  int64       // the time when linger first read ignored; 0: not yet
	last    *CloseError // of a protocol without a closing handshake: what OnClose gets when the stream ends
	leaving *CloseError // given to close when the functions of Go have returned
	told    *CloseError // what OnClose gets then
}

func (c *Conn) slow() *CloseError {
	return &CloseError{Code: c.ep.SlowCode, Reason: "too much is waiting to be sent", Err: ErrBackpressure}
}

// goingAway closes because of why: ErrStopped or ErrListenerStopped.
func (c *Conn) goingAway(why error) *CloseError {
	who := "server"
	if c.origin == dialled {
		who = "client"
	}
	return &CloseError{Code: protocol.CloseGoingAway, Reason: "the " + who + " is going away", Err: why}
}

// close begins to close from this side: the codec writes its close frame behind
// what is queued, and the connection waits for the peer's answer. It calls no
// callback.
func (c *Conn) close(info *CloseError) error {
	if c.end.phase.Load() >= phaseClosing {
		return ErrClosed
	}
	if c.catchUp(); c.end.phase.Load() >= phaseClosing { // a policy closed it
		return ErrClosed
	}
	e := c.needEnding()
	e.closing = info
	var await bool
	if c.end.phase.Load() == phaseOpening && !c.ep.raw {
		c.end.answer = answerOf(503)
	}
	c.appendOutput(func() { await = c.codec.Close(&c.w.env, info.Code, info.Reason) })
	c.enter(phaseClosing)
	c.endTimers()
	c.uncountTopics()
	e.over = !await
	c.beginWait(c.ep.CloseTimeout)
	c.w.mark(c)
	return nil
}

// closeNow is close without waiting for the peer's answer. It may be called after
// close.
func (c *Conn) closeNow(info *CloseError) {
	_ = c.close(info) // fails if it closes already
	if c.end.phase.Load() == phaseClosing {
		c.needEnding().over = true
		c.w.mark(c)
	}
}

// closeSlow closes a connection whose peer does not read: whole messages that
// wait are discarded and counted, one partly written is finished, and the close
// frame follows it.
func (c *Conn) closeSlow() {
	if c.end.phase.Load() != phaseOpen {
		return
	}
	c.missOut()
	w := c.w
	if w.batch.conn == c && len(w.env.Out) > w.batch.head {
		c.noteSent(w.batch.sent)
		c.noteDiscarded(w.batch.sent)
		w.env.Out, w.batch.sent = w.env.Out[:w.batch.head], 0
	}
	before := c.out.queue.Bytes()
	c.noteDiscarded(c.out.queue.Discard(&w.out, c.codec))
	c.recount(before)
	_ = c.close(c.slow())
}

// endSession is called when the session is over, whoever closed it. What is queued is
// still written; then this side ends its stream, waits until the peer has ended its
// own, and closes the descriptor.
func (c *Conn) endSession(info *CloseError) {
	if c.end.phase.Load() >= phaseEnding {
		return
	}
	if info != nil {
		c.noteRefusal(info.Err)
	}
	c.enter(phaseEnding)
	c.endTimers()
	c.uncountTopics()
	if !c.flow.framed && !c.deciding() {
		c.ep.gate.Opened(&c.pass)
	}
	c.beginWait(c.ep.CloseTimeout)
	if c.dial != nil {
		c.dial.ended(c, info)
	}
	c.reportEnd(info)
	c.w.mark(c)
}

// cut closes the descriptor at the end of this turn, whatever is queued.
func (c *Conn) cut(cause error) {
	if c.end.stream == streamOpen { // otherwise the peer has got everything
		c.noteCut(cause)
	}
	if c.end.stream != streamCut {
		c.end.stream = streamCut
		c.needEnding().cause = cause
	}
	c.w.mark(c)
}

// abort has the descriptor closed at the end of this turn, by a reset. Until
// then nothing is sent or delivered any more.
func (c *Conn) abort() {
	switch phase := c.end.phase.Load(); {
	case phase == phaseGone:
		return
	case phase < phaseClosing:
		c.needEnding().closing = &CloseError{Code: protocol.CloseAbnormal, Err: ErrAborted}
		c.enter(phaseClosing)
		c.endTimers()
	}
	c.sock.ResetOnClose()
	c.cut(ErrAborted)
}

// attend is called at the end of a turn for a connection that was marked. It
// is the one place that writes queues, ends streams and closes sockets, so
// that none of this happens inside a callback.
func (c *Conn) attend() {
	phase := c.end.phase.Load()
	if phase == phaseGone {
		return
	}
	if c.end.stream != streamCut {
		c.flush()
	}
	e := c.ending()
	switch {
	case c.end.stream == streamCut:
		c.endSession(c.abnormal(e.cause))
		c.sock.Close()
	case e.over && phase == phaseClosing:
		c.endSession(e.closing)
	case phase == phaseEnding && c.end.stream == streamOpen:
		c.endStream()
	case phase == phaseOpen:
		if c.tellBacklog(); c.input().pipe != nil {
			c.input().pipe.drained()
		}
	}
	if c.in.halted && c.end.phase.Load() < phaseEnding && (c.in.paused == 0 || phase == phaseClosing) {
		c.resume()
	}
	if c.in.paused&pausedTurn != 0 {
		c.w.markLater(c)
	}
}

// noteCut counts connections that were cut before the drain of a shutdown ended.
func (c *Conn) noteCut(cause error) {
	w := c.w
	closing := c.ending().closing
	drains := w.drains.begun || closing != nil && errors.Is(closing.Err, ErrStopped)
	if !drains || c.ep.e.life.work.Err() != nil || !errors.Is(cause, ErrTimeout) {
		return
	}
	w.drains.cut++
	w.drains.unsent += int64(c.out.queue.Bytes())
}

// tellBacklog lets the program know when the backlog crosses the watermarks.
func (c *Conn) tellBacklog() {
	bytes := c.out.queue.Bytes()
	if bytes <= c.ep.SendBytesLow {
		c.in.paused &^= pausedBacklog
	}
	switch {
	case !c.flow.backlogged && bytes > c.ep.SendBytesHigh:
		c.flow.backlogged = true
		c.w.stats.backlogs.add(1)
		if f := c.h.OnBackpressure; f != nil {
			c.w.calling(onBackpressure, c)
			c.guard(func() { f(c) })
			c.w.returned()
		}
	case c.flow.backlogged && bytes <= c.ep.SendBytesLow:
		c.flow.backlogged = false
		c.w.stats.backlogsEnded.add(1)
		if f := c.h.OnDrain; f != nil {
			c.w.calling(onDrain, c)
			c.guard(func() { f(c) })
			c.w.returned()
		}
	}
}

// abnormal describes an end without a closing handshake.
func (c *Conn) abnormal(cause error) *CloseError {
	remote := cause != nil && !errors.Is(cause, ErrTimeout) && !errors.Is(cause, ErrAborted) && !errors.Is(cause, errPanic)
	return &CloseError{Code: protocol.CloseAbnormal, Remote: remote, Err: cause}
}

// closed is called right before the descriptor is closed.
func (c *Conn) closed(err error) {
	w := c.w
	if !w.inTurn() { // the loop found the end of the stream; attend did not close it
		w.beginTurn()
		defer w.endTurn()
	}
	if c.end.phase.Load() < phaseEnding {
		if c.end.stream == streamCut { // cut was called, and attend has not run since
			err = c.ending().cause
		}
		c.endSession(c.abnormal(err))
	}
	c.enter(phaseGone)
	w.time.wheel.Stop(&c.live.timer)
	if r := c.extra; r != nil && r.watch != nil {
		w.time.wheel.Stop(&r.watch.life)
		w.time.wheel.Stop(&r.watch.idle)
	}
	if r := c.input().rates; r != nil {
		w.time.wheel.Stop(&r.next)
	}
	if c.ep.e.life.work.Err() != nil {
		w.drains.unsent += int64(c.out.queue.Bytes())
	}
	c.freeQueue()
	c.freeSealed()
	c.endTaps()
	c.guard(func() { c.codec.Release(&w.env) })
	w.remove(c)
	if c.extra != nil {
		c.leaveTopics()
	}
	if parked := c.input().parked; parked != nil {
		w.env.Buffers.Put(parked)
		c.needInput().parked = nil
	}
	if len(w.conns) == 0 {
		w.trim()
	}
	c.endPlace()
}

// endPlace gives the connection's place back, when its functions of Go have
// returned.
func (c *Conn) endPlace() {
	if c.working() || c.deciding() {
		c.needEnding().closed = true
		return
	}
	c.givePlaceBack()
}

// givePlaceBack gives the connection's place back. The place of a dialled
// connection goes to its dialing, which may make another connection.
func (c *Conn) givePlaceBack() {
	if c.dial != nil {
		c.dial.lost()
		return
	}
	c.ep.gate.Leave(&c.pass)
}

// reportEnd calls OnClose, if the connection was open.
func (c *Conn) reportEnd(info *CloseError) {
	c.endContext()
	closing := c.ending().closing
	c.end.how = closeKind(info, closing, c.end.opened)
	if !c.end.opened {
		return
	}
	c.end.opened = false
	if closing != nil && info != closing {
		mine := *closing // this side closed first, whatever happened after that
		if info.Err != nil {
			mine.Err = info.Err
		}
		info = &mine
	}
	c.callOnClose(info)
}

// callOnClose calls OnClose, when the functions of Go have returned.
func (c *Conn) callOnClose(info *CloseError) {
	if !c.beginClose() {
		c.needEnding().told = info
		return
	}
	if f := c.h.OnClose; f != nil {
		c.w.calling(onClose, c)
		c.guard(func() { f(c, info) })
		c.w.returned()
	}
	c.endPipe(info)
	if c.endClose() {
		c.runFirst()
		return
	}
	c.afterClose()
}

// afterClose runs after OnClose, and after the functions that OnClose gave to Go.
func (c *Conn) afterClose() {
	if c.extra == nil {
		return
	}
	c.tellFollowers()
	if c.ending().closed {
		c.givePlaceBack()
	}
}

// refuse answers the opening handshake with an HTTP error.
func (c *Conn) refuse(e *codec.HandshakeError) {
	c.appendOutput(func() { c.codec.(codec.Upgrader).Refuse(&c.w.env, e) })
	c.noteRefusal(e)
	c.endSession(nil)
}
