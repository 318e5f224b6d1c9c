package engine

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// TestRefusals: each malformed or forbidden request gets its status, whole and
// at the end of a stream that ends well.
func TestRefusals(t *testing.T) {
	s := serve(t, Config{Loops: 1, HeaderFieldsMax: 20, HandshakeBytesMax: 1024}, Handler{
		OnOpen: func(*Conn) { t.Error("OnOpen") },
	})
	without := func(line string) string { return strings.Replace(upgradeHead(), line+"\r\n", "", 1) }
	instead := func(a, b string) string { return strings.Replace(upgradeHead(), a, b, 1) }
	for _, c := range []struct {
		name    string
		request string
		status  int
		fields  map[string]string
	}{
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400, nil},
		{"obs-fold", upgradeHead("X: a", " b"), 400, nil},
		{"space before the colon", upgradeHead("X : a"), 400, nil},
		{"NUL in a value", upgradeHead("X: a\x00b"), 400, nil},
		{"no Host", without("Host: example.com"), 400, nil},
		{"two Hosts", upgradeHead("Host: example.com"), 400, nil},
		{"bad target", instead("/chat", "/ch\x7fat"), 400, nil},
		{"no Connection", without("Connection: Upgrade"), 400, nil},
		{"Connection as a substring", instead("Connection: Upgrade", "Connection: xUpgrade"), 400, nil},
		{"short key", instead("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), 400, nil},
		{"two keys", upgradeHead("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, nil},
		{"Content-Length and chunked", upgradeHead("Content-Length: 3", "Transfer-Encoding: chunked"), 400, nil},
		{"foreign Origin", upgradeHead("Origin: http://evil.example"), 403, nil},
		{"null Origin", upgradeHead("Origin: null"), 403, nil},
		{"POST", instead("GET", "POST"), 405, map[string]string{"Allow": "GET"}},
		{"HEAD", instead("GET", "HEAD"), 405, map[string]string{"Allow": "GET"}},
		{"a body", upgradeHead("Content-Length: 5") + "hello", 413, nil},
		{"version 12", instead("Version: 13", "Version: 12"), 426, map[string]string{"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}},
		{"plain GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426, map[string]string{"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}},
		{"Upgrade as a substring", instead("websocket", "websockets"), 426, nil},
		{"too many fields", upgradeHead(strings.Repeat("X: y\r\n", 30) + "Z: z"), 431, nil},
		{"a head without end", "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 5000), 431, nil},
		{"HTTP/1.0", instead("HTTP/1.1", "HTTP/1.0"), 505, nil},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, rest := s.exchange(c.request)
			bodiless := strings.HasPrefix(c.request, "HEAD") // RFC 9110 §9.3.2
			if r.StatusCode != c.status || (rest == "") != bodiless || !bodiless && r.ContentLength != int64(len(rest)) {
				t.Errorf("%s with body %q, want %d", r.Status, rest, c.status)
			}
			for name, value := range c.fields {
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
		})
	}
	s.await("all to be gone", func() bool { return s.Stats().Connections == 0 })
	_ = s.end()
	s.balanced()
}

func TestOrigin(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     Config
		origin  string
		allowed bool
	}{
		{"same origin", Config{}, "http://example.com", true},
		{"same origin behind a TLS proxy", Config{}, "https://example.com", true},
		{"other port", Config{}, "http://example.com:81", false},
		{"other host", Config{}, "http://example.org", false},
		{"no origin", Config{}, "", true},
		{"listed", Config{Origins: []string{"https://a.example", "https://*.b.example"}}, "https://x.b.example", true},
		{"the list replaces the default", Config{Origins: []string{"https://a.example"}}, "http://example.com", false},
		{"no origin with a list", Config{Origins: []string{"https://a.example"}}, "", true},
		{"null by name", Config{Origins: []string{"null"}}, "null", true},
		{"null by name only", Config{Origins: []string{"file://"}}, "null", false},
		{"file by name", Config{Origins: []string{"https://a.example", "file://"}}, "file://", true},
		{"all", Config{Origins: []string{"*"}}, "null", true},
		{"function", Config{CheckOrigin: func(r *protocol.Request) bool { return r.Path == "/chat" }}, "null", true},
		{"function refuses", Config{CheckOrigin: func(*protocol.Request) bool { return false }}, "http://example.com", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.cfg, Handler{OnOpen: func(c *Conn) { _ = c.Close(1000, "") }})
			var more []string
			if c.origin != "" {
				more = []string{"Origin: " + c.origin}
			}
			want := 403
			if c.allowed {
				want = 101
			}
			nc := s.connect()
			_, _ = nc.Write([]byte(upgradeHead(more...) + "\x88\x80\x00\x00\x00\x00"))
			r, body := s.response(nc)
			if r.StatusCode != want {
				t.Errorf("%s, want %d", r.Status, want)
			}
			if !c.allowed {
				if hint := fmt.Sprintf("Origin is %q, Host is %q", c.origin, "example.com"); !strings.Contains(body, hint) {
					t.Errorf("the peer is on this machine, and is told %q, not %s", body, hint)
				}
				decides := "Config.Origins"
				if c.cfg.CheckOrigin != nil {
					decides = "Config.CheckOrigin"
				}
				s.lines(1, lineRefused)
				if m := s.logs.FilterMessage(lineRefused).All()[0].ContextMap(); m["origin"] != c.origin || m["host"] != "example.com" || !strings.Contains(fmt.Sprint(m["hint"]), decides) {
					t.Errorf("the log says %v", m)
				}
			}
		})
	}
}

// TestOriginHint: who may be told what the proxy made of Host, and in which
// words.
func TestOriginHint(t *testing.T) {
	ep := &endpoint{proxies: proxies{prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}}}
	const told = `: Origin is "http://a\u00e9\"", Host is "b:80"; a proxy in between has to pass Host on as it came, or Config.Origins has to list the origin`
	for peer, want := range map[string]string{
		"127.0.0.1": told, "::1": told, "::ffff:127.0.0.1": told, "172.18.0.3": told, "fd00::1": told, "203.0.113.7": told,
		"203.0.113.8": "", "2001:db8::1": "", "fe80::1": "",
	} {
		c := &Conn{ep: ep, who: identity{remote: &net.TCPAddr{IP: net.ParseIP(peer)}}}
		if got := c.originHint("http://aé\"", "b:80"); got != want {
			t.Errorf("%s: %s", peer, got)
		}
	}
	c := &Conn{ep: ep, who: identity{remote: &net.UnixAddr{}}}
	if c.originHint(strings.Repeat("a", 5000), "b") == "" || len(c.originHint(strings.Repeat("a", 5000), "b")) > 1000 {
		t.Error("a unix socket is local; what the peer wrote is cut")
	}
}

