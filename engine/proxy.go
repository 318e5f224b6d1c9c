package engine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"

	"github.com/pires/go-proxyproto"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/protocol"
)

// What a trusted proxy says of the client's address is believed, nobody else's
// word is: neither a PROXY header (v1 or v2) before the first byte nor the
// fields Forwarded (RFC 7239) and X-Forwarded-For of the handshake.

// trusted reports whether an address is one of Config.TrustedProxies.
func (e *Engine) trusted(a netip.Addr) bool {
	for _, p := range e.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// exempt reports whether limits per address do not hold for a.
func (e *Engine) exempt(a netip.Addr) bool {
	return !a.IsValid() || a.IsLoopback() || e.trusted(a)
}

// hostAddr is the IP address of a TCP connection's end, invalid for others.
func hostAddr(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// ClientAddr is the client's IP address: the peer's, or, if that is one of
// Config.TrustedProxies, what it said by PROXY header, Forwarded or
// X-Forwarded-For. It is invalid on unix sockets. It is known from OnUpgrade on.
func (c *Conn) ClientAddr() netip.Addr {
	if client := c.pass.Client(); client.IsValid() {
		return client
	}
	return hostAddr(c.remote)
}

const (
	proxyV1     = "PROXY "
	proxyV2     = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Max  = 107 // PROXY protocol §2.1
	proxyV2Head = 16  // §2.2: signature, version and command, family, length
)

// takeProxyHeader looks for a PROXY header at the front of what a trusted proxy
// sent first. more means that it is not complete yet; n is its length.
func takeProxyHeader(b []byte) (client netip.Addr, n int, more bool, err error) {
	switch {
	case hasPrefix(b, proxyV1):
		if end := bytes.IndexByte(b[:min(len(b), proxyV1Max)], '\n'); end >= 0 {
			n = end + 1
		} else if len(b) < proxyV1Max {
			return client, 0, true, nil
		}
	case hasPrefix(b, proxyV2):
		if len(b) < proxyV2Head {
			return client, 0, true, nil
		}
		if n = proxyV2Head + int(binary.BigEndian.Uint16(b[proxyV2Head-2:])); len(b) < n {
			return client, 0, true, nil
		}
	default:
		return client, 0, false, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b[:n]), max(n, proxyV2Head)))
	if err != nil {
		return client, 0, false, err
	}
	if h.Command.IsProxy() && h.SourceAddr != nil {
		client = hostAddr(h.SourceAddr)
	}
	return client, n, false, nil
}

// hasPrefix reports whether b begins with the signature, as far as it came.
func hasPrefix(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

// fromProxy takes the first bytes of a trusted proxy until they show whether
// there is a PROXY header. What follows it goes the way of all input.
func (c *Conn) fromProxy(b []byte) {
	r := c.rare
	r.head = append(r.head, b...)
	client, n, more, err := takeProxyHeader(r.head)
	switch {
	case err != nil:
		c.e.log.Debug("a trusted proxy sent a malformed PROXY header")
		c.doom(err)
		return
	case more && len(r.head) < c.e.cfg.HandshakeBytesMax:
		return
	}
	head := r.head[n:]
	r.head, r.proxy = nil, false
	if c.identify(client); c.phase.Load() >= phaseEnding {
		return
	}
	c.start()
	if len(head) > 0 {
		c.receive(head)
	}
}

// identify notes the client that a trusted proxy named, and holds the limits
// per address against it.
func (c *Conn) identify(client netip.Addr) {
	if why := c.e.gate.Identify(&c.pass, client, c.w.now()); why != admit.Admitted {
		c.turnAway(refusalOf(why))
	}
}

// turnAway refuses a connection that has come to its loop already.
func (c *Conn) turnAway(e *codec.HandshakeError) {
	if _, ok := c.codec.(codec.Upgrader); ok {
		c.refuse(e)
		return
	}
	c.doom(e)
}

// forwarded finds the client in the fields that proxies add: the last address
// that is not a trusted proxy's own, since everything before it is hearsay.
func (e *Engine) forwarded(f protocol.Fields) netip.Addr {
	var chain []string
	if f.Count("Forwarded") > 0 {
		for element := range f.Tokens("Forwarded") {
			for pair := range strings.SplitSeq(element, ";") {
				if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && strings.EqualFold(name, "for") {
					chain = append(chain, value)
				}
			}
		}
	} else {
		for element := range f.Tokens("X-Forwarded-For") {
			chain = append(chain, element)
		}
	}
	for i := len(chain) - 1; i >= 0; i-- {
		a, ok := nodeAddr(chain[i])
		if !ok {
			return netip.Addr{} // "unknown", an obfuscated name, garbage: nothing before it can be believed
		}
		if !e.trusted(a) || i == 0 {
			return a
		}
	}
	return netip.Addr{}
}

// nodeAddr parses an address with or without port, brackets and quotes
// (RFC 7239 §6).
func nodeAddr(s string) (netip.Addr, bool) {
	s = strings.Trim(s, `" `)
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap(), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return a.Unmap(), err == nil
}
