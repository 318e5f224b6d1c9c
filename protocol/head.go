package protocol

import (
	"bytes"
	"strings"
)

// ScanHead looks for the end of an HTTP head in b (RFC 9112 §2.1). end > 0 means
// that b[:end] is the head, its empty line included. end == 0 without an error
// means that more bytes are needed: call again with the longer b and with next
// as from, 0 at first, so that nothing is scanned twice. How long a head may
// become is for the caller to limit.
//
// Empty lines before the first line are ignored (RFC 9112 §2.2) and counted in
// end. A line that ends with a bare LF, and a first byte that begins neither a
// request nor a status line (a TLS record, say), are a [*HandshakeError] with
// status 400 as soon as they are seen. Everything else is left to
// [Request.Parse]. The verdict does not depend on how b was cut.
func ScanHead(b []byte, from int) (end, next int, err error) {
	for i := from; ; {
		if firstLineDue(b, i) {
			switch {
			case i == len(b):
				return 0, i, nil
			case charClass[b[i]]&charToken != 0:
				// The first line begins.
			case b[i] != '\r':
				return 0, i, refuse(400, "not an HTTP message")
			case i+1 == len(b):
				return 0, i, nil
			case b[i+1] != '\n':
				return 0, i, refuse(400, "bare CR before the request line")
			default:
				i += 2
				continue
			}
		}
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, len(b), nil
		}
		lf := i + n
		if b[lf-1] != '\r' {
			return 0, lf, refuse(400, "line ends with a bare LF")
		}
		if b[lf-2] == '\n' {
			return lf + 1, lf + 1, nil
		}
		i = lf + 1
	}
}

// firstLineDue reports whether b[:i] is nothing or only empty lines, which makes
// b[i] the first byte of the head proper. It need not look further back than one
// empty line: after the first line, an empty one would have ended the head.
func firstLineDue(b []byte, i int) bool {
	switch {
	case i == 0:
		return true
	case b[i-1] != '\n':
		return false
	}
	return i == 2 || i >= 4 && b[i-3] == '\n'
}

// cutLine cuts s after its first CRLF and returns the line without it. It
// reports false if there is no CRLF or a bare LF comes first.
func cutLine(s string) (line, rest string, ok bool) {
	i := strings.IndexByte(s, '\n')
	if i < 1 || s[i-1] != '\r' {
		return "", "", false
	}
	return s[:i-1], s[i+1:], true
}

// cutFirstLine is cutLine past any empty lines before the head.
func cutFirstLine(head string) (line, rest string, ok bool) {
	for strings.HasPrefix(head, "\r\n") {
		head = head[2:]
	}
	return cutLine(head)
}
