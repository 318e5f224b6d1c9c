package engine

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

const (
	drainStep = 20 * time.Millisecond // from one step of a plan to the next

	// drainStepMax is the most that a step counts for. When a loop was held up, those whose time
	// has passed meanwhile are not all closed at once: the rest of the plan comes later.
	drainStepMax = 5 * drainStep
)

// drainPlan closes the connections of one loop, one after the other: see Engine.Drain. All
// but the atomics belongs to the loop.
type drainPlan struct {
	x     *draining
	w     *worker
	timer wheel.Timer

	first []*Conn     // that were there when the drain began; the idle ones of them are closed first
	next  int         // of first
	seen  []uint64    // messages that first had carried then, as far as somebody has looked
	busy  fifo[*Conn] // the others of first, and who has opened since

	closing bool // the stage has begun
	passed  time.Duration
	last    time.Duration // the engine's time at the last step
	due     float64       // connections that are to be closed now, and a part of the next one
	all     int           // connections that there were
	done    int           // that were closed, or have gone

	left atomic.Int64 // that are still to be closed
	over atomic.Bool  // Drain.Over has passed
}

// begin notes who is there. It runs on the loop, as all of these do.
func (p *drainPlan) begin() {
	w := p.w
	if w.drains.begun {
		return
	}
	w.drains.plan, p.timer.Owner = p, p
	p.first = slices.Clone(w.conns) // nothing of them is read here: there may be very many
	p.all = len(p.first)
	p.step()
}

// close begins to close.
func (p *drainPlan) close() {
	if p.w.drains.begun {
		return
	}
	p.closing, p.last = true, p.w.e.elapsed()
	p.due = 1 - p.offset()
	p.step()
}

// offset is a part of the time from one connection to the next, by which the loops differ.
func (p *drainPlan) offset() float64 {
	return (float64(p.w.api.index) + 0.5) / float64(len(p.w.e.loops))
}

// add is told of a connection that has opened.
func (p *drainPlan) add(c *Conn) {
	p.busy.push(c)
	p.all++
	p.left.Add(1)
}

func (p *drainPlan) count() int { return len(p.first) - p.next + p.busy.len() }

// Expire implements wheel.Expirer. What was sent from elsewhere until now goes first.
func (p *drainPlan) Expire(*wheel.Timer) {
	_ = p.w.post(post{kind: ownPost, do: p.step})
}

// step does what is due.
func (p *drainPlan) step() {
	w := p.w
	if w.drains.begun {
		return
	}
	w.arm(&p.timer, drainStep)
	if !p.closing {
		p.look()
		return
	}
	now := w.e.elapsed()
	p.pass(min(now-p.last, drainStepMax))
	p.last = now
	for tries := p.count(); tries > 0 && p.due >= 1; tries-- {
		if p.closeNext(); w.enough() {
			_ = w.post(post{kind: ownPost, do: p.step})
			break
		}
	}
	p.left.Store(int64(p.count()))
}

// look notes what the connections have carried. What there is no time for is left to a later step.
func (p *drainPlan) look() {
	for len(p.seen) < len(p.first) {
		if p.seen = append(p.seen, p.first[len(p.seen)].carried()); p.w.enough() {
			return
		}
	}
}

// pass lets some of the time pass: who is left is spread over the rest of it.
func (p *drainPlan) pass(d time.Duration) {
	left, rest := float64(p.count()), p.x.Over-p.passed
	if p.passed += d; d >= rest {
		p.due = left
		p.over.Store(true)
		return
	}
	p.due = min(p.due+(left+p.offset()-p.due)*float64(d)/float64(rest), left)
}

// closeNext closes the next connection, or puts it off.
func (p *drainPlan) closeNext() {
	if p.next == len(p.first) {
		p.closeOne(p.busy.pop())
		return
	}
	i := p.next
	c := p.first[i]
	p.first[i] = nil
	p.next++
	if c.end.phase.Load() == phaseOpen && (i < len(p.seen) && p.seen[i] != c.carried() || c.QueuedBytes() > 0) {
		p.busy.push(c)
		return
	}
	p.closeOne(c)
}

func (p *drainPlan) closeOne(c *Conn) {
	switch phase := c.end.phase.Load(); {
	case c.origin == dialled, phase == phaseOpening: // it stays, or will be added
		p.all--
	case phase > phaseOpen:
		p.done++
		p.due-- // or the others would be closed the faster for it
	case c.settled():
		_ = c.close(p.farewell(c))
		p.due--
	default:
		p.busy.push(c)
	}
}

// farewell is what a connection is closed with.
func (p *drainPlan) farewell(c *Conn) *CloseError {
	info, d := c.goingAway(ErrStopped), &p.x.Drain
	if c.origin == dialled {
		return info
	}
	if d.Comeback > 0 {
		info.Code, info.Reason = protocol.CloseServiceRestart, "the server restarts"
	}
	if d.Code != 0 {
		info.Code = d.Code
	}
	if d.Reason != "" {
		info.Reason = d.Reason
	}
	if d.Comeback > 0 {
		part := (float64(p.done) + p.offset()) / float64(max(p.all, 1))
		info.Reason = withRetryAfter(info.Reason, time.Duration(float64(d.Comeback)*min(part, 1)))
	}
	p.done++
	return info
}

// farewell is what a shutdown closes a connection with.
func (w *worker) farewell(c *Conn) *CloseError {
	if p := w.drains.plan; p != nil {
		return p.farewell(c)
	}
	return c.goingAway(ErrStopped)
}

// carried is how many messages the connection has carried, in both directions.
func (c *Conn) carried() uint64 {
	s := &c.stats
	return s.messagesIn.n.Load() + s.messagesOut.n.Load() + s.dropped.Load() + s.replaced.n.Load()
}

// settled reports whether all that has come from the peer was delivered and has been answered,
// as far as the engine can know: no function of Go and no Hold is under way, no message has come in part.
func (c *Conn) settled() bool {
	if c.working() || c.in.paused&pausedHeld != 0 || c.input().parked != nil {
		return false
	}
	if b, ok := c.codec.(codec.Buffered); ok && b.Buffered() > 0 {
		return false
	}
	return !c.sock.HasInput()
}
