package engine

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/engine/internal/admit"
)

// Listener is an address on which an Engine serves: the one that Config.Addr or
// Config.Listener of New names, or one of Engine.Listen. Its methods may be called
// from any goroutine.
type Listener struct {
	ep        *endpoint
	scheme    string // of Config.Addr; "" if a net.Listener was given
	net       net.Listener
	inherited bool // connections have the options of their listener

	tlsFailed atomic.Uint64
	acceptors sync.WaitGroup
	closing   context.Context // ends when nothing more is accepted here
	endAccept context.CancelFunc
	staying   context.Context // ends when TLS handshakes under way are given up, too
	leave     context.CancelFunc
	once      sync.Once // of Shutdown
}

// listeners are those of an engine.
type listeners struct {
	mu   sync.Mutex
	list []*Listener
	any  bool // there has been one
}

func (l *listeners) all() []*Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// Listen has the engine listen on one more address, before Run or while it runs:
// on the same loops, with the same topics, broadcasts, budgets and Shutdown.
//
// cfg says what is different here: Addr or Listener, one of which must be set, and
// whatever else a listener decides: TrustedProxies, HTTP, Codec, limits. A field that
// is zero is that of New, with two exceptions. The protocol is that of the scheme. And
// ConnectionsMax, HalfOpenMax and the limits for each client address, if set,
// hold for this listener beside those of New, which hold for all together. Fields
// that belong to the whole engine, such as Loops and Logger, must be zero: the
// error names the field. h is nil for the Handler of New.
//
// The address is bound when Listen returns. It fails with ErrStopped after
// Shutdown, and after Drain has begun.
func (e *Engine) Listen(cfg Config, h *Handler) (*Listener, error) {
	if cfg.Addr == "" && cfg.Listener == nil {
		return nil, errors.New("engine: Engine.Listen needs Config.Addr or Config.Listener")
	}
	if err := cfg.inherit(e.set); err != nil {
		return nil, err
	}
	if h == nil {
		h = e.main.handler
	}
	ep, err := newEndpoint(e, (*settings)(&cfg), h)
	if err != nil {
		return nil, err
	}
	return e.open(ep)
}

// open makes a listener of its endpoint.
func (e *Engine) open(ep *endpoint) (*Listener, error) {
	l := &Listener{ep: ep}
	ep.listener, ep.shares = l, ep.encodesLike(e.main)
	own := admit.Config{Exempt: ep.proxies.exempt}
	if cfg := ep.settings; cfg != e.set { // those of New hold for all
		own.ConnectionsMax, own.HalfOpenMax = cfg.ConnectionsMax, cfg.HalfOpenMax
		own.ConnectionsPerAddressMax, own.AcceptsPerAddressPerSecond = cfg.ConnectionsPerAddressMax, cfg.AcceptsPerAddressPerSecond
	}
	ep.gate = e.gate.Within(own)
	if ep.HTTP != nil {
		ep.http = newHTTPServer(ep)
	}
	if err := l.bind(); err != nil {
		return nil, err
	}
	l.staying, l.leave = context.WithCancel(e.life.serving)
	l.closing, l.endAccept = context.WithCancel(l.staying)
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if e.life.phase == engineStopping || e.life.draining.Load() != nil {
		_ = l.net.Close()
		return nil, ErrStopped
	}
	ep.lanes = e.newLanes(l, "")
	e.listeners.mu.Lock()
	e.listeners.list, e.listeners.any = append(e.listeners.list, l), true
	e.listeners.mu.Unlock()
	if e.life.phase == engineRunning {
		l.start()
	}
	return l, nil
}

// encodesLike reports whether a frame of a server of main can be sent as it is.
func (ep *endpoint) encodesLike(main *endpoint) bool {
	return ep.codec == nil && main.codec == nil || ep.settings == main.settings
}

