package codec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

const line, host, upgrade, connection, version, nonce = "GET /chat HTTP/1.1", "Host: a:8090", "Upgrade: websocket",
	"Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// requests are opening handshakes and what the session says to each: events,
// then the status of the reply, which refusals.txt has in full.
var requests = []struct{ in, want string }{
	{handshake, "request /chat; > HTTP/1.1 101 Switching Protocols"},
	{"\r\n\r\n" + handshake, "request /chat; > HTTP/1.1 101 Switching Protocols"},
	{head("GET ws://b/x?y HTTP/1.1", host, upgrade, connection, version, nonce),
		"request ws://b/x?y; > HTTP/1.1 101 Switching Protocols"},
	{head("GET / HTTP/1.1", "hOST:a", "uPGRADE:h2c, WebSocket", "cONNECTION: keep-alive,upgrade ", "sec-websocket-version:13", strings.ToLower(nonce[:17])+nonce[17:]),
		"request /; > HTTP/1.1 101 Switching Protocols"},

	// Who expects a 100 gets it before the 101 (RFC 9110 §7.8), but not before a refusal.
	{head(line, host, upgrade, connection, version, nonce, "Expect: 100-Continue"), "request /chat; > HTTP/1.1 100 Continue; > HTTP/1.1 101 Switching Protocols"},
	{head(line, host, upgrade, connection, version, nonce, "Expect: x"), "request /chat; > HTTP/1.1 101 Switching Protocols"},
	{head(line, host, upgrade, connection, nonce, "Expect: 100-continue"), "refused 426; > HTTP/1.1 426 Upgrade Required"},

	{head("GET / HTTP/1.1", host), `http "GET / HTTP/1.1\r\nHost: a:8090\r\n\r\n"`},
	{head("GET / HTTP/1.1", host, "Upgrade: websockets"), `http "GET / HTTP/1.1\r\nHost: a:8090\r\nUpgrade: websockets\r\n\r\n"`},
	{head("POST / HTTP/1.0", "Content-Length: 3") + "a=b", `http "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n"`},

	{"GET / HTTP/1.1\nHost: a\n\n", "refused 400; > HTTP/1.1 400 Bad Request"},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "refused 400; > HTTP/1.1 400 Bad Request"},
	{frame(0x81, "hello"), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, upgrade, connection, version, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, host, upgrade, connection, version, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, upgrade, version, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, upgrade, "Connection: Upgraded", version, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, upgrade, connection, version), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, upgrade, connection, version, nonce, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, upgrade, connection, version, "Sec-WebSocket-Key: c2hvcnQ="), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, upgrade, connection, version, nonce, "Sec-WebSocket-Protocol: a, a"), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, upgrade, connection, version, nonce, "Sec-WebSocket-Extensions: ;"), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, " folded", upgrade, connection, version, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, "Host : a", upgrade, connection, version, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head(line, host, "X: \x00", upgrade, connection, version, nonce), "refused 400; > HTTP/1.1 400 Bad Request"},
	{head("POST /chat HTTP/1.1", host, upgrade, connection, version, nonce), "refused 405; > HTTP/1.1 405 Method Not Allowed"},
	{head(line, host, upgrade, connection, version, nonce, "Content-Length: 1") + "x", "refused 413; > HTTP/1.1 413 Content Too Large"},
	{head(line, host, upgrade, connection, nonce), "refused 426; > HTTP/1.1 426 Upgrade Required"},
	{head(line, host, upgrade, connection, "Sec-WebSocket-Version: 8", nonce), "refused 426; > HTTP/1.1 426 Upgrade Required"},
	{head(line, host, upgrade, connection, version, nonce) + "\n", "request /chat; > HTTP/1.1 101 Switching Protocols"},
	{head("GET /chat HTTP/1.0", host, upgrade, connection, version, nonce), "refused 505; > HTTP/1.1 505 HTTP Version Not Supported"},
	{head("GET /chat HTTP/2.0", host, upgrade, connection, version, nonce), "refused 505; > HTTP/1.1 505 HTTP Version Not Supported"},
	{head(line, host, strings.Repeat("X:\r\n", 20)+upgrade, connection, version, nonce), "refused 431; > HTTP/1.1 431 Request Header Fields Too Large"},
	{head(line, host, "X: "+strings.Repeat("x", 5000)), "refused 431; > HTTP/1.1 431 Request Header Fields Too Large"},
	{strings.Repeat("\r\n", 2100) + handshake, "refused 431; > HTTP/1.1 431 Request Header Fields Too Large"},
}

