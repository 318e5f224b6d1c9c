package engine

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

const (
	// timersPerConnMax bounds what a peer can make a program arm. Above it the
	// connection is closed.
	timersPerConnMax = 256

	// catchUpMax is how many ticks a late loop makes up for; older ones are
	// skipped.
	catchUpMax = 5

	// timerMax is the longest a timer runs: the wheel's time and what is added
	// to it stay far below where they end.
	timerMax = 50 * 365 * 24 * time.Hour
)

// Timer calls a function on a loop, once (After) or again and again (Every). It
// costs no goroutine and no timer of the runtime.
//
// The function must not block. It is called at or after its time, mostly less
// than a millisecond after it, one call at a time with everything else on its
// loop; never inside Reset, Stop, After or Every. A time armed before Run begins
// with Run. After the end of the engine no timer runs.
//
// A timer of a connection is one of its callbacks: it runs between OnOpen and
// OnClose, and no longer than the connection is open: from a Close of either side
// on it is not called again. A panic closes that connection with 1011. (A
// function of Conn.Go may run beside it, as beside OnDrain.) A connection has at
// most 256 timers armed; with more it is closed with 1011. A panic in another
// timer is logged; one of Every goes on with its next tick.
//
// The methods may be called from any goroutine, the timer's own function
// included.
type Timer struct {
	w    *worker
	c    *Conn // whose timer it is; nil: the loop's
	once func()
	each func(Tick)

	entry          wheel.Timer // these are the loop's, as linked is
	newer, earlier *Timer      // its neighbours in extra.timers

	mu      sync.Mutex // guards what follows
	linked  bool       // but not this
	armed   bool
	posted  bool          // carryOut is to be called on the loop
	calling bool          // the function is called, or about to be
	early   bool          // armed before Run: due is to be set
	delay   time.Duration // or period
	due     time.Duration // since Engine.began
	ticks   uint64        // of Every, skipped ones included
}

// Tick is one due instant of Every.
type Tick struct {
	N      uint64    // the number of the instant, from 1
	Due    time.Time // start + N × period, exactly: ticks do not drift; its clock is monotonic
	Missed uint64    // instants right before this one that were skipped
}

func newTimer(w *worker, c *Conn, d time.Duration, once func(), each func(Tick)) *Timer {
	if once == nil && each == nil {
		panic("engine: After or Every was given no function")
	}
	t := &Timer{w: w, c: c, once: once, each: each}
	t.entry.Owner = (*firing)(t)
	t.Reset(d)
	return t
}

// Reset arms the timer anew, whether it is armed, has run or was stopped. After:
// its function is called when d has passed. Every: d is the new period, and the
// ticks are counted from now on, from 1. After counts d below 0 as 0, Every below
// 1 ms as 1 ms; 50 years are the most. When Reset has returned, no call begins
// that was due before; one may be under way: see Stop.
func (t *Timer) Reset(d time.Duration) {
	if d = min(max(d, 0), timerMax); t.each != nil {
		d = max(d, time.Millisecond)
	}
	t.mu.Lock()
	t.armed, t.early = true, !t.w.live.Load()
	t.delay, t.due, t.ticks = d, t.w.e.elapsed()+d, 0
	t.mu.Unlock()
	t.apply()
}

// Stop disarms the timer. When it has returned, no call of the function begins.
// It does not wait for one that is under way, and reports false if there is one:
// on another goroutine, which may be about to enter the function, or in the
// function itself. Who must know that it has ended posts to the timer's loop (see
// Loop.Post): what is posted comes after it.
func (t *Timer) Stop() (idle bool) {
	t.mu.Lock()
	t.armed, idle = false, !t.calling
	t.mu.Unlock()
	t.apply()
	return idle
}

// apply has the loop do what Reset and Stop noted. However often they are called
// from elsewhere, one post waits.
func (t *Timer) apply() {
	if t.w.on() {
		t.carryOut()
		return
	}
	t.mu.Lock()
	first := !t.posted
	t.posted = true
	t.mu.Unlock()
	if first {
		_ = t.w.post(post{kind: timerPost, timer: t}) // one for each timer; fails after the end, when no timer runs
	}
}

