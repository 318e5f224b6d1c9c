package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/protocol"
)

// Bounds of the functions that Go has accepted for one connection and not yet run.
const (
	functionsPerConnMax = 1024
	functionBytesMax    = 16 << 20 // of their messages; checked before a message is added, so one more may wait
)

// job is a function that Go accepted.
type job struct {
	m Message
	f func(ctx context.Context, m Message)
}

// offLoop holds the functions of Go of a connection, and its context. It is made
// when needed, and let go of when all functions have returned and nobody has asked for
// the context: most connections are idle at most times.
type offLoop struct {
	mu    sync.Mutex // guards what follows
	stage offStage
	over  bool            // the context has ended, or does so when it is made
	ctx   context.Context // Conn.Context; nil: nobody has asked for it
	end   context.CancelFunc
	jobs  []job  // the first one is running, or is about to run
	bytes int    // of their messages
	alone [1]job // where the first of them is
}

// offStage decides what is done with a function that is given to Go.
type offStage uint8

const (
	offOpen    offStage = iota // it runs in its turn
	offClosing                 // OnClose runs: it waits until that has returned
	offClosed                  // OnClose has returned: it is refused
	offLeft                    // the connection has let go of it: another one is made
)

// A connection that has no offLoop gets one of these at its end, so that the end
// allocates nothing.
var closingOff, closedOff = &offLoop{stage: offClosing, over: true}, &offLoop{stage: offClosed, over: true}

// offLoop returns the connection's offLoop. Any goroutine may call it.
func (c *Conn) offLoop() *offLoop {
	for {
		o, stage := c.off.Load(), offOpen
		switch o {
		case closingOff:
			stage = offClosing
		case nil:
		default:
			return o
		}
		made := &offLoop{stage: stage}
		if c.off.CompareAndSwap(o, made) {
			if c.end.phase.Load() >= phaseEnding { // it ended meanwhile
				made.endContext()
			}
			return made
		}
	}
}

// Context returns a context that ends when the connection does, just before
// OnClose, or earlier: when the peer ends its stream while a function of Go runs.
// It is for work that is in vain without the peer; for other work see Go. It is
// made when first asked for.
func (c *Conn) Context() context.Context {
	for {
		if ctx := c.offLoop().context(); ctx != nil {
			return ctx
		}
	}
}

// context returns the context, or nil if the connection has let go of o.
func (o *offLoop) context() context.Context {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx == nil && o.stage != offLeft {
		o.ctx, o.end = context.WithCancel(context.Background())
		if o.over {
			o.end()
		}
	}
	return o.ctx
}

func (c *Conn) endContext() {
	if o := c.off.Load(); o != nil {
		o.endContext()
	}
}

func (o *offLoop) endContext() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over = true; o.end != nil {
		o.end()
	}
}

// Go runs f off the loop, for what blocks: a database, another service. f gets
// a copy of m of its own. Reading from this connection pauses until f has
// returned, so that the order of messages holds and memory stays bounded; the
// other connections of the loop go on. Functions of one connection run one after
// the other, in the order of the calls. A close frame of the peer is read, and its
// pings are answered, only after f. A panic in f is like one in a callback. At
// most Config.OffloadMax functions run at once, the others wait.
//
// A nil error means that f is called, whatever becomes of the connection, and
// that OnClose comes after it. ctx is for work that has to be finished: it does
// not end with the connection, but at the deadline of a shutdown. Until then a
// shutdown waits for f, and f may send: only after it the peer is told 1001. Work
// that is in vain without the peer uses Conn.Context in place of ctx.
//
// OnClose may call Go too, to save what the connection leaves behind: f is called
// after OnClose has returned. The connection keeps its place among
// Config.ConnectionsMax, and among those of its address, until f has returned;
// only then are its followers told (see AfterClose), and does the next attempt of
// Dial.Reconnect begin.
//
// Go fails with ErrClosed when OnClose has returned; with ErrBackpressure when
// 1,024 functions of the connection, or 16 MiB of their messages, have not run
// yet; with ErrStopped after the deadline of a shutdown. Any goroutine may call
// it: f itself too, which then has one more function run after it.
func (c *Conn) Go(m Message, f func(ctx context.Context, m Message)) error {
	if c.ep.e.life.work.Err() != nil {
		return ErrStopped
	}
	first, err := c.offLoop().accept(m, f)
	for errors.Is(err, errLeft) {
		first, err = c.offLoop().accept(m, f)
	}
	if err != nil {
		return err
	}
	c.ep.e.life.functions.Add(1)
	if c.w.loop.On() {
		if c.readNoMore(); first {
			c.ep.e.offload.submit(c)
		}
	} else if first && c.w.post(post{kind: ownPost, do: c.runFirst}) != nil {
		c.runFirst() // the loop has ended: nothing runs beside this
	}
	return nil
}

var errLeft = errors.New("engine: the connection has let go of its offLoop")

