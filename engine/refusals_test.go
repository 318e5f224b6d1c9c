package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sockmill/sockmill/protocol"
)

const (
	lineRefused  = "a connection is refused"
	lineViolated = "a connection is closed for what its peer sent"
)

// refused is a client that is refused, and what it and the operator are told.
type refused struct {
	cfg    Config
	h      Handler
	before func(s *server)
	send   string

	status int    // of the answer; 0: there is none
	reason string // what the body says, and the log
	more   string // what the body says beside it
	level  zapcore.Level
	line   string // the message; "": lineRefused
	hint   string // what else the log says
}

// without is an opening handshake without one of its lines, or with another one.
func without(line, other string) string {
	head := upgradeHead()
	i := strings.Index(head, line)
	end := i + strings.Index(head[i:], "\r\n") + 2
	return head[:i] + other + head[end:]
}

func refusals() map[string]refused {
	const plain = "GET / HTTP/1.1\r\nHost: example.com\r\n"
	v1 := "PROXY TCP4 203.0.113.5 203.0.113.5 50000 80\r\n"
	behind := func(c Config) Config {
		c.TrustedProxies = []string{"127.0.0.1"}
		return c
	}
	one := func(s *server) {
		nc := s.connect()
		_, _ = io.WriteString(nc, v1+upgradeHead())
		s.await("the first", func() bool { return s.Stats().Open == 1 })
	}
	warn, info := zap.WarnLevel, zap.InfoLevel
	return map[string]refused{
		"no Host":                   {send: without("Host", ""), status: 400, reason: "missing Host", level: warn},
		"a bad Host":                {send: without("Host", "Host: a b\r\n"), status: 400, reason: "malformed Host", level: warn},
		"two Hosts":                 {send: without("Host", "Host: a\r\nHost: b\r\n"), status: 400, reason: "repeated Host", level: warn},
		"a bad target":              {send: without("GET", "GET chat HTTP/1.1\r\n"), status: 400, reason: "malformed request target", level: warn},
		"a bad field":               {send: without("Host", "Host: a\r\nX y: b\r\n"), status: 400, reason: "field", level: warn},
		"HTTP/2.0":                  {send: without("GET", "GET / HTTP/2.0\r\n"), status: 505, reason: "HTTP version is not 1.x", level: warn},
		"HTTP/1.0":                  {send: without("GET", "GET / HTTP/1.0\r\n"), status: 505, reason: "the handshake needs HTTP/1.1", level: warn},
		"POST":                      {send: without("GET", "POST / HTTP/1.1\r\n"), status: 405, reason: "method is not GET", level: warn},
		"no Connection":             {send: without("Connection", ""), status: 400, reason: "Connection does not name Upgrade", level: warn},
		"no version":                {send: without("Sec-WebSocket-Version", ""), status: 426, reason: "Sec-WebSocket-Version is not 13", level: warn},
		"no key":                    {send: without("Sec-WebSocket-Key", ""), status: 400, reason: "missing or repeated Sec-WebSocket-Key", level: warn},
		"a bad key":                 {send: without("Sec-WebSocket-Key", "Sec-WebSocket-Key: x\r\n"), status: 400, reason: "Sec-WebSocket-Key is not 16 bytes in base64", level: warn},
		"a bad extension":           {send: upgradeHead("Sec-WebSocket-Extensions: ;"), status: 400, reason: "Sec-WebSocket-Extensions", level: warn},
		"a bad subprotocol":         {send: upgradeHead("Sec-WebSocket-Protocol: a b"), status: 400, reason: "malformed Sec-WebSocket-Protocol", level: warn},
		"a body":                    {send: upgradeHead("Content-Length: 5"), status: 413, reason: "the handshake has a body", level: warn},
		"too long a head":           {cfg: Config{HandshakeBytesMax: 1024}, send: upgradeHead("Cookie: " + strings.Repeat("x", 2000)), status: 431, reason: "the head exceeds 1024 bytes", level: warn},
		"too many fields":           {cfg: Config{HeaderFieldsMax: 8}, send: upgradeHead("A: a", "B: b", "C: c", "D: d"), status: 431, reason: "fields", level: warn},
		"a head that does not come": {cfg: Config{HandshakeTimeout: 20 * time.Millisecond}, send: "GET", status: 408, reason: "the request head did not arrive in time", level: info, hint: "Config.HandshakeTimeout"},

		"no Upgrade, from a browser":     {send: plain + "\r\n", status: 426, reason: "this is a WebSocket", level: info},
		"no Upgrade, POST":               {send: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", status: 405, reason: "method is not GET", level: info},
		"no Upgrade, behind a bad proxy": {send: without("Upgrade", ""), status: 426, reason: "this is a WebSocket", level: warn, hint: "pass Upgrade and Connection on"},
		"HTTP/1.0, behind a bad proxy":   {send: strings.Replace(without("Upgrade", ""), "HTTP/1.1", "HTTP/1.0", 1), status: 505, reason: "the handshake needs HTTP/1.1", level: warn, hint: "has to speak HTTP/1.1"},
		"no Upgrade, and an HTTP server": {cfg: Config{HTTP: http.NotFoundHandler()}, send: strings.Replace(without("Upgrade", ""), "Connection: Upgrade", "Connection: close", 1), status: 404, more: "not found", level: warn,
			line: "a handshake that has lost its Upgrade goes to Config.HTTP", hint: "pass Upgrade and Connection on"},

		"another origin": {send: upgradeHead("Origin: http://evil.example"), status: 403, reason: "this origin is not allowed", more: `Origin is "http://evil.example", Host is "example.com"`, level: warn, hint: "origin:http://evil.example"},
		"an origin that is not listed": {cfg: Config{Origins: []string{"https://good.example"}}, send: upgradeHead("Origin: http://evil.example"), status: 403, reason: "this origin is not allowed", level: warn,
			hint: "Config.Origins does not list it"},
		"an origin that the program refuses": {cfg: Config{CheckOrigin: func(*protocol.Request) bool { return false }}, send: upgradeHead("Origin: http://evil.example"), status: 403, reason: "this origin is not allowed", level: warn,
			hint: "Config.CheckOrigin has decided so"},
		"OnUpgrade refuses": {h: Handler{OnUpgrade: func(*Upgrade) error { return Refuse(401, "log in first") }}, send: upgradeHead(), status: 401, reason: "log in first", level: info, hint: "OnUpgrade"},
		"OnUpgrade fails": {h: Handler{OnUpgrade: func(*Upgrade) error { return errors.New("on purpose") }}, send: upgradeHead(), status: 500, more: "internal server error", level: zap.ErrorLevel,
			line: "OnUpgrade failed; the client gets 500", hint: "on purpose"},
		"OnUpgrade panics": {h: Handler{OnUpgrade: func(*Upgrade) error { panic("on purpose") }}, send: upgradeHead(), status: 500, more: "internal server error", level: zap.ErrorLevel,
			line: "a callback panicked; its connection is closed", hint: "on purpose"},
		"OnUpgrade chooses another subprotocol": {h: Handler{OnUpgrade: func(u *Upgrade) error { u.Subprotocol = "other"; return nil }}, send: upgradeHead("Sec-WebSocket-Protocol: chat"), status: 500, more: "internal server error", level: zap.ErrorLevel,
			line: "OnUpgrade failed; the client gets 500", hint: "none that the client offered"},
		"Upgrade.Go does not decide": {cfg: Config{HandshakeTimeout: 20 * time.Millisecond}, h: Handler{OnUpgrade: func(u *Upgrade) error {
			return u.Go(func(ctx context.Context) error { <-ctx.Done(); return nil })
		}}, send: upgradeHead(), status: 503, more: "the server did not decide in time", level: warn,
			line: "a function of Upgrade.Go did not decide within Config.HandshakeTimeout; the client gets 503"},

		"too many of an address": {cfg: behind(Config{ConnectionsPerAddressMax: 1}), before: one, send: v1 + upgradeHead(), status: 429, reason: "too many connections from this address", level: warn,
			hint: "client:203.0.113.5 hint:Config.ConnectionsPerAddressMax is reached"},
		"too many new ones of an address": {cfg: behind(Config{AcceptsPerAddressPerSecond: 1}), before: one, send: v1 + upgradeHead(), status: 429, reason: "too many new connections from this address", level: warn,
			hint: "Config.AcceptsPerAddressPerSecond is reached"},
		"full":      {cfg: Config{ConnectionsMax: 1}, before: func(s *server) { s.dial("/", nil) }, status: 503, reason: "the server is full", level: warn, hint: "Config.ConnectionsMax is reached"},
		"half open": {cfg: Config{HalfOpenMax: 1}, before: silent, status: 503, reason: "the server is full", level: warn, hint: "Config.HalfOpenMax is reached"},
		"no memory": {before: func(s *server) {
			s.memory.buffered.Add(1 << 50)
			s.t.Cleanup(func() { s.memory.buffered.Add(-1 << 50) })
		}, status: 503, reason: "the server is full", level: warn, hint: "Config.BufferBytesMax is reached"},
		"going away": {before: func(s *server) { s.gate.Close() }, status: 503, reason: "the server is going away", level: info},

		"a PROXY header of nobody we trust":     {send: v1 + upgradeHead(), status: 400, reason: "a PROXY header came from an address that is not trusted", level: warn, hint: "Config.TrustedProxies"},
		"a PROXY header of nobody we trust, v2": {send: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" + upgradeHead(), status: 400, reason: "a PROXY header came from an address that is not trusted", level: warn, hint: "Config.TrustedProxies"},
		"a malformed PROXY header":              {cfg: behind(Config{}), send: "PROXY nonsense\r\n", level: warn, line: "a trusted proxy sent a malformed PROXY header", hint: "malformed PROXY header, version 1"},
		"TLS to a port without":                 {send: "\x16\x03\x01\x00\x05hello", level: warn, line: "a TLS ClientHello came to a port without TLS"},
		"raw, too many of an address":           {cfg: behind(Config{Addr: "tcp://127.0.0.1:0", ConnectionsPerAddressMax: 1}), before: one, send: v1, reason: "too many connections from this address", level: warn, hint: "status:0"},
	}
}

// silent takes one place of HalfOpenMax.
func silent(s *server) {
	s.connect()
	s.await("the silent one", func() bool { return s.Stats().Connections == 1 })
}

// TestRefusalsSayWhy: whoever is refused is told why, and so is the operator, by one
// line of the log.
func TestRefusalsSayWhy(t *testing.T) {
	for name, x := range refusals() {
		t.Run(name, func(t *testing.T) {
			s := serve(t, x.cfg, x.h)
			if x.before != nil {
				x.before(s)
			}
			nc := s.connect()
			if _, err := io.WriteString(nc, x.send); err != nil {
				t.Fatal(err)
			}
			if x.status == 0 {
				if b, _ := io.ReadAll(nc); len(b) > 0 {
					t.Errorf("answered with %q", b)
				}
			} else if r, body := s.response(nc); r.StatusCode != x.status || !strings.Contains(body, x.reason) || !strings.Contains(body, x.more) {
				t.Errorf("answered with %d %q, want %d %q %q", r.StatusCode, body, x.status, x.reason, x.more)
			}
			x.logged(s)
		})
	}
}

// logged expects the line of a refusal.
func (x *refused) logged(s *server) {
	s.t.Helper()
	message := x.line
	if message == "" {
		message = lineRefused
	}
	s.lines(1, message)
	line := s.logs.FilterMessage(message).All()[0]
	fields := fmt.Sprint(line.ContextMap())
	if line.Level != x.level || !strings.Contains(fields, x.hint) {
		s.t.Errorf("logged as %v: %s, want %v %q", line.Level, fields, x.level, x.hint)
	}
	if message != lineRefused {
		return
	}
	if got := line.ContextMap(); got["status"] != int64(x.status) || !strings.Contains(fmt.Sprint(got["reason"]), x.reason) ||
		!strings.HasPrefix(fmt.Sprint(got["remote"]), "127.0.0.1:") || got["listener"] != s.Listeners()[0].String() {
		s.t.Errorf("logged: %s, want %d %q", fields, x.status, x.reason)
	}
	countedAs(s, fmt.Sprint(line.ContextMap()["kind"]), x.status)
}

// countedAs expects that a refusal of a kind is counted by the name that the log has for it.
func countedAs(s *server, kind string, status int) {
	s.t.Helper()
	results := map[string][]string{kindOrigin: {kindOrigin}, kindOnUpgrade: {fmt.Sprint(status)}, kindPlain: {fmt.Sprint(status)}, kindProxy: {"400"}}[kind]
	if _, err := strconv.Atoi(kind); err == nil {
		results = []string{kind}
	}
	s.await("the count of "+kind, func() bool {
		m := s.Metrics()
		if failed := m.Listeners[0].TLSFailed; kind == kindTLS || kind == kindProxy && failed > 0 {
			return failed == 1
		}
		return slices.ContainsFunc(m.RefusedBy, func(n Count) bool { return n.Reason == kind && n.N == 1 }) ||
			slices.ContainsFunc(m.Handshakes, func(n Count) bool { return slices.Contains(results, n.Reason) && n.N == 1 })
	})
}

// TestTLSRefusalsSayWhy: the same for a port with TLS, where there is an answer for
// plain HTTP alone.
func TestTLSRefusalsSayWhy(t *testing.T) {
	warn, failed := zap.WarnLevel, failedHandshake
	for name, x := range map[string]refused{
		"plain HTTP":       {send: upgradeHead(), status: 400, reason: "this port speaks TLS: use https:// or wss://", level: warn},
		"garbage":          {send: "garbage", level: warn, line: failed, hint: "does not look like a TLS handshake"},
		"who only looks":   {level: zap.InfoLevel, line: failed, hint: "EOF"},
		"who is silent":    {cfg: Config{HandshakeTimeout: 20 * time.Millisecond}, level: zap.InfoLevel, line: failed},
		"a PROXY header":   {send: "PROXY TCP4 203.0.113.5 203.0.113.5 50000 80\r\n", reason: "a PROXY header came from an address that is not trusted", level: warn, hint: "Config.TrustedProxies"},
		"a bad PROXY line": {cfg: Config{TrustedProxies: []string{"127.0.0.1"}}, send: "PROXY nonsense\r\n", level: warn, line: "a trusted proxy sent a malformed PROXY header"},
		"half open":        {cfg: Config{HalfOpenMax: 1}, before: silent, reason: "the server is full", level: warn, hint: "Config.HalfOpenMax is reached"},
		"an address": {cfg: Config{TrustedProxies: []string{"127.0.0.1"}, ConnectionsPerAddressMax: 1}, before: func(s *server) {
			_, _ = io.WriteString(s.connect(), "PROXY TCP4 203.0.113.5 203.0.113.5 50000 80\r\n")
			s.await("the first", func() bool { return s.gate.Of(hostAddr(&net.TCPAddr{IP: net.IPv4(203, 0, 113, 5)})) == 1 })
		}, send: "PROXY TCP4 203.0.113.5 203.0.113.5 50000 80\r\n", reason: "too many connections from this address", level: warn, hint: "client:203.0.113.5"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveTLS(t, x.cfg, Handler{})
			if x.before != nil {
				x.before(s.server)
			}
			nc := s.connect()
			_, _ = io.WriteString(nc, x.send)
			if x.send == "" && x.cfg.HandshakeTimeout == 0 && x.before == nil {
				_ = nc.(*net.TCPConn).CloseWrite()
			}
			if x.status != 0 {
				if r, body := s.response(nc); r.StatusCode != x.status || body != x.reason {
					t.Errorf("answered with %d %q", r.StatusCode, body)
				}
			}
			x.logged(s.server)
		})
	}
}

// TestViolationsSayWhy: a connection that is closed for what its peer sent says why
// in the reason of its close frame, and in one line of the log.
func TestViolationsSayWhy(t *testing.T) {
	for name, x := range map[string]struct {
		cfg    Config
		send   string
		code   protocol.CloseCode
		reason string
		level  zapcore.Level
	}{
		"too big":            {Config{MessageBytesMax: 125}, maskedFrame(0x82, strings.Repeat("x", 126)), protocol.CloseMessageTooBig, "the message exceeds the limit", zap.WarnLevel},
		"too many fragments": {Config{FragmentsMax: 1}, maskedFrame(0x02, "x") + maskedFrame(0x80, "y"), protocol.CloseMessageTooBig, "the message has too many fragments", zap.WarnLevel},
		"not masked":         {Config{}, "\x82\x01x", protocol.CloseProtocolError, "mask", zap.InfoLevel},
		"a stray fragment":   {Config{}, maskedFrame(0x80, "x"), protocol.CloseProtocolError, "a continuation without a message to continue", zap.InfoLevel},
		"not UTF-8":          {Config{}, maskedFrame(0x81, "\xff"), protocol.CloseInvalidPayload, "a text message that is not UTF-8", zap.InfoLevel},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, x.cfg, Handler{OnMessage: echo})
			c := s.dial("/", nil)
			_, _ = io.WriteString(c, x.send)
			if e := c.closed(); e == nil || e.Code != x.code || !strings.Contains(e.Reason, x.reason) {
				t.Errorf("closed with %v", e)
			}
			s.lines(1, lineViolated)
			line := s.logs.FilterMessage(lineViolated).All()[0]
			if got := line.ContextMap(); line.Level != x.level || got["code"] != uint16(x.code) || !strings.Contains(fmt.Sprint(got["reason"]), x.reason) {
				t.Errorf("logged as %v: %v", line.Level, got)
			}
		})
	}
}

