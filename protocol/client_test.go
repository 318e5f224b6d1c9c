package protocol_test

import (
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

func TestRFC6455Section4_1_Request(t *testing.T) {
	got := string(protocol.AppendRequest(nil, "a:8090", "/chat?x", sampleKey, nil, "", nil))
	if want := lines("GET /chat?x HTTP/1.1", "Host: a:8090", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: "+sampleKey, "Sec-WebSocket-Version: 13"); got != want {
		t.Errorf("got %q", got)
	}
	got = string(protocol.AppendRequest([]byte(">"), "a", "/", sampleKey, []string{"v2", "v1"}, "x; y",
		[]protocol.Field{{Name: "Origin", Value: "http://a"}}))
	if want := ">" + lines("GET / HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: "+sampleKey,
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: v2, v1", "Sec-WebSocket-Extensions: x; y", "Origin: http://a"); got != want {
		t.Errorf("got %q", got)
	}
	if err := protocol.CheckUpgrade(parse(t, got[1:])); err != nil {
		t.Errorf("our server refuses our client: %v", err)
	}
}

func TestRFC9112Section4_StatusLine(t *testing.T) {
	for line, status := range map[string]int{
		"HTTP/1.1 101 Switching Protocols": 101, "HTTP/1.0 200 OK": 200, "HTTP/1.1 404 ": 404, "HTTP/1.1 599 \tgrüße": 599,
		"HTTP/1.1 101": 101, "HTTP/1.1 404": 404, "HTTP/1.1 10": 0, "HTTP/1.1 1014": 0, "HTTP/1.1  101 x": 0, "HTTP/1.1 10 x": 0, "HTTP/1.1 1010 x": 0, "HTTP/1.1 1x1 x": 0, "HTTP/1.1 099 x": 0,
		"HTTP/1.1 600 x": 0, "HTTP/1.1 -10 x": 0, "HTTP/2.0 101 x": 0, "http/1.1 101 x": 0, "HTTP/1.1\t101 x": 0,
		"HTTP/1.1 101\tx": 0, "HTTP/1.1 101 a\rb": 0, "HTTP/1.1 101 \x00": 0, " HTTP/1.1 101 x": 0, "": 0, "GET / HTTP/1.1": 0,
	} {
		var r protocol.Response
		err := r.Parse(line+"\r\n\r\n", 9)
		if status == 0 {
			if wantStatus(t, err, 502); err == nil {
				t.Errorf("%q is accepted", line)
			}
		} else if err != nil || r.Status != status || r.Minor != int(line[7]-'0') {
			t.Errorf("%q: %+v, %v", line, r, err)
		}
	}
	for _, fields := range []string{"X : y", "X", "X: y\r\n z", "Content-Length: 1\r\nContent-Length: 1", "A: b\r\nC: d\r\nE: f"} {
		var r protocol.Response
		wantStatus(t, r.Parse("HTTP/1.1 200 OK\r\n"+fields+"\r\n\r\n", 2), 502)
	}
	var r protocol.Response
	wantStatus(t, r.Parse("HTTP/1.1 200 OK", 2), 502)
}

func TestRFC6455Section4_1_CheckResponse(t *testing.T) {
	accepted := string(protocol.AppendSwitchingProtocols(nil, sampleKey, "v1", "permessage-deflate", nil))
	for _, tt := range []struct {
		old, new string
		status   int
	}{
		{"", "", 0},
		{"Upgrade: websocket", "upgrade: WEBSOCKET", 0},
		{"Connection: Upgrade", "Connection: keep-alive, upgrade", 0},
		{"Sec-WebSocket-Protocol: v1\r\n", "", 0},
		{"Sec-WebSocket-Extensions: permessage-deflate\r\n", "", 0},
		{"HTTP/1.1 101", "HTTP/1.1 403", 403},
		{"HTTP/1.1 101", "HTTP/1.1 200", 200},
		{"HTTP/1.1", "HTTP/1.0", 502},
		{"Upgrade: websocket\r\n", "", 502},
		{"Upgrade: websocket", "Upgrade: h2c, websocket", 502},
		{"Upgrade: websocket", "Upgrade: websockets", 502},
		{"Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket", 502},
		{"Connection: Upgrade\r\n", "", 502},
		{"Connection: Upgrade", "Connection: Upgraded", 502},
		{"Accept: s3p", "Accept: S3p", 502},
		{"xOo=", "xOo=\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 502},
		{"xOo=", "xOo=x", 502},
		{"Sec-WebSocket-Accept: ", "Accept: ", 502},
		{"Protocol: v1", "Protocol: v3", 502},
		{"Protocol: v1", "Protocol: V1", 502},
		{"Protocol: v1", "Protocol: v1, v2", 502},
		{"Protocol: v1", "Protocol:", 502},
		{"Protocol: v1", "Protocol: v1\r\nSec-WebSocket-Protocol: v2", 502},
		{"permessage-deflate", "permessage-deflate\r\nSec-WebSocket-Extensions: x", 502},
	} {
		head := strings.Replace(accepted, tt.old, tt.new, 1)
		var r protocol.Response
		if err := r.Parse(head, 20); err != nil {
			t.Fatal(err)
		}
		if wantStatus(t, protocol.CheckResponse(&r, sampleKey, []string{"v2", "v1"}), tt.status); t.Failed() {
			t.Fatalf("%q for %q", tt.new, tt.old)
		}
	}
	var r protocol.Response
	if err := r.Parse(accepted, 20); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, protocol.CheckResponse(&r, sampleKey, nil), 502)
	wantStatus(t, protocol.CheckResponse(&r, "VR+OReqwhymoQ21dBtoIMQ==", []string{"v1"}), 502)
}
