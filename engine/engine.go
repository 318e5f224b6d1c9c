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
)

// Engine is a server: a listener, its acceptors, and the event loops on which
// the connections live. Its methods may be called from any goroutine.
type Engine struct {
	set   *settings
	main  *endpoint // of accepted connections
	log   *zap.Logger
	began time.Time // see elapsed
	test  testSeam

	acceptor acceptor
	gate     *admit.Gate // counts all connections: on loops, in the http.Server, of Dial also those to come
	group    *loop.Group
	loops    []*worker     // all, from New on
	turn     atomic.Uint32 // chooses the next loop for a caller that names none
	offload  pool[*Conn]
	upgrades pool[*Upgrade]
	dialer   dialer

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
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	e = &Engine{set: (*settings)(&cfg), log: cfg.Logger, began: time.Now()}
	for i := range cfg.Loops {
		e.loops = append(e.loops, newWorker(e, i))
	}
	if e.main, err = newEndpoint(e, &h); err != nil {
		return nil, err
	}
	e.broadcasts.encoder = codec.NewSession(&e.main.options)
	e.life.init()
	e.offload.max, e.offload.do = cfg.OffloadMax, (*Conn).callFirst
	e.dialer.pool.max, e.dialer.pool.do = cfg.DialsMax, (*dialing).try
	e.upgrades.max, e.upgrades.do = cfg.UpgradesMax, (*Upgrade).run
	e.gate = admit.NewGate(admit.Config{
		ConnectionsMax:             cfg.ConnectionsMax,
		HalfOpenMax:                cfg.HalfOpenMax,
		ConnectionsPerAddressMax:   cfg.ConnectionsPerAddressMax,
		AcceptsPerAddressPerSecond: cfg.AcceptsPerAddressPerSecond,
		Exempt:                     e.main.proxies.exempt,
		Spent:                      func() bool { return e.overspent() >= 0 },
	})
	if err := e.listen(); err != nil {
		return nil, err
	}
	if e.acceptor.inherited {
		if err := e.main.limitKernel(e.acceptor.listener); err != nil {
			return nil, errors.Join(err, e.Shutdown(context.Background()))
		}
	}
	return e, nil
}

// Addr is where the engine listens; nil if it has no listener.
func (e *Engine) Addr() net.Addr {
	if e.acceptor.listener == nil {
		return nil
	}
	return e.acceptor.listener.Addr()
}

// Run serves until ctx ends or Shutdown is called. When ctx ends it shuts
// down within Config.DrainTimeout. It returns nil after a clean end, a
// *CutError if connections had to be cut, or what kept it from starting. An
// Engine runs once, and accepts nothing before it runs.
func (e *Engine) Run(ctx context.Context) error {
	if err := e.start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.set.DrainTimeout)
		defer cancel()
		return e.Shutdown(drain)
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
	e.group, err = loop.Start(e.set.Loops, e.log.Named("loop").Sugar(), func(l *loop.Loop) loop.Driver {
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
	if http := e.main.http; http != nil {
		http.start()
	}
	e.life.guards.Go(e.guardLoops)
	for _, d := range e.dialer.early {
		d.begin()
	}
	e.dialer.early = nil
	if e.acceptor.listener != nil {
		for range acceptorsPerListener {
			e.life.servers.Go(e.accept)
		}
	}
	e.log.Info("serving", zap.Stringer("addr", stringer{e.Addr()}), zap.Int("loops", e.set.Loops), zap.Int("connections_max", e.set.ConnectionsMax))
	return nil
}

// stringer prints an address that may be nil.
type stringer struct{ addr net.Addr }

func (s stringer) String() string {
	if s.addr == nil {
		return "none"
	}
	return s.addr.String()
}

// enroll puts an admitted connection on a loop. m is nil unless it came through
// net/http.
func (e *Engine) enroll(nc net.Conn, m *mount, pass *admit.Pass) error {
	defer e.gate.Arrived()
	c, err := newConn(e.main, nc, m)
	if err != nil {
		_ = nc.Close()
		e.gate.Leave(pass)
		return err
	}
	if !e.acceptor.inherited || m != nil {
		if err := c.ep.limitKernel(nc); err != nil {
			e.log.Debug("going on without", zap.Error(err))
		}
	}
	c.pass, _ = e.gate.Move(pass)
	if err := e.group.Enroll(nc, &c.sock, (*owner)(c)); err != nil {
		e.gate.Leave(&c.pass)
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