// TestLongLineIsLogged: a protocol without a close frame has only the log to say why.
func TestLongLineIsLogged(t *testing.T) {
	s := serve(t, Config{Addr: "text://127.0.0.1:0", MessageBytesMax: 125}, Handler{})
	nc := s.connect()
	_, _ = io.WriteString(nc, strings.Repeat("x", 200))
	_, _ = io.ReadAll(nc)
	if line := s.lines(1, lineViolated); !strings.Contains(line, "code:1009") || !strings.Contains(line, "125") {
		t.Error(line)
	}
}

// TestPeersThatBehaveAreNotLogged: what is everyday life leaves no line.
func TestPeersThatBehaveAreNotLogged(t *testing.T) {
	s := serve(t, Config{}, Handler{OnMessage: echo})
	c := s.dial("/", []string{"chat"}) // no browser: it goes on without
	c.send(protocol.OpText, "hello")
	c.expect("hello")
	c.close(protocol.CloseNormal, "")
	_ = c.closed()
	_ = s.dial("/", nil).Conn.Close()
	s.await("all to be gone", func() bool { return s.Stats().Connections == 0 })
	if all := s.logs.FilterLevelExact(zap.WarnLevel).All(); len(all) > 0 {
		t.Error(all)
	}
	for _, e := range s.logs.All() {
		if e.Message != "serving" {
			t.Error(e)
		}
	}
}

