package protocol

import (
	"net/url"
	"strings"
)

// Request is the head of an HTTP/1.x request (RFC 9112 §3).
type Request struct {
	Method   string
	Target   string // as sent
	Path     string // of the target, still percent-encoded; "*" for OPTIONS *
	RawQuery string // of the target, without "?", still percent-encoded
	Host     string // host[:port] that the request is for; "" only with HTTP/1.0
	Minor    int    // HTTP/1.Minor
	Fields   Fields

	Extensions []Extension // of an opening handshake, set by CheckUpgrade
}

// Parse reads one complete head, as [ScanHead] found it, into r. The strings of
// r are parts of head, and the arrays of r are used again. At most
// fieldsMax fields are accepted.
//
// A malformed head is a [*HandshakeError], after which r is undefined: status
// 505 for a version that is well-formed but not HTTP/1.x, 431 for too many
// fields, 400 for everything else. That includes what RFC 9112 lets a lenient
// reader accept but on which two readers may disagree: folded fields, white
// space before a colon, a repeated Content-Length or one beside
// Transfer-Encoding, a missing, repeated or malformed Host.
//
// The target is an origin-form, an absolute-form of http, https, ws or wss, whose
// authority then replaces Host (RFC 9112 §3.2.2), or "*" with OPTIONS.
func (r *Request) Parse(head string, fieldsMax int) error {
	*r = Request{Fields: r.Fields[:0], Extensions: r.Extensions[:0]}
	line, rest, ok := cutFirstLine(head)
	if !ok {
		return refuse(400, "request line does not end with CRLF")
	}
	authority, err := r.parseLine(line)
	if err != nil {
		return err
	}
	if r.Fields, err = appendFields(r.Fields, rest, fieldsMax); err != nil {
		return err
	}
	if err := r.parseHost(authority); err != nil {
		return err
	}
	return checkBody(r.Fields, r.Minor)
}

// parseLine reads the request line (RFC 9112 §3) and returns the authority of an
// absolute-form target.
func (r *Request) parseLine(line string) (authority string, err error) {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	minor, err := parseVersion(version)
	if err != nil {
		return "", err
	}
	if !isToken(method) {
		return "", refuse(400, "malformed method")
	}
	r.Method, r.Target, r.Minor = method, target, minor
	return r.parseTarget()
}

// parseVersion reads an HTTP-version (RFC 9112 §2.3).
func parseVersion(s string) (minor int, err error) {
	if len(s) != len("HTTP/1.1") || s[:5] != "HTTP/" || !isDigit(s[5]) || s[6] != '.' || !isDigit(s[7]) {
		return 0, refuse(400, "malformed HTTP version")
	}
	if s[5] != '1' {
		return 0, refuse(505, "HTTP version is not 1.x")
	}
	return int(s[7] - '0'), nil
}

// parseTarget splits r.Target (RFC 9112 §3.2).
func (r *Request) parseTarget() (authority string, err error) {
	malformed := func() (string, error) { return "", refuse(400, "malformed request target") }
	path := r.Target
	if path == "*" && r.Method == "OPTIONS" {
		r.Path = path
		return "", nil
	}
	if path == "" || !all(path, charTarget) || !validEscapes(path) {
		return malformed()
	}
	if path[0] != '/' {
		scheme, rest, ok := strings.Cut(path, "://")
		if !ok || !httpScheme(scheme) {
			return malformed()
		}
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		// User information fails here as well: "@" belongs to no host.
		authority, path = rest[:end], rest[end:]
		if _, _, ok := splitHost(authority); !ok {
			return malformed()
		}
	}
	r.Path, r.RawQuery, _ = strings.Cut(path, "?")
	if r.Path == "" {
		r.Path = "/"
	}
	return authority, nil
}

func httpScheme(s string) bool { return defaultPort(s) != portNone }

// parseHost sets r.Host (RFC 9112 §3.2, §3.2.2).
func (r *Request) parseHost(authority string) error {
	n := 0
	for i := range r.Fields {
		if equalFold(r.Fields[i].Name, "Host") {
			n++
			r.Host = r.Fields[i].Value
		}
	}
	switch {
	case n > 1:
		return refuse(400, "repeated Host")
	case n == 0 && r.Minor >= 1:
		return refuse(400, "missing Host")
	case n == 1:
		if _, _, ok := splitHost(r.Host); !ok {
			return refuse(400, "malformed Host")
		}
	}
	if authority != "" {
		r.Host = authority
	}
	return nil
}

// Query decodes RawQuery. Pairs that cannot be decoded are left out.
func (r *Request) Query() url.Values {
	values, _ := url.ParseQuery(r.RawQuery)
	return values
}

// Cookie returns the value of the first cookie of that name, without the double
// quotes that may enclose it, or "" if there is none (RFC 6265 §4.2.1). Names of
// cookies are case-sensitive.
func (r *Request) Cookie(name string) string {
	for rest := range r.Fields.Values("Cookie") {
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			key, value, ok := strings.Cut(trimSpace(pair), "=")
			if !ok || key != name {
				continue
			}
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return value
		}
	}
	return ""
}
