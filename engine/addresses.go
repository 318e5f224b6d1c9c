package engine

import (
	"net/netip"
	"sync"

	"github.com/sockmill/sockmill/codec"
)

// addresses counts what each client address has open and how often it came in
// the running second. Who has nothing open and did not come lately is forgotten.
type addresses struct {
	connectionsMax, acceptsMax int

	mu     sync.Mutex
	counts map[netip.Addr]*addressCount
	second int64 // in which accepts are counted
}

type addressCount struct{ open, accepts int }

// enter counts a connection in, or says why it may not come in. now is in
// milliseconds.
func (a *addresses) enter(addr netip.Addr, now int64) *codec.HandshakeError {
	a.mu.Lock()
	defer a.mu.Unlock()
	if second := now / 1000; second != a.second {
		a.second = second
		for addr, n := range a.counts {
			if n.accepts = 0; n.open == 0 {
				delete(a.counts, addr)
			}
		}
	}
	n := a.counts[addr]
	if n == nil {
		if a.counts == nil {
			a.counts = make(map[netip.Addr]*addressCount)
		}
		n = new(addressCount)
		a.counts[addr] = n
	}
	switch {
	case n.open >= a.connectionsMax:
		return &codec.HandshakeError{Status: 429, Reason: "too many connections from this address"}
	case n.accepts >= a.acceptsMax:
		return &codec.HandshakeError{Status: 429, Reason: "too many new connections from this address, try again in a second"}
	}
	n.open++
	n.accepts++
	return nil
}

// leave counts a connection out.
func (a *addresses) leave(addr netip.Addr) {
	a.mu.Lock()
	if n := a.counts[addr]; n != nil {
		n.open--
	}
	a.mu.Unlock()
}
