package admit

import "net/netip"

// Pass is what an admitted connection holds. The zero Pass holds nothing. A Gate
// changes it; it must not be copied, but moved with Gate.Move. Its memory is
// packed, since every connection has one.
type Pass struct {
	addr  [16]byte
	bits  uint8 // of addr: 0 (there is none), 32 or 128
	holds holding
}

// holding is a set of what a pass holds.
type holding uint8

const (
	placed  holding = 1 << iota // one of ConnectionsMax
	half                        // one of HalfOpenMax
	counted                     // one of its client's
	named                       // a proxy named the client
)

func (p *Pass) setClient(addr netip.Addr) {
	addr = addr.Unmap().WithZone("")
	p.addr, p.bits = [16]byte{}, uint8(addr.BitLen())
	copy(p.addr[:], addr.AsSlice())
}

// Client is the client's address: the one that Enter was told, or that Identify
// was later. It may be invalid.
func (p *Pass) Client() netip.Addr {
	switch p.bits {
	case 32:
		return netip.AddrFrom4([4]byte(p.addr[:4]))
	case 128:
		return netip.AddrFrom16(p.addr)
	}
	return netip.Addr{}
}
