package protocol_test

import (
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// chromium is what a current Chromium sends for new WebSocket(…).
const chromium = "GET /chat?room=7&name=J%C3%B6rg HTTP/1.1\r\n" +
	"Host: 127.0.0.1:8090\r\n" +
	"Connection: Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: http://127.0.0.1:8090\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: theme=dark; session=\"a1b2==\"; empty=; theme=light\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"\r\n"

// parse fails the test unless head is accepted.
func parse(t testing.TB, head string) *protocol.Request {
	t.Helper()
	var r protocol.Request
	if err := r.Parse(head, 100); err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	return &r
}

func TestRequestFromChromium(t *testing.T) {
	r := parse(t, chromium)
	if r.Method != "GET" || r.Target != "/chat?room=7&name=J%C3%B6rg" || r.Path != "/chat" ||
		r.RawQuery != "room=7&name=J%C3%B6rg" || r.Host != "127.0.0.1:8090" || r.Minor != 1 || len(r.Fields) != 13 {
		t.Errorf("%+v", r)
	}
	if f := (protocol.Field{Name: "Cache-Control", Value: "no-cache"}); r.Fields[3] != f {
		t.Errorf("field %q", r.Fields[3])
	}
	if q := r.Query(); len(q) != 2 || q.Get("room") != "7" || q.Get("name") != "Jörg" {
		t.Errorf("query %v", q)
	}
	if err := protocol.CheckUpgrade(r); err != nil {
		t.Error(err)
	}
}

func TestRFC9112Section3_RequestLine(t *testing.T) {
	for _, tt := range []struct {
		line   string
		status int
	}{
		{"GET / HTTP/1.1", 0},
		{"GET / HTTP/1.0", 0},
		{"GET / HTTP/1.9", 0},
		{"get / HTTP/1.1", 0},
		{"X-!#$%&'*+.^_`|~9 / HTTP/1.1", 0},

		{"", 400},
		{"GET", 400},
		{"GET /", 400},
		{"GET HTTP/1.1", 400},
		{"GET  / HTTP/1.1", 400},
		{"GET /  HTTP/1.1", 400},
		{"GET / HTTP/1.1 ", 400},
		{" GET / HTTP/1.1", 400},
		{"GET\t/ HTTP/1.1", 400},
		{"GET /\tHTTP/1.1", 400},
		{"GET / x HTTP/1.1", 400},
		{"G(T / HTTP/1.1", 400},
		{"GÉT / HTTP/1.1", 400},
		{"GET: / HTTP/1.1", 400},
		{"\rGET / HTTP/1.1", 400},
		{"GET / HTTP/1.1\r", 400},
		{"GET / HTTP/1.1\x00", 400},
		{" / HTTP/1.1", 400},

		{"GET / HTTP/2.0", 505},
		{"GET / HTTP/0.9", 505},
		{"PRI * HTTP/2.0", 505},
		{"GET / HTTP/1", 400},
		{"GET / HTTP/1.", 400},
		{"GET / HTTP/1.10", 400},
		{"GET / HTTP/11.1", 400},
		{"GET / HTTP/01.1", 400},
		{"GET / http/1.1", 400},
		{"GET / HTTP/1,1", 400},
		{"GET / HTTP/x.1", 400},
		{"GET / HTTP/1.x", 400},
		{"GET / HTTP 1.1", 400},
		{"GET / HTTPS/1.1", 400},
		{"GET / ", 400},
	} {
		var r protocol.Request
		err := r.Parse(tt.line+"\r\nHost: a\r\n\r\n", 9)
		if wantStatus(t, err, tt.status); t.Failed() {
			t.Fatalf("request line %q", tt.line)
		}
	}
}

func TestRFC9112Section3_2_Target(t *testing.T) {
	for _, tt := range []struct{ method, target, path, query, host string }{ // path "": 400
		{"GET", "/", "/", "", "h"},
		{"GET", "/a/b?c=d?e&f", "/a/b", "c=d?e&f", "h"},
		{"GET", "/?", "/", "", "h"},
		{"GET", "//a//b", "//a//b", "", "h"},
		{"GET", "/%2F%zz", "", "", ""},
		{"GET", "/%2f%C3%bc?%20", "/%2f%C3%bc", "%20", "h"},
		{"GET", "/%", "", "", ""},
		{"GET", "/%4", "", "", ""},
		{"GET", "/?%4g", "", "", ""},
		{"GET", "/%\x10\x11", "", "", ""},
		{"GET", "/a#b", "", "", ""},
		{"GET", "/ü", "", "", ""},
		{"GET", "/\x7f", "", "", ""},
		{"GET", "/\x01", "", "", ""},
		{"GET", "/a\rb", "", "", ""},
		{"GET", "/a:b@c!$&'()*+,;=-._~|{}", "/a:b@c!$&'()*+,;=-._~|{}", "", "h"},

		{"GET", "http://x.org/a?b", "/a", "b", "x.org"},
		{"GET", "http://x.org", "/", "", "x.org"},
		{"GET", "http://x.org?a=/b", "/", "a=/b", "x.org"},
		{"GET", "HTTP://X.org:80/", "/", "", "X.org:80"},
		{"GET", "https://x.org/", "/", "", "x.org"},
		{"GET", "ws://[::1]:8090/chat", "/chat", "", "[::1]:8090"},
		{"GET", "wss://x.org/", "/", "", "x.org"},
		{"GET", "ftp://x.org/", "", "", ""},
		{"GET", "http:///", "", "", ""},
		{"GET", "http://", "", "", ""},
		{"GET", "http:/x.org", "", "", ""},
		{"GET", "://x.org/", "", "", ""},
		{"GET", "http://u@x.org/", "", "", ""},
		{"GET", "http://u:p@x.org/", "", "", ""},
		{"GET", "http://x.org:99999/", "", "", ""},
		{"GET", "http://x.org:a/", "", "", ""},
		{"GET", "http://x.org\\@y.org/", "", "", ""},
		{"GET", "http://x.org/#a", "", "", ""},

		{"OPTIONS", "*", "*", "", "h"},
		{"GET", "*", "", "", ""},
		{"OPTIONS", "**", "", "", ""},
		{"CONNECT", "x.org:443", "", "", ""},
		{"GET", "x.org:443", "", "", ""},
		{"GET", "chat", "", "", ""},
		{"GET", "?a", "", "", ""},
		{"GET", "", "", "", ""},
	} {
		var r protocol.Request
		err := r.Parse(tt.method+" "+tt.target+" HTTP/1.1\r\nHost: h\r\n\r\n", 9)
		if tt.path == "" {
			if wantStatus(t, err, 400); err == nil {
				t.Errorf("target %q is accepted", tt.target)
			}
			continue
		}
		if err != nil || r.Target != tt.target || r.Path != tt.path || r.RawQuery != tt.query || r.Host != tt.host {
			t.Errorf("target %q: %+v, %v", tt.target, r, err)
		}
	}
}

func TestRFC9112Section3_2_Host(t *testing.T) {
	for _, host := range []string{
		"a", "example.com", "example.com:0", "example.com:80", "example.com:65535", "example.com:", "EXAMPLE.com.",
		"127.0.0.1:8090", "[::1]", "[::1]:", "[::1]:8090", "[2001:db8::ffff:1.2.3.4]:1", "my_host-1", "a%41", "x!$&'()*+,;=~",
	} {
		if r := parse(t, "GET / HTTP/1.1\r\nHost: "+host+" \t\r\n\r\n"); r.Host != host {
			t.Errorf("Host %q is read as %q", host, r.Host)
		}
	}
	for _, host := range []string{
		"", ":", ":80", "a:65536", "a:99999999999999999999", "a:-1", "a:+1", "a:8o", "a:80:80", "a b", "a\tb", "a/b", "a?b",
		"a#b", "u@a", "http://a", "a\\b", "a\"", "<a>", "ä.de", "a%4", "a%zz", "::1", "[::1", "[]", "[::1]80",
		"[::1%eth0]", "[::1%25eth0]", "[1.2.3.4]", "[v1.a]", "[g::1]", "[::1]]", "[[::1]]", "a[::1]", "a^b", "a|b",
	} {
		var r protocol.Request
		if err := r.Parse("GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n", 9); err == nil {
			t.Errorf("Host %q is accepted", host)
		} else {
			wantStatus(t, err, 400)
		}
	}
	for head, status := range map[string]int{
		"GET / HTTP/1.1\r\n\r\n":                                   400,
		"GET / HTTP/1.1\r\nX-Host: a\r\n\r\n":                      400,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n":             400,
		"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n":             400,
		"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n":             400,
		"GET / HTTP/1.0\r\nHost:\r\n\r\n":                          400,
		"GET / HTTP/1.0\r\n\r\n":                                   0,
		"GET http://a/ HTTP/1.1\r\n\r\n":                           400,
		"GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n":              400,
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n":     400,
		"\r\n\r\nGET http://a/ HTTP/1.1\r\nhost:b\r\n\r\n":         0,
		"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b\r\n\r\n": 0,
	} {
		var r protocol.Request
		if wantStatus(t, r.Parse(head, 9), status); t.Failed() {
			t.Fatalf("head %q", head)
		}
	}
}

func TestRFC6265Section4_2_Cookie(t *testing.T) {
	r := parse(t, chromium)
	for name, want := range map[string]string{
		"theme": "dark", "session": "a1b2==", "empty": "", "absent": "", "THEME": "", "sess": "",
	} {
		if got := r.Cookie(name); got != want {
			t.Errorf("Cookie(%q) = %q, want %q", name, got, want)
		}
	}
	r = parse(t, "GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: ; =x;b=1;\tc=\" \"; d=\"; e=\"\"; a=2\r\n\r\n")
	for name, want := range map[string]string{"a": "2", "b": "1", "c": " ", "d": "\"", "e": ""} {
		if got := r.Cookie(name); got != want {
			t.Errorf("Cookie(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestQueryLeavesOutTheUndecodable(t *testing.T) {
	r := protocol.Request{RawQuery: "a=1&b=%zz&c=3&a=2"}
	if q := r.Query(); len(q) != 2 || len(q["a"]) != 2 || q.Get("c") != "3" {
		t.Errorf("query %v", q)
	}
}

func TestRequestIsUsedAgain(t *testing.T) {
	var r protocol.Request
	if err := r.Parse(chromium, 100); err != nil {
		t.Fatal(err)
	}
	if err := r.Parse("GET /x HTTP/1.0\r\nA: b\r\n\r\n", 100); err != nil || len(r.Fields) != 1 || r.Host != "" || r.RawQuery != "" {
		t.Errorf("%+v, %v", r, err)
	}
	wantAllocs(t, 0, func() {
		if err := r.Parse(chromium, 100); err != nil {
			t.Fatal(err)
		}
	})
	absolute := strings.Replace(chromium, "GET /", "GET ws://[::1]:8090/", 1)
	wantAllocs(t, 0, func() {
		if err := r.Parse(absolute, 100); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkRequestParse(b *testing.B) {
	var r protocol.Request
	b.SetBytes(int64(len(chromium)))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Parse(chromium, 100); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckUpgrade(b *testing.B) {
	r := parse(b, chromium)
	b.ReportAllocs()
	for b.Loop() {
		if err := protocol.CheckUpgrade(r); err != nil {
			b.Fatal(err)
		}
	}
}
