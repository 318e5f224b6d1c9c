package engine

import "time"

// LoopInfo describes a loop for those who operate a program. What Turns, Looks and
// Busy count only rises, so that two looks give the share of the time in which the loop was
// busy, (Busy-Busy)/(Looks-Looks), and with it how long a turn took.
type LoopInfo struct {
	Index       int
	Connections int
	Posts       int    // that wait in its inbox
	InboxBytes  int64  // of these and their payloads
	Turns       uint64 // that have begun
	Looks, Busy uint64 // how often the watchdog has looked at it, and found a turn under way; 0 without a watchdog: CallbackWarnAfter and LoopHeldMax are NoLimit
	Held        uint64 // callbacks, and turns of many, that held it longer than CallbackWarnAfter

	InTurn   bool          // a turn is under way
	HeldFor  time.Duration // how long ago the watchdog saw this turn first; 0: it has not
	Callback string        // that is under way: "OnMessage", …, "timer", "post"; "" if none is, or it is not known
	Conn     uint64        // the ID of the connection that this is called for; 0: none
}

// InspectLoops describes the loops as they are, also those that are held up: it waits for none.
// Before Run there are none. Any goroutine may call it.
func (e *Engine) InspectLoops() []LoopInfo {
	var all []LoopInfo
	for _, w := range e.running() {
		all = append(all, w.info())
	}
	return all
}

func (w *worker) info() LoopInfo {
	turn, callback := w.watch.turn.Load(), w.watch.callback.Load()
	i := LoopInfo{Index: w.api.index, Turns: (turn + 1) / 2, Held: w.watch.held.Load(), InTurn: turn%2 == 1,
		Busy: w.watch.busy.Load(), Looks: w.watch.looks.Load(), InboxBytes: w.inbox.bytes.Load()}
	if i.InTurn && callback != noCallback {
		i.Callback, i.Conn = callbackNames[callback], w.watch.conn.Load()
	}
	if i.InTurn && w.watch.seen.Load() == turn {
		i.HeldFor = max(time.Since(time.Unix(0, w.watch.seenAt.Load())), 0)
	}
	w.mu.Lock()
	i.Connections = len(w.conns)
	w.mu.Unlock()
	w.inbox.mu.Lock()
	i.Posts = len(w.inbox.posts)
	w.inbox.mu.Unlock()
	return i
}
