package conformance

import (
	"slices"
	"strings"
)

// refusal is a spoilt opening handshake.
type refusal struct {
	id       string
	severity Severity
	doc      string // what is spoilt
	edit     edit
	statuses []int // that may answer it, 0: any but 101
}

var bad = []int{400}

func refusals(table []refusal) []Case {
	var cases []Case
	for _, r := range table {
		cases = append(cases, newCase(r.id, r.severity, r.doc+": "+statusList(r.statuses), func(t *T) {
			q := t.request()
			r.edit(q)
			answer := t.refused(q.bytes(), r.statuses...)
			// Nobody knows where the next request begins behind malformed HTTP.
			if answer.persistent() && strings.HasPrefix(r.id, "9112-") {
				t.Failf("the answer to malformed HTTP, %q, promises to take another request", answer.line)
			}
		}))
	}
	return cases
}

// acceptance is an unusual but proper opening handshake.
type acceptance struct {
	id       string
	severity Severity
	doc      string // what is unusual
	edit     edit
}

func acceptances(table []acceptance) []Case {
	var cases []Case
	for _, a := range table {
		cases = append(cases, newCase(a.id, a.severity, a.doc+": accepted", func(t *T) {
			q := t.request()
			a.edit(q)
			c := t.dial()
			c.write(q.bytes())
			c.wantAccepted(q.key)
			c.wantAlive()
		}))
	}
	return cases
}

// wantAccepted expects the handshake with that key to succeed.
func (c *conn) wantAccepted(key string) {
	c.reply = c.response()
	if c.reply.status != 101 {
		c.t.Failf("the answer is %q, expected 101", c.reply.line)
	}
	if got := c.reply.values("Sec-WebSocket-Accept"); len(got) != 1 || got[0] != acceptFor(key) {
		c.t.Failf("Sec-WebSocket-Accept is %q, expected %q", got, acceptFor(key))
	}
}

// anyRefusal is for requests without Upgrade: websocket, which a server may
// serve as plain HTTP.
var anyRefusal = []int{0}

func upgradeCases() []Case {
	return slices.Concat(refusals([]refusal{
		{"4.2.1-upgrade-missing", Must, "no Upgrade", without("Upgrade"), anyRefusal},
		{"4.2.1-upgrade-empty", Must, "an empty Upgrade", with("Upgrade", ""), anyRefusal},
		{"4.2.1-upgrade-other", Must, "Upgrade: h2c", with("Upgrade", "h2c"), anyRefusal},
		{"4.2.1-upgrade-suffix", Must, "Upgrade: websockets", with("Upgrade", "websockets"), anyRefusal},
		{"4.2.1-upgrade-prefix", Must, "Upgrade: xwebsocket", with("Upgrade", "xwebsocket"), anyRefusal},
		{"4.2.1-upgrade-phrase", Must, "websocket as a word, not a token, of Upgrade", with("Upgrade", "not websocket"), anyRefusal},
		{"4.2.1-upgrade-folding", Must, "websocket with a long s, which only Unicode folds to s", with("Upgrade", "web\u017focket"), anyRefusal},
		{"4.2.1-connection-missing", Must, "no Connection", without("Connection"), []int{400, 426}},
		{"4.2.1-connection-other", Must, "Connection: keep-alive", with("Connection", "keep-alive"), []int{400, 426}},
		{"4.2.1-connection-suffix", Must, "Connection: Upgraded", with("Connection", "Upgraded"), []int{400, 426}},
		{"4.2.1-connection-prefix", Must, "Connection: no-upgrade", with("Connection", "no-upgrade"), []int{400, 426}},
		{"4.2.1-connection-phrase", Must, "Upgrade as a word, not a token, of Connection", with("Connection", "keep-alive Upgrade"), []int{400, 426}},
		{"4.1-subprotocol-malformed", Should, "a subprotocol that is no token", plus("Sec-WebSocket-Protocol: a/b, c d"), bad},
		{"4.1-subprotocol-empty", Should, "an empty list of subprotocols", plus("Sec-WebSocket-Protocol: "), bad},
		{"4.1-subprotocol-repeated", Convention, "the same subprotocol twice", plus("Sec-WebSocket-Protocol: a, b, a"), bad},
		{"9.1-extension-empty-name", Must, "an extension without a name", plus("Sec-WebSocket-Extensions: ; a=1"), bad},
		{"9.1-extension-two-words", Must, "an extension name of two words", plus("Sec-WebSocket-Extensions: foo bar"), bad},
		{"9.1-extension-semicolon", Must, "an extension that ends in a semicolon", plus("Sec-WebSocket-Extensions: foo;"), bad},
		{"9.1-extension-no-value", Must, "a parameter with nothing behind its equals sign", plus("Sec-WebSocket-Extensions: foo; a="), bad},
		{"9.1-extension-quoted-space", Must, "a quoted value that is no token", plus(`Sec-WebSocket-Extensions: foo; a="b c"`), bad},
		{"9.1-extension-open-quote", Must, "a quoted value without its end", plus(`Sec-WebSocket-Extensions: foo; a="b`), bad},
	}), acceptances([]acceptance{
		{"4.2.1-upgrade-case", Must, "Upgrade: WebSocKET", with("Upgrade", "WebSocKET")},
		{"4.2.1-upgrade-list", Must, "websocket as one of several tokens", with("Upgrade", "h2c, websocket")},
		{"4.2.1-upgrade-fields", Must, "websocket in the second of two Upgrade fields", first("Upgrade: h2c")},
		{"4.2.1-upgrade-commas", Should, "websocket among empty list elements", with("Upgrade", ",\twebsocket ,")},
		{"4.2.1-connection-case", Must, "Connection: upGRADE", with("Connection", "upGRADE")},
		{"4.2.1-connection-list", Must, "Upgrade behind keep-alive, as Firefox sends it", with("Connection", "keep-alive, Upgrade")},
		{"4.2.1-connection-tight", Must, "Upgrade before keep-alive, without a space", with("Connection", "Upgrade,keep-alive")},
		{"4.2.1-connection-fields", Must, "Upgrade in the second of two Connection fields", first("Connection: keep-alive")},
		{"4.2.1-connection-commas", Should, "Upgrade among empty list elements", with("Connection", ", keep-alive,,Upgrade,")},
		{"4.2.1-names-upper", Must, "field names in capitals", renamed(strings.ToUpper)},
		{"4.2.1-names-lower", Must, "field names in small letters", renamed(strings.ToLower)},
		{"4.2.1-cookie", Must, "cookies and authorization", plus("Cookie: a=b; c=d", "Cookie: e=f", "Authorization: Basic YTpi")},
		{"9.1-extension-quoted", Must, "an unknown extension with a quoted value", plus(`Sec-WebSocket-Extensions: x-unknown; a="b"; c`)},
	}))
}

