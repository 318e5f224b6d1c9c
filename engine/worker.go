package engine

import (
	"crypto/rand"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/outq"
	"github.com/sockmill/sockmill/engine/internal/wheel"
	"github.com/sockmill/sockmill/protocol"
)

// worker is the engine's side of one loop. All but conns and inbox belongs to
// the loop's goroutine.
type worker struct {
	e     *Engine
	api   Loop        // as programs know it
	index int         // in Engine.loops
	loop  *loop.Loop  // nil before Run
	live  atomic.Bool // it runs: loop may be used by anybody
	env   codec.Env   // env.Out is the cork: the output of the connection at hand
	cur   *Conn       // the connection at hand: its input is being decoded
	in    []byte      // what is left of that input
	got   uint64      // messages decoded from it
	head  int         // bytes of the cork that are no frames: the handshake's answer
	sent  int         // messages encoded into the cork
	dirty []*Conn     // to be attended to at the end of this turn
	later fifo[*Conn] // to be attended to after other events had their turn
	fans  fanOuts
	pace  pace

	out    outq.Pool // memory of the queues
	pieces [][]byte  // scratch of flush
	spare  []byte    // scratch of say

	request *protocol.Request // scratch of show

	held     int64 // bytes in buffers, as account told it last
	shares   int64 // bytes of shared frames in queues, as account saw them last
	grew     bool  // one of the two did, then
	draining bool
	cut      int   // connections that a drain cut before its end
	unsent   int64 // bytes dropped by that, and when the loop ended

	wheel     wheel.Wheel
	lateUntil int64       // nobody is cut before: the loop was late
	alarm     *time.Timer // the loop's one runtime timer
	alarmAt   int64       // what it is set to, 0 if it is not

	waiting map[*dialing]struct{} // for their next attempt

	inbox  inbox
	taking bool // takePosts is to come or under way: the loop need not wake itself
	watch  watch
	rounds atomic.Uint64 // calls of Woken: between two of them everything that is ready is served

	mu    sync.Mutex // guards what follows, which the loop changes and others read
	conns []*Conn    // all on this loop, in no order

	stats  loopStats
	topics map[string]*topic
}

func newWorker(e *Engine, index int) *worker {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	w := &worker{e: e, index: index}
	w.api.w = w
	w.out.Buffers = &w.env.Buffers
	w.env.Random = mrand.NewChaCha8(seed).Uint64 // cryptographically strong
	return w
}

// begin lets the loop carry out what was posted before it ran.
func (w *worker) begin() {
	w.live.Store(true)
	w.loop.Wake()
}

// on reports whether the caller is the loop's goroutine. Before Run and after
// the end nobody is.
func (w *worker) on() bool { return w.live.Load() && w.loop.On() }

// elapsed is the engine's time: since it was made.
func (e *Engine) elapsed() time.Duration {
	if e.test.clock != nil {
		return e.test.clock()
	}
	return time.Since(e.began)
}

// now is the wheel's time: milliseconds since the engine was made.
func (w *worker) now() int64 { return w.e.elapsed().Milliseconds() }

// arm sets a connection's timer; NoLimit never expires.
func (w *worker) arm(t *wheel.Timer, d time.Duration) {
	if limit.Endless(d) {
		w.wheel.Stop(t)
		return
	}
	w.wheel.Arm(t, w.now()+int64((d+time.Millisecond-1)/time.Millisecond))
}

// setAlarm keeps the runtime timer at or before the wheel's next work.
func (w *worker) setAlarm() {
	due, ok := w.wheel.Next()
	if !ok || w.alarmAt != 0 && w.alarmAt <= due {
		return
	}
	w.alarmAt = due
	if w.e.test.clock != nil {
		return // who simulates the time looks at alarmAt and calls rang
	}
	after := time.Until(w.e.began.Add(time.Duration(due) * time.Millisecond))
	if w.alarm == nil {
		w.alarm = time.AfterFunc(after, func() { _ = w.post(post{kind: ownPost, do: w.rang}) })
	} else {
		w.alarm.Reset(after)
	}
}

// rang runs on the loop after the runtime timer; Woken has advanced the wheel
// or does so at its next turn.
func (w *worker) rang() {
	w.alarmAt = 0
	w.advance()
}

// add and remove keep the list of connections.
func (w *worker) add(c *Conn) {
	w.mu.Lock()
	c.lists.index = int32(len(w.conns))
	w.conns = append(w.conns, c)
	w.mu.Unlock()
	if c.origin == dialled {
		w.stats.dialled.add(1)
	} else {
		w.stats.accepted.add(1)
	}
}

func (w *worker) remove(c *Conn) {
	last := len(w.conns) - 1
	moved := w.conns[last]
	if moved != c {
		moved.catchUp()
	}
	w.mu.Lock()
	w.conns[c.lists.index], w.conns[last] = moved, nil
	moved.lists.index = c.lists.index
	w.conns = w.conns[:last]
	w.mu.Unlock()
	w.stats.closed.add(1)
}

// trim lets go of what the loop keeps for connections, when the last has left.
func (w *worker) trim() {
	w.env.Buffers.Trim()
	w.out.Trim()
	w.env.Out, w.spare = nil, nil
	if w.later.len() == 0 {
		w.later = fifo[*Conn]{}
	}
	if w.fans.len() == 0 {
		w.fans.fifo = fifo[fanOut]{}
	}
}

// snapshot lists the open connections. Any goroutine may call it.
func (w *worker) snapshot() []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := make([]*Conn, 0, len(w.conns))
	for _, c := range w.conns {
		if c.end.phase.Load() == phaseOpen {
			open = append(open, c)
		}
	}
	return open
}

// end is called after the loop ended, and reports what a drain cut before that,
// and the bytes that were dropped.
func (w *worker) end() (cut int, unsent int64) {
	if w.alarm != nil {
		w.alarm.Stop()
	}
	w.live.Store(false)
	for _, p := range w.inbox.close() {
		switch {
		case p.kind.outlivesLoop(): // the end of a function of Go
			p.do()
		case p.do == nil:
			p.lose()
		}
	}
	w.fans.drop()
	w.stats.tell()
	return w.cut, w.unsent
}
