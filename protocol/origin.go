package protocol

import (
	"errors"
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
	return ok && port == originPort && equalFold(name, originHost)
}

// MatchOrigin reports whether pattern admits the value of an Origin field. A
// pattern is
//
//   - "*": any origin, even "null"
//   - "https://example.com": that scheme, host and port
//   - "example.com": any scheme, with its default port
//   - "example.com:8080", "http://localhost:*": that port, or any
//   - "*.example.com", with or without scheme and port: one or more labels in
//     place of "*"; not example.com itself
//
// A port left out of a pattern is always the default one of the origin's scheme.
// ASCII case does not matter. The origin "null" is admitted by "*" alone. A pattern that [ValidOriginPattern] refuses
// matches nothing.
func MatchOrigin(pattern, origin string) bool {
	if pattern == "*" {
		return true
	}
	p, ok := parsePattern(pattern)
	if !ok {
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
		return equalFold(p.host, host)
	}
	labels := len(host) - len(p.host) - len(".")
	return labels > 0 && host[labels] == '.' && equalFold(host[labels+1:], p.host)
}

// ValidOriginPattern returns an error that says what is wrong with pattern, nil
// if [MatchOrigin] understands it.
func ValidOriginPattern(pattern string) error {
	if _, ok := parsePattern(pattern); ok || pattern == "*" {
		return nil
	}
	return errors.New("protocol: origin pattern " + strconv.Quote(pattern) +
		` is neither "*" nor [scheme://][*.]host[:port]`)
}

type originPattern struct {
	scheme   string // "" any
	wildcard bool   // host is preceded by one or more labels
	host     string
	port     int // portNone, portAny or the number
}

func parsePattern(s string) (p originPattern, ok bool) {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if !validScheme(scheme) {
			return p, false
		}
		p.scheme, s = scheme, rest
	}
	s, p.wildcard = strings.CutPrefix(s, "*.")
	s, anyPort := strings.CutSuffix(s, ":*")
	p.host, p.port, ok = splitHost(s)
	if anyPort {
		// "host:80:*" and "host::*" are not patterns.
		ok = ok && p.host == s
		p.port = portAny
	}
	// A wildcard goes before a name; elsewhere "*" would only look like one.
	return p, ok && strings.IndexByte(p.host, '*') < 0 && !(p.wildcard && p.host[0] == '[')
}
