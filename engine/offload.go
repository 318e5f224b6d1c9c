package engine

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/protocol"
)

// job is a function that left the loop.
type job struct {
	m Message
	f func(ctx context.Context, m Message)
}

// Go runs f off the loop, for what blocks: a database, another service. f gets
// a copy of m of its own. Reading from this connection pauses until f has
// returned, so that the order of messages holds and memory stays bounded; the
// other connections of the loop go on. Called more than once before that, the
// functions run one after the other. ctx ends when the connection does, and
// OnClose follows only after f has returned. If the peer ends its stream
// meanwhile, ctx ends too; what it sent before is still delivered. A close frame
// of the peer is read, and its pings are answered, only after f. A panic in f
// is like one in a callback. At most Config.OffloadMax functions run at once,
// the others wait. Go is for callbacks of c.
func (c *Conn) Go(m Message, f func(ctx context.Context, m Message)) error {
	if c.phase.Load() != phaseOpen {
		return ErrClosed
	}
	r := c.seldom()
	r.jobs = append(r.jobs, job{m.Clone(), f})
	if len(r.jobs) == 1 {
		c.pause(pausedOffload)
		_ = c.Context()          // made now, so that a hang-up before f runs finds it
		_ = c.sock.WatchHangup() // for ctx: while reading is paused nothing else would show it
		c.runFirst()
	}
	return nil
}

// runFirst has the pool run the first job.
func (c *Conn) runFirst() {
	j := c.rare.jobs[0]
	c.e.offload.submit(func() { c.runJob(j) })
}

func (c *Conn) runJob(j job) {
	failed := c.callJob(j)
	if c.w.post(post{do: func() { c.jobDone(failed) }, own: true}) != nil {
		c.jobDone(failed) // the loop has ended: nothing runs beside this
	}
}

func (c *Conn) callJob(j job) (failed *CloseError) {
	defer func() {
		if v := recover(); v != nil {
			c.e.log.Error("a function of Go panicked; its connection is closed", zap.Any("panic", v),
				zap.Uint64("conn", c.id), zap.ByteString("stack", debug.Stack()))
			failed = &CloseError{Code: protocol.CloseInternalError, Reason: "internal error", Err: fmt.Errorf("%w: %v", errPanic, v)}
		}
	}()
	j.f(c.Context(), j.m)
	return nil
}

// jobDone goes on after a function returned: with the next one, with reading,
// or with the end that waited for it.
func (c *Conn) jobDone(failed *CloseError) {
	r := c.rare
	r.jobs[0] = job{}
	r.jobs = r.jobs[1:]
	if failed != nil {
		_ = c.close(failed)
	}
	switch {
	case c.phase.Load() >= phaseEnding:
		r.jobs = nil
		if info := r.ended; info != nil {
			r.ended = nil
			c.tellClosed(info)
		}
		if r.gone {
			c.leave()
		}
	case len(r.jobs) > 0 && c.phase.Load() == phaseOpen:
		c.runFirst()
	default:
		r.jobs = nil
		c.unpause(pausedOffload)
	}
}

// pool works on things on a bounded number of goroutines, which end when there
// is nothing to do. What waits is bounded by the number of connections, each of
// which has one here at most.
type pool[T any] struct {
	max int
	do  func(T)

	mu      sync.Mutex
	running int
	waiting []T
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