func TestOnUpgrade(t *testing.T) {
	game := Handler{OnMessage: func(c *Conn, m Message) { _ = c.SendText("game:" + m.Text()) }}
	type seat struct{ n int }
	opened := make(chan string, 10) // room for every OnOpen
	h := Handler{
		OnUpgrade: func(u *Upgrade) error {
			switch u.Request.Path {
			case "/game":
				u.Handler = &game
			case "/full":
				return Refuse(http.StatusConflict, "no seat left", protocol.Field{Name: "Retry-After", Value: "5"})
			case "/split":
				return Refuse(403, "no", protocol.Field{Name: "Location", Value: "/\r\nSet-Cookie: a=b"})
			case "/broken":
				return errors.New("a secret of the database")
			case "/bad":
				u.Subprotocol = "not offered"
			case "/inject":
				u.Header = []protocol.Field{{Name: "X", Value: "a\r\nSet-Cookie: b"}}
			case "/reserved":
				u.Header = []protocol.Field{{Name: "sec-websocket-accept", Value: "mine"}}
			case "/panic":
				panic("in OnUpgrade")
			}
			u.State = &seat{7}
			u.Header = append(u.Header, protocol.Field{Name: "X-Seat", Value: "7"})
			for token := range u.Request.Fields.Tokens("Sec-WebSocket-Protocol") {
				if token == "v2" {
					u.Subprotocol = token
				}
			}
			return nil
		},
		OnOpen: func(c *Conn) {
			opened <- fmt.Sprint(c.Request().Path, " ", c.Request().Query().Get("room"), " ", c.Request().Cookie("sid"))
			_ = c.SendText(fmt.Sprint(c.State().(*seat).n, c.Subprotocol()))
		},
		OnMessage: func(c *Conn, m Message) {
			if c.Request() != nil {
				t.Error("the request outlived OnOpen")
			}
			_ = c.Send(m)
		},
	}
	s := serve(t, Config{Loops: 1}, h)
	c := s.dial("/chat?room=blue", []string{"v1", "v2"}, protocol.Field{Name: "Cookie", Value: "a=b; sid=xyz"})
	c.expect("7v2")
	if got := <-opened; got != "/chat blue xyz" {
		t.Errorf("OnOpen saw %q", got)
	}
	c.send(protocol.OpText, "x")
	c.expect("x")
	g := s.dial("/game", nil)
	g.send(protocol.OpText, "x")
	g.expect("game:x")
	for path, status := range map[string]int{"/full": 409, "/broken": 500, "/bad": 500, "/inject": 500, "/split": 500, "/reserved": 500, "/panic": 500} {
		r, body := s.exchange(strings.Replace(upgradeHead(), "/chat", path, 1))
		if r.StatusCode != status || strings.Contains(body, "secret") || path == "/full" && (body != "no seat left" || r.Header.Get("Retry-After") != "5") {
			t.Errorf("%s: %s %q", path, r.Status, body)
		}
	}
	if r, _ := s.exchange(upgradeHead("X: y") + "\x88\x80\x00\x00\x00\x00"); r.Header.Get("X-Seat") != "7" {
		t.Errorf("the response lacks the field: %v", r.Header)
	}
}

