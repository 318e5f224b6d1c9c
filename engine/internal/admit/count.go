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
	for x := g; x != nil; x = x.outer {
		x.inside++
		x.entered++
	}
}

func (g *Gate) beginHalf(p *Pass) {
	if p.holds&(placed|half) != placed {
		panic("admit: a handshake begins twice, or without a place")
	}
	p.holds |= half
	for x := g; x != nil; x = x.outer {
		x.half++
	}
}

func (g *Gate) endHalf(p *Pass) {
	if p.holds&half == 0 {
		return
	}
	p.holds &^= half
	for x := g; x != nil; x = x.outer {
		if x.half--; x.half < 0 {
			panic(fmt.Sprintf("admit: %d connections are half open", x.half))
		}
	}
}

// countClient counts a connection as its client's.
func (g *Gate) countClient(p *Pass, now int64) Refusal {
	addr := p.Client()
	for x := g; x != nil; x = x.outer {
		if why := x.roomForClient(addr, now); why != Admitted {
			return why
		}
	}
	for x := g; x != nil; x = x.outer {
		if x.countsClients() {
			x.clients[addr].inside++
			x.clients[addr].accepts++
		}
	}
	p.holds |= counted
	return Admitted
}

// countsClients reports whether the gate has a bound for each client.
func (g *Gate) countsClients() bool {
	return g.cfg.ConnectionsPerAddressMax > 0 || g.cfg.AcceptsPerAddressPerSecond > 0
}

// roomForClient looks for room for one more connection of a client, who is
// remembered from then on.
func (g *Gate) roomForClient(addr netip.Addr, now int64) Refusal {
	if !g.countsClients() {
		return Admitted
	}
	g.beginSecond(now / 1000)
	c := g.clients[addr]
	if c == nil {
		c = new(client)
		g.clients[addr] = c
	}
	switch {
	case over(c.inside, g.cfg.ConnectionsPerAddressMax):
		return Address
	case over(c.accepts, g.cfg.AcceptsPerAddressPerSecond):
		return AddressRate
	}
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
	for x := g; x != nil; x = x.outer {
		if !x.countsClients() {
			continue
		}
		c := x.clients[p.Client()]
		if c == nil || c.inside == 0 {
			panic(fmt.Sprintf("admit: %v leaves and is not inside", p.Client()))
		}
		c.inside--
	}
}

// Counts are what a Gate has counted.
type Counts struct {
	Inside  int    // connections
	Half    int    // of these, with the handshake under way
	Entered uint64 // connections, ever
	Refused uint64 // for whatever reason

	By [refusals]uint64 // of these, for each reason
}

// Counts returns what the gate has counted.
func (g *Gate) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := Counts{Inside: g.inside, Half: g.half, Entered: g.entered, By: g.refused}
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
