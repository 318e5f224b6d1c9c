package codec_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

func clientLimits() codec.Options {
	o := limits()
	o.Role = codec.Client
	o.Subprotocols = []string{"v2.chat", "v1.chat"}
	return o
}

// pair is a client and a server with a wire in between that cuts.
type pair struct {
	client, server *side
	c              cut
	up, down       int // bytes of each one's output that came to the other
}

func newPair(t testing.TB, c cut) *pair {
	p := &pair{client: newSide(t, clientLimits()), server: newSide(t, limits()), c: c}
	p.client.log = nil // of its request
	p.settle()
	return p
}

// settle carries what was said, both ways, until nobody says more.
func (p *pair) settle() {
	for p.up < len(p.client.env.Out) || p.down < len(p.server.env.Out) {
		up, down := string(p.client.env.Out[p.up:]), string(p.server.env.Out[p.down:])
		p.up, p.down = p.up+len(up), p.down+len(down)
		p.server.feedCut(up, p.c)
		p.client.feedCut(down, p.c)
	}
}

// wants compares and forgets the logs.
func (p *pair) wants(client, server string) {
	p.client.tb.Helper()
	for _, e := range []struct {
		name string
		x    *side
		want string
	}{{"client", p.client, client}, {"server", p.server, server}} {
		if got := strings.Join(e.x.log, "; "); got != e.want {
			e.x.tb.Errorf("%s: %s\nwant %s", e.name, got, e.want)
		}
		e.x.log = nil
	}
}

func (x *side) send(op protocol.Opcode, payload string) {
	x.tb.Helper()
	var err error
	if x.env.Out, err = x.s.Encode(x.env, x.env.Out, op, []byte(payload), false); err != nil {
		x.tb.Fatal(err)
	}
	x.read = len(x.env.Out) // the log is for what the session says by itself
}

func TestRFC6455Section1_2_Conversation(t *testing.T) {
	for _, c := range []cut{whole, bytewise, randomly(1), randomly(2)} {
		p := newPair(t, c)
		p.wants("open", "request /chat; > HTTP/1.1 101 Switching Protocols")
		p.client.checkIdle()
		p.server.checkIdle()
		if head := string(p.server.env.Out); !strings.Contains(head, "\r\nSec-WebSocket-Protocol: v2.chat\r\n") {
			t.Error(head)
		}

		p.client.send(protocol.OpText, "grüße")
		p.client.send(protocol.OpPing, "1")
		p.client.send(protocol.OpBinary, chaos(70_000))
		p.server.send(protocol.OpBinary, "")
		p.server.send(protocol.OpPing, "2")
		p.server.send(protocol.OpPong, "unasked")
		p.settle()
		p.wants(`binary ""; ping "2"; > pong "2"; pong "unasked"; pong "1"`,
			`text "grüße"; ping "1"; > pong "1"; `+show("binary", []byte(chaos(70_000)))+`; pong "2"`)
		p.client.checkIdle()
		p.server.checkIdle()
		p.client.finish()
		p.server.finish()
	}
}

func TestRFC6455Section7_1_CloseFromEitherSide(t *testing.T) {
	for _, c := range []cut{whole, bytewise} {
		p := newPair(t, c)
		p.wants("open", "request /chat; > HTTP/1.1 101 Switching Protocols")
		p.server.send(protocol.OpText, "last words")
		p.client.shut(protocol.CloseNormal, "bye")
		p.settle()
		p.wants(`> close 1000; closed 1000 ""`, `closed 1000 "bye"; > close 1000`)

		p = newPair(t, c)
		p.wants("open", "request /chat; > HTTP/1.1 101 Switching Protocols")
		p.server.shut(protocol.CloseGoingAway, "")
		p.settle()
		p.wants(`closed 1001 ""; > close 1001`, `> close 1001; closed 1001 ""`)

		// Both at once: each takes the other's close frame for the answer.
		p = newPair(t, c)
		p.wants("open", "request /chat; > HTTP/1.1 101 Switching Protocols")
		p.server.shut(protocol.CloseServiceRestart, "")
		p.client.shut(protocol.CloseNoStatus, "")
		p.settle()
		p.wants(`> close; closed 1012 ""`, `> close 1012; closed 1005 ""`)
		p.client.finish()
		p.server.finish()
	}
}

