package protocol_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

func TestRFC9112Section5_FieldLines(t *testing.T) {
	const first = "GET / HTTP/1.1\r\nHost: a\r\n"
	for line, value := range map[string]string{
		"X:":                        "",
		"X: ":                       "",
		"X:y":                       "y",
		"X: \t y\tz \t":             "y\tz",
		"X: y:z":                    "y:z",
		"X: \x80\xff":               "\x80\xff",
		"X: grüße":                  "grüße",
		"!#$%&'*+-.^_`|~09azAZ: ok": "ok",
	} {
		r := parse(t, first+line+"\r\n\r\n")
		if name, _, _ := strings.Cut(line, ":"); r.Fields[1] != (protocol.Field{Name: name, Value: value}) {
			t.Errorf("%q is read as %q", line, r.Fields[1])
		}
	}
	for _, line := range []string{
		"X", "X y", "X : y", "X\t: y", " X: y", "\tX: y", " ", "\t", ": y", ":", "X Y: z", "X\x00: y", "X(: y", "X@: y", "X/: y",
		"Ü: y", "X\x7f: y", "\"X\": y", "X: \x00", "X: a\x00b", "X: a\x01", "X: a\x1fb", "X: \x7f", "X: a\rb", "X: a\r", "X: \r",
		"X: a\x0bb", "X: a\x0c", "X: a\x1b[0m", "\rX: y", "X\r: y",
		"X: a\r\n b", "X: a\r\n\tb", "X: a\r\n ", "X: a\r\n :b",
		"X: a\nY: b", "X: a\n b",
	} {
		for _, head := range []string{first + line + "\r\n\r\n", "GET / HTTP/1.1\r\n" + line + "\r\nHost: a\r\n\r\n"} {
			var r protocol.Request
			if err := r.Parse(head, 9); err == nil {
				t.Errorf("%q is accepted as %q", line, r.Fields)
			} else {
				wantStatus(t, err, 400)
			}
		}
	}
}

func TestRFC9112Section2_1_TheHeadIsComplete(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for n := range len(head) {
		var r protocol.Request
		wantStatus(t, r.Parse(head[:n], 9), 400)
	}
	for _, more := range []string{"x", "\r\n", "X: y\r\n\r\n"} {
		var r protocol.Request
		wantStatus(t, r.Parse(head+more, 9), 400)
	}
}

func TestRFC6585Section5_TooManyFields(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n"
	for fieldsMax, status := range []int{431, 431, 431, 0, 0} {
		var r protocol.Request
		wantStatus(t, r.Parse(head, fieldsMax), status)
	}
}

func TestRFC9112Section6_Body(t *testing.T) {
	for _, tt := range []struct {
		minor  int
		fields string
		status int
	}{
		{1, "Content-Length: 0", 0},
		{1, "Content-Length: 12", 0},
		{0, "Content-Length: 12", 0},
		{1, "Content-Length: 9223372036854775807", 0},
		{1, "Transfer-Encoding: chunked", 0},
		{1, "Content-Length: 9223372036854775808", 400},
		{1, "Content-Length: 99999999999999999999999", 400},
		{1, "Content-Length: 18446744073709551617", 400},
		{1, "Content-Length:", 400},
		{1, "Content-Length: -1", 400},
		{1, "Content-Length: +1", 400},
		{1, "Content-Length: 1 2", 400},
		{1, "Content-Length: 1,1", 400},
		{1, "Content-Length: 0x10", 400},
		{1, "Content-Length: 1_0", 400},
		{1, "Content-Length: 1e1", 400},
		{1, "Content-Length: ١", 400},
		{1, "Content-Length: 1\r\nContent-Length: 1", 400},
		{1, "Content-Length: 1\r\ncontent-length: 2", 400},
		{1, "Content-Length: 1\r\nTransfer-Encoding: chunked", 400},
		{1, "Transfer-Encoding: chunked\r\nContent-Length: 1", 400},
		{1, "TRANSFER-encoding: identity\r\nContent-Length: 0", 400},
		{0, "Transfer-Encoding: chunked", 400},
	} {
		var r protocol.Request
		head := fmt.Sprintf("POST / HTTP/1.%d\r\nHost: a\r\n%s\r\n\r\n", tt.minor, tt.fields)
		if wantStatus(t, r.Parse(head, 9), tt.status); t.Failed() {
			t.Fatalf("fields %q", tt.fields)
		}
	}
}

func TestRFC9110Section5_Fields(t *testing.T) {
	f := protocol.Fields{
		{Name: "Connection", Value: "keep-alive ,, Upgrade"},
		{Name: "X", Value: ""},
		{Name: "connection", Value: "\tFoo,"},
		{Name: "CONNECTION", Value: ","},
		{Name: "Connections", Value: "close"},
	}
	if got := f.Get("cONNECTION"); got != "keep-alive ,, Upgrade" {
		t.Errorf("Get = %q", got)
	}
	if f.Get("Connectio") != "" || f.Get("") != "" {
		t.Error("Get finds what is not there")
	}
	if f.Count("connection") != 3 || f.Count("x") != 1 || f.Count("y") != 0 {
		t.Error("Count is wrong")
	}
	if got := slices.Collect(f.Values("Connection")); !slices.Equal(got, []string{"keep-alive ,, Upgrade", "\tFoo,", ","}) {
		t.Errorf("Values = %q", got)
	}
	if got := slices.Collect(f.Tokens("Connection")); !slices.Equal(got, []string{"keep-alive", "Upgrade", "Foo"}) {
		t.Errorf("Tokens = %q", got)
	}
	for range f.Values("Connection") {
		break
	}
	for token := range f.Tokens("Connection") {
		if token == "Upgrade" {
			break
		}
	}
	wantAllocs(t, 0, func() {
		if !f.HasToken("connection", "foo") || f.HasToken("Connection", "close") {
			t.Fatal("HasToken is wrong")
		}
	})
}

// A substring is not a token, nor is a Unicode look-alike that folds to it.
func TestRFC9110Section5_6_1_HasToken(t *testing.T) {
	for value, want := range map[string]bool{
		"websocket": true, "WebSocket": true, "h2c, websocket": true, " websocket\t,h2c": true, ",websocket": true,
		"websocket/13": false, "xwebsocket": false, "websockets": false, "web socket": false, "": false, ",": false,
		"websoc\u212Aet": false, "web\u017Focket": false, "\"websocket\"": false, "websocket;q=1": false, "websocket h2c": false,
	} {
		f := protocol.Fields{{Name: "Upgrade", Value: value}}
		if f.HasToken("upgrade", "websocket") != want {
			t.Errorf("HasToken(%q) = %v", value, !want)
		}
	}
	f := protocol.Fields{{Name: "\u212Aey", Value: "a"}}
	if f.Get("Key") != "" {
		t.Error("a Kelvin sign is taken for a K")
	}
}

func TestRFC9110Section5_5_ValidField(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		want        bool
	}{
		{"X-Y", "", true}, {"X-Y", "a b\tc", true}, {"X-Y", "grüße", true},
		{"", "a", false}, {"X Y", "a", false}, {"X:", "a", false}, {"X\r\n", "a", false}, {"Ü", "a", false},
		{"X", "a\r\nY: b", false}, {"X", "a\n", false}, {"X", "a\r", false}, {"X", "\x00", false}, {"X", "\x7f", false},
	} {
		if got := protocol.ValidField(protocol.Field{Name: tt.name, Value: tt.value}); got != tt.want {
			t.Errorf("ValidField(%q: %q) = %v", tt.name, tt.value, got)
		}
	}
}
