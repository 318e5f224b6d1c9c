package protocol_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sockmill/sockmill/protocol"
)

// sendable spells out §7.4.1 and §7.4.2 one code at a time.
func sendable(code int) bool {
	switch code {
	case 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014:
		return true
	}
	return code >= 3000 && code < 5000
}

func TestRFC6455Section7_4_CloseCodes(t *testing.T) {
	for n := range 1 << 16 {
		code := protocol.CloseCode(n)
		if code.Valid() != sendable(n) {
			t.Errorf("%d.Valid() = %v", n, code.Valid())
		}
		got, _, err := protocol.ParseClosePayload(binary.BigEndian.AppendUint16(nil, uint16(n)))
		if sendable(n) {
			wantCode(t, err, 0)
			if got != code {
				t.Errorf("close code %d read as %d", n, got)
			}
		} else {
			wantCode(t, err, protocol.CloseProtocolError)
		}
	}
}

func TestRFC6455Section7_4_1_Names(t *testing.T) {
	seen := map[string]bool{}
	for code := protocol.CloseCode(1000); code <= 1015; code++ {
		s := code.String()
		if code == 1004 {
			if s != "1004" {
				t.Errorf("the reserved code 1004 has a name: %q", s)
			}
			continue
		}
		if _, name, _ := strings.Cut(s, " "); name == "" || seen[name] {
			t.Errorf("%d.String() = %q", code, s)
		} else {
			seen[name] = true
		}
	}
	if got := protocol.CloseProtocolError.String(); got != "1002 protocol error" {
		t.Errorf("String() = %q", got)
	}
	if got := protocol.CloseCode(4001).String(); got != "4001" {
		t.Errorf("String() = %q", got)
	}
}

func TestRFC6455Section5_5_1_ParseClosePayload(t *testing.T) {
	for _, tt := range []struct {
		payload string
		code    protocol.CloseCode
		reason  string
		err     protocol.CloseCode
	}{
		{"", protocol.CloseNoStatus, "", 0},
		{"\x03", 0, "", protocol.CloseProtocolError},
		{"\x03\xe8", protocol.CloseNormal, "", 0},
		{"\x03\xe8bye", protocol.CloseNormal, "bye", 0},
		{"\x0f\xa0grüße", 4000, "grüße", 0},
		{"\x03\xed", 0, "", protocol.CloseProtocolError}, // 1005
		{"\x03\xee", 0, "", protocol.CloseProtocolError}, // 1006
		{"\x03\xf7", 0, "", protocol.CloseProtocolError}, // 1015
		{"\x00\x00", 0, "", protocol.CloseProtocolError},
		{"\x03\xe8\xff", 0, "", protocol.CloseInvalidPayload},
		{"\x03\xe8ab\xc3", 0, "", protocol.CloseInvalidPayload},
		{"\x03\xe8\xed\xa0\x80", 0, "", protocol.CloseInvalidPayload},
		{"\x03\xed\xff", 0, "", protocol.CloseProtocolError}, // the code comes first
	} {
		code, reason, err := protocol.ParseClosePayload([]byte(tt.payload))
		if code != tt.code || reason != tt.reason {
			t.Errorf("ParseClosePayload(%q) = %d, %q", tt.payload, code, reason)
		}
		wantCode(t, err, tt.err)
	}
}

func TestRFC6455Section5_5_1_AppendClosePayload(t *testing.T) {
	for _, tt := range []struct {
		code         protocol.CloseCode
		reason, want string
	}{
		{protocol.CloseNormal, "", "\x03\xe8"},
		{protocol.CloseGoingAway, "bye", "\x03\xe9bye"},
		{0, "bye", ""},
		{protocol.CloseNoStatus, "bye", ""},
		{protocol.CloseAbnormal, "bye", ""},
		{protocol.CloseTLSHandshake, "", ""},
		{4000, "a\xffb\xc3", "\x0f\xa0a\uFFFDb\uFFFD"},
		{4000, strings.Repeat("x", 123), "\x0f\xa0" + strings.Repeat("x", 123)},
		{4000, strings.Repeat("x", 124), "\x0f\xa0" + strings.Repeat("x", 123)},
		{4000, strings.Repeat("é", 62), "\x0f\xa0" + strings.Repeat("é", 61)},
		{4000, strings.Repeat("€", 42), "\x0f\xa0" + strings.Repeat("€", 41)},
		{4000, strings.Repeat("x", 120) + "😀x", "\x0f\xa0" + strings.Repeat("x", 120)},
		{4000, strings.Repeat("x", 122) + "é", "\x0f\xa0" + strings.Repeat("x", 122)},
		{4000, strings.Repeat("\xff", 100), "\x0f\xa0" + strings.Repeat("\uFFFD", 41)},
	} {
		got := string(protocol.AppendClosePayload([]byte(">"), tt.code, tt.reason))
		if got != ">"+tt.want {
			t.Errorf("AppendClosePayload(%d, %q) = %q, want %q", tt.code, tt.reason, got, tt.want)
		}
	}
}

func TestErrorStrings(t *testing.T) {
	var err error = &protocol.Error{Code: protocol.CloseMessageTooBig, Reason: "too much"}
	if got := err.Error(); got != "websocket: 1009 message too big: too much" {
		t.Errorf("Error() = %q", got)
	}
	err = &protocol.HandshakeError{Status: 400, Reason: "missing Host"}
	if got := err.Error(); got != "websocket: handshake: 400: missing Host" {
		t.Errorf("Error() = %q", got)
	}
}

func FuzzClosePayload(f *testing.F) {
	f.Fuzz(func(t *testing.T, p []byte) {
		code, reason, err := protocol.ParseClosePayload(p)
		switch {
		case len(p) == 0:
			if code != protocol.CloseNoStatus || err != nil {
				t.Fatalf("empty payload: %d, %v", code, err)
			}
		case len(p) == 1 || !sendable(int(binary.BigEndian.Uint16(p))):
			wantCode(t, err, protocol.CloseProtocolError)
		case !utf8.Valid(p[2:]):
			wantCode(t, err, protocol.CloseInvalidPayload)
		default:
			wantCode(t, err, 0)
			back := protocol.AppendClosePayload(nil, code, reason)
			if len(p) <= protocol.ControlBytesMax && string(back) != string(p) {
				t.Fatalf("%q came back as %q", p, back)
			}
		}
		// Whatever is given as a reason, what goes out can be read.
		out := protocol.AppendClosePayload(nil, protocol.CloseNormal, string(p))
		if _, _, err := protocol.ParseClosePayload(out); err != nil || len(out) > protocol.ControlBytesMax {
			t.Fatalf("%d bytes written, %v", len(out), err)
		}
	})
}
