package centrifugal

import (
	"time"

	"github.com/sockmill/sockmill/engine"
)

const (
	ringSlots     = 512 // what is due later than they reach is looked at once more when they are over
	ringTurn      = 256 // sessions that are looked at before other events of the loop have their turn
	ringStepMax   = 100 * time.Millisecond
	ringStepMin   = 10 * time.Millisecond
	ringPrecision = 8 // a session is looked at too late by at most this part of the shortest time of Config
)

// ring has the sessions of one loop, by when they have to be looked at: in place of a timer for each of them, there is one for all.
// It is the loop's alone.
type ring struct {
	s     *Server
	loop  *engine.Loop
	timer *engine.Timer
	armed bool // the timer: while there are sessions
	slots [ringSlots][]*session
	n     int // sessions

	// done is the last slot that was looked at. Slots are numbered since Server.began, and the numbers may wrap. Sessions are in those
	// from done+1 to done+ringSlots, so in each place are those of one slot.
	done uint32
}

// newRings makes one for each loop.
func (s *Server) newRings(e *engine.Engine) {
	shortest := min(s.cfg.ConnectTimeout, s.cfg.ExpiryGrace)
	for _, d := range []time.Duration{s.cfg.PingInterval, s.cfg.PongTimeout} {
		if d > 0 {
			shortest = min(shortest, d)
		}
	}
	s.step = min(max(shortest/ringPrecision, ringStepMin), ringStepMax)
	for _, l := range e.Loops() {
		s.rings = append(s.rings, &ring{s: s, loop: l})
	}
}

// slot is the number of the last slot that has begun at a time.
func (s *Server) slot(at int64) uint32 { return uint32((at - s.began) / int64(s.step)) } //nolint:gosec // it may wrap

// slotAfter is the slot in which a session is looked at for what is due after a time, if the ring reaches as far.
func (s *Server) slotAfter(now int64, after time.Duration) uint32 {
	return s.slot(now+int64(min(max(after, 1), ringSlots*s.step))-1) + 1
}

// put takes a session in. It is called with the session's lock.
func (r *ring) put(x *session, now int64) {
	if !r.armed {
		r.armed, r.done = true, r.s.slot(now)
		r.arm(r.s.step)
	}
	r.catchUp(now)
	x.slot = r.s.slotAfter(now, x.next(now))
	if last := r.done + ringSlots; int32(x.slot-last) > 0 { //nolint:gosec // the numbers may wrap
		x.slot = last
	}
	list := &r.slots[x.slot%ringSlots]
	x.index = int32(len(*list)) //nolint:gosec // as many as connections of a loop
	*list = append(*list, x)
	r.n++
}

// catchUp returns the slot of now, and leaves slots out if the loop was held up for longer than the ring is: the sessions in
// them are looked at in the turn of another slot that has their place.
func (r *ring) catchUp(now int64) uint32 {
	at := r.s.slot(now)
	if at-r.done > ringSlots-1 {
		r.done = at - (ringSlots - 1)
	}
	return at
}

// take takes a session out, if it is there.
func (r *ring) take(x *session) {
	if x.index < 0 {
		return
	}
	list := &r.slots[x.slot%ringSlots]
	last := len(*list) - 1
	moved := (*list)[last]
	(*list)[x.index], moved.index = moved, x.index
	(*list)[last] = nil
	if *list = (*list)[:last]; last == 0 {
		*list = nil
	}
	x.index = -1
	r.n--
}

// turn looks at the sessions that are due.
func (r *ring) turn() {
	at := r.catchUp(r.s.time())
	for budget := ringTurn; r.done != at; r.done++ {
		for list := &r.slots[(r.done+1)%ringSlots]; len(*list) > 0; budget-- {
			if budget == 0 {
				r.arm(0)
				return
			}
			(*list)[len(*list)-1].tick() // it goes into a later slot, or out
		}
	}
	if r.armed = r.n > 0; r.armed {
		r.arm(r.s.step)
	}
}

func (r *ring) arm(d time.Duration) {
	if r.timer == nil {
		r.timer = r.loop.After(d, r.turn)
		return
	}
	r.timer.Reset(d)
}
