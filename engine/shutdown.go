package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"go.uber.org/zap"
)

// CutError says what a shutdown could not end in time.
type CutError struct {
	Connections int   // that were cut, or closed but for functions of Conn.Go
	Bytes       int64 // that were still queued for them
	Functions   int   // that Conn.Go had accepted and that had not returned
}

func (e *CutError) Error() string {
	return fmt.Sprintf("engine: the shutdown cut %d connections with %d bytes unsent and %d functions of Conn.Go that had not returned",
		e.Connections, e.Bytes, e.Functions)
}

// Shutdown stops accepting and dialling, sends the close code 1001 to every
// connection, flushes what is queued, waits for the peers to close, and cuts
// what is left when ctx ends; then it returns a *CutError. Nothing more is read
// from a connection that has functions of Conn.Go, what has been received and not
// been delivered included; it gets its 1001 behind what they send. The functions
// that OnClose gave to Conn.Go are waited for too. When ctx ends, so does the
// context of all functions, and those are not waited for. Plain HTTP requests
// are served to their end as long as their peers make progress. Called again, it
// waits for the first call. Called in a callback, it fails, since it would wait
// for that callback: end the context of Run instead, or call it in a goroutine.
// A callback that holds its loop, or a peer that is being turned away, may make
// it overrun ctx.
func (e *Engine) Shutdown(ctx context.Context) error {
	if e.onLoop() {
		return errors.New("engine: Shutdown was called in a callback: end the context of Run, or call it in a goroutine")
	}
	e.life.mu.Lock()
	before, early := e.life.stop(), e.dialer.early
	e.dialer.early = nil
	e.gate.Close()
	e.life.mu.Unlock()
	switch before {
	case engineNew:
		e.stopUnused(early)
	case engineRunning:
		e.stop(ctx)
	default: // somebody else carries it out
		return e.life.await(ctx)
	}
	return e.life.wait()
}

// onLoop reports whether the caller is a callback.
func (e *Engine) onLoop() bool {
	return slices.ContainsFunc(e.running(), func(w *worker) bool { return w.loop.On() })
}

// stopUnused ends an engine that never ran. Nothing runs beside it.
func (e *Engine) stopUnused(early []*dialing) {
	e.life.endServing()
	e.life.endWork()
	for _, l := range e.listeners.all() {
		_ = l.net.Close()
	}
	for _, w := range e.loops {
		w.end()
	}
	e.life.endLooping()
	e.callAtEnd()
	e.life.stopped(nil)
	for _, d := range early {
		d.failed(ErrStopped)
	}
}

// stop runs the stages of a shutdown in the one order that loses nothing: no
// connection may be on its way into a loop once the loops end.
func (e *Engine) stop(ctx context.Context) {
	e.life.endServing()
	all := e.listeners.all()
	for _, l := range all {
		_ = l.net.Close()
	}
	for _, l := range all {
		l.acceptors.Wait()
	}
	e.gate.WaitArrived() // a TLS handshake that fails may begin another of those that follow
	e.life.servers.Wait()
	var drained sync.WaitGroup // after that no loop hands a connection to the http.Server
	for _, w := range e.loops {
		drained.Add(1)
		if w.post(post{kind: ownPost, do: func() { defer drained.Done(); w.drain() }}) != nil { // the loop has ended
			drained.Done()
		}
	}
	var served sync.WaitGroup
	for s := range e.httpServers() {
		served.Go(func() { // a loop that is held up must not keep the others waiting
			drained.Wait()
			s.drain(ctx)
		})
	}
	select {
	case <-e.gate.Empty():
	case <-ctx.Done():
		e.lastLook(ctx)
	}
	left := 0
	for s := range e.httpServers() {
		left += int(s.cut.Load())
	}
	left += e.gate.Counts().Inside
	functions := int(e.life.functions.Load())
	e.life.endWork()
	e.group.Stop()
	e.life.endLooping()
	late := context.AfterFunc(ctx, e.life.endBridges)
	e.life.guards.Wait()
	late()
	e.life.endBridges()
	var unsent int64
	for _, w := range e.loops {
		cut, bytes := w.end()
		left += cut
		unsent += bytes
	}
	served.Wait()
	for s := range e.httpServers() {
		s.close()
	}
	e.callAtEnd()
	var err error
	if left > 0 {
		err = &CutError{Connections: left, Bytes: unsent, Functions: functions}
	}
	e.log.Info("stopped", zap.Int("cut", left), zap.Int64("bytes_unsent", unsent), zap.Int("functions_running", functions))
	e.life.stopped(err)
}

// drain says goodbye to every connection of a loop, on that loop.
func (w *worker) drain() {
	w.drains.begun = true
	if p := w.drains.plan; p != nil {
		p.w.time.wheel.Stop(&p.timer)
	}
	for d := range w.waiting {
		d.finish()
	}
	for _, c := range w.conns {
		c.goAway(w.farewell(c))
	}
}

// httpServers are those of the listeners.
func (e *Engine) httpServers() iter.Seq[*httpServer] {
	return func(yield func(*httpServer) bool) {
		for _, l := range e.listeners.all() {
			if s := l.ep.http; s != nil && !yield(s) {
				return
			}
		}
	}
}