// Messages of all kinds and sizes, both ways at once, in pieces of any size.
func TestRFC6455Section5_Traffic(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	p := newPair(t, randomly(5))
	p.wants("open", "request /chat; > HTTP/1.1 101 Switching Protocols")
	for range 40 {
		var toServer, toClient []string
		for range r.IntN(5) {
			up, down := chaos(r.IntN(1<<r.IntN(14))), text(r.IntN(1<<r.IntN(14)))
			p.client.send(protocol.OpBinary, up)
			p.server.send(protocol.OpText, down)
			toServer = append(toServer, show("binary", []byte(up)))
			toClient = append(toClient, show("text", []byte(down)))
		}
		p.settle()
		p.wants(strings.Join(toClient, "; "), strings.Join(toServer, "; "))
	}
	p.client.finish()
	p.server.finish()
}

// What a client sends is masked with a key that nobody can foresee, each frame
// with its own, and the program's bytes are left alone.
func TestRFC6455Section5_3_ClientMasks(t *testing.T) {
	o := clientLimits()
	s := codec.NewSessionIn(&o, codec.StateOpen)
	random := rand.New(rand.NewPCG(7, 8))
	env := &codec.Env{Random: random.Uint64}
	foresee := rand.New(rand.NewPCG(7, 8))
	keys := map[[4]byte]bool{}
	payload := []byte(text(100))
	for range 1000 {
		wire, err := s.Encode(env, []byte("before"), protocol.OpText, payload, false)
		if err != nil || !bytes.HasPrefix(wire, []byte("before\x81\xe4")) || len(wire) != 6+2+4+len(payload) {
			t.Fatalf("%q, %v", wire, err)
		}
		key, masked := [4]byte(wire[8:12]), wire[12:]
		if want := binary.LittleEndian.AppendUint64(nil, foresee.Uint64()); !bytes.Equal(key[:], want[:4]) {
			t.Fatalf("the key %x does not come from Env.Random", key)
		}
		if keys[key] {
			t.Fatalf("the key %x comes again", key)
		}
		keys[key] = true
		for i := range masked {
			masked[i] ^= key[i%4]
		}
		if !bytes.Equal(masked, payload) || string(payload) != text(100) {
			t.Fatalf("%q on the wire for %q", masked, payload)
		}
	}
}

func TestRFC6455Section5_1_MaskedServer(t *testing.T) {
	p := newPair(t, whole)
	p.wants("open", "request /chat; > HTTP/1.1 101 Switching Protocols")
	p.client.feed(frame(0x81, "hello"))
	p.settle()
	p.wants("violation 1002; > close 1002", `closed 1002 "frame from the server is masked"; > close 1002`)
}

func TestRFC6455Section4_1_Request(t *testing.T) {
	x := newSide(t, clientLimits())
	var r protocol.Request
	if err := r.Parse(string(x.env.Out), 20); err != nil {
		t.Fatal(err)
	}
	if err := protocol.CheckUpgrade(&r); err != nil || r.Target != "/chat" || r.Host != "127.0.0.1:8090" {
		t.Errorf("%v, %q", err, x.env.Out)
	}
	if offered := slices.Collect(r.Fields.Tokens("Sec-WebSocket-Protocol")); !slices.Equal(offered, []string{"v2.chat", "v1.chat"}) {
		t.Error(offered)
	}
	random := newEnv().Random
	want := binary.LittleEndian.AppendUint64(nil, random())
	want = binary.LittleEndian.AppendUint64(want, random())
	if got := r.Fields.Get("Sec-WebSocket-Key"); got != base64.StdEncoding.EncodeToString(want) {
		t.Errorf("key %s, not from Env.Random", got)
	}
	x.finish()
}

