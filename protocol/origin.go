package protocol

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// portAny is the ":*" of an origin pattern.
const portAny = -2

// defaultPort returns the port that a URL of scheme means when it names none,
// portNone if scheme is not of the HTTP or WebSocket family.
func defaultPort(scheme string) int {
	switch {
	case equalFold(scheme, "http"), equalFold(scheme, "ws"):
		return 80
	case equalFold(scheme, "https"), equalFold(scheme, "wss"):
		return 443
	}
	return portNone
}

// splitOrigin splits a serialized origin, scheme://host[:port] (RFC 6454 §6.2),
// and fills in the default port of its scheme.
func splitOrigin(origin string) (scheme, host string, port int, ok bool) {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok || !validScheme(scheme) {
		return "", "", 0, false
	}
	if host, port, ok = splitHost(rest); port == portNone {
		port = defaultPort(scheme)
	}
	return scheme, host, port, ok
}

// validScheme follows RFC 3986 §3.1.
func validScheme(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// SameOrigin reports whether the value of an Origin field means the server that
// host, the value of Host, names: the same host, without regard to ASCII case,
// and the same port (RFC 6455 §10.2). A port left out on either side is the
// default one of the origin's scheme. Schemes are not compared, since a server
// behind a TLS terminator does not know its own; but an origin that is not http,
// https, ws or wss, "null" and anything malformed are the same as nothing.
func SameOrigin(origin, host string) bool {
	scheme, originHost, originPort, ok := splitOrigin(origin)
	if !ok || !httpScheme(scheme) {
		return false
	}
	name, port, ok := splitHost(host)
	if port == portNone {
		port = defaultPort(scheme)
	}
	return ok && port == originPort && sameHost(name, originHost)
}

// Origins that are no scheme://host: pages of files, of sandboxed frames and of
// web views send them.
const (
	originNull = "null"
	originFile = "file://"
)

// MatchOrigin reports whether pattern admits the value of an Origin field. A
// pattern is
//
//   - "*": any origin
//   - "null": the origin "null", which says nothing of who asks
//   - "file://": that origin
//   - "https://example.com": that scheme, host and port
//   - "example.com": any scheme, with its default port
//   - "example.com:8080", "http://localhost:*": that port, or any
//   - "*.example.com", with or without scheme and port: one or more labels in
//     place of "*"; not example.com itself
//
// A port left out of a pattern is always the default one of the origin's scheme.
// ASCII case does not matter, nor how an IPv6 address is written. A pattern that
// [ValidOriginPattern] refuses matches nothing.
func MatchOrigin(pattern, origin string) bool {
	if pattern == "*" {
		return true
	}
	if bareOrigin(pattern) {
		return equalFold(pattern, origin)
	}
	p, wrong := parsePattern(pattern)
	if wrong != "" {
		return false
	}
	scheme, host, port, ok := splitOrigin(origin)
	if !ok || p.scheme != "" && !equalFold(p.scheme, scheme) {
		return false
	}
	switch p.port {
	case portAny:
	case portNone:
		if port != defaultPort(scheme) {
			return false
		}
	default:
		if port != p.port {
			return false
		}
	}
	if !p.wildcard {
		return sameHost(p.host, host)
	}
	labels := len(host) - len(p.host) - len(".")
	return labels > 0 && host[labels] == '.' && equalFold(host[labels+1:], p.host)
}

func bareOrigin(s string) bool { return equalFold(s, originNull) || equalFold(s, originFile) }

// ValidOriginPattern returns an error that says what is wrong with pattern, nil
// if [MatchOrigin] understands it and some origin can match it.
func ValidOriginPattern(pattern string) error {
	if pattern == "*" || bareOrigin(pattern) {
		return nil
	}
	_, wrong := parsePattern(pattern)
	if wrong == "" {
		return nil
	}
	return errors.New("protocol: origin pattern " + strconv.Quote(pattern) + " " + wrong)
}

type originPattern struct {
	scheme   string // "" any
	wildcard bool   // host is preceded by one or more labels
	host     string
	port     int // portNone, portAny or the number
}

// parsePattern returns what is wrong, "" if nothing is.
func parsePattern(s string) (p originPattern, wrong string) {
	const malformed = `is none of "*", "null", "file://" and [scheme://][*.]host[:port]`
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if !validScheme(scheme) {
			return p, malformed
		}
		p.scheme, s = scheme, rest
	}
	s, p.wildcard = strings.CutPrefix(s, "*.")
	s, anyPort := strings.CutSuffix(s, ":*")
	var ok bool
	p.host, p.port, ok = splitHost(s)
	if anyPort {
		// "host:80:*" and "host::*" are not patterns.
		ok = ok && p.host == s
		p.port = portAny
	}
	switch {
	// A wildcard goes before a name; elsewhere "*" would only look like one.
	case !ok || strings.IndexByte(p.host, '*') >= 0 || p.wildcard && p.host[0] == '[':
		return p, malformed
	case equalFold(p.scheme, "file"):
		return p, `matches no origin: that of a file is "file://" or "null"`
	case p.port == 0:
		return p, "matches no origin: nothing can be loaded from port 0"
	case (p.scheme == "" || httpScheme(p.scheme)) && !possibleHost(p.host, p.wildcard):
		return p, "matches no origin: its host ends with a number and is no IPv4 address as browsers write it"
	}
	return p, ""
}

// possibleHost reports whether a browser can name a host so. It takes one that
// ends with a number for an IPv4 address, and writes that with four numbers
// (the URL standard of WHATWG, host parsing).
func possibleHost(host string, wildcard bool) bool {
	last := strings.TrimSuffix(host, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	if last == "" || strings.Trim(last, "0123456789") != "" {
		return true
	}
	if !wildcard {
		a, err := netip.ParseAddr(host)
		return err == nil && a.Is4()
	}
	for _, labels := range [...]string{"1.", "1.1.", "1.1.1."} {
		if _, err := netip.ParseAddr(labels + host); err == nil {
			return true
		}
	}
	return false
}

// sameHost compares names without regard to ASCII case, and IPv6 literals by
// what they mean.
func sameHost(a, b string) bool {
	if len(a) > 1 && len(b) > 1 && a[0] == '[' && b[0] == '[' {
		x, errX := netip.ParseAddr(a[1 : len(a)-1])
		y, errY := netip.ParseAddr(b[1 : len(b)-1])
		return errX == nil && errY == nil && x == y
	}
	return equalFold(a, b)
}
