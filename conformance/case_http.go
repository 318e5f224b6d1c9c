package conformance

import (
	"slices"
	"strings"
)

var (
	notAllowed = []int{400, 405, 501}
	noVersion  = []int{400, 505}
)

// requestLineCases spoil the first line (RFC 9112 §3).
func requestLineCases() []Case {
	method := func(m string) refusal {
		return refusal{"4.2.1-method-" + strings.ToLower(m), Must, m + " in place of GET", line(m, "", ""), notAllowed}
	}
	return slices.Concat(methodCases(), refusals([]refusal{
		method("POST"), method("PUT"), method("DELETE"), method("OPTIONS"), method("PATCH"), method("BREW"), method("GETT"),
		{"9112-3.1-method-case", Must, "get in small letters, another method", line("get", "", ""), notAllowed},
		{"9112-3.1-method-malformed", Must, "a method that is no token", line("G(T", "", ""), bad},
		{"9110-9.3.6-connect", Must, "CONNECT", line("CONNECT", "{host}", ""), notAllowed},
		{"4.2.1-version-http10", Must, "HTTP/1.0", line("", "", "HTTP/1.0"), []int{400, 426, 505}},
		{"9112-2.3-version-http2", Must, "HTTP/2.0", line("", "", "HTTP/2.0"), noVersion},
		{"9112-2.3-version-http0", Must, "HTTP/0.9", line("", "", "HTTP/0.9"), noVersion},
		{"9112-2.3-version-case", Must, "http/1.1 in small letters", line("", "", "http/1.1"), noVersion},
		{"9112-2.3-version-digits", Must, "HTTP/1.10", line("", "", "HTTP/1.10"), noVersion},
		{"9112-2.3-version-zero", Must, "HTTP/01.1", line("", "", "HTTP/01.1"), noVersion},
		{"9112-2.3-version-short", Must, "HTTP/1", line("", "", "HTTP/1"), noVersion},
		{"9112-2.3-version-name", Must, "HTTPS/1.1", line("", "", "HTTPS/1.1"), noVersion},
		{"9112-3.2-target-fragment", Should, "a target with a fragment", line("", "{path}#fragment", ""), bad},
		{"9112-3.2-target-relative", Must, "a target without its slash", line("", "chat", ""), bad},
		{"9112-3.2-target-asterisk", Must, "the target * with GET", line("", "*", ""), bad},
		{"9112-3.2-target-authority", Must, "an authority as target with GET", line("", "a.example:80", ""), bad},
		{"9112-3.2-target-space", Must, "a target with a space", line("", "{path}x y", ""), bad},
		{"9112-3.2-target-double-space", Convention, "two spaces before the target", line("", " {path}", ""), bad},
		{"9112-3.2-target-control", Must, "a target with a control byte", line("", "{path}\x01", ""), bad},
		{"9112-3.2-target-delete", Must, "a target with DEL", line("", "{path}\x7f", ""), bad},
		{"9112-3.2-target-nul", Must, "a target with NUL", line("", "{path}\x00", ""), bad},
		{"9112-3.2-target-latin", Should, "a target with a byte above 7F", line("", "{path}\xe9", ""), bad},
		{"9112-3.2-target-empty-host", Should, "an absolute target without a host", line("", "http:///", ""), bad},
		{"9112-3.2-target-user", Should, "an absolute target with user information", line("", "http://user@{host}/", ""), bad},
		{"9112-3.2-target-escape", Convention, "a target with a malformed percent escape", line("", "{path}?%zz", ""), bad},
		{"9112-3-line-tabs", Convention, "tabs for spaces", line("GET\t", "\t{path}\t", ""), bad},
		{"9112-3-line-leading-space", Convention, "a space before the method", line(" GET", "", ""), bad},
		{"9112-3-line-trailing-space", Convention, "a space behind the version", line("", "", "HTTP/1.1 "), bad},
		{"9112-3-line-no-version", Must, "no version", line("", "", " "), noVersion},
	}), acceptances([]acceptance{
		{"9112-2.3-version-http12", Should, "HTTP/1.2, which is to be read as HTTP/1.1", line("", "", "HTTP/1.2")},
		{"9112-2.2-empty-line", Should, "an empty line before the request line", line("\r\nGET", "", "")},
		{"9112-2.2-empty-lines", Convention, "two empty lines before the request line", line("\r\n\r\nGET", "", "")},
		{"9112-3.2.2-absolute", Must, "an absolute target", line("", "http://{host}{path}", "")},
		{"9112-3.2.2-absolute-query", Must, "an absolute target with a query", line("", "http://{host}{path}?token=1", "")},
		{"9112-3.2.1-query", Must, "a target with a query", line("", "{path}?room=7&name=%41", "")},
		{"9112-3.2.1-long-query", Should, "a target of 7 KiB", line("", "{path}?"+strings.Repeat("long", 7<<8), "")},
	}))
}

// methodCases look at what comes with a refused method.
func methodCases() []Case {
	return []Case{
		newCase("9110-15.5.6-allow", Should, "POST: 405 with Allow: GET", func(t *T) {
			q := t.request()
			line("POST", "", "")(q)
			r := t.refused(q.bytes(), 405)
			if !slices.Contains(r.tokens("Allow"), "get") {
				t.Failf("the 405 has Allow %q, expected GET", r.values("Allow"))
			}
		}),
		newCase("9110-9.3.2-head", Must, "HEAD is refused, without a body", func(t *T) {
			q := t.request()
			line("HEAD", "", "")(q)
			c := t.dial()
			c.write(q.bytes())
			r := c.head()
			if !slices.Contains(notAllowed, r.status) {
				t.Failf("the answer is %q, expected %s", r.line, statusList(notAllowed))
			}
			if n := c.r.Buffered(); n > 0 {
				t.Failf("%d bytes of a body came", n)
			}
			if !r.persistent() {
				c.wantEnd()
			}
		}),
	}
}

// hostRefusals are what may not stand in Host (RFC 9112 §3.2).
func hostRefusals() []Case {
	host := func(id string, s Severity, doc, value string) refusal {
		return refusal{"9112-3.2-host-" + id, s, doc, with("Host", value), bad}
	}
	return refusals([]refusal{
		{"9112-3.2-host-missing", Must, "no Host", without("Host"), bad},
		{"9112-3.2-host-repeated", Must, "the same Host twice", again("Host"), bad},
		{"9112-3.2-host-two", Must, "two different Hosts", plus("Host: other.example"), bad},
		host("empty", Should, "an empty Host", ""),
		host("space", Must, "a Host with a space", "a.example b.example"),
		host("list", Must, "a list as Host", "a.example, b.example"),
		host("user", Must, "a Host with user information", "user@a.example"),
		host("path", Must, "a Host with a path", "a.example/path"),
		host("port-word", Must, "a Host whose port is no number", "a.example:http"),
		host("port-large", Should, "a Host with port 65536", "a.example:65536"),
		host("two-ports", Must, "a Host with two ports", "a.example:80:80"),
		host("open-bracket", Must, "an IPv6 address without its bracket", "[::1"),
		host("no-ipv6", Should, "brackets around what is no IPv6 address", "[a.example]"),
		host("control", Must, "a Host with a control byte", "a.example\x01"),
		host("latin", Should, "a Host with a byte above 7F", "a\xe9.example"),
	})
}
