package protocol

import "unicode/utf8"

// UTF8 validates text that arrives in pieces (RFC 6455 §8.1). The zero value is
// ready; a copy continues on its own.
type UTF8 struct {
	need   uint8 // continuation bytes that the open code point still lacks
	lo, hi uint8 // what the next of them may be
	bad    bool
}

// Write takes the next bytes and reports whether everything so far can still
// become valid UTF-8. It answers false with the first byte that rules this out,
// not only when the code point is complete, and from then on always.
func (u *UTF8) Write(p []byte) bool {
	if u.bad {
		return false
	}
	for u.need > 0 && len(p) > 0 {
		if !u.next(p[0]) {
			return false
		}
		p = p[1:]
	}
	// Everything but a code point cut off by the end of p goes through the
	// standard library at full speed.
	cut := unfinished(p)
	if u.bad = !utf8.Valid(p[:cut]); u.bad {
		return false
	}
	for _, c := range p[cut:] {
		if !u.next(c) {
			return false
		}
	}
	return true
}

// Complete reports whether everything written is valid and ends with a whole
// code point.
func (u *UTF8) Complete() bool { return u.need == 0 && !u.bad }

// unfinished returns where in p a code point begins that p does not hold in
// full; len(p) if there is none. It only counts bytes, it does not validate.
func unfinished(p []byte) int {
	for back := 1; back <= 3 && back <= len(p); back++ {
		c := p[len(p)-back]
		if utf8.RuneStart(c) {
			if c >= 0xf0 || c >= 0xe0 && back < 3 || c >= 0xc0 && back < 2 {
				return len(p) - back
			}
			break
		}
	}
	return len(p)
}

// next takes one byte of a code point of several bytes (RFC 3629 §4).
func (u *UTF8) next(c byte) bool {
	if u.need > 0 {
		u.bad = c < u.lo || c > u.hi
		u.need--
		u.lo, u.hi = 0x80, 0xbf
		return !u.bad
	}
	u.lo, u.hi = 0x80, 0xbf
	switch {
	case c >= 0xc2 && c <= 0xdf:
		u.need = 1
	case c >= 0xe0 && c <= 0xef:
		u.need = 2
	case c >= 0xf0 && c <= 0xf4:
		u.need = 3
	default:
		u.bad = true
	}
	// The second byte excludes overlong forms, surrogates and what lies beyond
	// U+10FFFF.
	switch c {
	case 0xe0:
		u.lo = 0xa0
	case 0xed:
		u.hi = 0x9f
	case 0xf0:
		u.lo = 0x90
	case 0xf4:
		u.hi = 0x8f
	}
	return !u.bad
}
