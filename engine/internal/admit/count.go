package admit

import (
	"fmt"
	"net/netip"
)

// All functions in this file are called with g.mu held.

// place counts a connection as inside.
func (g *Gate) place(p *Pass) {
	if g.closed || p.holds&placed != 0 {
		panic("admit: a place is given twice, or after the end")
	}
	p.holds |= placed
	g.inside++
}

func (g *Gate) beginHalf(p *Pass) {
	if p.holds&(placed|half) != placed {
		panic("admit: a handshake begins twice, or without a place")
	}
	p.holds |= half
	g.half++
}

func (g *Gate) endHalf(p *Pass) {
	if p.holds&half == 0 {
		return
	}
	p.holds &^= half
	if g.half--; g.half < 0 {
		panic(fmt.Sprintf("admit: %d connections are half open", g.half))
	}
}

// countClient counts a connection as its client's.
func (g *Gate) countClient(p *Pass, now int64) Refusal {
	addr := p.Client()
	g.beginSecond(now / 1000)
	c := g.clients[addr]
	if c == nil {
		c = new(client)
		g.clients[addr] = c
	}
	switch {
	case c.inside >= g.cfg.ConnectionsPerAddressMax:
		return Address
	case c.accepts >= g.cfg.AcceptsPerAddressPerSecond:
		return AddressRate
	}
	c.inside++
	c.accepts++
	p.holds |= counted
	return Admitted
}

// beginSecond forgets what came in another second.
func (g *Gate) beginSecond(second int64) {
	if second == g.second {
		return
	}
	g.second = second
	for addr, c := range g.clients {
		if c.accepts = 0; c.inside == 0 {
			delete(g.clients, addr)
		}
	}
}

func (g *Gate) leaveClient(p *Pass) {
	if p.holds&counted == 0 {
		return
	}
	p.holds &^= counted
	c := g.clients[p.Client()]
	if c == nil || c.inside == 0 {
		panic(fmt.Sprintf("admit: %v leaves and is not inside", p.Client()))
	}
	c.inside--
}

// Counts are what a Gate has counted.
type Counts struct {
	Inside  int    // connections
	Half    int    // of these, with the handshake under way
	Refused uint64 // for whatever reason
}

// Counts returns what the gate has counted.
func (g *Gate) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := Counts{Inside: g.inside, Half: g.half}
	for _, refused := range g.refused {
		n.Refused += refused
	}
	return n
}

// Of returns how many connections of a client are inside.
func (g *Gate) Of(addr netip.Addr) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.clients[addr]; c != nil {
		return c.inside
	}
	return 0
}