// start accepts connections from now on. life.mu is held and the engine runs.
func (l *Listener) start() {
	if p, ok := l.net.(packetListener); ok {
		p.start()
		return
	}
	if http := l.ep.http; http != nil {
		http.start()
	}
	for range acceptorsPerListener {
		l.acceptors.Go(l.accept)
	}
}

// Engine returns the engine that listens here.
func (l *Listener) Engine() *Engine { return l.ep.e }

// Addr is the address that is bound.
func (l *Listener) Addr() net.Addr { return l.net.Addr() }

// String is the address as a URL, such as ws://127.0.0.1:8090, or without a scheme
// if a net.Listener was given.
func (l *Listener) String() string {
	if l == nil { // of a mounted connection, or of a Dial
		return ""
	}
	if l.scheme == "" {
		return l.Addr().String()
	}
	return l.scheme + "://" + l.Addr().String()
}

// Listeners returns the listeners of the engine, in the order in which they were
// made, without those that were closed and have no connections any more.
// Engine.Shutdown leaves them as they are.
func (e *Engine) Listeners() []*Listener { return e.listeners.all() }

// Listener is where the connection was accepted; nil if it came through
// Engine.Upgrade from an http.Server of the program, or by Dial.
func (c *Conn) Listener() *Listener { return c.ep.listener }

// ListenerStats are the numbers of one Listener: of connections, or of packets if it
// is one of udp://.
type ListenerStats struct {
	Connections int    // in use now, handshakes and plain HTTP included
	HalfOpen    int    // of these, with the handshake under way
	Accepted    uint64 // connections that were let in since the listener was made
	Refused     uint64 // connections that were turned away by a limit, of this listener or of the engine

	TLSFailed          uint64    // TLS handshakes that failed, or were not done within HandshakeTimeout
	CertificateExpires time.Time // of Config.CertFile, as it is served now, or the first of Config.TLS.Certificates; zero if a function of Config.TLS chooses, or without TLS

	Packets        uint64 // received, and given to OnPacket
	PacketsTooLong uint64 // received, longer than PacketBytesMax, and dropped
	PacketsSent    uint64 // by Packet.Reply and WriteTo, that the kernel took
}

// Stats returns the numbers of the listener. With Config.CertFile it may look at the
// file, once a second at most.
func (l *Listener) Stats() ListenerStats {
	n := l.ep.gate.Counts()
	s := ListenerStats{Connections: n.Inside, HalfOpen: n.Half, Accepted: n.Entered, Refused: n.Refused, TLSFailed: l.tlsFailed.Load(), CertificateExpires: l.ep.expires}
	if l.ep.certs != nil {
		_, _ = l.ep.certs.Get(nil) // looks at the files: nobody may have come for long
		s.CertificateExpires = l.ep.certs.Expiry()
	}
	if p, ok := l.net.(packetListener); ok {
		p.addTo(&s)
	}
	return s
}

// Close stops accepting here, and leaves the connections of this listener as they
// are: they end as all others do. It does not wait for anything: OnPacket may be
// running for the last packet. A second call does nothing.
func (l *Listener) Close() error {
	l.ep.gate.Retire()
	switch l.stopAccepting(func() { _ = l.net.Close() }) {
	case engineNew:
		l.forget()
	case engineRunning:
		l.ep.e.life.guards.Go(func() { // the http.Server is needed as long as there are connections
			select {
			case <-l.ep.gate.Empty():
				l.forget()
			case <-l.ep.e.life.serving.Done():
			}
		})
	}
	return nil
}

// stopAccepting closes the address by shut, and returns how far the engine is;
// engineStopping if there is nothing to do any more.
func (l *Listener) stopAccepting(shut func()) enginePhase {
	e := l.ep.e
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if l.closing.Err() != nil {
		return engineStopping
	}
	l.endAccept()
	shut()
	return e.life.phase
}

// shut closes the address of an engine that runs; a packet that OnPacket has can still be answered.
func (l *Listener) shut() {
	if p, ok := l.net.(packetListener); ok {
		p.leave()
		return
	}
	_ = l.net.Close()
}