// accept takes a function in, and reports whether it is to be run at once.
func (o *offLoop) accept(m Message, f func(ctx context.Context, m Message)) (first bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.stage == offLeft:
		return false, errLeft
	case o.stage == offClosed:
		return false, ErrClosed
	case len(o.jobs) >= functionsPerConnMax || o.bytes >= functionBytesMax:
		return false, ErrBackpressure
	}
	if len(o.jobs) == 0 {
		o.jobs = o.alone[:0]
	}
	o.jobs = append(o.jobs, job{m.Clone(), f})
	o.bytes += len(m.Data)
	return len(o.jobs) == 1 && o.stage == offOpen, nil
}

// runFirst has the pool run the first function, and reading pause meanwhile.
func (c *Conn) runFirst() {
	c.readNoMore()
	c.ep.e.offload.submit(c)
}

// readNoMore pauses reading until the functions have returned.
func (c *Conn) readNoMore() {
	if c.end.phase.Load() == phaseOpen {
		c.pause(pausedOffload)
		_ = c.sock.WatchHangup() // it ends Context: while reading is paused, nothing else tells that the peer has left
	}
}

// callFirst calls the first function. It runs on a goroutine of the pool.
func (c *Conn) callFirst() {
	o := c.off.Load()
	o.mu.Lock()
	j := o.jobs[0]
	o.mu.Unlock()
	failed := c.call(j)
	if c.w.post(post{kind: ownPost, do: func() { c.returned(failed) }}) != nil {
		c.returned(failed) // the loop has ended: nothing runs beside this
	}
}

func (c *Conn) call(j job) (failed *CloseError) {
	defer func() {
		if v := recover(); v != nil {
			c.ep.e.log.Error("a function of Go panicked; its connection is closed", zap.Any("panic", v),
				zap.Uint64("conn", c.who.id), zap.ByteString("stack", debug.Stack()))
			failed = &CloseError{Code: protocol.CloseInternalError, Reason: "internal error", Err: fmt.Errorf("%w: %v", errPanic, v)}
		}
	}()
	j.f(c.ep.e.life.work, j.m)
	return nil
}

// returned goes on after a function returned: with the next one, with reading,
// or with the end that waited for it.
func (c *Conn) returned(failed *CloseError) {
	c.ep.e.life.functions.Add(-1)
	more := c.shift()
	if failed != nil {
		_ = c.close(failed)
	}
	switch info := c.ending().told; {
	case more:
		c.ep.e.offload.submit(c)
	case c.end.phase.Load() < phaseEnding:
		if leaving := c.ending().leaving; leaving != nil {
			_ = c.close(leaving)
		}
		c.unpause(pausedOffload)
	case info != nil:
		c.needEnding().told = nil
		c.callOnClose(info)
	default:
		c.afterClose()
	}
}

// shift removes the first function, and reports whether there are more.
func (c *Conn) shift() (more bool) {
	o := c.off.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= len(o.jobs[0].m.Data)
	o.jobs[0] = job{}
	if o.jobs = o.jobs[1:]; len(o.jobs) > 0 {
		return true
	}
	o.jobs = nil
	if o.stage == offOpen && o.ctx == nil && !o.over {
		o.stage = offLeft
		c.off.Store(nil) // nobody else changes it as long as there is one of stage offOpen
	}
	return false
}

// working reports whether there are functions of Go that have not returned.
func (c *Conn) working() bool {
	o := c.off.Load()
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.jobs) > 0
}

// beginClose lets OnClose run, or reports false if functions of Go have not
// returned. What Go accepts from now on waits for endClose.
func (c *Conn) beginClose() bool {
	if c.off.CompareAndSwap(nil, closingOff) {
		return true
	}
	o := c.off.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.jobs) > 0 {
		return false
	}
	o.stage = offClosing
	return true
}

// endClose has Go refuse more, and reports whether functions have waited for
// it.
func (c *Conn) endClose() bool {
	if c.off.CompareAndSwap(closingOff, closedOff) {
		return false
	}
	o := c.off.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stage = offClosed
	return len(o.jobs) > 0
}

// goAway closes the connection once its functions of Go have returned; until
// then nothing more is read.
func (c *Conn) goAway(info *CloseError) {
	if c.end.phase.Load() == phaseOpen && c.working() {
		c.needEnding().leaving = info
		c.readNoMore()
		return
	}
	_ = c.close(info)
}

// pool calls functions on a bounded number of goroutines, which end when there is
// nothing to do. Each connection has one item here at most, so the number of
// connections bounds what waits.
type pool[T any] struct {
	max int
	do  func(T)

	mu      sync.Mutex
	running int
	waiting []T
}

// numbers are the pool's, for Metrics.
func (p *pool[T]) numbers(name string) PoolMetrics {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolMetrics{Name: name, Running: p.running, Waiting: len(p.waiting), Max: p.max}
}

func (p *pool[T]) submit(x T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running >= p.max {
		p.waiting = append(p.waiting, x)
		return
	}
	p.running++
	go p.run(x)
}

func (p *pool[T]) run(x T) {
	for ok := true; ok; x, ok = p.next() {
		p.do(x)
	}
}

func (p *pool[T]) next() (x T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.running--
		p.waiting = nil
		return x, false
	}
	x, p.waiting[0] = p.waiting[0], x
	p.waiting = p.waiting[1:]
	return x, true
}
