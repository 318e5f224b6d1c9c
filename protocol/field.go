package protocol

import (
	"iter"
	"strings"
)

// Field is one field line of an HTTP head (RFC 9110 §5).
type Field struct{ Name, Value string }

// Fields are the field lines of a head in their order. Names are compared
// without regard to ASCII case.
type Fields []Field

// Get returns the value of the first field of that name, "" if there is none.
func (f Fields) Get(name string) string {
	for i := range f {
		if equalFold(f[i].Name, name) {
			return f[i].Value
		}
	}
	return ""
}

// Count returns the number of fields of that name.
func (f Fields) Count(name string) int {
	n := 0
	for i := range f {
		if equalFold(f[i].Name, name) {
			n++
		}
	}
	return n
}

// Values yields the value of every field of that name, in order.
func (f Fields) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range f {
			if equalFold(f[i].Name, name) && !yield(f[i].Value) {
				return
			}
		}
	}
}

// Tokens yields the elements of the comma-separated list that all fields of that
// name form together (RFC 9110 §5.6.1), without the white space around them;
// empty elements are left out. Quoted strings are not recognised.
func (f Fields) Tokens(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range f {
			if !equalFold(f[i].Name, name) {
				continue
			}
			for rest := f[i].Value; rest != ""; {
				var element string
				element, rest, _ = strings.Cut(rest, ",")
				if element = trimSpace(element); element != "" && !yield(element) {
					return
				}
			}
		}
	}
}

// HasToken reports whether the list that [Fields.Tokens] yields contains token,
// without regard to ASCII case.
func (f Fields) HasToken(name, token string) bool {
	for element := range f.Tokens(name) {
		if equalFold(element, token) {
			return true
		}
	}
	return false
}

// ValidField reports whether f can be written into a head without changing its
// structure: Name is a token, Value holds no control byte but HTAB (RFC 9110
// §5.1, §5.5).
func ValidField(f Field) bool { return isToken(f.Name) && all(f.Value, charValue) }

// appendFields parses the field lines of a head, s, with the empty line that
// ends them (RFC 9112 §5).
func appendFields(dst Fields, s string, fieldsMax int) (Fields, error) {
	for {
		line, rest, ok := cutLine(s)
		switch {
		case !ok:
			return dst, refuse(400, "field line does not end with CRLF")
		case line == "" && rest != "":
			return dst, refuse(400, "bytes after the end of the head")
		case line == "":
			return dst, nil
		case len(dst) >= fieldsMax:
			return dst, refuse(431, "too many fields")
		}
		f, reason := parseField(line)
		if reason != "" {
			return dst, refuse(400, reason)
		}
		dst, s = append(dst, f), rest
	}
}

// parseField returns the reason for a refusal, "" if line is well-formed.
func parseField(line string) (f Field, reason string) {
	n := 0
	for n < len(line) && charClass[line[n]]&charToken != 0 {
		n++
	}
	if n == 0 || n == len(line) || line[n] != ':' {
		switch space := n < len(line) && (line[n] == ' ' || line[n] == '\t'); {
		case n == 0 && space:
			return f, "folded field line"
		case space:
			return f, "white space in or after a field name"
		}
		return f, "malformed field name"
	}
	f = Field{line[:n], trimSpace(line[n+1:])}
	if !all(f.Value, charValue) {
		return f, "control byte in a field value"
	}
	return f, ""
}

// checkBody refuses what makes two readers of a message disagree on its length
// (RFC 9112 §6.1, §6.3).
func checkBody(f Fields, minor int) error {
	lengths, codings := 0, false
	for i := range f {
		switch {
		case equalFold(f[i].Name, "Content-Length"):
			lengths++
			if _, ok := parseLength(f[i].Value); !ok {
				return refuse(400, "malformed Content-Length")
			}
		case equalFold(f[i].Name, "Transfer-Encoding"):
			codings = true
		}
	}
	switch {
	case lengths > 1:
		return refuse(400, "repeated Content-Length")
	case codings && lengths > 0:
		return refuse(400, "both Content-Length and Transfer-Encoding")
	case codings && minor < 1:
		return refuse(400, "Transfer-Encoding in HTTP/1.0")
	}
	return nil
}

// parseLength reads 1*DIGIT that fits an int64.
func parseLength(s string) (n int64, ok bool) {
	const lengthMax = 1<<63 - 1
	for i := range len(s) {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 || n > (lengthMax-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, s != ""
}
