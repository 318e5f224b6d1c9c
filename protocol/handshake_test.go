package protocol_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

const sampleKey = "dGhlIHNhbXBsZSBub25jZQ=="

// handshake returns the head of a correct opening handshake, in which each of the
// edits, "Name: value", replaces the field of that name or is added; "Name" alone
// removes it, "+Name: value" adds a second one.
func handshake(edits ...string) string {
	lines := []string{
		"Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey,
	}
edits:
	for _, edit := range edits {
		name, _, keep := strings.Cut(edit, ":")
		if line, second := strings.CutPrefix(edit, "+"); second {
			lines = append(lines, line)
			continue
		}
		for i := range lines {
			if strings.HasPrefix(lines[i], name+":") {
				lines[i] = edit
				if !keep {
					lines = append(lines[:i], lines[i+1:]...)
				}
				continue edits
			}
		}
		lines = append(lines, edit)
	}
	return "GET / HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func TestRFC6455Section4_2_1_CheckUpgrade(t *testing.T) {
	for _, tt := range []struct {
		status int
		edits  []string
	}{
		{0, nil},
		{0, []string{"Upgrade: WebSocket", "Connection: keep-alive, upgrade"}},
		{0, []string{"Upgrade: h2c", "+Upgrade: websocket", "Connection: a", "+Connection: UPGRADE"}},
		{0, []string{"Origin: http://a", "Sec-WebSocket-Protocol: chat, superchat", "Content-Length: 0"}},
		{0, []string{"Sec-WebSocket-Protocol: chat", "+Sec-WebSocket-Protocol: Chat"}},
		{0, []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\"z\""}},

		{426, []string{"Upgrade"}},
		{426, []string{"Upgrade: websockets"}},
		{426, []string{"Upgrade: xwebsocket"}},
		{426, []string{"Upgrade: websocket/13"}},
		{426, []string{"Upgrade: h2c"}},
		{400, []string{"Connection"}},
		{400, []string{"Connection: close"}},
		{400, []string{"Connection: NotUpgrade"}},
		{400, []string{"Connection: Upgrade-Insecure"}},

		{426, []string{"Sec-WebSocket-Version"}},
		{426, []string{"Sec-WebSocket-Version:"}},
		{426, []string{"Sec-WebSocket-Version: 8"}},
		{426, []string{"Sec-WebSocket-Version: 14"}},
		{426, []string{"Sec-WebSocket-Version: 013"}},
		{426, []string{"Sec-WebSocket-Version: 13.0"}},
		{426, []string{"Sec-WebSocket-Version: 13, 8"}},
		{426, []string{"Sec-WebSocket-Version: 13, 13"}},
		{400, []string{"+Sec-WebSocket-Version: 13"}},
		{400, []string{"+Sec-WebSocket-Version: 8"}},

		{0, []string{"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="}}, // the example of §4.1, not canonical
		{0, []string{"Sec-WebSocket-Key: +/+/+/+/+/+/+/+/+/+/+w=="}},
		{400, []string{"Sec-WebSocket-Key"}},
		{400, []string{"Sec-WebSocket-Key:"}},
		{400, []string{"+Sec-WebSocket-Key: " + sampleKey}},
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"}},        // no padding
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="}},       // half of it
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==="}},     // too much of it
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"}},          // 15 bytes
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWQ="}},      // 17 bytes
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWQA"}},      // 18 bytes
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, x"}},   // a list
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ_=="}},      // the URL alphabet
		{400, []string{"Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZ=="}},      // white space
		{400, []string{"Sec-WebSocket-Key: ========================"}},      // nothing
		{400, []string{"Sec-WebSocket-Key: " + strings.Repeat("A", 10000)}}, // endless

		{400, []string{"Origin: http://a", "+Origin: http://a"}},
		{400, []string{"Sec-WebSocket-Protocol:"}},
		{400, []string{"Sec-WebSocket-Protocol: , ,"}},
		{400, []string{"Sec-WebSocket-Protocol: a b"}},
		{400, []string{"Sec-WebSocket-Protocol: a, \"b\""}},
		{400, []string{"Sec-WebSocket-Protocol: a/b"}},
		{400, []string{"Sec-WebSocket-Protocol: ä"}},
		{400, []string{"Sec-WebSocket-Protocol: a, b, a"}},
		{400, []string{"Sec-WebSocket-Protocol: a", "+Sec-WebSocket-Protocol: b,a"}},
		{400, []string{"Sec-WebSocket-Extensions:"}},
		{400, []string{"Sec-WebSocket-Extensions: a;"}},

		{413, []string{"Content-Length: 1"}},
		{413, []string{"Transfer-Encoding: chunked"}},
		{413, []string{"Transfer-Encoding: identity"}},
	} {
		r := parse(t, handshake(tt.edits...))
		err := protocol.CheckUpgrade(r)
		if wantStatus(t, err, tt.status); t.Failed() {
			t.Fatalf("edits %q", tt.edits)
		}
		wantFields(t, err)
	}
	err := protocol.CheckUpgrade(parse(t, handshake("Upgrade")))
	if !strings.Contains(err.Error(), "this is a WebSocket") { // what a browser shows
		t.Error(err)
	}
}

