package protocol

import (
	"net/netip"
	"strings"
)

// forwardedParametersMax bounds the parameters of an element of Forwarded: RFC
// 7239 defines four.
const forwardedParametersMax = 16

// ForwardedFor returns what the fields Forwarded say of the client (RFC 7239):
// for each element, in order, the address in its parameter "for". The address is
// invalid where an element names none: it has no "for", or "unknown", or an
// obfuscated name, or it is malformed, or repeats a parameter. A field with a
// quoted string that does not end is one such element as a whole.
//
// Each proxy adds an element behind the others. Who reads them from the last to
// the first must stop at one without an address: nothing before it is known to
// come from a proxy.
func (f Fields) ForwardedFor() []netip.Addr {
	var nodes []netip.Addr
	for line := range f.Values("Forwarded") {
		before := len(nodes)
		for rest := line; rest != ""; {
			element, after, ok := cutOutsideQuotes(rest, ',')
			if !ok {
				nodes = append(nodes[:before], netip.Addr{})
				break
			}
			rest = after
			if element = trimSpace(element); element != "" { // RFC 9110 §5.6.1: an empty element does not count
				nodes = append(nodes, forwardedNode(element))
			}
		}
	}
	return nodes
}

// XForwardedFor returns the addresses in the fields X-Forwarded-For, in order,
// each with or without a port: invalid ones for everything else. How to read
// them is said at [Fields.ForwardedFor].
func (f Fields) XForwardedFor() []netip.Addr {
	var nodes []netip.Addr
	for element := range f.Tokens("X-Forwarded-For") {
		a, err := netip.ParseAddr(element) // an IPv6 address may come without brackets
		if err != nil {
			a = parseNode(element)
		}
		nodes = append(nodes, plainAddr(a))
	}
	return nodes
}

// cutOutsideQuotes splits s at the first sep that is not inside a quoted string.
// It reports false if a quoted string does not end.
func cutOutsideQuotes(s string, sep byte) (before, after string, ok bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == sep:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", !quoted
}

// forwardedNode returns the address in the parameter "for" of an element.
func forwardedNode(element string) (node netip.Addr) {
	var names [forwardedParametersMax]string
	n := 0
	for rest := element; rest != ""; {
		pair, after, _ := cutOutsideQuotes(rest, ';')
		rest = after
		if pair = trimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok || !isToken(name) || n == len(names) || hasName(names[:n], name) {
			return netip.Addr{}
		}
		names[n] = name
		n++
		if value, ok = unquote(value); !ok {
			return netip.Addr{}
		}
		if equalFold(name, "for") {
			node = parseNode(value)
		}
	}
	return node
}

func hasName(names []string, name string) bool {
	for _, other := range names {
		if equalFold(other, name) {
			return true
		}
	}
	return false
}

// unquote returns the value of a parameter, a token or a quoted string (RFC 9110
// §5.6.2, §5.6.4).
func unquote(s string) (value string, ok bool) {
	if isToken(s) {
		return s, true
	}
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' || !all(s, charValue) {
		return "", false
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s, strings.IndexByte(s, '"') < 0
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return "", false
		case s[i] == '\\':
			if i++; i == len(s) {
				return "", false
			}
		}
		b = append(b, s[i])
	}
	return string(b), true
}

// parseNode reads an IPv4 address, or an IPv6 address in brackets, with or
// without a port (RFC 7239 §6).
func parseNode(s string) netip.Addr {
	host, brackets := s, strings.HasPrefix(s, "[")
	end := strings.IndexByte(s, ':')
	if brackets {
		if end = strings.IndexByte(s, ']') + 1; end == 0 {
			return netip.Addr{}
		}
	}
	if end >= 0 && end < len(s) {
		if host = s[:end]; !validNodePort(s[end:]) {
			return netip.Addr{}
		}
	}
	if brackets {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Is6() != brackets {
		return netip.Addr{}
	}
	return plainAddr(a)
}

// validNodePort takes ":" and a port, or an obfuscated one (RFC 7239 §6.2, §6.3).
func validNodePort(s string) bool {
	if len(s) < 2 || s[0] != ':' {
		return false
	}
	if s[1] != '_' {
		_, ok := parsePort(s[1:])
		return ok && len(s) <= 1+5
	}
	for i := 2; i < len(s); i++ {
		if c := lower(s[i]); !isDigit(c) && (c < 'a' || c > 'z') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) > 2
}

// plainAddr takes an IPv4 address out of an IPv6 one. A zone means something on
// one machine only: an address with one is none.
func plainAddr(a netip.Addr) netip.Addr {
	if a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}
