package engine

import (
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/engine/internal/limit"
	"go.uber.org/zap"
)

// watch is what a loop shows of its work, for the watchdog to look at. The loop
// reads no clock for it.
type watch struct {
	turn     atomic.Uint64 // odd while a turn is under way
	callback atomic.Uint32 // that is under way, or was last
	conn     atomic.Uint64 // the connection that it is called for; 0: none
	counting atomic.Bool   // the turn is long already: calls is to be kept
	calls    atomic.Uint64 // callbacks while counting
	held     atomic.Uint64 // see Stats.LoopHeld

	// What the watchdog has seen: the last turn, and since when, in nanoseconds of Unix time.
	seen   atomic.Uint64
	seenAt atomic.Int64

	looks, busy atomic.Uint64 // how often it looked, and found a turn under way
}

// The callbacks that a watchdog can name.
const (
	noCallback = iota
	onUpgrade
	onOpen
	onMessage
	onClose
	onPing
	onPong
	onBackpressure
	onDrain
	onFailure
	onTimer
	onPost
	onRelease
	onClosed
	onPacket
	onDescribe
)

var callbackNames = [...]string{"none", "OnUpgrade", "OnOpen", "OnMessage", "OnClose", "OnPing", "OnPong", "OnBackpressure", "OnDrain", "OnFailure", "timer", "post", "release of Hold", "Closed", "OnPacket", "Describe"}

// calling notes which callback is about to be called; returned follows it.
func (w *worker) calling(callback uint32, c *Conn) { w.callingAt(callback, c.who.id) }

// callingAt is calling for a connection by its number; 0 is none.
func (w *worker) callingAt(callback uint32, conn uint64) {
	if w.watch.callback.Load() != callback {
		w.watch.callback.Store(callback)
	}
	if w.watch.conn.Load() != conn {
		w.watch.conn.Store(conn)
	}
	if w.watch.counting.Load() {
		w.watch.calls.Add(1)
	}
	if t := w.timings; t != nil {
		t.kind = noCallback // the last one may have panicked
		if t.calls--; t.calls <= 0 || callsOfMany>>callback&1 == 0 {
			w.beginCall(callback)
		}
	}
}

// called notes that no callback is under way.
func (w *worker) called() {
	if w.watch.callback.Load() != noCallback {
		w.watch.callback.Store(noCallback)
	}
}

// guardLoopsMax is how often it looks at least, for Health.
const guardLoopsMax = time.Second

// guardLoops looks at the loops until they end.
func (e *Engine) guardLoops() {
	if limit.Endless(e.set.CallbackWarnAfter) && limit.Endless(e.set.LoopHeldMax) {
		return
	}
	d := watchdog{e: e, looks: make([]look, len(e.loops))}
	tick := time.NewTicker(max(min(e.set.CallbackWarnAfter/4, e.set.LoopHeldMax/4, guardLoopsMax), time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-e.life.looping.Done():
			return
		case now := <-tick.C:
			d.look(now)
		}
	}
}

// watchdog names what holds up a loop, when it has done so for
// CallbackWarnAfter: one callback, or a turn of many. It tells again when the
// turn is over.
type watchdog struct {
	e     *Engine
	looks []look // at each loop
}

// look is what was seen of a loop.
type look struct {
	turn, calls uint64
	turnAt      time.Time // when this turn was seen first
	callAt      time.Time // and this callback
	counted     uint64    // callbacks of this turn, since they are counted
	told        bool      // of this turn
	toldCall    bool      // of this callback
}

func (d *watchdog) look(now time.Time) {
	for i, w := range d.e.loops {
		l, turn, calls := &d.looks[i], w.watch.turn.Load(), w.watch.calls.Load()
		where := zap.Int("loop", i)
		w.watch.looks.Add(1)
		w.watch.busy.Add(turn % 2)
		if turn != l.turn {
			if l.told {
				d.e.log.Warn("the loop goes on", where, zap.Duration("held", now.Sub(l.turnAt)))
			}
			w.watch.counting.Store(false)
			w.watch.seenAt.Store(now.UnixNano())
			w.watch.seen.Store(turn)
			*l = look{turn: turn, calls: calls, turnAt: now, callAt: now}
			continue
		}
		if turn%2 == 0 {
			continue
		}
		w.watch.counting.Store(true)
		if calls != l.calls {
			l.counted += calls - l.calls
			l.calls, l.callAt, l.toldCall = calls, now, false
		}
		callback := w.watch.callback.Load()
		what, conn := zap.String("callback", callbackNames[callback]), zap.Skip()
		if callback != noCallback {
			conn = zap.Uint64("conn", w.watch.conn.Load())
		}
		switch after := d.e.set.CallbackWarnAfter; {
		case callback != noCallback && now.Sub(l.callAt) >= after && !l.toldCall:
			l.told, l.toldCall = true, true
			w.watch.held.Add(1)
			d.e.log.Warn("a callback holds up its loop and every connection on it: move what blocks off the loop with Conn.Go",
				what, where, conn, zap.Duration("held", now.Sub(l.callAt)))
		case now.Sub(l.turnAt) >= after && !l.told:
			l.told = true
			w.watch.held.Add(1)
			d.e.log.Warn("a turn holds up its loop and every connection on it: no callback is slow alone, there are many, or the engine itself is busy",
				zap.Uint64("callbacks", l.counted), what, where, conn, zap.Duration("held", now.Sub(l.turnAt)))
		}
	}
}
