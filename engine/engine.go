package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/internal/logs"
)

// Engine is a server: its listeners, and the event loops on which the
// connections of all of them live. Its methods may be called from any goroutine.
type Engine struct {
	set   *settings
	main  *endpoint // of mounted connections, and what those of listeners and dials begin with
	log   *zap.Logger
	began time.Time // see elapsed
	test  testSeam

	listeners  listeners
	turning    atomic.Int64 // refused connections that are still open
	gate       *admit.Gate  // counts all connections: on loops, in the http.Server, of Dial also those to come
	group      *loop.Group
	loops      []*worker     // all, from New on
	turn       atomic.Uint32 // chooses the next loop for a caller that names none
	offload    pool[*Conn]
	upgrades   pool[*Upgrade]
	handshakes pool[*shaking]
	dialer     dialer

	memory     memory
	broadcasts broadcasts
	lastID     atomic.Uint64 // the last Conn.ID
	life       lifecycle
}

// testSeam is what a test decides in place of the machine.
type testSeam struct {
	clock func() time.Duration // the time since the engine began; nil: the real one
	tired func() bool          // whether a turn has lasted long enough; nil: the clock decides
}

// New checks the Config and binds its address, so that Addr is known and a
// taken port is an error here. Nothing is accepted before Run; an Engine that
// is never run must be ended by Shutdown.
func New(cfg Config, h Handler) (e *Engine, err error) {
	if err := cfg.settle(nil); err != nil {
		return nil, err
	}
	e = &Engine{set: (*settings)(&cfg), log: logs.Bounded(cfg.Logger), began: time.Now()}
	for i := range cfg.Loops {
		e.loops = append(e.loops, newWorker(e, i))
	}
	if e.main, err = newEndpoint(e, e.set, &h); err != nil {
		return nil, err
	}
	e.main.shares = true
	e.broadcasts.encoder = codec.NewSession(&e.main.options)
	e.life.init()
	e.offload.max, e.offload.do = cfg.OffloadMax, (*Conn).callFirst
	e.dialer.pool.max, e.dialer.pool.do = cfg.DialsMax, (*dialing).try
	e.upgrades.max, e.upgrades.do = cfg.UpgradesMax, (*Upgrade).run
	e.handshakes.max, e.handshakes.do = cfg.TLSHandshakesMax, (*shaking).do
	e.gate = admit.NewGate(admit.Config{
		ConnectionsMax:             cfg.ConnectionsMax,
		HalfOpenMax:                cfg.HalfOpenMax,
		ConnectionsPerAddressMax:   cfg.ConnectionsPerAddressMax,
		AcceptsPerAddressPerSecond: cfg.AcceptsPerAddressPerSecond,
		Exempt:                     e.main.proxies.exempt,
		Spent:                      func() bool { return e.overspent() >= 0 },
	})
	e.main.gate = e.gate
	e.main.lanes, e.dialer.lanes = e.newLanes(nil, mountedName), e.newLanes(nil, dialledName)
	if cfg.Addr != "" || cfg.Listener != nil {
		first := *e.main
		if _, err := e.open(&first); err != nil {
			return nil, errors.Join(err, e.Shutdown(context.Background()))
		}
	}
	return e, nil
}

// Logger is Config.Logger, or what stands for it if that is nil, bounded as
// docs/LOGS.md says. The hub logs to it unless it has a Logger of its own.
func (e *Engine) Logger() *zap.Logger { return e.log }

// Addr is where the first listener listens; nil if the engine has none.
func (e *Engine) Addr() net.Addr {
	if all := e.listeners.all(); len(all) > 0 {
		return all[0].Addr()
	}
	return nil
}

// Run serves until ctx ends or Shutdown is called. When ctx ends it drains as
// Config.Drain says, and shuts down within Config.DrainTimeout. It returns nil after a clean end, a
// *CutError if connections had to be cut, or what kept it from starting. An
// Engine runs once, and accepts nothing before it runs.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		d := e.set.Drain
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.Unready+d.Over+e.set.DrainTimeout)
		defer cancel()
		if d.isZero() {
			return e.Shutdown(drain)
		}
		return e.Drain(drain, d)
	case <-e.life.done:
		return e.life.wait()
	}
}

func (e *Engine) start() (err error) {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if err := e.life.mayRun(); err != nil {
		return err
	}
	next := 0
	e.group, err = loop.Start(e.set.Loops, func(err error) {
		e.log.Error("an event loop ended: its connections are closed, and it takes no others", zap.Error(err))
	}, func(l *loop.Loop) loop.Driver {
		w := e.loops[next]
		w.loop = l
		next++
		return w
	})
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	e.life.run()
	for _, w := range e.loops {
		w.begin()
	}
	e.life.guards.Go(e.guardLoops)
	for _, d := range e.dialer.early {
		d.begin()
	}
	e.dialer.early = nil
	all := e.listeners.all()
	for _, l := range all {
		l.start()
	}
	e.log.Info("serving", zap.Stringers("addr", all), zap.Int("loops", e.set.Loops), zap.Int("connections_max", e.set.ConnectionsMax))
	return nil
}

// enroll puts an admitted connection on a loop. m is nil unless it came through
// net/http.
func (ep *endpoint) enroll(nc net.Conn, m *arrival, pass *admit.Pass) error {
	defer ep.gate.Arrived()
	c, err := newConn(ep, nc, m)
	if err != nil {
		_ = nc.Close()
		ep.gate.Leave(pass)
		return err
	}
	if m != nil || !ep.listener.inherited {
		if err := ep.limitKernel(nc); err != nil {
			ep.e.log.Debug("going on without", zap.Error(err))
		}
	}
	c.pass, _ = ep.gate.Move(pass)
	if err := ep.e.group.Enroll(nc, &c.sock, (*owner)(c)); err != nil {
		ep.gate.Leave(&c.pass)
		return err
	}
	return nil
}

// Conns returns the open connections, dialled ones included, as they are when each loop's turn comes.
func (e *Engine) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for _, w := range e.running() {
			for _, c := range w.snapshot() {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// running returns the loops, none before Run.
func (e *Engine) running() []*worker {
	if !e.life.hasRun() {
		return nil
	}
	return e.loops
}
