package engine

import (
	"sync/atomic"
	"time"
)

// A turn is what a loop does at one event: input of a socket, room to write, a
// wake-up. Everybody else on the loop waits for its end. So whatever does many
// things in a turn asks enough after each of them, and if that says yes, leaves
// the others for a later turn, behind the events that wait: see Woken.

const (
	// turnTimeMax is how long a turn goes on with many things; each of the four
	// parts of Woken has so much.
	turnTimeMax = 2 * time.Millisecond

	// paceFirst and paceMax are how many things are done before the clock is read,
	// for the first two times in a turn and then: if they are quick, so that reading
	// it costs little. So a turn whose things become slow ends after 2*paceFirst.
	paceFirst = 8
	paceMax   = 32
)

// pace is how often a turn reads the clock.
type pace struct {
	left  int           // things until the clock is read
	each  int           // what left was
	next  int           // what it is to be next, from what the last ones took
	known bool          // whether the clock has been read in this turn
	began time.Duration // when it was read first
	read  time.Duration // and last
}

// turn is what a loop remembers from one turn to the next.
type turn struct {
	pace       pace
	dirty      []*Conn       // to be attended to at the end of this turn
	later      fifo[*Conn]   // to be attended to after other events had their turn
	takesPosts bool          // takePosts is to come or under way: the loop need not wake itself
	rounds     atomic.Uint64 // calls of Woken: between two of them everything that is ready is served
}

// beginTurn and endTurn frame everything that a loop does at one event.
func (w *worker) beginTurn() {
	w.watch.turn.Add(1)
	w.turn.pace.begin()
	if w.timings != nil {
		w.beginTiming()
	}
}

func (w *worker) inTurn() bool { return w.watch.turn.Load()%2 == 1 }

// beginPart starts the time of a part of a turn, which has a turnTimeMax of its own.
func (w *worker) beginPart() {
	w.called()
	w.turn.pace.begin()
}

func (p *pace) begin() { p.known, p.left = false, min(p.next, paceFirst) }

// enough is asked after each of many things. It reports whether the turn has
// lasted for turnTimeMax.
func (w *worker) enough() bool {
	w.turn.pace.left--
	return w.turn.pace.left <= 0 && w.look()
}

// look reads the clock. If the last things were slow, it does so sooner again.
func (w *worker) look() (enough bool) {
	p := &w.turn.pace
	if f := w.e.test.tired; f != nil {
		return f()
	}
	now := w.e.elapsed()
	if p.known {
		enough = now-p.began >= turnTimeMax
		slow := (now - p.read) / time.Duration(p.each)
		p.next = int(min(max(turnTimeMax/4/max(slow, 1), 1), paceMax))
		p.left = p.next
	} else { // how long the first things took is not known
		p.known, p.began = true, now
		p.left = min(max(p.next, 1), paceFirst)
	}
	if p.read = now; enough {
		p.left = 1
	}
	p.each = p.left
	return enough
}

// Woken implements loop.Driver: it follows a Wake. Here goes on what turns have
// left; each part gets at least one thing done.
func (w *worker) Woken() {
	w.beginTurn()
	w.turn.rounds.Add(1)
	w.turn.takesPosts = true
	w.called()
	w.advance()
	w.beginPart()
	w.takePosts()
	w.turn.takesPosts = false
	w.beginPart()
	w.fanOut(w.enough)
	w.beginPart()
	w.attendLater()
	w.endTurn()
}

// mark is the list of connections to be attended to that a connection is on.
type mark uint8

const (
	unmarked mark = iota
	markedDirty
	markedLater
)

// mark puts c on the list of connections to be attended to at the end of the
// turn: to write what was queued, to close what is over.
func (w *worker) mark(c *Conn) {
	if c.flow.marked == unmarked {
		c.flow.marked = markedDirty
		w.turn.dirty = append(w.turn.dirty, c)
	}
}

// markLater is mark for one of many: a fan-out must not hold up the loop, and
// what else is sent to c before its turn comes leaves in the same write.
func (w *worker) markLater(c *Conn) {
	if c.flow.marked == unmarked {
		c.flow.marked = markedLater
		w.turn.later.push(c)
	}
}

// endTurn ends what every event of the loop does: connections that were marked
// write once, whatever was sent to them. Attending may mark more.
func (w *worker) endTurn() {
	w.attendDirty()
	for w.account(); len(w.turn.dirty) > 0; w.account() { // it closed some
		w.attendDirty()
	}
	w.setAlarm()
	w.tell()
	if w.turn.later.len() > 0 || w.fans.len() > 0 {
		w.loop.Wake()
	}
	if w.timings != nil {
		w.endTiming()
	}
	w.watch.turn.Add(1)
}

func (w *worker) attendDirty() {
	enough := false
	for i := 0; i < len(w.turn.dirty); i++ {
		c := w.turn.dirty[i]
		w.turn.dirty[i] = nil
		c.flow.marked = unmarked
		if enough {
			w.markLater(c)
			continue
		}
		c.attend()
		enough = w.enough()
	}
	w.turn.dirty = w.turn.dirty[:0]
}

// attendLater attends to those who wait for it.
func (w *worker) attendLater() {
	for n := w.turn.later.len(); n > 0; n-- {
		c := w.turn.later.pop()
		c.flow.marked = unmarked
		c.in.paused &^= pausedTurn
		c.attend()
		if w.called(); w.enough() {
			return
		}
	}
}

// fifo is a queue.
type fifo[T any] struct {
	list  []T
	taken int // of list, from its beginning
}

func (q *fifo[T]) len() int    { return len(q.list) - q.taken }
func (q *fifo[T]) push(x T)    { q.list = append(q.list, x) }
func (q *fifo[T]) at(i int) *T { return &q.list[q.taken+i] }

func (q *fifo[T]) pop() T {
	x := q.list[q.taken]
	var none T
	q.list[q.taken] = none
	if q.taken++; q.taken >= 256 && 2*q.taken >= len(q.list) || q.taken == len(q.list) {
		kept := copy(q.list, q.list[q.taken:])
		clear(q.list[kept:])
		q.list, q.taken = q.list[:kept], 0
	}
	return x
}
