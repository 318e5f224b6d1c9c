package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// Drain says how an Engine stops in stages: see Engine.Drain. As Config.Drain it is how
// Run stops when its context ends; a zero Config.Drain is Shutdown: all at once.
type Drain struct {
	// Unready is how long everything goes on while Engine.Health says that the engine is not
	// ready, so that load balancers notice and send nobody here any more.
	Unready time.Duration

	// Over is the time over which the connections are closed evenly, so that those who come
	// back do not come together.
	Over time.Duration

	// Code and Reason are what the connections are closed with. Code 0 is 1001 (going away), or
	// 1012 (service restart) with a Comeback. Reason may have 123 bytes, with a Comeback 96; an
	// empty one is the engine's.
	Code   protocol.CloseCode
	Reason string

	// Comeback, if it is not 0, spreads those who come back over this time beyond Over. Each
	// reason then ends with how long that client is to wait, "; retry after 1234 ms": the later it
	// is closed, the longer, so that all of them come back evenly over Over and Comeback together. See
	// RetryAfter. Dial.Reconnect does as it is asked. A client that does not know of this comes back when it likes.
	Comeback time.Duration

	// Progress, if not nil, is called when a stage begins and every second, one call after the
	// other, on goroutines of the engine. A call that does not return holds up the drain.
	Progress func(DrainProgress)
}

// DrainProgress is how far a drain has come.
type DrainProgress struct {
	Stage     DrainStage
	Total     int // connections when it began, and those that opened since
	Left      int // connections in use, as Stats.Connections
	Functions int // that Conn.Go has accepted and that have not returned
}

func (p DrainProgress) String() string {
	return fmt.Sprintf("%v: %d of %d connections left, %d functions of Conn.Go", p.Stage, p.Left, p.Total, p.Functions)
}

// DrainStage is a stage of Engine.Drain.
type DrainStage uint8

// The stages, in their order.
const (
	NotDraining  DrainStage = iota
	DrainUnready            // Drain.Unready passes
	DrainArrived            // connections that had arrived are accepted, then nobody any more
	DrainClosing            // Drain.Over passes
	DrainEnding             // Shutdown ends the engine
	DrainEnded
)

var drainStages = [...]string{"not draining", "not ready", "not accepting", "closing", "ending", "ended"}

func (s DrainStage) String() string { return drainStages[s] }

const (
	drainLook     = 10 * time.Millisecond // from one look at how far the loops are to the next
	drainTell     = time.Second           // from one call of Drain.Progress to the next
	drainArrivals = time.Second           // how long connections that had arrived are accepted at most
)

// check is what is wrong with d; field names it.
func (d *Drain) check(field string) error {
	most := protocol.ControlBytesMax - 2
	if d.Comeback > 0 {
		most -= retryAfterBytesMax
	}
	switch {
	case d.Unready < 0 || d.Over < 0 || d.Comeback < 0:
		return fmt.Errorf("engine: %s: Unready is %v, Over %v, Comeback %v: none may be negative", field, d.Unready, d.Over, d.Comeback)
	case d.Comeback > retryAfterMax:
		return fmt.Errorf("engine: %s.Comeback is %v: it may be %v at most", field, d.Comeback, retryAfterMax)
	case d.Code != 0 && !d.Code.Valid():
		return fmt.Errorf("engine: %s.Code is %d: it must be a code that a close frame may have, or 0 for the default", field, d.Code)
	case len(d.Reason) > most:
		return fmt.Errorf("engine: %s.Reason has %d bytes: it may have %d", field, len(d.Reason), most)
	}
	return nil
}

func (d *Drain) isZero() bool {
	return d.Unready == 0 && d.Over == 0 && d.Code == 0 && d.Reason == "" && d.Comeback == 0 && d.Progress == nil
}

// draining is a drain under way.
type draining struct {
	Drain
	e     *Engine
	plans []*drainPlan // by loop
	began admit.Counts // when it began

	stage atomic.Uint32 // a DrainStage
	mu    sync.Mutex    // held while Progress runs
}

