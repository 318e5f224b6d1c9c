package engine

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// schemesElsewhere are names that others have for schemes of this package, and for parts
// of them; "+tls" and "+unix" are parts.
var schemesElsewhere = map[string]string{
	"websocket": "ws", "websockets": "ws", "wss": "ws+tls", "https": "http+tls", "h2": "http+tls", "ssl": "tls", "tcps": "tls",
	"tcp4": "tcp", "tcp6": "tcp", "udp4": "udp", "udp6": "udp", "line": "text", "lines": "text", "frames": "frame", "file": "unix",
}

// withoutSlashes matches what begins with a scheme that has no "://" behind it.
var withoutSlashes = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9.+-]*)(?::/?|//)([^/]*[^/0-9].*)$`)

// suggest returns what may be meant by an address; "" if it has no idea. What has no scheme
// is a WebSocket, with TLS if secure. fits reports whether a scheme may stand there.
func suggest(given string, secure bool, fits func(scheme string) bool) string {
	address, usual := strings.TrimSpace(given), "ws"
	if secure {
		usual = "wss"
	}
	scheme, rest, found := strings.Cut(address, "://")
	if m := withoutSlashes.FindStringSubmatch(address); !found && m != nil && fits(translate(m[1], fits)) {
		scheme, rest, found = m[1], m[2], true
	}
	switch {
	case found:
		scheme = translate(scheme, fits)
	case strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//"):
		scheme, rest = usual+"+unix", address
	default:
		scheme, rest = usual, strings.TrimPrefix(address, "//")
	}
	better := scheme + "://" + rest
	if u, err := url.Parse(better); err != nil || u.User != nil || u.Host+u.Path == "" || !fits(scheme) {
		return ""
	}
	return better
}

// translate returns the scheme of this package that may be meant by another one.
func translate(scheme string, fits func(scheme string) bool) string {
	scheme = strings.ToLower(scheme)
	if fits(scheme) {
		return scheme
	}
	var parts []string
	for part := range strings.SplitSeq(scheme, "+") {
		if known, ok := schemesElsewhere[part]; ok {
			part = known
		}
		parts = append(parts, strings.Split(part, "+")...)
	}
	name := "tcp"
	for _, part := range parts {
		if part != "tls" && part != "unix" && name != "ws" { // http+ws is a WebSocket
			name = part
		}
	}
	if name == "http" && !fits(name) {
		name = "ws"
	}
	if slices.Contains(parts, "tls") {
		if short, ok := map[string]string{"ws": "wss", "http": "https", "tcp": "tls"}[name]; ok {
			name = short
		} else {
			name += "+tls"
		}
	}
	if slices.Contains(parts, "unix") {
		name = strings.TrimPrefix(name+"+unix", "tcp+")
	}
	return name
}