// wantFields checks what RFC 9110 §15.5.6 and §15.5.22 and RFC 6455 §4.4 want in
// the reply, and in no other.
func wantFields(t *testing.T, err error) {
	t.Helper()
	var he *protocol.HandshakeError
	if !errors.As(err, &he) {
		return
	}
	want := map[int]string{
		405: "[{Allow GET}]",
		426: "[{Upgrade websocket} {Connection Upgrade} {Sec-WebSocket-Version 13}]",
	}[he.Status]
	if got := fmt.Sprint(he.Fields); got != want && (want != "" || len(he.Fields) > 0) {
		t.Errorf("%d has fields %s", he.Status, got)
	}
}

func TestRFC6455Section4_2_1_MethodAndVersion(t *testing.T) {
	for _, tt := range []struct {
		line   string
		status int
	}{
		{"GET / HTTP/1.1", 0}, {"GET / HTTP/1.2", 0}, {"GET / HTTP/1.0", 505},
		{"POST / HTTP/1.1", 405}, {"HEAD / HTTP/1.1", 405}, {"get / HTTP/1.1", 405}, {"OPTIONS * HTTP/1.1", 405},
		{"CONNECT / HTTP/1.1", 405}, {"POST / HTTP/1.0", 405},
	} {
		err := protocol.CheckUpgrade(parse(t, strings.Replace(handshake(), "GET / HTTP/1.1", tt.line, 1)))
		if wantStatus(t, err, tt.status); t.Failed() {
			t.Fatal(tt.line)
		}
		wantFields(t, err)
	}
	err := protocol.CheckUpgrade(parse(t, handshake("Upgrade")))
	if !strings.Contains(err.Error(), "this is a WebSocket") { // what a browser shows
		t.Error(err)
	}
}

// The first reason in the documented order is the one that is given.
func TestCheckUpgradeOrder(t *testing.T) {
	all := []struct {
		edit   string
		status int
	}{
		{"Upgrade: x", 426}, {"Connection: x", 400}, {"Sec-WebSocket-Version: 1", 426}, {"Sec-WebSocket-Key: x", 400},
		{"Sec-WebSocket-Protocol: @", 400}, {"Sec-WebSocket-Extensions: @", 400}, {"Content-Length: 1", 413},
	}
	var edits []string
	seen := map[string]bool{}
	for i := len(all) - 1; i >= 0; i-- {
		edits = append(edits, all[i].edit)
		err := protocol.CheckUpgrade(parse(t, handshake(edits...)))
		if wantStatus(t, err, all[i].status); err == nil || seen[err.Error()] {
			t.Errorf("%q is not noticed first: %v", all[i].edit, err)
			continue
		}
		seen[err.Error()] = true
	}
}

func TestUpgradeTellsHandshakeFromHTTP(t *testing.T) {
	for edit, want := range map[string]bool{
		"Upgrade: websocket": true, "Upgrade: foo, WEBSOCKET": true, "Upgrade": false, "Upgrade: websockets": false,
	} {
		if got := parse(t, handshake(edit, "Sec-WebSocket-Key")).Upgrade(); got != want {
			t.Errorf("%q: %v", edit, got)
		}
	}
}

// Ten thousand names, all different, must not cost ten thousand squared.
func TestManySubprotocols(t *testing.T) {
	var list strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&list, "p%d,", i)
	}
	r := parse(t, handshake("Sec-WebSocket-Protocol: "+list.String()))
	wantStatus(t, protocol.CheckUpgrade(r), 0)
	r = parse(t, handshake("Sec-WebSocket-Protocol: "+list.String()+"p0"))
	wantStatus(t, protocol.CheckUpgrade(r), 400)
}

func TestRFC6455Section4_2_2_AcceptKey(t *testing.T) {
	dst := make([]byte, 0, 64)
	for key, want := range map[string]string{
		sampleKey:                  "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
		"VR+OReqwhymoQ21dBtoIMQ==": "Y+Te7S7wQJC0FwXumEdGbv9/Mek=",
	} {
		if got := protocol.AcceptKey(key); got != want {
			t.Errorf("AcceptKey(%q) = %q", key, got)
		}
		if got := protocol.AppendAcceptKey([]byte("x"), key); string(got) != "x"+want {
			t.Errorf("AppendAcceptKey(%q) = %q", key, got)
		}
		wantAllocs(t, 0, func() { dst = protocol.AppendAcceptKey(dst[:0], key) })
	}
}

func TestCheckUpgradeAllocations(t *testing.T) {
	r := parse(t, handshake("Origin: http://a"))
	wantAllocs(t, 0, func() {
		if err := protocol.CheckUpgrade(r); err != nil {
			t.Fatal(err)
		}
	})
}

// TestExtensionsOfTheNextRequest: nothing of the last request's is left.
func TestExtensionsOfTheNextRequest(t *testing.T) {
	var r protocol.Request
	for _, tt := range []struct {
		value string
		want  []ext
	}{
		{"a; b; c=1, d; e", []ext{{"a", []param{{"b", "", false}, {"c", "1", true}}}, {"d", []param{{"e", "", false}}}}},
		{"f; g=2", []ext{{"f", []param{{"g", "2", true}}}}},
		{"h, i; j", []ext{{"h", []param{}}, {"i", []param{{"j", "", false}}}}},
	} {
		head := "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: " + tt.value + "\r\n\r\n"
		if err := r.Parse(head, 100); err != nil {
			t.Fatal(err)
		}
		if err := protocol.CheckUpgrade(&r); err != nil || !reflect.DeepEqual(r.Extensions, tt.want) {
			t.Errorf("%s: %+v, %v", tt.value, r.Extensions, err)
		}
	}
}
