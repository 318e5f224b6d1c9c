package engine

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sockmill/sockmill/codec"
)

// The byte budget of the engine covers every buffer that is lent: what waits to
// be sent and what keeps that in order, messages that are not complete, parked
// input, inboxes, fan-outs that are not done. While it is
// spent, newcomers get 503, and each loop closes the connections that hold most
// of its part, with Config.SlowCode, until the sum is below again.

// memory is what an engine's connections hold together.
type memory struct {
	buffered atomic.Int64 // bytes in buffers, of all loops
	relief   sync.Mutex   // held by the loop that gives back buffers for the budget
	takeover budget       // of Config.DeflateTakeoverBytes
}

// accounts are the numbers that a loop told the engine last.
type accounts struct {
	held   int64 // bytes in buffers
	shared int64 // bytes of shared frames in queues
	grew   bool  // one of the two has grown since the time before
}

// account tells the engine what the loop's buffers hold, if that has changed, and
// makes room if it grew and the budget is spent.
func (w *worker) account() {
	if w.tellHeld(); !w.accounts.grew || w.e.overspent() <= 0 {
		return
	}
	w.e.memory.relief.Lock() // while one loop frees memory, the others wait: it may free enough
	defer w.e.memory.relief.Unlock()
	for before := w.accounts.held + 1; w.accounts.held < before; { // a shared frame is free when nobody holds it
		excess := w.e.overspent()
		if excess <= 0 {
			return
		}
		before = w.accounts.held
		w.relieve(min(excess, max(w.accounts.held, 0)+w.accounts.shared))
		w.tellHeld()
	}
}

// tellHeld adds to the engine's sum what the loop's buffers hold more than it
// told before.
func (w *worker) tellHeld() {
	held := int64(w.env.Buffers.LentBytes()+w.out.LentBytes()) + w.inbox.held() + w.fans.held()
	shares := int64(w.out.SharedBytes())
	w.accounts.grew = held > w.accounts.held || shares > w.accounts.shared
	if held != w.accounts.held {
		w.e.memory.buffered.Add(held - w.accounts.held)
	}
	w.accounts.held, w.accounts.shared = held, shares
}

// overspent is by how much the budget is overspent.
func (e *Engine) overspent() int64 { return e.memory.buffered.Load() - int64(e.set.BufferBytesMax) }

// relieve closes the connections that hold most, until excess bytes are free.
func (w *worker) relieve(excess int64) {
	type holder struct {
		c     *Conn
		bytes int64
	}
	var holders []holder
	for _, c := range w.conns {
		if n := c.holds(); n > 0 && c.end.phase.Load() == phaseOpen {
			holders = append(holders, holder{c, n})
		}
	}
	slices.SortFunc(holders, func(a, b holder) int { return int(b.bytes - a.bytes) })
	for _, h := range holders {
		if excess <= 0 {
			return
		}
		excess -= h.bytes
		h.c.closeSlow()
	}
}

// holds is the memory that the connection holds in buffers. Shared frames count
// only if the peer takes no more; otherwise they only wait for their turn to be
// written.
func (c *Conn) holds() int64 {
	bytes := int64(c.out.queue.Holds())
	if c.flow.congested {
		bytes += int64(c.out.queue.SharedBytes())
	}
	bytes += int64(len(c.input().parked))
	if c.tls != nil {
		bytes += int64(len(c.tls.rest))
	}
	if b, ok := c.codec.(codec.Buffered); ok {
		bytes += int64(b.Buffered())
	}
	return bytes
}
