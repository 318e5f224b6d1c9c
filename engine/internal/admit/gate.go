// Package admit decides who may come in. A Gate counts the connections of an
// engine, or of one of its listeners, and refuses those for whom there is no
// room; a Pass is what an admitted connection holds from its first byte to its
// end, wherever it is meanwhile: on its way to a loop, on one, or with an
// http.Server.
//
// A Pass is given back once, whoever asks how often. Accounts that do not
// balance are a bug of the engine, and panic.
package admit

import (
	"fmt"
	"net/netip"
	"sync"
)

// Config says how many may be inside. A bound of 0 is none: the gate of a listener
// has those bounds that are the listener's own.
type Config struct {
	ConnectionsMax             int // inside at once
	HalfOpenMax                int // of these, with the handshake under way
	ConnectionsPerAddressMax   int // of these, of one address
	AcceptsPerAddressPerSecond int // newcomers of one address

	// Exempt reports whether the bounds for an address do not hold for it. The
	// address may be invalid.
	Exempt func(netip.Addr) bool

	// Spent reports whether there is no memory left for another handshake.
	Spent func() bool
}

// Gate is the one place that counts connections and refuses them. Its methods
// may be called from any goroutine.
type Gate struct {
	cfg      Config
	outer    *Gate // of the engine; nil if this is it
	arriving sync.WaitGroup

	mu      *sync.Mutex // of the outer gate and all within it
	closed  bool        // nobody comes in any more
	retired bool        // nobody enters any more, but who is inside may come back to a loop
	inside  int
	half    int
	entered uint64
	clients map[netip.Addr]*client // who has nothing inside and did not come lately is forgotten
	second  int64                  // in which accepts are counted
	refused [refusals]uint64
	empty   chan struct{} // closed when nobody is inside, and nobody will be
}

// client counts for one client address.
type client struct{ inside, accepts int }

// NewGate makes a Gate that is open.
func NewGate(cfg Config) *Gate {
	return &Gate{cfg: cfg, mu: new(sync.Mutex), clients: map[netip.Addr]*client{}, empty: make(chan struct{})}
}

// Within makes the Gate of a listener: who enters it enters g too. Its Exempt
// holds for both; Spent is g's.
func (g *Gate) Within(cfg Config) *Gate {
	cfg.Spent = g.cfg.Spent
	inner := NewGate(cfg)
	inner.outer, inner.mu = g, g.mu
	return inner
}

// Enter lets in a connection whose handshake is to begin on a loop; Arrived must
// follow. addr is its client, now the time in milliseconds.
func (g *Gate) Enter(addr netip.Addr, now int64) (p Pass, why Refusal) {
	spent := g.cfg.Spent()
	g.mu.Lock()
	defer g.mu.Unlock()
	p.setClient(addr)
	switch {
	case g.retired:
		why = Closed
	case !g.cfg.Exempt(p.Client()):
		why = g.countClient(&p, now)
	}
	if why == Admitted {
		why = g.roomForHandshake(spent)
	}
	if why == Admitted {
		why = g.roomInside()
	}
	if why != Admitted {
		g.leaveClient(&p)
		return Pass{}, g.refuse(why)
	}
	g.place(&p)
	g.beginHalf(&p)
	g.depart()
	return p, Admitted
}

// Return lets a connection that is inside come back to a loop for its
// handshake; Arrived must follow. Who is refused is still inside.
func (g *Gate) Return(p *Pass) Refusal {
	spent := g.cfg.Spent()
	g.mu.Lock()
	defer g.mu.Unlock()
	if why := g.roomForHandshake(spent); why != Admitted {
		return g.refuse(why)
	}
	g.beginHalf(p)
	g.depart()
	return Admitted
}

// roomForHandshake looks for what the handshake of one more connection needs.
func (g *Gate) roomForHandshake(spent bool) Refusal {
	for x := g; x != nil; x = x.outer {
		switch {
		case x.closed:
			return Closed
		case over(x.half, x.cfg.HalfOpenMax):
			return HalfOpen
		}
	}
	if spent {
		return Memory
	}
	return Admitted
}

// roomInside looks for a place.
func (g *Gate) roomInside() Refusal {
	for x := g; x != nil; x = x.outer {
		if over(x.inside, x.cfg.ConnectionsMax) {
			return Full
		}
	}
	return Admitted
}

// over reports whether a bound leaves no room for one more than n.
func over(n, bound int) bool { return bound > 0 && n >= bound }

// Reserve gives a place to a connection that is yet to be made. It counts for no
// address, and its handshake as none.
func (g *Gate) Reserve() (p Pass, why Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return p, Closed
	case g.roomInside() != Admitted:
		return p, Full
	}
	g.place(&p)
	return p, Admitted
}

// Depart announces a connection that has its place and is on its way to a loop;
// Arrived must follow unless the gate is closed.
func (g *Gate) Depart() Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return Closed
	}
	g.depart()
	return Admitted
}

func (g *Gate) depart() {
	for x := g; x != nil; x = x.outer {
		x.arriving.Add(1)
	}
}

// Arrived tells that a connection has come to its loop, or never will.
func (g *Gate) Arrived() {
	for x := g; x != nil; x = x.outer {
		x.arriving.Done()
	}
}

// Identify notes the client that a trusted proxy named, unless one is noted
// already, and counts the connection as that client's. An invalid addr says that
// there is a client whom nobody named: all of those count as one client with the
// address of their proxy, for whom the bounds hold. Who is refused is still inside.
func (g *Gate) Identify(p *Pass, addr netip.Addr, now int64) Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.holds&named != 0 {
		return Admitted
	}
	g.leaveClient(p)
	if addr.IsValid() {
		p.setClient(addr)
	}
	p.holds |= named
	if addr.IsValid() && g.cfg.Exempt(p.Client()) {
		return Admitted
	}
	if why := g.countClient(p, now); why != Admitted {
		return g.refuse(why)
	}
	return Admitted
}

// Opened tells that the handshake of a connection is over. It may be told more
// than once.
func (g *Gate) Opened(p *Pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endHalf(p)
}

// Move gives what a pass holds to another holder, and reports whether it held a
// place.
func (g *Gate) Move(p *Pass) (moved Pass, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	moved = *p
	p.holds &= named
	return moved, moved.holds&placed != 0
}

// Leave gives back all that a pass holds. Only the first call does something.
func (g *Gate) Leave(p *Pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endHalf(p)
	g.leaveClient(p)
	if p.holds&placed == 0 {
		return
	}
	p.holds &^= placed
	for x := g; x != nil; x = x.outer {
		if x.inside--; x.inside < 0 {
			panic(fmt.Sprintf("admit: %d connections are inside", x.inside))
		}
		x.tellEmpty()
	}
}

// Close refuses everybody from now on.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.tellEmpty()
}

// Retire says that nobody enters any more. Who is inside may stay, and come back
// to a loop.
func (g *Gate) Retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = true
	g.tellEmpty()
}

func (g *Gate) tellEmpty() {
	if (g.closed || g.retired) && g.inside == 0 {
		select {
		case <-g.empty:
		default:
			close(g.empty)
		}
	}
}

// Empty returns a channel that is closed when the gate is closed or retired, and
// nobody is inside any more.
func (g *Gate) Empty() <-chan struct{} { return g.empty }

// WaitArrived waits until nobody is on the way to a loop. The gate is closed.
func (g *Gate) WaitArrived() { g.arriving.Wait() }