// Drain stops the engine in stages, so that no client meets an error and those who come back do
// not come together:
//
//  1. Health says that the engine is not ready; everything else goes on for d.Unready.
//  2. The listeners close. What had arrived at them is still accepted, and finishes its
//     handshake. A listening socket that another process has too stays open there.
//  3. The connections are closed, evenly over d.Over: first those that are idle (no message in
//     either direction since the drain began, nothing queued, no function of Conn.Go), then the others. Each
//     gets its close frame only when everything that had come from its peer has been
//     delivered, its functions of Conn.Go have returned, and behind their answers. Connections of Dial stay.
//  4. Shutdown ends what is left: connections that gave no such moment get their close
//     frame after half of the time that ctx leaves.
//
// What the peer has under way when the close frame is sent is not delivered. It is not lost
// in silence: the peer sees that it has got a close frame in place of an answer, and sends it again on its
// next connection. WebSocket has no acknowledgement: a program that may not do anything twice gives its messages numbers.
//
// When ctx ends, what is left is cut, as by Shutdown, whose errors Drain returns. Shutdown,
// called meanwhile, hurries: its stage begins at once, and its context counts. Drain waits for a drain or a Shutdown that has begun.
// Called in a callback, it fails.
func (e *Engine) Drain(ctx context.Context, d Drain) error {
	if err := d.check("Drain"); err != nil {
		return err
	}
	if e.onLoop() {
		return errors.New("engine: Drain was called in a callback: end the context of Run, or call it in a goroutine")
	}
	x := &draining{Drain: d, e: e, began: e.gate.Counts()}
	for _, w := range e.loops {
		x.plans = append(x.plans, &drainPlan{x: x, w: w})
	}
	switch before, first := e.life.drain(x); {
	case before == engineNew:
		return e.Shutdown(ctx)
	case before == engineStopping || !first:
		return e.life.await(ctx)
	}
	stopTelling := x.telling()
	defer stopTelling()
	x.begin()
	x.enter(DrainUnready)
	if x.wait(ctx, d.Unready) {
		x.enter(DrainArrived)
		e.stopAccepting()
		x.enter(DrainClosing)
		x.close(ctx)
	}
	x.enter(DrainEnding)
	err := e.Shutdown(ctx)
	x.enter(DrainEnded)
	return err
}

// Draining is how far Drain has come. Any goroutine may call it.
func (e *Engine) Draining() DrainProgress {
	if x := e.life.draining.Load(); x != nil {
		return x.progress()
	}
	return DrainProgress{Left: e.gate.Counts().Inside, Functions: int(e.life.functions.Load())}
}

// drainStage is the stage that Draining returns.
func (e *Engine) drainStage() DrainStage {
	if x := e.life.draining.Load(); x != nil {
		return DrainStage(x.stage.Load())
	}
	return NotDraining
}

func (x *draining) progress() DrainProgress {
	now := x.e.gate.Counts()
	return DrainProgress{
		Stage: DrainStage(x.stage.Load()), Total: x.began.Inside + int(now.Entered-x.began.Entered),
		Left: now.Inside, Functions: int(x.e.life.functions.Load()),
	}
}

// enter begins a stage.
func (x *draining) enter(s DrainStage) {
	x.stage.Store(uint32(s))
	x.tell()
}

// tell tells the program and the log.
func (x *draining) tell() {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.progress()
	x.e.log.Info("draining", zap.Stringer("stage", p.Stage), zap.Int("total", p.Total), zap.Int("left", p.Left), zap.Int("functions_running", p.Functions))
	if x.Progress == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			x.e.logPanic(v, 0)
		}
	}()
	x.Progress(p)
}

// telling tells again and again, until stop.
func (x *draining) telling() (stop func()) {
	ctx, end := context.WithCancel(context.Background())
	var told sync.WaitGroup
	told.Go(func() {
		tick := time.NewTicker(drainTell)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				x.tell()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { end(); told.Wait() }
}

// wait waits, and reports false if it is to go on with Shutdown.
func (x *draining) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-x.e.life.serving.Done(): // Shutdown was called
	}
	return false
}

// begin has every loop note what its connections have carried so far.
func (x *draining) begin() {
	for _, plan := range x.plans {
		_ = plan.w.post(post{kind: ownPost, do: plan.begin}) // fails when the loop has ended
	}
}

// close has the loops close their connections, and returns when all is done that a loop can do.
func (x *draining) close(ctx context.Context) {
	for _, plan := range x.plans {
		_ = plan.w.post(post{kind: ownPost, do: plan.close})
	}
	var patience <-chan time.Time
	for x.wait(ctx, drainLook) {
		switch over, left := x.left(); {
		case !over:
			continue
		case left == 0:
			return
		case patience == nil:
			patience = halfOf(ctx)
		}
		select {
		case <-patience:
			return
		default:
		}
	}
}

// left is whether Drain.Over has passed, and how many connections are still to be closed, or to finish their handshake.
func (x *draining) left() (over bool, left int64) {
	over, left = true, int64(x.e.gate.Counts().Half)
	for _, plan := range x.plans {
		over = over && plan.over.Load()
		left += plan.left.Load()
	}
	return over, left
}

// halfOf is half of what ctx leaves.
func halfOf(ctx context.Context) <-chan time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return make(chan time.Time) // as long as it takes
	}
	return time.After(time.Until(deadline) / 2)
}

// stopAccepting closes the listeners when what had arrived at them is accepted.
func (e *Engine) stopAccepting() {
	all := e.listeners.all()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	give := time.After(drainArrivals)
	for _, l := range all {
		for late := false; !late && loop.Pending(l.net); {
			select {
			case <-tick.C:
			case <-give:
				late = true
			}
		}
		l.stopAccepting(l.shut)
	}
	for _, l := range all {
		l.acceptors.Wait() // those that were accepted have come to a loop
	}
}
