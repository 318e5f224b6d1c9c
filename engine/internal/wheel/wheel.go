// Package wheel is a hierarchical timing wheel with a tick of one millisecond:
// arming and stopping cost O(1) and no allocation, and an idle wheel costs
// nothing, since it tells when it wants to be advanced next. It belongs to one
// goroutine and reads no clock.
package wheel

import "math/bits"

const (
	levelBits = 6
	slots     = 1 << levelBits
	levels    = 7 // 2^42 ms, more than a century
)

// Expirer is told that its timer ran out.
type Expirer interface{ Expire(t *Timer) }

// Timer is one entry, to be embedded in what it belongs to. The zero value is
// a stopped timer; Owner must be set before it is armed.
type Timer struct {
	Owner      Expirer
	next, prev *Timer
	due        int64 // with the bit again, if Again armed it
}

// again marks a timer that Again armed. Times are far below it.
const again = 1 << 62

// Due is when the timer was to expire last, or is to expire.
func (t *Timer) Due() int64 { return t.due &^ again }

// Again reports whether it was Wheel.Again that armed the timer last.
func (t *Timer) Again() bool { return t.due&again != 0 }

// Armed reports whether the timer waits in a wheel.
func (t *Timer) Armed() bool { return t.next != nil }

// Wheel holds timers. Times are milliseconds from a start of the caller's
// choice.
type Wheel struct {
	now      int64
	armed    int
	expiring Timer          // head of the list that Advance works on: those of a slot whose time has come
	occupied [levels]uint64 // may say yes for a slot that has been emptied by Stop
	slots    [levels][slots]Timer
}

// Len is the number of armed timers.
func (w *Wheel) Len() int { return w.armed }

// Arm sets t to expire at the time due, or at the next tick if that has
// passed. An armed timer is moved.
func (w *Wheel) Arm(t *Timer, due int64) {
	w.Stop(t)
	t.due = max(due, w.now+1)
	w.insert(t)
	w.armed++
}

// Again is Arm for a timer that has expired and is to expire once more: t.Again
// tells it from an Arm.
func (w *Wheel) Again(t *Timer, due int64) {
	w.Arm(t, due)
	t.due |= again
}

// Stop takes t out. A stopped timer may be stopped again.
func (w *Wheel) Stop(t *Timer) {
	if t.next != nil {
		unlink(t)
		w.armed--
	}
}

// Next tells when Advance has work at the earliest; ok is false if no timer is
// armed. It may be early, by what a coarse level does not know, never late.
func (w *Wheel) Next() (due int64, ok bool) {
	switch {
	case w.armed == 0:
		return 0, false
	case w.expiring.next != nil && w.expiring.next != &w.expiring: // Advance had enough
		return w.now, true
	}
	_, _, due = w.earliest()
	return due, true
}

// Advance sets the time and expires every timer that is due, in the order of
// their ticks. Owners may arm and stop any timer meanwhile. After each timer it
// asks enough: if that says so, Advance reports false, and the next Advance goes
// on where this one stopped. A nil enough never does.
func (w *Wheel) Advance(now int64, enough func() bool) (done bool) {
	for w.armed > 0 {
		list := &w.expiring
		for list.next != nil && list.next != list {
			t := list.next
			unlink(t)
			if t.Due() > w.now {
				w.insert(t)
				continue
			}
			w.armed--
			t.Owner.Expire(t)
			if enough != nil && enough() {
				return false
			}
		}
		if w.armed == 0 {
			break
		}
		level, slot, due := w.earliest()
		if due > now {
			break
		}
		w.now = max(w.now, due)
		w.occupied[level] &^= 1 << slot
		splice(list, &w.slots[level][slot])
	}
	w.now = max(w.now, now)
	return true
}

// earliest finds the first occupied slot of the lowest occupied level, and
// when its time begins. There is one, since a timer is armed.
func (w *Wheel) earliest() (level, slot int, due int64) {
	for level = range levels {
		if w.occupied[level] != 0 {
			break
		}
	}
	// All slots in use lie after the one of now: an earlier one would belong
	// to the next turn, and that is the next level's.
	slot = bits.TrailingZeros64(w.occupied[level])
	shift := level * levelBits
	turn := w.now &^ (int64(1)<<(shift+levelBits) - 1)
	return level, slot, turn | int64(slot)<<shift
}

// insert puts t on the level of the highest digit in which its time differs
// from now.
func (w *Wheel) insert(t *Timer) {
	due := t.Due()
	level := (bits.Len64(uint64(w.now^due)|1) - 1) / levelBits
	slot := int(due>>(level*levelBits)) & (slots - 1)
	w.occupied[level] |= 1 << slot
	head := &w.slots[level][slot]
	if head.next == nil {
		head.next, head.prev = head, head
	}
	t.next, t.prev = head, head.prev
	head.prev.next = t
	head.prev = t
}

func unlink(t *Timer) {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// splice moves all of src's ring to dst.
func splice(dst, src *Timer) {
	if src.next == nil || src.next == src {
		dst.next, dst.prev = dst, dst
		return
	}
	dst.next, dst.prev = src.next, src.prev
	dst.next.prev, dst.prev.next = dst, dst
	src.next, src.prev = src, src
}
