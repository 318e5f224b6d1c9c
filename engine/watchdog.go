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
	callback atomic.Uint32 // the callback that was called last
	conn     atomic.Uint64 // for whom
	held     atomic.Uint64 // turns that took longer than Config.CallbackWarnAfter
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
)

var callbackNames = [...]string{"none", "OnUpgrade", "OnOpen", "OnMessage", "OnClose", "OnPing", "OnPong", "OnBackpressure", "OnDrain", "OnFailure", "timer", "post", "release of Hold", "Closed"}

// calling notes which callback comes next. Mostly it is the same again.
func (w *worker) calling(callback uint32, c *Conn) { w.callingAt(callback, c.id) }

// callingAt is calling for a connection by its number; 0 is none.
func (w *worker) callingAt(callback uint32, conn uint64) {
	if w.watch.callback.Load() != callback {
		w.watch.callback.Store(callback)
	}
	if w.watch.conn.Load() != conn {
		w.watch.conn.Store(conn)
	}
}

// guardLoops is the watchdog: it names callbacks that hold up a loop, when they
// have done so for CallbackWarnAfter, and again when they are done. It ends
// when the loops do.
func (e *Engine) guardLoops() {
	after := e.cfg.CallbackWarnAfter
	if limit.Endless(after) {
		return
	}
	type look struct {
		turn  uint64
		since time.Time
		told  bool
	}
	looks := make([]look, len(e.loops))
	tick := time.NewTicker(max(after/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-e.life.looping.Done():
			return
		case <-tick.C:
		}
		for i, w := range e.loops {
			l, turn, now := &looks[i], w.watch.turn.Load(), time.Now()
			if turn != l.turn {
				if l.told {
					e.log.Warn("the loop goes on", zap.Int("loop", i), zap.Duration("held", now.Sub(l.since)))
				}
				*l = look{turn: turn, since: now}
			}
			if turn%2 == 1 && !l.told && now.Sub(l.since) >= after {
				l.told = true
				w.watch.held.Add(1)
				e.log.Warn("a callback holds up its loop and every connection on it: move what blocks off the loop with Conn.Go",
					zap.String("callback", callbackNames[w.watch.callback.Load()]), zap.Int("loop", i),
					zap.Uint64("conn", w.watch.conn.Load()), zap.Duration("held", now.Sub(l.since)))
			}
		}
	}
}