// renamed changes the names of all fields.
func renamed(change func(string) string) edit {
	return func(r *request) {
		for i, f := range r.fields {
			name, value, _ := strings.Cut(f, ":")
			r.fields[i] = change(name) + ":" + value
		}
	}
}

func keyCases() []Case {
	return slices.Concat(refusals([]refusal{
		{"4.2.1-key-missing", Must, "no Sec-WebSocket-Key", without("Sec-WebSocket-Key"), bad},
		{"4.2.1-key-empty", Must, "an empty key", keyed(""), bad},
		{"4.2.1-key-15-bytes", Must, "a key of 15 bytes", keyed("AAECAwQFBgcICQoLDA0O"), bad},
		{"4.2.1-key-17-bytes", Must, "a key of 17 bytes", keyed("AAECAwQFBgcICQoLDA0ODxA="), bad},
		{"4.2.1-key-18-bytes", Must, "a key of 18 bytes, 24 characters", keyed("AAECAwQFBgcICQoLDA0ODxAR"), bad},
		{"4.2.1-key-unpadded", Must, "a key without its padding", keyed("AAECAwQFBgcICQoLDA0ODw"), bad},
		{"4.2.1-key-half-padded", Must, "a key with half its padding", keyed("AAECAwQFBgcICQoLDA0ODw="), bad},
		{"4.2.1-key-over-padded", Must, "a key with too much padding", keyed("AAECAwQFBgcICQoLDA0ODw==="), bad},
		{"4.2.1-key-inner-padding", Must, "a key with padding inside", keyed("AAECAwQFBgc==CQoLDA0ODw="), bad},
		{"4.2.1-key-not-base64", Must, "a key that is not base64", keyed("AAECAwQF!gcICQoLDA0ODw=="), bad},
		{"4.2.1-key-base64url", Must, "a key in the alphabet of base64url", keyed("-_-_AwQFBgcICQoLDA0ODw=="), bad},
		{"4.2.1-key-space-inside", Must, "a key with a space inside", keyed("AAECAwQFBgc ICQoLDA0ODw="), bad},
		{"4.2.1-key-list", Must, "two keys in one field", keyed("AAECAwQFBgcICQoLDA0ODw==, AAECAwQFBgcICQoLDA0ODw=="), bad},
		{"11.3.1-key-repeated", Must, "the same key twice", again("Sec-WebSocket-Key"), bad},
		{"11.3.1-key-two", Must, "two different keys", plus("Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw=="), bad},
	}), acceptances([]acceptance{
		{"4.2.2-accept-sample", Must, "the key of the RFC's example", keyed("dGhlIHNhbXBsZSBub25jZQ==")},
		{"4.1-key-trailing-bits", Should, "the key of §4.1, with bits set in its padding", keyed("AQIDBAUGBwgJCgsMDQ4PEC==")},
		{"4.2.2-accept-zeros", Must, "a key of sixteen zero bytes", keyed("AAAAAAAAAAAAAAAAAAAAAA==")},
		{"4.2.2-accept-ones", Must, "a key of slashes and a plus", keyed("/////////+//////////+w==")},
		{"4.2.2-accept-space", Must, "a key between spaces and tabs", keyed(" \tAAECAwQFBgcICQoLDA0ODw==\t ")},
	}), []Case{
		newCase("4.2.2-accept-vector", Must, "Sec-WebSocket-Accept for the RFC's example is s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", func(t *T) {
			q := t.request()
			keyed("dGhlIHNhbXBsZSBub25jZQ==")(q)
			c := t.dial()
			c.write(q.bytes())
			r := c.response()
			if got := r.values("Sec-WebSocket-Accept"); !slices.Equal(got, []string{"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}) {
				t.Failf("Sec-WebSocket-Accept is %q", got)
			}
		}),
	})
}

// again repeats the field of that name.
func again(name string) edit {
	return func(r *request) { r.fields = append(r.fields, r.fields[r.index(name)]) }
}
