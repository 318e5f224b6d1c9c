package protocol

import (
	"net/netip"
	"strings"
)

// portNone stands for a port that is not given.
const portNone = -1

// splitHost splits host[:port] and reports whether both are well-formed
// (RFC 3986 §3.2.2, §3.2.3). An IPv6 literal keeps its brackets. An empty port
// counts as none, an empty host is not accepted.
func splitHost(s string) (host string, port int, ok bool) {
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']') + 1
		if i == 0 || !validIPv6(s[1:i-1]) {
			return "", 0, false
		}
		host, s = s[:i], s[i:]
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		host, s = s[:i], s[i:]
		if host == "" || !all(host, charHost) || !validEscapes(host) {
			return "", 0, false
		}
	}
	if s == "" {
		return host, portNone, true
	}
	if s[0] != ':' {
		return "", 0, false
	}
	port, ok = parsePort(s[1:])
	return host, port, ok
}

// validIPv6 leaves out zones: they mean something on one machine only and have
// no place in a request (RFC 9110 §4.2 with RFC 3986).
func validIPv6(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Is6() && addr.Zone() == ""
}

func parsePort(s string) (port int, ok bool) {
	if s == "" {
		return portNone, true
	}
	n, ok := parseLength(s)
	return int(n), ok && n <= 65535
}
