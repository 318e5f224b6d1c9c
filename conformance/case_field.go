package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// fieldCases spoil the field lines (RFC 9112 §2.2, §5).
func fieldCases() []Case {
	added := func(id string, s Severity, doc, line string) refusal {
		return refusal{id, s, doc, plus(line), bad}
	}
	return slices.Concat(hostRefusals(), controlByteCases(), lineEndCases(), refusals([]refusal{
		added("9112-5.1-space-before-colon", Must, "a space before the colon", "X-Test : 1"),
		added("9112-5.1-tab-before-colon", Must, "a tab before the colon", "X-Test\t: 1"),
		{"9112-5.1-space-before-colon-upgrade", Must, "a space before the colon of Upgrade",
			also(without("Upgrade"), plus("Upgrade : websocket")), bad},
		added("9112-5-no-colon", Must, "a field line without a colon", "X-Test"),
		added("9110-5.1-name-empty", Must, "an empty field name", ": 1"),
		added("9110-5.1-name-space", Must, "a field name of two words", "X Test: 1"),
		added("9110-5.1-name-parenthesis", Must, "a field name with a parenthesis", "X(Test: 1"),
		added("9110-5.1-name-slash", Must, "a field name with a slash", "X/Test: 1"),
		added("9110-5.1-name-latin", Must, "a field name with a byte above 7F", "X-T\xe9st: 1"),
		added("9110-5.1-name-control", Must, "a field name with a control byte", "X-T\x01st: 1"),
		added("9110-5.1-name-nul", Must, "a field name with NUL", "X-T\x00st: 1"),
		added("9112-5.2-obs-fold", Should, "a folded field line", "X-Test: one\r\n two"),
		added("9112-5.2-obs-fold-tab", Should, "a field line folded by a tab", "X-Test: one\r\n\ttwo"),
		added("9112-5.2-obs-fold-empty", Should, "a field line folded by a line of spaces", "X-Test: one\r\n  "),
		{"9112-2.2-first-line-space", Should, "white space before the first field", first(" X-Test: 1"), bad},
	}), acceptances([]acceptance{
		{"9112-5-no-space", Must, "no space behind the colon", plus("X-Test:1")},
		{"9112-5-spaces", Must, "white space around a value", plus("X-Test: \t 1 \t ")},
		{"9112-5-empty-value", Must, "an empty value", plus("X-Test:", "X-Test: ")},
		{"9110-5.5-tab", Must, "a tab inside a value", plus("X-Test: one\ttwo")},
		{"9110-5.5-latin", Should, "bytes above 7F in a value", plus("X-Test: caf\xe9 \xf0\x9f\x98\x80 \xff")},
		{"9110-5.1-name-tchar", Must, "a field name of all the marks of a token", plus("!#$%&'*+-.^_`|~09az: 1")},
		{"9110-5.4-long-value", Should, "a value of 4 KiB", plus("X-Test: " + strings.Repeat("long", 1<<10))},
		{"9110-5.4-many-fields", Should, "fifty more fields", plus(slices.Repeat([]string{"X-Test: 1"}, 50)...)},
	}))
}

// controlByteCases put control bytes into a value (RFC 9110 §5.5).
func controlByteCases() []Case {
	var table []refusal
	for _, b := range []byte{0x00, 0x01, 0x08, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f} {
		severity := Convention // a reader may retain all but NUL, CR and LF
		if b == 0 {
			severity = Should
		}
		table = append(table, refusal{fmt.Sprintf("9110-5.5-control-%02x", b), severity,
			fmt.Sprintf("byte %02X in a value", b), plus("X-Test: a" + string(rune(b)) + "b"), bad})
	}
	return refusals(table)
}

