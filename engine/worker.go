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
	e       *Engine
	api     Loop        // as programs know it
	loop    *loop.Loop  // nil before Run
	live    atomic.Bool // it runs: loop may be used by anybody
	env     codec.Env   // env.Out is the cork: the output of the connection at hand
	batch   batch
	taps    map[*Conn]*tapped // nil as long as nobody looks at a connection of this loop
	turn    turn
	fans    fanOuts
	out     outq.Pool // memory of the queues
	scratch scratch

	accounts accounts
	drains   drainState
	time     loopTime
	waiting  map[*dialing]struct{} // those that wait for their next attempt

	inbox   inbox
	watch   watch
	timings *timings // nil without Config.Timings

	mu    sync.Mutex // guards conns, which the loop changes and others read
	conns []*Conn    // all on this loop, in no order

	stats  loopStats
	topics map[string]*topic
}

// batch is the input of one connection that is being decoded, and its output.
type batch struct {
	conn     *Conn
	in       []byte // what is left of the input
	received uint64 // messages decoded from it
	head     int    // bytes of the cork that are no frames: the handshake's answer
	sent     int    // messages encoded into the cork
}

// scratch is memory that is used again and again.
type scratch struct {
	pieces  [][]byte          // of flush
	output  []byte            // of appendOutput
	request *protocol.Request // of show
	opened  []byte            // plaintext of openRecords
	sealed  []byte            // ciphertext of one write
}

// drainState is what a shutdown did to the loop's connections.
type drainState struct {
	plan   *drainPlan // nil before Engine.Drain
	begun  bool
	cut    int   // connections that were cut before the end of the drain
	unsent int64 // bytes dropped by that, and when the loop ended
}

// loopTime has the timers of a loop.
type loopTime struct {
	wheel     wheel.Wheel
	lateUntil int64       // the loop was late: until then nobody is cut
	alarm     *time.Timer // the loop's one runtime timer
	alarmAt   int64       // what it is set to, 0 if it is not
}

func newWorker(e *Engine, index int) *worker {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	w := &worker{e: e}
	w.api = Loop{w, index}
	w.out.Buffers = &w.env.Buffers
	if e.set.Timings {
		w.timings, w.inbox.clock = new(timings), e.elapsed
	}
	w.stats.past = &lane{name: pastName}
	w.stats.lanes = []*lane{w.stats.past}
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
		w.time.wheel.Stop(t)
		return
	}
	w.time.wheel.Arm(t, w.now()+int64((d+time.Millisecond-1)/time.Millisecond))
}

// setAlarm keeps the runtime timer at or before the wheel's next work.
func (w *worker) setAlarm() {
	due, ok := w.time.wheel.Next()
	if !ok || w.time.alarmAt != 0 && w.time.alarmAt <= due {
		return
	}
	w.time.alarmAt = due
	if w.e.test.clock != nil {
		return // a simulation reads alarmAt and calls rang itself
	}
	after := time.Until(w.e.began.Add(time.Duration(due) * time.Millisecond))
	if w.time.alarm == nil {
		w.time.alarm = time.AfterFunc(after, func() { _ = w.post(post{kind: ownPost, do: w.rang}) })
	} else {
		w.time.alarm.Reset(after)
	}
}

// rang runs on the loop after the runtime timer. Woken has advanced the wheel, or
// does so in a turn of its own: twice in one turn, the second look at a timer that
// cuts would see nothing that is new.
func (w *worker) rang() {
	w.time.alarmAt = 0
	if due, ok := w.time.wheel.Next(); ok && due <= w.now() {
		w.loop.Wake()
	}
}

// add and remove keep the list of connections.
func (w *worker) add(c *Conn) {
	w.mu.Lock()
	c.lists.index = int32(len(w.conns))
	w.conns = append(w.conns, c)
	w.mu.Unlock()
	if c.origin == dialled {
		c.lane().dialled.add(1)
	} else {
		c.lane().accepted.add(1)
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
	w.stats.closes[c.end.how].add(1)
	c.lane().closed.add(1)
}

// trim frees the memory that the loop keeps for connections, when the last one has
// left.
func (w *worker) trim() {
	w.env.Buffers.Trim()
	w.out.Trim()
	w.env.Out, w.scratch.output = nil, nil
	if w.turn.later.len() == 0 {
		w.turn.later = fifo[*Conn]{}
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
	if w.time.alarm != nil {
		w.time.alarm.Stop()
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
	for c := range w.taps {
		c.endTaps()
	}
	w.tell()
	return w.drains.cut, w.drains.unsent
}