func TestRFC6455Section4_1_Response(t *testing.T) {
	const status, up, conn = "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"
	request := newSide(t, clientLimits()).env.Out
	var r protocol.Request
	if err := r.Parse(string(request), 20); err != nil {
		t.Fatal(err)
	}
	accept := "Sec-WebSocket-Accept: " + protocol.AcceptKey(r.Fields.Get("Sec-WebSocket-Key"))
	for _, tt := range []struct{ in, want string }{
		{head(status, up, conn, accept), "open"},
		{head(status, "upgrade: WebSocket", "connection: x, upgrade", accept, "Sec-WebSocket-Protocol: v1.chat"), "open"},
		{head(status, up, conn, accept) + bare(0x81, "hello") + bare(0x89, "x") + bare(0x88, ""),
			`open; text "hello"; ping "x"; > pong "x"; closed 1005 ""; > close`},
		{head(status, up, conn, accept) + bare(0x01, "a") + bare(0x82, "b"), "open; violation 1002; > close 1002"},

		{head(status, up, conn, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "refused 502"}, // another key's
		{head(status, up, conn), "refused 502"},
		{head(status, up, conn, accept, accept), "refused 502"},
		{head(status, conn, accept), "refused 502"},
		{head(status, "Upgrade: h2c", conn, accept), "refused 502"},
		{head(status, up, accept), "refused 502"},
		{head(status, up, "Connection: close", accept), "refused 502"},
		{head("HTTP/1.0 101 Switching Protocols", up, conn, accept), "refused 502"},
		{head(status, up, conn, accept, "Sec-WebSocket-Protocol: v3.chat"), "refused 502"},
		{head(status, up, conn, accept, "Sec-WebSocket-Protocol: v1.chat, v2.chat"), "refused 502"},
		{head(status, up, conn, accept, "Sec-WebSocket-Protocol: v1.chat", "Sec-WebSocket-Protocol: v1.chat"), "refused 502"},
		{head(status, up, conn, accept, "Sec-WebSocket-Extensions: permessage-deflate"), "refused 502"},
		{head("HTTP/1.1 200 OK", "Content-Length: 5") + "hello", "refused 200"},
		{head("HTTP/1.1 302 Found", "Location: /"), "refused 302"},
		{head("HTTP/1.1 401 Unauthorized", up, conn, accept), "refused 401"},
		{head("HTTP/1.1 404 Not Found"), "refused 404"},
		{head("HTTP/1.1 503 Service Unavailable"), "refused 503"},
		{head("HTTP/1.1 101", up, conn, accept), "open"},
		{head("HTTP/1.1 404"), "refused 404"},
		{head(status, up, conn, accept, strings.TrimSuffix(strings.Repeat("X:\r\n", 18), "\r\n")), "refused 502"},
		{head(status, up, conn, accept, "X: "+strings.Repeat("x", 5000)), "refused 502"},
		{status + "\nUpgrade: websocket\n\n", "refused 502"},
		{bare(0x81, "hello"), "refused 502"},

		// What is not HTTP is known at once, not at the end of a head.
		{"\x15\x03\x01\x00\x02\x02\x28", "refused 502"}, // a TLS alert
		{"SSH-2.0-OpenSSH_9.6\r\n", "refused 502"},
		{"\r\n\r\nHTTQ", "refused 502"},
		{"HTTP", ""},
		{"220 mail.example ESMTP\r\n", "refused 502"},

		// Interim responses (RFC 9110 §15.2), as many as are bearable.
		{head("HTTP/1.1 100 Continue") + head(status, up, conn, accept) + bare(0x89, "x"), `open; ping "x"; > pong "x"`},
		{head("HTTP/1.1 103 Early Hints", "Link: </a>") + head("HTTP/1.1 103 Early Hints", "Link: </b>") + head("HTTP/1.1 401 No"), "refused 401"},
		{strings.Repeat(head("HTTP/1.1 102"), 8) + head(status, up, conn, accept), "open"},
		{strings.Repeat(head("HTTP/1.1 100 Continue"), 9), "refused 502"},
		{head("HTTP/1.1 100 Continue"), ""},
		{head("HTTP/1.1 100 Continue", "X : y"), "refused 502"},
		{head("HTTP/1.1 100 Continue") + "\x15\x03\x01", "refused 502"},
	} {
		fresh := func() *side {
			x := newSide(t, clientLimits())
			x.log = nil // of its request
			return x
		}
		r := verdict(t, fresh, tt.in)
		if r.log != tt.want {
			t.Errorf("%.300q: %s, want %s", tt.in, r.log, tt.want)
		}
		if strings.HasPrefix(tt.want, "refused") && (r.out != string(request) || r.state != codec.StateClosed) {
			t.Errorf("%.300q: a client says %q to a refusal", tt.in, r.out[len(request):])
		}
	}
}

// A refusal is shown with what its body says, as much of it as is awaited.
func TestRFC9112Section6_3_Refusal(t *testing.T) {
	const no = "the server did not switch protocols"
	long := strings.Repeat("0123456789", 30)
	for _, tt := range []struct{ in, want, ended string }{
		{head("HTTP/1.1 400 Bad Request", "Content-Length: 26") + "this port \t\n speaks\r\nTLS\r\n", no + `: "this port speaks TLS"`, ""},
		{head("HTTP/1.1 400 Bad Request", "Content-Length: 300") + long, no + `: "` + long[:256] + `"`, ""},
		{head("HTTP/1.1 400 Bad Request", "Content-Length: 9999999999") + long, no + `: "` + long[:256] + `"`, ""},
		{head("HTTP/1.1 400 Bad Request", "Content-Length: 2") + "noise", no + `: "no"`, ""},
		{head("HTTP/1.1 403 No", "Content-Length: 4") + "\xff\x00\"\xc3", no + `: "\x00\""`, ""},
		{head("HTTP/1.1 403 No", "Content-Length: 6") + "grüß", no + `: "grüß"`, ""},
		{head("HTTP/1.1 403 No", "Content-Length: 0") + "x", no, ""},
		{head("HTTP/1.1 403 No", "Content-Length: 3") + " \n ", no, ""},
		{head("HTTP/1.1 403 No") + "it may be of any length", no, ""},
		{head("HTTP/1.1 403 No", "Transfer-Encoding: chunked", "Connection: close") + "2\r\nno\r\n0\r\n\r\n", no, ""},
		{head("HTTP/1.1 204 No Content", "Connection: close") + "x", no, ""},
		{head("HTTP/1.1 304 Not Modified", "Content-Length: 5"), no, ""},
		{head("HTTP/1.1 301 Moved", "Location: https://a/b", "Content-Length: 5") + "moved", no + `, it redirects to "https://a/b": "moved"`, ""},
		{head("HTTP/1.1 103 Early Hints") + head("HTTP/1.1 403 No", "Content-Length: 2") + "no", no + `: "no"`, ""},

		// The stream may end first: see Refusal.
		{head("HTTP/1.0 400 Bad Request") + "this port speaks TLS\n", "", no + `: "this port speaks TLS"`},
		{head("HTTP/1.0 400 Bad Request") + long, no + `: "` + long[:256] + `"`, ""},
		{head("HTTP/1.1 400 Bad Request", "Connection: x, close") + "grü\xc3", "", no + `: "grü"`},
		{head("HTTP/1.1 400 Bad Request", "Connection: close"), "", no},
		{head("HTTP/1.1 400 Bad Request", "Content-Length: 10") + "this port", "", no + `: "this port"`},
		{head("HTTP/1.1 400 Bad"), no, ""},
		{"HTTP/1.1 400 Bad Request\r\n", "", ""},

		{"\x15\x03\x01\x00\x02\x02\x28", "the server speaks TLS: use wss://", ""},
		{"SSH-2.0-OpenSSH_9.6\r\n", "the server does not speak HTTP", ""},
	} {
		for _, c := range []cut{whole, bytewise, randomly(1), randomly(2)} {
			x := newSide(t, clientLimits())
			x.feedCut(tt.in, c)
			closed, ended := "", ""
			if x.close != nil {
				closed = strings.SplitN(x.close.Err.Error(), ": ", 4)[3]
			}
			if e := x.s.Refusal(); e != nil {
				if ended = e.Reason; e.Status != 400 {
					t.Errorf("%.300q: %d", tt.in, e.Status)
				}
			}
			if closed != tt.want || ended != tt.ended {
				t.Errorf("%.300q: %s (%s), want %s (%s)", tt.in, closed, ended, tt.want, tt.ended)
			}
			x.finish()
		}
	}
}

// A client holds a server to the same rules.
func TestRFC6455Section5_ServerViolations(t *testing.T) {
	o := clientLimits()
	o.MessageBytesMax = 4
	for in, want := range map[string]string{
		bare(0xc1, ""): "1002", bare(0x83, ""): "1002", bare(0x09, ""): "1002", bare(0x89, text(126)): "1002",
		bare(0x80, ""): "1002", bare(0x81, "\xff"): "1007", bare(0x88, "\x03"): "1002", bare(0x88, code(1005)): "1002",
		bare(0x82, "12345"): "1009",
	} {
		r := verdict(t, func() *side {
			x := newSide(t, o)
			x.s, x.log = codec.NewSessionIn(x.opts, codec.StateOpen), nil
			return x
		}, in)
		if r.log != "violation "+want+"; > close "+want {
			t.Errorf("%q: %s, want %s", in, r.log, want)
		}
	}
}
