package protocol

import "strings"

// Sets of bytes that the grammars of HTTP name, as bits of charClass.
const (
	charToken  = 1 << iota // tchar, RFC 9110 §5.6.2
	charValue              // a byte of a field value: VCHAR, obs-text, SP, HTAB, RFC 9110 §5.5
	charTarget             // a byte of a request target: visible ASCII but "#"
	charHost               // a byte of a reg-name: unreserved, sub-delims, "%", RFC 3986 §3.2.2
)

var charClass = func() (class [256]uint8) {
	for c := range class {
		alnum := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		in := func(set string) bool { return strings.IndexByte(set, byte(c)) >= 0 }
		if alnum || in("!#$%&'*+-.^_`|~") {
			class[c] |= charToken
		}
		if c >= 0x20 && c != 0x7f || c == '\t' {
			class[c] |= charValue
		}
		if c > 0x20 && c < 0x7f && c != '#' {
			class[c] |= charTarget
		}
		if alnum || in("-._~!$&'()*+,;=%") {
			class[c] |= charHost
		}
	}
	return class
}()

// all reports whether every byte of s belongs to class.
func all(s string, class uint8) bool {
	for i := range len(s) {
		if charClass[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

func isToken(s string) bool { return s != "" && all(s, charToken) }

// validEscapes reports whether every "%" of s begins %XX (RFC 3986 §2.1).
func validEscapes(s string) bool {
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return true
		}
		if len(s) < i+3 || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return false
		}
		s = s[i+3:]
	}
}

func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// equalFold compares without regard to ASCII case. strings.EqualFold folds
// Unicode: to it, "websocket" with a Kelvin sign is the same word.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// trimSpace removes OWS, that is SP and HTAB, from both ends (RFC 9110 §5.6.3).
func trimSpace(s string) string {
	s = skipSpace(s)
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

func skipSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	return s
}