func (t *Timer) carryOut() {
	t.mu.Lock()
	t.posted = false
	if t.early {
		t.early, t.due = false, t.w.e.elapsed()+t.delay
	}
	if t.c != nil && t.c.end.phase.Load() != phaseOpen {
		t.armed = false
	}
	armed, due := t.armed, t.due
	t.mu.Unlock()
	if !armed {
		t.disarm()
		return
	}
	if t.c != nil && !t.c.link(t) {
		return
	}
	t.arm(due)
}

// arm has the wheel call at or after due, by less than a millisecond.
func (t *Timer) arm(due time.Duration) {
	t.w.time.wheel.Arm(&t.entry, int64((due+time.Millisecond-1)/time.Millisecond))
}

func (t *Timer) disarm() {
	t.w.time.wheel.Stop(&t.entry)
	if t.linked {
		t.c.unlink(t)
	}
}

// firing is a Timer as the wheel knows it.
type firing Timer

// Expire implements wheel.Expirer.
func (f *firing) Expire(*wheel.Timer) { (*Timer)(f).fire() }

func (t *Timer) fire() {
	now := t.w.e.elapsed()
	var tick Tick
	t.mu.Lock()
	call := t.armed && t.due <= now // or it was stopped or reset elsewhere
	switch {
	case call && t.each != nil:
		tick = t.next(now)
	case call:
		t.armed = false
	}
	again, due := t.armed, t.due
	t.calling = call
	t.mu.Unlock()
	if again { // before the call, which may stop or reset it
		t.arm(due)
	} else {
		t.disarm()
	}
	if !call {
		return
	}
	conn := uint64(0)
	if t.c != nil {
		conn = t.c.who.id
	}
	t.w.callingAt(onTimer, conn)
	defer t.called()
	if t.each != nil {
		t.each(tick)
	} else {
		t.once()
	}
	t.w.returned()
}

// next moves due to the next instant and describes the one that it was. Of more
// than catchUpMax instants that have passed since, the first are skipped.
func (t *Timer) next(now time.Duration) Tick {
	missed := max(int64((now-t.due)/t.delay)-catchUpMax, 0)
	t.due += time.Duration(missed) * t.delay
	t.ticks += uint64(missed) + 1
	tick := Tick{N: t.ticks, Due: t.w.e.began.Add(t.due), Missed: uint64(missed)}
	t.due += t.delay
	return tick
}

// called follows each call, and survives its panic.
func (t *Timer) called() {
	v := recover()
	t.mu.Lock()
	t.calling = false
	t.mu.Unlock()
	switch {
	case v == nil:
	case t.c != nil:
		t.c.panicked(v)
	default:
		t.w.e.logPanic(v, 0)
	}
}

var errTimers = errors.New("engine: a connection has more timers than docs/LIMITS.md allows")

// link puts t on the list of the connection's armed timers, or closes the
// connection if there are too many.
func (c *Conn) link(t *Timer) bool {
	if t.linked {
		return true
	}
	r := c.needExtra()
	if r.timerCount == timersPerConnMax {
		c.ep.e.log.Error("a connection has too many timers and is closed: stop those that are not needed, or use one for all",
			zap.Uint64("conn", c.who.id), zap.Int("max", timersPerConnMax))
		_ = c.close(&CloseError{Code: protocol.CloseInternalError, Reason: "internal error", Err: errTimers})
		return false
	}
	r.timerCount++
	if t.linked, t.earlier = true, r.timers; t.earlier != nil {
		t.earlier.newer = t
	}
	r.timers = t
	return true
}

func (c *Conn) unlink(t *Timer) {
	r := c.extra
	if r.timerCount--; t.newer != nil {
		t.newer.earlier = t.earlier
	} else {
		r.timers = t.earlier
	}
	if t.earlier != nil {
		t.earlier.newer = t.newer
	}
	t.linked, t.newer, t.earlier = false, nil, nil
}

// endTimers disarms all timers of a connection that is no longer open.
func (c *Conn) endTimers() {
	for c.extra != nil && c.extra.timers != nil {
		t := c.extra.timers
		t.mu.Lock()
		t.armed = false
		t.mu.Unlock()
		t.disarm()
	}
}
