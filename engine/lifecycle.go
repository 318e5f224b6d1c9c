package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// enginePhase is how far an engine has come. An engine that never ran skips
// engineRunning.
type enginePhase uint8

const (
	engineNew      enginePhase = iota
	engineRunning              // from Run on
	engineStopping             // from Shutdown on
)

// lifecycle is what an engine's goroutines wait for, from New to the end of
// Shutdown. Three things end one after the other: the engine takes no more work,
// its functions of Conn.Go are told to give up, and its loops end.
type lifecycle struct {
	serving context.Context // ends when Shutdown begins
	work    context.Context // of functions of Conn.Go; ends at the deadline of Shutdown: what is queued then is lost
	looping context.Context // ends when the loops have ended
	bridges context.Context // ends at the deadline of Shutdown, or when nobody crosses one any more
	done    chan struct{}   // closed when Shutdown is done

	endServing, endWork, endLooping, endBridges context.CancelFunc

	servers   sync.WaitGroup // goroutines that end soon after serving does: acceptors, and those that refuse a connection
	guards    sync.WaitGroup // goroutines that end soon after looping does
	functions atomic.Int64   // of Conn.Go, accepted and not returned

	err      error                    // of Shutdown; read once done is closed
	draining atomic.Pointer[draining] // what Drain does; nil before it is called

	mu    sync.Mutex // guards what follows
	phase enginePhase
	ran   bool
	atEnd []func() // given to AtEnd
	ended bool     // these have been called
}

func (l *lifecycle) init() {
	l.serving, l.endServing = context.WithCancel(context.Background())
	l.work, l.endWork = context.WithCancel(context.Background())
	l.looping, l.endLooping = context.WithCancel(context.Background())
	l.bridges, l.endBridges = context.WithCancel(context.Background())
	l.done = make(chan struct{})
}

// mayRun is called by Run, which holds mu.
func (l *lifecycle) mayRun() error {
	switch l.phase {
	case engineNew:
		return nil
	case engineRunning:
		return fmt.Errorf("engine: Run was called twice")
	}
	return ErrStopped
}

// run is called by Run, which holds mu, when the loops run.
func (l *lifecycle) run() { l.phase, l.ran = engineRunning, true }

// stop is called by Shutdown, which holds mu. It returns the phase before: the
// caller that gets less than engineStopping carries the shutdown out.
func (l *lifecycle) stop() (before enginePhase) {
	before = l.phase
	l.phase = engineStopping
	return before
}

// drain is called by Drain for x, and reports whether it is the first. It returns the phase.
func (l *lifecycle) drain(x *draining) (phase enginePhase, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.phase, l.phase == engineRunning && l.draining.CompareAndSwap(nil, x)
}

// stopped is called at the end of Shutdown, by the goroutine that carried it out.
func (l *lifecycle) stopped(err error) {
	l.err = err
	close(l.done)
}

// wait returns what the shutdown did, once it is done.
func (l *lifecycle) wait() error {
	<-l.done
	return l.err
}

// await is wait for as long as ctx lasts.
func (l *lifecycle) await(ctx context.Context) error {
	select {
	case <-l.done:
		return l.wait()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hasRun reports whether Run was called: before it the loops do not move.
func (l *lifecycle) hasRun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ran
}