func TestRFC6455Section4_2_OpeningHandshake(t *testing.T) {
	for _, tt := range requests {
		r := verdict(t, func() *side { return newSide(t, limits()) }, tt.in)
		if r.log != tt.want {
			t.Errorf("%.300q\ngot  %s\nwant %s", tt.in, r.log, tt.want)
		}
		switch r.state {
		case codec.StateOpen:
			if !strings.Contains(tt.want, " 101 ") || !strings.Contains(r.out, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") {
				t.Errorf("%.300q opened: %s", tt.in, r.out)
			}
		case codec.StateOpening:
			if !strings.HasPrefix(tt.want, "http ") || r.out != "" {
				t.Errorf("%.300q still opens: %s", tt.in, r.out)
			}
		case codec.StateClosed:
			if !strings.Contains(r.out, "\r\nConnection: close") || !strings.HasPrefix(tt.want, "refused ") {
				t.Errorf("%.300q closed: %s", tt.in, r.out)
			}
		}
	}
}

// Frames behind a refused handshake open nothing; behind a good one, in the
// same segment or cut anywhere, they count.
func TestRFC6455Section4_2_BytesAfterTheHandshake(t *testing.T) {
	frames := frame(0x81, "hello") + frame(0x89, "x") + frame(0x88, "\x03\xe8")
	for in, want := range map[string]string{
		handshake + frames: `request /chat; > HTTP/1.1 101 Switching Protocols; text "hello"; ping "x"; > pong "x"; closed 1000 ""; > close 1000`,
		head(line, host, upgrade, connection, "Sec-WebSocket-Version: 12", nonce) + frames: "refused 426; > HTTP/1.1 426 Upgrade Required",
	} {
		if r := verdict(t, func() *side { return newSide(t, limits()) }, in); r.log != want {
			t.Errorf("%s\nwant %s", r.log, want)
		}
	}
}

func TestRFC6455Section4_2_2_Refused(t *testing.T) {
	r := verdict(t, func() *side {
		x := newSide(t, limits())
		x.onRequest = func() {
			x.s.Refuse(x.env, &codec.HandshakeError{Status: 403, Reason: "not here", Fields: []protocol.Field{{Name: "X-Why", Value: "1"}}})
		}
		return x
	}, handshake+frame(0x81, "hello"))
	if r.log != "request /chat; > HTTP/1.1 403 Forbidden" || r.state != codec.StateClosed {
		t.Error(r.log, r.state)
	}
	if !strings.HasSuffix(r.out, "\r\nX-Why: 1\r\n\r\nnot here") {
		t.Error(r.out)
	}
}

// A request that the program neither accepted nor refused, for the connection
// broke, leaves nothing behind.
func TestRFC6455Section4_2_2_Unanswered(t *testing.T) {
	for _, c := range []cut{whole, bytewise} {
		x := newSide(t, limits())
		x.onRequest = func() {}
		if r := play(x, handshake, c); r.log != "request /chat" || r.out != "" {
			t.Error(r)
		}
	}
}

