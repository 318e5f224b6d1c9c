package engine

import (
	"fmt"
	"time"

	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
)

// Health says whether an engine works, and whether clients are to be sent to it. Each list
// has the reasons why not, as short sentences for an operator.
type Health struct {
	NotLive  []string // a loop is held longer than Config.LoopHeldMax: only a new process helps
	NotReady []string // the engine does not take new connections now, or is about to end
}

// Live reports whether all loops turn.
func (h Health) Live() bool { return len(h.NotLive) == 0 }

// Ready reports whether the engine takes new connections: it runs, its loops turn, it does not drain,
// its listeners are open (if it has some), and there is room: below ConnectionsMax, BufferBytesMax, and the
// descriptor limit.
func (h Health) Ready() bool { return len(h.NotReady) == 0 }

// Health looks at the engine. It costs a few microseconds, however many connections there are, and waits for nothing.
// Any goroutine may call it, also before Run and after the end.
func (e *Engine) Health() (h Health) {
	h.NotLive = e.heldLoops(time.Now())
	notReady := func(ok bool, format string, args ...any) {
		if !ok {
			h.NotReady = append(h.NotReady, fmt.Sprintf(format, args...))
		}
	}
	e.life.mu.Lock()
	phase := e.life.phase
	e.life.mu.Unlock()
	drain, inside := e.Draining(), e.gate.Counts().Inside
	notReady(phase != engineNew, "the engine does not run yet")
	notReady(phase != engineStopping || drain.Stage != NotDraining, "the engine is shut down")
	notReady(drain.Stage == NotDraining, "the engine drains: %v", drain)
	notReady(phase != engineRunning || drain.Stage != NotDraining || e.accepts(), "all listeners are closed")
	notReady(inside < e.set.ConnectionsMax, "%d connections are open: Config.ConnectionsMax does not allow more", inside)
	notReady(e.overspent() < 0, "Config.BufferBytesMax is spent")
	notReady(loop.SpareDescriptor(), "this process may not open more descriptors")
	h.NotReady = append(h.NotReady, h.NotLive...)
	return h
}

// accepts reports whether a listener is open, or there has never been one: then the engine serves
// what Engine.Upgrade brings.
func (e *Engine) accepts() bool {
	e.listeners.mu.Lock()
	defer e.listeners.mu.Unlock()
	for _, l := range e.listeners.list {
		if l.closing.Err() == nil {
			return true
		}
	}
	return !e.listeners.any
}

// heldLoops says which loops have been in the same turn for longer than LoopHeldMax, as far as the
// watchdog has seen.
func (e *Engine) heldLoops(now time.Time) (held []string) {
	if limit.Endless(e.set.LoopHeldMax) {
		return nil
	}
	for i, w := range e.running() {
		turn := w.watch.turn.Load()
		if turn%2 == 0 || turn != w.watch.seen.Load() {
			continue
		}
		if d := now.Sub(time.Unix(0, w.watch.seenAt.Load())); d > e.set.LoopHeldMax {
			by := "many short callbacks, or the engine"
			if callback := w.watch.callback.Load(); callback != noCallback {
				by = callbackNames[callback]
			}
			if conn := w.watch.conn.Load(); conn != 0 {
				by += fmt.Sprintf(" of connection %d", conn)
			}
			held = append(held, fmt.Sprintf("loop %d is held for %v by %s", i, d.Round(time.Second/10), by))
		}
	}
	return held
}