// forget takes the listener off the engine's list, when its connections have ended.
func (l *Listener) forget() {
	l.leave()
	ls := &l.ep.e.listeners
	ls.mu.Lock()
	at := slices.Index(ls.list, l)
	if at >= 0 {
		ls.list = slices.Delete(ls.list, at, at+1)
	}
	ls.mu.Unlock()
	if at < 0 {
		return
	}
	l.ep.foldLanes()
	if l.ep.http != nil {
		l.ep.http.close()
	}
}

// Shutdown stops accepting here, and ends the connections of this listener as
// Engine.Shutdown ends all: WebSocket peers get 1001, what is queued is still
// written, functions of Conn.Go and HTTP requests are waited for. Their
// CloseError.Err is ErrListenerStopped. When ctx ends, what is left is cut, and
// Shutdown returns a *CutError. When it has returned, OnPacket is not called any more
// for a packet that came here. The engine goes on. In a callback Shutdown fails, since
// it would wait for that callback.
func (l *Listener) Shutdown(ctx context.Context) error {
	e := l.ep.e
	if e.onLoop() {
		return errors.New("engine: Listener.Shutdown was called in a callback: call it in a goroutine")
	}
	l.stopAccepting(func() { _ = l.net.Close() })
	l.acceptors.Wait()
	if !e.life.hasRun() {
		l.forget()
		return nil
	}
	l.ep.gate.Close()
	l.leave()
	l.ep.gate.WaitArrived()
	l.each(func(c *Conn) { c.goAway(c.goingAway(ErrListenerStopped)) })
	if http := l.ep.http; http != nil {
		l.once.Do(func() { http.drain(ctx) })
	}
	var err error
	select {
	case <-l.ep.gate.Empty():
	case <-e.life.serving.Done(): // Engine.Shutdown ends these connections
		return nil
	case <-ctx.Done():
		err = &CutError{Connections: l.ep.gate.Counts().Inside}
		l.each(func(c *Conn) { c.cut(ErrTimeout) })
	}
	l.forget()
	return err
}

// each calls f for every connection of the listener, on its loop, and waits for that.
func (l *Listener) each(f func(*Conn)) {
	var loops sync.WaitGroup
	for _, w := range l.ep.e.loops {
		loops.Add(1)
		if w.post(post{kind: ownPost, do: func() {
			defer loops.Done()
			for _, c := range w.conns {
				if c.ep == l.ep {
					f(c)
				}
			}
		}}) != nil { // the loop has ended
			loops.Done()
		}
	}
	loops.Wait()
}

// inherit settles what a Config of Engine.Listen says, on top of that of New.
func (c *Config) inherit(from *settings) error {
	base := (*Config)(from)
	switch {
	case c.Logger != nil:
		return ofEngineError("Logger")
	case c.Schemes != nil:
		return ofEngineError("Schemes")
	case c.Timings:
		return ofEngineError("Timings")
	case !c.Drain.isZero():
		return ofEngineError("Drain")
	case c.Sockets != nil:
		return ofEngineError("Sockets")
	}
	c.Schemes = base.Schemes
	if c.SlowCode == 0 {
		c.SlowCode = base.SlowCode
	}
	if c.Policy == 0 {
		c.Policy = base.Policy
	}
	if c.Deflate == 0 {
		c.Deflate = base.Deflate
	}
	if c.Origins == nil && c.CheckOrigin == nil {
		c.Origins, c.CheckOrigin = base.Origins, base.CheckOrigin
	}
	c.inheritTLS(base)
	if c.TrustedProxies == nil {
		c.TrustedProxies = base.TrustedProxies
	}
	if c.HTTP == nil {
		c.HTTP = base.HTTP
	}
	if c.Describe == nil {
		c.Describe = base.Describe
	}
	return c.settle(base)
}
