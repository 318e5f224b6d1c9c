package engine

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/protocol"
)

// What a trusted proxy says of the client's address is believed, nobody else's
// word is: neither a PROXY header (v1 or v2) before the first byte nor the
// fields Forwarded (RFC 7239) and X-Forwarded-For of the handshake.

// proxies are those whose word is believed.
type proxies struct {
	prefixes []netip.Prefix
	unix     bool // whoever connects through a unix socket
}

// readProxies reads Config.TrustedProxies.
func readProxies(list []string) (p proxies, err error) {
	for _, s := range list {
		if s == "unix" {
			p.unix = true
			continue
		}
		prefix, err := proxyPrefix(s)
		if err != nil {
			return p, err
		}
		p.prefixes = append(p.prefixes, prefix)
	}
	return p, nil
}

// proxyPrefix reads one of Config.TrustedProxies. Addresses of connections have
// no zone, and those in IPv4 are never in IPv6 form; nor must a prefix be.
func proxyPrefix(s string) (netip.Prefix, error) {
	wrong := func(why string) (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("engine: Config.TrustedProxies: %q %s", s, why)
	}
	p, err := netip.ParsePrefix(s)
	if a, aerr := netip.ParseAddr(s); err != nil && aerr == nil {
		if a.Zone() != "" {
			return wrong("has a zone, which is not compared: leave it out")
		}
		p, err = a.Prefix(a.BitLen())
	}
	switch a := p.Addr(); {
	case err != nil:
		return wrong("is neither an address, nor a prefix such as 10.0.0.0/8, nor \"unix\"")
	case a.Is4In6() && p.Bits() < 96:
		return wrong("matches no address: a prefix of IPv4 in IPv6 has at least 96 bits, or write it as IPv4")
	case a.Is4In6():
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// trust reports whether an address is a trusted proxy's.
func (p *proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p.prefixes, func(x netip.Prefix) bool { return x.Contains(a) })
}

// trustPeer reports whether the peer of a connection is a trusted proxy.
func (p *proxies) trustPeer(remote net.Addr) bool {
	if _, unix := remote.(*net.UnixAddr); unix {
		return p.unix
	}
	return p.trust(hostAddr(remote))
}

// exempt reports whether limits per address do not hold for a.
func (p *proxies) exempt(a netip.Addr) bool {
	return !a.IsValid() || a.IsLoopback() || p.trust(a)
}

// tcp4 is the address of a TCP connection's end over IPv4, as a connection keeps it: in an eighth of what a
// net.TCPAddr takes.
type tcp4 struct {
	ip   [4]byte
	port uint16
}

// shorten returns a as a tcp4, if it can be one.
func shorten(a net.Addr) net.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		if ip := t.IP.To4(); ip != nil {
			return tcp4{[4]byte(ip), uint16(t.Port)} //nolint:gosec // a port has 16 bits
		}
	}
	return a
}

// long is what programs get.
func (a tcp4) long() *net.TCPAddr { return net.TCPAddrFromAddrPort(a.addrPort()) }

func (a tcp4) addrPort() netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4(a.ip), a.port) }

// Network implements net.Addr.
func (a tcp4) Network() string { return "tcp" }

// String implements net.Addr.
func (a tcp4) String() string { return a.addrPort().String() }

// hostAddr is the IP address of a TCP connection's end, invalid for others.
func hostAddr(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case tcp4:
		return netip.AddrFrom4(a.ip)
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// ClientAddr is the client's IP address: the peer's, or, if that is one of
// Config.TrustedProxies, what it said by PROXY header, Forwarded or
// X-Forwarded-For. Without a proxy it is invalid on unix sockets. It is known from OnUpgrade on.
func (c *Conn) ClientAddr() netip.Addr {
	if client := c.pass.Client(); client.IsValid() {
		return client
	}
	return hostAddr(c.who.remote)
}

// fromProxy takes the first bytes of a trusted proxy until they show whether
// there is a PROXY header. What follows it goes the way of all input.
func (c *Conn) fromProxy(b []byte) {
	in := c.needInput()
	in.head = append(in.head, b...)
	said, n, more, err := protocol.ParseProxied(in.head)
	switch {
	case err != nil:
		c.ep.logMalformed(c.who.remote, err)
		c.cut(err)
		return
	case more && len(in.head) < c.ep.HandshakeBytesMax:
		return
	}
	head := in.head[n:]
	in.head, in.proxy = nil, false
	if client := said.Source.Addr(); client.IsValid() {
		c.identify(client)
	}
	if c.end.phase.Load() >= phaseEnding {
		return
	}
	c.start()
	if len(head) > 0 {
		c.receive(head)
	}
}

// identify notes the client that a trusted proxy named, invalid if it named
// nobody, and holds the limits per address against it.
func (c *Conn) identify(client netip.Addr) {
	if why := c.ep.gate.Identify(&c.pass, client, c.w.now()); why != admit.Admitted {
		c.ep.logDenied(c.who.remote, c.pass.Client(), why, true)
		c.turnAway(refusalOf(why))
	}
}

// logMalformed logs a PROXY header that cannot be read. Its connection is closed.
func (ep *endpoint) logMalformed(remote net.Addr, err error) {
	ep.e.log.Warn("a trusted proxy sent a malformed PROXY header", zap.Stringer("listener", ep.listener), zap.Stringer("remote", remote), zap.Error(err))
}

// turnAway refuses a connection that is on its loop already.
func (c *Conn) turnAway(e *codec.HandshakeError) {
	if _, ok := c.codec.(codec.Upgrader); ok {
		c.refuse(e)
		return
	}
	c.cut(e)
}

// forwarded finds the client in the fields that proxies add: the last address
// that is not a trusted proxy's own, since everything before it is hearsay. It
// reports false if there are no such fields: then the proxy asks for itself.
func (p *proxies) forwarded(f protocol.Fields) (client netip.Addr, said bool) {
	chain := f.ForwardedFor()
	if f.Count("Forwarded") == 0 {
		if f.Count("X-Forwarded-For") == 0 {
			return netip.Addr{}, false
		}
		chain = f.XForwardedFor()
	}
	for i, a := range slices.Backward(chain) {
		if i == 0 || !p.trust(a) {
			return a, true // perhaps invalid: then nothing before it can be believed either
		}
	}
	return netip.Addr{}, true
}
