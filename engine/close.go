package engine

import (
	"errors"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

func errSlow() *CloseError {
	return &CloseError{Code: protocol.CloseTryAgainLater, Reason: "too much is waiting to be sent", Err: ErrBackpressure}
}

func (c *Conn) goingAway() *CloseError {
	who := "server"
	if c.dialled {
		who = "client"
	}
	return &CloseError{Code: protocol.CloseGoingAway, Reason: "the " + who + " is going away", Err: ErrStopped}
}

// close begins to close from this side: the codec says its farewell behind
// what is queued, and the peer's answer is awaited. It calls nothing back.
func (c *Conn) close(info *CloseError) error {
	if c.phase.Load() >= phaseClosing {
		return ErrClosed
	}
	if c.catchUp(); c.phase.Load() >= phaseClosing { // a policy closed it
		return ErrClosed
	}
	c.seldom().closing = info
	var await bool
	c.say(func() { await = c.codec.Close(&c.w.env, info.Code, info.Reason) })
	c.enter(phaseClosing)
	c.endTimers()
	c.uncountTopics()
	c.rare.over = !await
	c.beginWait(c.ep.CloseTimeout)
	c.w.mark(c)
	return nil
}

// closeNow is close, or follows it, and does not await the peer's answer.
func (c *Conn) closeNow(info *CloseError) {
	_ = c.close(info) // fails if it closes already
	if c.phase.Load() == phaseClosing {
		c.rare.over = true
		c.w.mark(c)
	}
}

// closeSlow closes a connection whose peer does not read: whole messages that
// wait are discarded and counted, one partly written is finished, and the close
// frame follows it.
func (c *Conn) closeSlow() {
	if c.phase.Load() != phaseOpen {
		return
	}
	c.missOut()
	w := c.w
	if w.cur == c && len(w.env.Out) > w.head {
		c.noteSent(w.sent)
		c.noteDiscarded(w.sent)
		w.env.Out, w.sent = w.env.Out[:w.head], 0
	}
	before := c.out.Bytes()
	c.noteDiscarded(c.out.Discard(&w.out, c.codec))
	c.recount(before)
	_ = c.close(errSlow())
}

// end is called when the session is over, whoever closed it. What is queued is
// still written; then the stream is ended, the peer's end awaited, and the
// descriptor closed.
func (c *Conn) end(info *CloseError) {
	if c.phase.Load() >= phaseEnding {
		return
	}
	c.enter(phaseEnding)
	c.endTimers()
	c.uncountTopics()
	if !c.framed && !c.deciding() {
		c.ep.e.gate.Opened(&c.pass)
	}
	c.beginWait(c.ep.CloseTimeout)
	if c.dial != nil {
		c.dial.ended(c, info)
	}
	c.finish(info)
	c.w.mark(c)
}

// doom closes the descriptor at the end of this turn, whatever is queued.
func (c *Conn) doom(cause error) {
	if !c.doomed {
		c.doomed = true
		c.seldom().cause = cause
	}
	c.w.mark(c)
}

// abort has the descriptor closed at the end of this turn, by a reset. Until
// then nothing is sent or delivered any more.
func (c *Conn) abort() {
	switch phase := c.phase.Load(); {
	case phase == phaseGone:
		return
	case phase < phaseClosing:
		c.seldom().closing = &CloseError{Code: protocol.CloseAbnormal, Err: ErrAborted}
		c.enter(phaseClosing)
		c.endTimers()
	}
	c.sock.ResetOnClose()
	c.doom(ErrAborted)
}

// attend is called at the end of a turn for a connection that was marked. It
// is the one place that writes queues, ends streams and closes sockets, so
// that none of this happens inside a callback.
func (c *Conn) attend() {
	phase := c.phase.Load()
	if phase == phaseGone {
		return
	}
	if !c.doomed {
		c.flush()
	}
	r := c.rare
	switch {
	case c.doomed:
		c.noteCut(r.cause)
		c.end(c.abnormal(r.cause))
		c.sock.Close()
	case r != nil && r.over && phase == phaseClosing:
		c.end(r.closing)
	case phase == phaseEnding && !c.farewell:
		c.sayFarewell()
	case phase == phaseOpen:
		c.tellBacklog()
	}
	if c.halted && c.phase.Load() < phaseEnding && (c.paused == 0 || phase == phaseClosing) {
		c.resume()
	}
	if c.paused&pausedTurn != 0 {
		c.w.markLater(c)
	}
}

// noteCut counts what a drain had to cut before its own end.
func (c *Conn) noteCut(cause error) {
	w := c.w
	if !w.draining || c.farewell || c.ep.e.life.work.Err() != nil || !errors.Is(cause, ErrTimeout) {
		return
	}
	w.cut++
	w.unsent += int64(c.out.Bytes())
}

// tellBacklog lets the program know when the backlog crosses the watermarks.
func (c *Conn) tellBacklog() {
	bytes := c.out.Bytes()
	if bytes <= c.ep.SendBytesLow {
		c.paused &^= pausedBacklog
	}
	switch {
	case !c.above && bytes > c.ep.SendBytesHigh:
		c.above = true
		if f := c.h.OnBackpressure; f != nil {
			c.w.calling(onBackpressure, c)
			c.guard(func() { f(c) })
		}
	case c.above && bytes <= c.ep.SendBytesLow:
		c.above = false
		if f := c.h.OnDrain; f != nil {
			c.w.calling(onDrain, c)
			c.guard(func() { f(c) })
		}
	}
}

// abnormal describes an end without a closing handshake.
func (c *Conn) abnormal(cause error) *CloseError {
	remote := cause != nil && !errors.Is(cause, ErrTimeout) && !errors.Is(cause, ErrAborted) && !errors.Is(cause, errPanic)
	return &CloseError{Code: protocol.CloseAbnormal, Remote: remote, Err: cause}
}

// gone is told that the descriptor is about to be closed.
func (c *Conn) gone(err error) {
	w := c.w
	if !w.inTurn() { // the loop found the end, rather than attend
		w.beginTurn()
		defer w.endTurn()
	}
	if c.phase.Load() < phaseEnding {
		if c.doomed { // and attend has not come to it
			err = c.rare.cause
			c.noteCut(err)
		}
		c.end(c.abnormal(err))
	}
	c.enter(phaseGone)
	w.wheel.Stop(&c.timer)
	if r := c.rare; r != nil {
		w.wheel.Stop(&r.life)
		w.wheel.Stop(&r.idle)
		if r.rates != nil {
			w.wheel.Stop(&r.rates.next)
		}
	}
	if c.ep.e.life.work.Err() != nil {
		w.unsent += int64(c.out.Bytes())
	}
	c.freeQueue()
	c.guard(func() { c.codec.Release(&w.env) })
	w.remove(c)
	if c.rare != nil {
		c.leaveTopics()
	}
	if c.rare != nil && c.rare.parked != nil {
		w.env.Buffers.Put(c.rare.parked)
		c.rare.parked = nil
	}
	if len(w.conns) == 0 {
		w.trim()
	}
	c.countOut()
}

// countOut gives the connection's place to another, once its functions off the
// loop have returned.
func (c *Conn) countOut() {
	if c.working() || c.deciding() {
		c.seldom().gone = true
		return
	}
	c.leave()
}

// leave gives up the connection's place, or has the dialing make another.
func (c *Conn) leave() {
	if c.dial != nil {
		c.dial.lost()
		return
	}
	c.ep.e.gate.Leave(&c.pass)
}

// finish tells the program that the connection is over, if it knew it.
func (c *Conn) finish(info *CloseError) {
	c.endContext()
	if !c.opened {
		return
	}
	c.opened = false
	if r := c.rare; r != nil && r.closing != nil && info != r.closing {
		mine := *r.closing // this side closed, whatever happened since
		if info.Err != nil {
			mine.Err = info.Err
		}
		info = &mine
	}
	c.tellClosed(info)
}

// tellClosed calls OnClose, once the functions of Go have returned.
func (c *Conn) tellClosed(info *CloseError) {
	if !c.beginClose() {
		c.seldom().ended = info
		return
	}
	if f := c.h.OnClose; f != nil {
		c.w.calling(onClose, c)
		c.guard(func() { f(c, info) })
	}
	if c.endClose() {
		c.runFirst()
		return
	}
	c.afterClose()
}

// afterClose follows OnClose, and the functions that it gave to Go.
func (c *Conn) afterClose() {
	r := c.rare
	if r == nil {
		return
	}
	c.tellFollowers()
	if r.gone {
		c.leave()
	}
}

// refuse answers the opening handshake with an HTTP error.
func (c *Conn) refuse(e *codec.HandshakeError) {
	c.say(func() { c.codec.(codec.Upgrader).Refuse(&c.w.env, e) })
	c.end(nil)
}