func TestRFC6455Section4_2_2_Accept(t *testing.T) {
	offer := head(line, host, upgrade, connection, version, nonce, "Sec-WebSocket-Protocol: v2.chat, v1.chat")
	for _, tt := range []struct {
		request string
		a       codec.Accept
		answer  string // "": an error
	}{
		{offer, codec.Accept{}, "\r\n\r\n"},
		{offer, codec.Accept{Subprotocol: "v1.chat", Fields: []protocol.Field{{Name: "Set-Cookie", Value: "a=b"}}},
			"\r\nSec-WebSocket-Protocol: v1.chat\r\nSet-Cookie: a=b\r\n\r\n"},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "Sec-WebSocket", Value: ""}}}, "\r\nSec-WebSocket: \r\n\r\n"},
		{offer, codec.Accept{Subprotocol: "V1.chat"}, ""},
		{offer, codec.Accept{Subprotocol: "v1.chat, v2.chat"}, ""},
		{handshake, codec.Accept{Subprotocol: "v1.chat"}, ""},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "X", Value: "a\r\nSet-Cookie: b"}}}, ""},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "X ", Value: "a"}}}, ""},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "connection", Value: "close"}}}, ""},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "Upgrade", Value: "h2c"}}}, ""},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "Content-length", Value: "0"}}}, ""},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "Transfer-Encoding", Value: "chunked"}}}, ""},
		{offer, codec.Accept{Fields: []protocol.Field{{Name: "sec-websocket-accept", Value: "x"}}}, ""},
		{head("GET / HTTP/1.1", host), codec.Accept{}, ""},
	} {
		x := newSide(t, limits())
		if _, n := x.s.Decode(x.env, []byte(tt.request)); n != len(tt.request) {
			t.Fatal(n)
		}
		err := x.s.Accept(x.env, tt.a)
		if (err == nil) != (tt.answer != "") || !strings.HasSuffix(string(x.env.Out), tt.answer) {
			t.Errorf("%+v: %v, %q", tt.a, err, x.env.Out)
		}
		if err == nil {
			continue
		}
		if len(x.env.Out) > 0 || x.s.State() != codec.StateOpening {
			t.Errorf("%+v: state %d, %q beside %v", tt.a, x.s.State(), x.env.Out, err)
		}
		x.s.Refuse(x.env, &codec.HandshakeError{Status: 500})
		x.finish()
	}
}

func TestRFC9112Section3_HandshakeBytesMax(t *testing.T) {
	for over, want := range []string{"request /chat; > HTTP/1.1 101 Switching Protocols", "refused 431; > HTTP/1.1 431 Request Header Fields Too Large"} {
		o := limits()
		o.HandshakeBytesMax = len(handshake) - over
		if r := verdict(t, func() *side { return newSide(t, o) }, handshake+frame(0x80, "")[:1]); r.log != want {
			t.Errorf("%d bytes too many: %s", over, r.log)
		}
		// Refused when the limit is reached, not when the head is over.
		x := newSide(t, o)
		x.feed(handshake[:o.HandshakeBytesMax])
		if x.s.State() == codec.StateOpening {
			t.Errorf("%d bytes too many: waits for more", over)
		}
	}
}

func TestRFC9112Section5_HeaderFieldsMax(t *testing.T) {
	o := limits()
	o.HeaderFieldsMax = 5 // as many as the handshake has
	x := newSide(t, o)
	x.feed(handshake)
	if x.s.State() != codec.StateOpen {
		t.Error(x.log)
	}
	o.HeaderFieldsMax--
	x = newSide(t, o)
	x.feed(handshake)
	if got := fmt.Sprint(x.log); got != "[refused 431 > HTTP/1.1 431 Request Header Fields Too Large]" {
		t.Error(got)
	}
}

// An unfinished head costs its own size, and an idle connection nothing.
func TestRFC9112Section3_HeadInPieces(t *testing.T) {
	x := newSide(t, limits())
	x.feed("")
	x.checkIdle()
	for i := range len(handshake) - 1 {
		x.feed(handshake[i : i+1])
		if held := x.s.Held(); held > 512 {
			t.Fatalf("%d bytes held of a head of %d", held, i+1)
		}
	}
	x.finish()
}

// Each byte is scanned once, or a head that comes byte by byte would cost the
// square of its length.
func TestRFC9112Section3_HeadScannedOnce(t *testing.T) {
	x := newSide(t, limits())
	for i := range len(handshake) - 1 {
		x.feed(handshake[i : i+1])
		if x.s.State() != codec.StateOpening {
			t.Fatalf("byte %d: scanned again: %s", i, x.log)
		}
		if i >= 4 {
			x.s.Spoil()
		}
	}
	x.finish()
}
