package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
)

// Sizes of PROXY headers, and the bytes they begin with.
const (
	proxyV1         = "PROXY "
	proxyV1BytesMax = 107 // version 1, §2.1, with CRLF
	proxyV2         = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Bytes    = len(proxyV2) + 4 // version and command, family and transport, 16-bit length
)

var (
	errProxyLine     = errors.New("protocol: malformed PROXY header, version 1")
	errProxyVersion  = errors.New("protocol: PROXY header of an unknown version or command")
	errProxyFamily   = errors.New("protocol: PROXY header of an unknown address family or transport")
	errProxyShort    = errors.New("protocol: PROXY header too short for its addresses")
	errProxyTLV      = errors.New("protocol: malformed extension in a PROXY header")
	errProxyChecksum = errors.New("protocol: PROXY header with a wrong checksum")
)

// Proxied is what a PROXY header says of a connection. Both addresses are
// invalid if it says nothing: the proxy speaks for itself (LOCAL), or for a
// client without an IP address or a TCP stream (UNKNOWN, AF_UNIX, datagrams).
type Proxied struct {
	Source, Destination netip.AddrPort
}

// ParseProxied reads a PROXY header, version 1 or 2, at the start of b, which is
// what arrived first (HAProxy's "The PROXY protocol", §2).
//
// n is the size of the header; 0 without an error means that there is none, or,
// with more, that b ends inside of what may be one. A version 1 header has at
// most 107 bytes, one of version 2 at most 65,551. Extensions are passed over;
// a checksum (PP2_TYPE_CRC32C) behind addresses is verified. What is malformed is
// an error, as soon as the bytes show it.
func ParseProxied(b []byte) (p Proxied, n int, more bool, err error) {
	switch {
	case beginsWith(b, proxyV1):
		return parseProxyV1(b)
	case beginsWith(b, proxyV2):
		return parseProxyV2(b)
	}
	return p, 0, false, nil
}

// beginsWith reports whether b begins with s, as far as it goes.
func beginsWith(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

func parseProxyV1(b []byte) (p Proxied, n int, more bool, err error) {
	end := bytes.IndexByte(b[:min(len(b), proxyV1BytesMax)], '\n')
	if end < 0 {
		if len(b) < proxyV1BytesMax {
			return p, 0, true, nil
		}
		return p, 0, false, errProxyLine
	}
	line, ok := strings.CutSuffix(string(b[:end]), "\r")
	words := strings.Split(line, " ")
	if !ok || len(words) < 2 || strings.IndexByte(line, '\r') >= 0 {
		return p, 0, false, errProxyLine
	}
	switch words[1] {
	case "UNKNOWN": // what follows is ignored
		return p, end + 1, false, nil
	case "TCP4", "TCP6":
		if len(words) != 6 {
			return p, 0, false, errProxyLine
		}
		var source, destination bool
		p.Source, source = proxyEnd(words[1], words[2], words[4])
		p.Destination, destination = proxyEnd(words[1], words[3], words[5])
		if source && destination {
			return p, end + 1, false, nil
		}
	}
	return Proxied{}, 0, false, errProxyLine
}

// proxyEnd reads one end of a version 1 header.
func proxyEnd(family, addr, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	n, ok := parseLength(port)
	if err != nil || !ok || n > 65535 || len(port) > 1 && port[0] == '0' || a.Zone() != "" || a.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

func parseProxyV2(b []byte) (p Proxied, n int, more bool, err error) {
	const local, proxy = 0x20, 0x21
	if len(b) > 12 && b[12] != local && b[12] != proxy {
		return p, 0, false, errProxyVersion
	}
	if len(b) < proxyV2Bytes {
		return p, 0, true, nil
	}
	n = proxyV2Bytes + int(binary.BigEndian.Uint16(b[14:]))
	size, ok := proxyAddressBytes(b[13])
	switch {
	case b[12] == local:
		size = -1 // family and all that follows are ignored
	case !ok:
		return p, 0, false, errProxyFamily
	case n < proxyV2Bytes+size:
		return p, 0, false, errProxyShort
	}
	if len(b) < n {
		return p, 0, true, nil
	}
	if size <= 0 {
		return p, n, false, nil
	}
	if err := checkExtensions(b[:n], proxyV2Bytes+size); err != nil {
		return p, 0, false, err
	}
	body := b[proxyV2Bytes : proxyV2Bytes+size]
	switch b[13] {
	case 0x11:
		p.Source, p.Destination = proxyEnds(body, 4)
	case 0x21:
		p.Source, p.Destination = proxyEnds(body, 16)
	}
	return p, n, false, nil
}

// proxyAddressBytes returns how many bytes the addresses of a family (the upper
// half) and transport (the lower one) take.
func proxyAddressBytes(family byte) (int, bool) {
	sizes := [...]int{0, 12, 36, 216} // AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX
	const transports = 3              // unspecified, stream, datagram
	if family>>4 >= byte(len(sizes)) || family&15 >= transports {
		return 0, false
	}
	return sizes[family>>4], true
}

// proxyEnds reads two addresses of size bytes and two ports.
func proxyEnds(b []byte, size int) (source, destination netip.AddrPort) {
	end := func(i int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(b[i*size : (i+1)*size])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[2*size+2*i:]))
	}
	return end(0), end(1)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkExtensions walks the type-length-value triples from offset i to the end of
// a version 2 header (§2.2.6), and verifies its checksum if it has one.
func checkExtensions(header []byte, i int) error {
	const typeCRC32C, crcBytes = 0x03, 4
	for i < len(header) {
		if len(header)-i < 3 {
			return errProxyTLV
		}
		value := i + 3
		next := value + int(binary.BigEndian.Uint16(header[i+1:]))
		if next > len(header) {
			return errProxyTLV
		}
		if header[i] == typeCRC32C {
			if next-value != crcBytes {
				return errProxyTLV
			}
			sum := crc32.Update(0, castagnoli, header[:value])
			sum = crc32.Update(sum, castagnoli, make([]byte, crcBytes)) // it counts as zero
			sum = crc32.Update(sum, castagnoli, header[next:])
			if sum != binary.BigEndian.Uint32(header[value:]) {
				return errProxyChecksum
			}
		}
		i = next
	}
	return nil
}