// lineEndCases end lines otherwise than by CRLF (RFC 9112 §2.2).
func lineEndCases() []Case {
	spoilt := func(id string, s Severity, doc string, spoil func(head []byte) []byte) Case {
		return newCase(id, s, doc+": 400", func(t *T) { t.refused(spoil(t.request().bytes()), 400) })
	}
	replace := func(old, with string, n int) func([]byte) []byte {
		return func(head []byte) []byte { return bytes.Replace(head, []byte(old), []byte(with), n) }
	}
	return []Case{
		spoilt("9112-2.2-lf-all", Convention, "bare LF at the end of all lines", replace("\r\n", "\n", -1)),
		spoilt("9112-2.2-lf-request-line", Convention, "bare LF at the end of the request line", replace("\r\n", "\n", 1)),
		spoilt("9112-2.2-lf-field", Convention, "bare LF at the end of a field line", replace("websocket\r\n", "websocket\n", 1)),
		spoilt("9112-2.2-lf-end", Convention, "bare LF as the empty line", replace("\r\n\r\n", "\r\n\n", 1)),
		spoilt("9112-2.2-lf-before-end", Convention, "bare LF before the empty line", replace("\r\n\r\n", "\n\r\n", 1)),
		spoilt("9112-2.2-lf-smuggled", Convention, "a field behind a bare LF inside a value",
			replace("Upgrade: websocket\r\n", "X-Test: a\nUpgrade: websocket\r\n", 1)),
		spoilt("9112-2.2-lf-leading", Convention, "a bare LF before the request line", replace("GET ", "\nGET ", 1)),
		spoilt("9112-2.2-cr-value", Should, "bare CR inside a value", replace("websocket\r\n", "websocket\r\nX-Test: a\rb\r\n", 1)),
		spoilt("9112-2.2-cr-end", Should, "bare CR at the end of a value", replace("websocket\r\n", "websocket\r\r\n", 1)),
		spoilt("9112-2.2-cr-line", Should, "bare CR as the end of a line", replace("websocket\r\n", "websocket\r", 1)),
		spoilt("9112-2.2-cr-request-line", Should, "bare CR in the request line", replace(" HTTP", "\r HTTP", 1)),
		spoilt("9112-2.2-cr-leading", Should, "a bare CR before the request line", replace("GET ", "\rGET ", 1)),
	}
}

// bodyCases: a handshake has no body, and no second opinion about its length
// (RFC 9112 §6).
func bodyCases() []Case {
	withBody := func(id string, s Severity, doc, body string, fields []string, statuses ...int) Case {
		return newCase(id, s, doc+": "+statusList(statuses), func(t *T) {
			q := t.request()
			plus(fields...)(q)
			t.refused(append(q.bytes(), body...), statuses...)
		})
	}
	length := func(id string, s Severity, doc string, lines ...string) refusal {
		return refusal{"9112-6.3-length-" + id, s, doc, plus(lines...), bad}
	}
	return slices.Concat([]Case{
		withBody("4.1-body-length", Convention, "a body with Content-Length", "hello", []string{"Content-Length: 5"}, 400, 413),
		withBody("4.1-body-chunked", Convention, "a chunked body", "5\r\nhello\r\n0\r\n\r\n", []string{"Transfer-Encoding: chunked"}, 400, 413),
		withBody("4.1-body-chunked-empty", Convention, "an empty chunked body", "0\r\n\r\n", []string{"Transfer-Encoding: chunked"}, 400, 413),
		withBody("9112-6.1-length-and-chunked", Should, "Content-Length and Transfer-Encoding", "0\r\n\r\n",
			[]string{"Content-Length: 5", "Transfer-Encoding: chunked"}, 400),
		withBody("9112-6.1-chunked-and-length", Should, "Transfer-Encoding and Content-Length", "0\r\n\r\n",
			[]string{"Transfer-Encoding: chunked", "Content-Length: 0"}, 400),
	}, refusals([]refusal{
		length("two", Must, "two different lengths in two fields", "Content-Length: 0", "Content-Length: 5"),
		length("list", Must, "two different lengths in one field", "Content-Length: 0, 5"),
		length("repeated", Convention, "the same length twice", "Content-Length: 0", "Content-Length: 0"),
		length("plus", Must, "a length with a plus sign", "Content-Length: +0"),
		length("minus", Must, "a negative length", "Content-Length: -1"),
		length("hex", Must, "a hexadecimal length", "Content-Length: 0x0"),
		length("words", Must, "a length with a space inside", "Content-Length: 0 0"),
		length("empty", Must, "an empty length", "Content-Length: "),
		length("letters", Must, "a length that is no number", "Content-Length: none"),
		length("huge", Must, "a length beyond 64 bits", "Content-Length: 18446744073709551616"),
		{"9112-6.1-coding-unknown", Should, "an unknown transfer coding", plus("Transfer-Encoding: xchunked"), []int{400, 413, 501}},
		{"9112-6.1-coding-not-last", Must, "a transfer coding behind chunked", plus("Transfer-Encoding: chunked, gzip"), []int{400, 413, 501}},
		{"9112-6.1-coding-http10", Should, "Transfer-Encoding with HTTP/1.0",
			also(line("", "", "HTTP/1.0"), plus("Transfer-Encoding: chunked")), []int{400, 426, 505}},
	}), acceptances([]acceptance{
		{"9112-6.3-length-zero", Should, "Content-Length: 0", plus("Content-Length: 0")},
	}))
}