// TestViolations: each gets its close code, nothing of it reaches OnMessage.
func TestViolations(t *testing.T) {
	s := serve(t, Config{MessageBytesMax: 1000, FragmentsMax: 4}, Handler{OnMessage: func(*Conn, Message) { t.Error("OnMessage") }})
	mask := "\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		frames string
		code   protocol.CloseCode
	}{
		"unmasked":              {"\x81\x01a", 1002},
		"RSV1":                  {"\xc1\x81" + mask + "a", 1002},
		"reserved opcode":       {"\x83\x80" + mask, 1002},
		"fragmented ping":       {"\x09\x80" + mask, 1002},
		"long ping":             {"\x89\xfe\x00\x7e" + mask + strings.Repeat("p", 126), 1002},
		"stray continuation":    {"\x80\x80" + mask, 1002},
		"non-minimal length":    {"\x81\xfe\x00\x01" + mask + "a", 1002},
		"length of 2^63":        {"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00" + mask, 1002},
		"length of 2^62":        {"\x82\xff\x40\x00\x00\x00\x00\x00\x00\x00" + mask, 1009},
		"one byte above":        {"\x82\xfe\x03\xe9" + mask, 1009},
		"above in fragments":    {"\x02\xfe\x02\x58" + mask + strings.Repeat("a", 600) + "\x80\xfe\x02\x58" + mask, 1009},
		"too many fragments":    {"\x02\x80" + mask + strings.Repeat("\x00\x80"+mask, 4), 1009},
		"bad UTF-8":             {"\x81\x82" + mask + "\xc3\x28", 1007},
		"bad UTF-8, fail-fast":  {"\x81\x8a" + mask + "\xf4\x90", 1007},
		"close with one byte":   {"\x88\x81" + mask + "a", 1002},
		"close with 1005":       {"\x88\x82" + mask + "\x03\xed", 1002},
		"close with bad reason": {"\x88\x83" + mask + "\x03\xe8\xff", 1007},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := s.dial("/", nil)
			_, _ = c2.Write([]byte(c.frames))
			if info := c2.closed(); info == nil || info.Code != c.code {
				t.Errorf("closed with %v, want %d", info, c.code)
			}
		})
	}
	s.await("all to be gone", func() bool { return s.Stats().Connections == 0 })
}