// TestNoSubprotocolIsLogged: browsers close a connection for whose subprotocols the
// server has no answer.
func TestNoSubprotocolIsLogged(t *testing.T) {
	s := serve(t, Config{}, Handler{OnOpen: func(c *Conn) { _ = c.CloseNow(&CloseError{Code: protocol.CloseNormal}) }})
	if r, _ := s.exchange(upgradeHead("Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat")); r.StatusCode != 101 {
		t.Error(r.Status)
	}
	if line := s.lines(1, "a browser offers subprotocols"); !strings.Contains(line, "offered:chat, superchat") {
		t.Error(line)
	}
}

// TestMountedRefusalsSayWhy: a request that comes through net/http and is no handshake.
func TestMountedRefusalsSayWhy(t *testing.T) {
	p := pure(t, Config{}, Handler{})
	h := httptest.NewServer(p.Engine)
	defer h.Close()
	for i, meant := range []bool{false, true} {
		r, err := http.NewRequestWithContext(context.Background(), "GET", h.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if meant {
			r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		}
		answer, err := h.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != 426 || !strings.Contains(string(body), "this is a WebSocket endpoint") {
			t.Errorf("%d %q", answer.StatusCode, body)
		}
		p.lines(i+1, lineRefused)
		line := p.logs.FilterMessage(lineRefused).All()[i]
		if want := map[bool]zapcore.Level{false: zap.InfoLevel, true: zap.WarnLevel}[meant]; line.Level != want {
			t.Errorf("logged as %v", line.Level)
		}
	}
}

// TestDefaultLogger: with a Config that says nothing of a Logger, who is refused finds the
// reason on standard error, and a flood does not fill it.
func TestDefaultLogger(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stderr := os.Stderr
	os.Stderr = w
	e, err := New(Config{Addr: "ws://127.0.0.1:0"}, Handler{})
	os.Stderr = stderr
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, e)
	for range 30 {
		s.exchange(upgradeHead("Origin: http://evil.example"))
	}
	s.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := s.end(); err != nil {
		t.Error(err)
	}
	_ = w.Close()
	b, _ := io.ReadAll(r)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if n := len(lines); n < 20 || n > 25 {
		t.Errorf("%d lines", n)
	}
	for _, part := range []string{"WARN " + lineRefused, `"status": 403`, `"origin": "http://evil.example"`, "Config.Origins has to list it"} {
		if !strings.Contains(lines[0], part) {
			t.Errorf("the line does not say %q: %s", part, lines[0])
		}
	}
}

// TestRefusalsDocumented: docs/LOGS.md has each status with the level that it is logged at, and what
// the reasons begin with; see TestRefusalsSayWhy.
func TestRefusalsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/LOGS.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range refusals() {
		if x.line != "" || x.status == 0 || x.status == 401 { // lines of their own; a program's own
			continue
		}
		found := false
		for row := range strings.Lines(string(b)) {
			cells := strings.Split(row, " | ")
			found = found || len(cells) == 4 && cells[0] == fmt.Sprintf("| %d", x.status) && strings.Contains(cells[1], x.level.String()) &&
				(strings.Contains(cells[2], strings.TrimSuffix(x.reason, " 1024 bytes")) || strings.Contains(cells[2], "and others"))
		}
		if !found {
			t.Errorf("%s: LOGS.md has no row | %d | %v | %s", name, x.status, x.level, x.reason)
		}
	}
}
