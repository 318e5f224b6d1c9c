package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

// watch has the end of ctx told to the loop, as long as an attempt is under way
// or awaited.
func (d *dialing) watch() {
	if d.unwatch == nil && d.ctx.Done() != nil {
		d.unwatch = context.AfterFunc(d.ctx, func() { _ = d.w.post(post{kind: ownPost, do: d.cancelled}) })
	}
}

func (d *dialing) stopWatch() {
	if d.unwatch != nil {
		d.unwatch()
		d.unwatch = nil
	}
}

// cancelled is called on the loop when ctx has ended. connect watches ctx itself.
func (d *dialing) cancelled() {
	switch c := d.conn; {
	case d.waiting:
		d.finish()
	case c != nil && c.end.phase.Load() == phaseOpening:
		c.cut(context.Cause(d.ctx))
	}
}

// arrived is told that the connection of an attempt has come to the loop, and
// returns how long its handshake may take.
func (d *dialing) arrived(c *Conn) time.Duration {
	d.conn, d.failure = c, nil
	switch {
	case d.ctx.Err() != nil: // cancelled came before
		c.cut(context.Cause(d.ctx))
	case d.over.Load():
		c.cut(ErrClosed)
	}
	if d.deadline == 0 {
		return limit.Longest
	}
	return time.Duration(d.deadline-d.w.now()) * time.Millisecond
}

// succeeded is called when the handshake is over. Without Dial.Reconnect the dialing
// is not needed any longer, and its place becomes the connection's.
func (d *dialing) succeeded(c *Conn) {
	d.stopWatch()
	c.SetState(d.State)
	if d.opened = d.w.now(); !d.Reconnect {
		c.dial = nil
		c.pass, _ = d.e.gate.Move(&d.pass)
	}
}

// ended is called when the session of the connection has ended.
func (d *dialing) ended(c *Conn, info *CloseError) {
	switch {
	case !c.end.opened:
		d.failure = failureOf(info)
		if e := c.ws.Refusal(); e != nil { // the rest of its body did not come
			d.failure = e
		}
		c.cut(nil) // nothing more is to be sent
	case !info.Remote || c.ending().closing != nil:
	case info.Code == protocol.CloseNormal:
		d.over.Store(true)
	default:
		d.asked, d.isAsked = RetryAfter(info.Reason)
	}
}

// failureOf returns why a connection ended before it was open.
func failureOf(info *CloseError) error {
	switch {
	case info.Err == nil:
		return info
	case errors.Is(info.Err, io.EOF):
		return fmt.Errorf("the server ended the stream before it had answered: %w", info.Err)
	}
	return info.Err
}

// lost is called after the OnClose of the connection.
func (d *dialing) lost() {
	if d.failure != nil {
		d.failed(d.failure)
		return
	}
	if d.w.now()-d.opened >= d.BackoffMax.Milliseconds() {
		d.attempt = 0
	}
	if !d.again() {
		d.finish()
		return
	}
	after := d.backoff()
	if d.isAsked {
		after, d.isAsked = d.asked, false
	}
	d.wait(after)
}

// failed is called when an attempt has failed.
func (d *dialing) failed(err error) {
	if d.over.Load() { // the program has ended the dialing
		d.finish()
		return
	}
	e := &DialError{URL: d.target.url, Attempt: d.attempt, Err: err}
	if d.again() {
		e.Retry = d.backoff()
	}
	d.e.dialer.failed.Add(1)
	d.tellFailed(e)
	if e.Retry == 0 || !d.again() { // OnFailure may have ended ctx
		d.finish()
		return
	}
	d.wait(e.Retry)
}

func (d *dialing) tellFailed(e *DialError) {
	if d.OnFailure == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			d.e.logPanic(v, 0)
		}
	}()
	d.w.callingAt(onFailure, 0)
	d.OnFailure(e)
	d.w.returned()
}

// again reports whether another attempt may follow.
func (d *dialing) again() bool {
	return d.Reconnect && !d.over.Load() && d.ctx.Err() == nil && d.e.life.serving.Err() == nil
}

// backoff draws how long to wait, so that those who lost their server together
// do not come back together: from BackoffMin to a bound that doubles.
func (d *dialing) backoff() time.Duration {
	bound := d.BackoffMin
	for range max(d.attempt, 1) {
		if bound = min(2*bound, d.BackoffMax); bound == d.BackoffMax {
			break
		}
	}
	return d.BackoffMin + time.Duration(d.w.env.Random()%uint64(bound-d.BackoffMin+1))
}

// wait has the loop make the next attempt.
func (d *dialing) wait(after time.Duration) {
	d.watch()
	d.waiting = true
	if d.w.waiting == nil {
		d.w.waiting = make(map[*dialing]struct{})
	}
	d.w.waiting[d] = struct{}{}
	d.w.arm(&d.timer, after)
}

func (d *dialing) stopWaiting() {
	d.waiting = false
	delete(d.w.waiting, d)
	d.w.time.wheel.Stop(&d.timer)
}

// Expire implements wheel.Expirer: the wait is over.
func (d *dialing) Expire(*wheel.Timer) {
	d.stopWaiting()
	if !d.again() {
		d.finish()
		return
	}
	if d.e.gate.Depart() != admit.Admitted { // a shutdown has begun
		d.finish()
		return
	}
	d.attempt++
	d.e.dialer.pool.submit(d)
}

// finish ends the dialing and gives its place to another connection.
func (d *dialing) finish() {
	if d.waiting {
		d.stopWaiting()
	}
	d.stopWatch()
	d.e.gate.Leave(&d.pass)
}

// stop says that no attempt is to follow. Any goroutine may call it.
func (d *dialing) stop() {
	if d.over.CompareAndSwap(false, true) {
		_ = d.w.post(post{kind: ownPost, do: func() {
			if d.waiting {
				d.finish()
			}
		}})
	}
}