func TestPanicsTouchNobodyElse(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{
		OnUpgrade: func(u *Upgrade) error { u.State = u.Request.Path; return nil },
		OnOpen: func(c *Conn) {
			if c.State() == "/open" {
				panic("in OnOpen")
			}
		},
		OnMessage: func(c *Conn, m Message) {
			if m.Text() == "panic" {
				panic("in OnMessage")
			}
			_ = c.Send(m)
		},
		OnPing:  func(*Conn, []byte) { panic("in OnPing") },
		OnClose: func(*Conn, *CloseError) { panic("in OnClose") },
	})
	other := s.dial("/", nil)
	for _, way := range []func(c *client){
		func(c *client) { c.send(protocol.OpText, "panic") },
		func(c *client) { c.send(protocol.OpPing, "p") },
		func(c *client) { // both in one batch with a message after it, which must not be delivered
			for _, m := range []string{"before", "panic", "after"} {
				c.env.Out, _ = c.session.Encode(&c.env, c.env.Out, protocol.OpText, []byte(m), false)
			}
			c.flush()
			c.expect("before")
		},
	} {
		c := s.dial("/", nil)
		way(c)
		for {
			ev, err := c.next()
			if err != nil || ev.Kind == codec.Message {
				t.Fatalf("instead of 1011: %v %q", err, ev.Data)
			}
			if ev.Kind == codec.Close {
				if c.env.Closed.Code != protocol.CloseInternalError {
					t.Errorf("closed with %v", c.env.Closed)
				}
				break
			}
		}
	}
	if info := s.dial("/open", nil).closed(); info.Code != protocol.CloseInternalError {
		t.Errorf("closed with %v", info)
	}
	other.send(protocol.OpText, "still here")
	other.expect("still here")
	s.await("the panics' log", func() bool { return s.logs.FilterMessageSnippet("panicked").Len() >= 7 })
	for _, e := range s.logs.FilterMessageSnippet("panicked").All() {
		if stack := e.ContextMap()["stack"]; !strings.Contains(fmt.Sprint(stack), "upgrade_test.go") {
			t.Errorf("a panic was logged without its place: %v", stack)
		}
	}
}

// TestKeptStrings: what a program keeps of a request stays, whoever comes next.
func TestKeptStrings(t *testing.T) {
	for name, keep := range map[string]func(k *[]string) (Config, Handler){
		"CheckOrigin": func(k *[]string) (Config, Handler) {
			return Config{CheckOrigin: func(r *protocol.Request) bool { *k = append(*k, r.Path); return true }}, Handler{}
		},
		"OnUpgrade": func(k *[]string) (Config, Handler) {
			return Config{}, Handler{OnUpgrade: func(u *Upgrade) error { *k = append(*k, u.Request.Path); return nil }}
		},
		"OnOpen": func(k *[]string) (Config, Handler) {
			return Config{}, Handler{OnOpen: func(c *Conn) { *k = append(*k, c.Request().Path) }}
		},
	} {
		var kept []string
		cfg, h := keep(&kept)
		cfg.Loops, h.OnMessage = 1, echo
		s := serve(t, cfg, h)
		for _, target := range []string{"/first", "/other", "/third"} {
			c := s.dial(target, nil)
			c.send(protocol.OpText, "open")
			c.expect("open")
			_ = c.Close()
		}
		if err := s.end(); err != nil {
			t.Error(err)
		}
		if got := strings.Join(kept, " "); got != "/first /other /third" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
