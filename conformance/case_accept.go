package conformance

import (
	"slices"
	"strconv"
	"strings"
)

// versionCases: what is not version 13 is told so (RFC 6455 §4.4).
func versionCases() []Case {
	var cases []Case
	either := []int{400, 426}
	for _, version := range []int{0, 12, 14, 255} {
		v := strconv.Itoa(version)
		cases = append(cases, newCase("4.4-version-"+v, Must,
			"Sec-WebSocket-Version: "+v+": refused, and Sec-WebSocket-Version says 13", func(t *T) {
				q := t.request()
				with("Sec-WebSocket-Version", v)(q)
				r := t.refused(q.bytes(), either...)
				if !slices.Contains(r.tokens("Sec-WebSocket-Version"), "13") {
					t.Failf("the answer has Sec-WebSocket-Version %q, expected 13", r.values("Sec-WebSocket-Version"))
				}
			}))
	}
	return slices.Concat(cases, []Case{
		newCase("9110-15.5.22-upgrade", Should, "another version: 426 with Upgrade: websocket", func(t *T) {
			q := t.request()
			with("Sec-WebSocket-Version", "12")(q)
			r := t.refused(q.bytes(), 426)
			if !slices.Contains(r.tokens("Upgrade"), "websocket") {
				t.Failf("the 426 has Upgrade %q, expected websocket", r.values("Upgrade"))
			}
		}),
		newCase("9110-7.8-connection", Should, "another version: 426 with Upgrade, and Connection names it", func(t *T) {
			q := t.request()
			with("Sec-WebSocket-Version", "12")(q)
			r := t.refused(q.bytes(), 426)
			if !slices.Contains(r.tokens("Connection"), "upgrade") {
				t.Failf("the 426 has Connection %q, expected Upgrade", r.values("Connection"))
			}
		}),
	}, refusals([]refusal{
		{"4.2.1-version-missing", Must, "no Sec-WebSocket-Version", without("Sec-WebSocket-Version"), either},
		{"4.2.1-version-empty", Must, "an empty version", with("Sec-WebSocket-Version", ""), either},
		{"4.2.1-version-word", Must, "a version that is no number", with("Sec-WebSocket-Version", "thirteen"), either},
		{"4.2.1-version-leading-zero", Must, "version 013", with("Sec-WebSocket-Version", "013"), either},
		{"4.2.1-version-plus", Must, "version +13", with("Sec-WebSocket-Version", "+13"), either},
		{"4.2.1-version-decimal", Must, "version 13.0", with("Sec-WebSocket-Version", "13.0"), either},
		{"4.2.1-version-list", Must, "versions 13 and 8 in one field", with("Sec-WebSocket-Version", "13, 8"), either},
		{"11.3.5-version-repeated", Must, "version 13 twice", plus("Sec-WebSocket-Version: 13"), either},
		{"11.3.5-version-two", Must, "versions 13 and 8 in two fields", plus("Sec-WebSocket-Version: 8"), either},
	}), acceptances([]acceptance{
		{"4.2.1-version-space", Must, "version 13 between spaces", with("Sec-WebSocket-Version", " \t13 ")},
	}))
}

// originCases: which origins to accept is a matter of configuration (RFC 6455 §10.2).
func originCases() []Case {
	foreign := func(origin string) func(*T) {
		return func(t *T) {
			q := t.request()
			plus("Origin: " + origin)(q)
			c := t.dial()
			c.write(q.bytes())
			r := c.response()
			switch r.status {
			case 101:
				t.Skipf("the server accepts this origin, which is a matter of its configuration")
			case 403:
			default:
				t.Failf("the answer is %q, expected 403", r.line)
			}
		}
	}
	return slices.Concat([]Case{
		newCase("10.2-origin-foreign", Should, "a foreign origin: 403", foreign("http://elsewhere.example")),
		newCase("10.2-origin-null", Should, "the origin null: 403", foreign("null")),
		newCase("10.2-origin-suffix", Should, "an origin whose host only ends like Host: 403", func(t *T) {
			foreign("http://elsewhere-" + t.target.Addr)(t)
		}),
		newCase("9112-3.2.2-authority", Must, "the authority of an absolute target overrides Host", func(t *T) {
			origin := t.request()
			plus("Origin: http://b.example")(origin)
			c := t.dial()
			c.write(origin.bytes())
			if c.response().status == 101 {
				t.Skipf("the server accepts foreign origins, so this does not show")
			}
			q := t.request()
			also(line("", "http://a.example{path}", ""), with("Host", "b.example"), plus("Origin: http://b.example"))(q)
			t.refused(q.bytes(), 403)
		}),
	}, refusals([]refusal{
		{"10.2-origin-repeated", Should, "two Origin fields", plus("Origin: http://a.example", "Origin: http://b.example"), []int{400, 403}},
	}), acceptances([]acceptance{
		{"10.2-origin-same", Should, "the server's own origin", func(r *request) { plus("Origin: " + r.origin)(r) }},
	}))
}

// acceptCases judge the 101 itself.
func acceptCases() []Case {
	judge := func(id, doc string, e edit, judge func(t *T, r *response)) Case {
		return newCase(id, Must, doc, func(t *T) {
			q := t.request()
			e(q)
			c := t.dial()
			c.write(q.bytes())
			r := c.response()
			if r.status != 101 {
				t.Failf("the answer is %q, expected 101", r.line)
			}
			judge(t, r)
		})
	}
	none := plus()
	field := func(name, want string) func(t *T, r *response) {
		return func(t *T, r *response) {
			if got := r.tokens(name); !slices.Contains(got, want) {
				t.Failf("the 101 has %s %q, expected %s", name, r.values(name), want)
			}
		}
	}
	lacks := func(names ...string) func(t *T, r *response) {
		return func(t *T, r *response) {
			for _, name := range names {
				if got := r.values(name); len(got) > 0 {
					t.Failf("the 101 has %s %q", name, got)
				}
			}
		}
	}
	return []Case{
		judge("4.2.2-reply-upgrade", "101 carries Upgrade: websocket", none, field("Upgrade", "websocket")),
		judge("4.2.2-reply-connection", "101 carries Connection: Upgrade", none, field("Connection", "upgrade")),
		judge("4.2.2-reply-version", "101 is HTTP/1.1", none, func(t *T, r *response) {
			if !strings.HasPrefix(r.line, "HTTP/1.1 101 ") {
				t.Failf("the status line is %q", r.line)
			}
		}),
		judge("9110-15.2-reply-body", "101 announces no body", none, lacks("Content-Length", "Transfer-Encoding")),
		judge("4.2.2-reply-unasked", "101 names no subprotocol and no extension if none was offered", none,
			lacks("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")),
		judge("9.1-reply-unknown", "an unknown extension is not accepted", plus("Sec-WebSocket-Extensions: x-unknown; a=1"),
			lacks("Sec-WebSocket-Extensions")),
		judge("4.2.2-reply-subprotocol", "of subprotocols at most one is chosen, among those offered",
			plus("Sec-WebSocket-Protocol: x-one, x-two"), func(t *T, r *response) {
				got := r.values("Sec-WebSocket-Protocol")
				if len(got) > 1 || len(got) == 1 && got[0] != "x-one" && got[0] != "x-two" {
					t.Failf("the 101 chooses %q", got)
				}
			}),
	}
}
