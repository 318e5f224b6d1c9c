package protocol

import "strings"

// Extension is one element of Sec-WebSocket-Extensions: an offer, or its
// acceptance (RFC 6455 §9.1).
type Extension struct {
	Name   string
	Params []Param
}

// Param is a parameter of an [Extension].
type Param struct {
	Name   string
	Value  string // a token, unquoted
	Valued bool   // false: the name stands alone
}

// ParseExtensions reads all Sec-WebSocket-Extensions fields as the one list that
// they are, in order (RFC 6455 §9.1, §11.3.2); nil if there is none. What does
// not conform to the grammar is a [*HandshakeError] with status 400, also a
// quoted value that is not a token once unquoted.
func ParseExtensions(f Fields) ([]Extension, error) { return parseExtensions(nil, f) }

// parseExtensions uses the arrays of list again, which is empty.
func parseExtensions(list []Extension, f Fields) ([]Extension, error) {
	present := false
	for value := range f.Values("Sec-WebSocket-Extensions") {
		present = true
		var ok bool
		if list, ok = appendExtensions(list, value); !ok {
			return nil, errExtensions()
		}
	}
	if present && len(list) == 0 {
		return nil, errExtensions()
	}
	return list, nil
}

func errExtensions() error { return refuse(400, "malformed Sec-WebSocket-Extensions") }

// appendExtensions parses 1#extension, with the empty elements and the white
// space that the list rule of RFC 9110 §5.6.1 makes a recipient accept.
func appendExtensions(list []Extension, s string) ([]Extension, bool) {
	for {
		if s = skipSpace(s); s == "" {
			return list, true
		}
		if s[0] == ',' {
			s = s[1:]
			continue
		}
		var e Extension
		if n := len(list); n < cap(list) {
			e.Params = list[:n+1][n].Params[:0]
		}
		if e.Name, s = cutToken(s); e.Name == "" {
			return nil, false
		}
		for s != "" && s[0] == ';' {
			p, rest, ok := cutParam(s[1:])
			if !ok {
				return nil, false
			}
			e.Params = append(e.Params, p)
			s = rest
		}
		if s != "" && s[0] != ',' {
			return nil, false
		}
		list = append(list, e)
	}
}

// cutParam cuts token [ "=" (token | quoted-string) ] off the front of s.
func cutParam(s string) (p Param, rest string, ok bool) {
	if p.Name, s = cutToken(s); p.Name == "" {
		return p, "", false
	}
	if s == "" || s[0] != '=' {
		return p, s, true
	}
	p.Valued = true
	if s = skipSpace(s[1:]); s != "" && s[0] == '"' {
		p.Value, s = cutQuoted(s[1:])
	} else {
		p.Value, s = cutToken(s)
	}
	return p, s, p.Value != ""
}

// cutToken cuts a token and the white space around it off the front of s. token
// is empty if there is none.
func cutToken(s string) (token, rest string) {
	s = skipSpace(s)
	n := 0
	for n < len(s) && charClass[s[n]]&charToken != 0 {
		n++
	}
	return s[:n], skipSpace(s[n:])
}

// cutQuoted cuts the remainder of a quoted-string, whose opening quote is gone,
// and the white space after it off the front of s (RFC 9110 §5.6.4). token is
// empty if what was quoted is not a token.
func cutQuoted(s string) (token, rest string) {
	escaped := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			if i++; i == len(s) || charClass[s[i]]&charToken == 0 {
				return "", ""
			}
		case '"':
			token = s[:i]
			if escaped {
				// All of them escape something: an escaped backslash, which
				// no token has, did not come this far.
				token = strings.ReplaceAll(token, `\`, "")
			}
			if !isToken(token) {
				return "", ""
			}
			return token, skipSpace(s[i+1:])
		}
	}
	return "", ""
}

// AppendExtension appends e as an element of Sec-WebSocket-Extensions. Its names
// and values have to be tokens.
func AppendExtension(dst []byte, e Extension) []byte {
	dst = append(dst, e.Name...)
	for _, p := range e.Params {
		dst = append(append(dst, "; "...), p.Name...)
		if p.Valued {
			dst = append(append(dst, '='), p.Value...)
		}
	}
	return dst
}
