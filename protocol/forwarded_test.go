package protocol_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// show writes nodes with "-" for an invalid one.
func show(nodes []netip.Addr) string {
	var words []string
	for _, a := range nodes {
		if a.IsValid() {
			words = append(words, a.String())
		} else {
			words = append(words, "-")
		}
	}
	return strings.Join(words, " ")
}

func fieldsOf(name string, values ...string) (f protocol.Fields) {
	for _, v := range values {
		f = append(f, protocol.Field{Name: "X-Other", Value: "for=9.9.9.9"}, protocol.Field{Name: name, Value: v})
	}
	return f
}

func TestRFC7239Section4_Forwarded(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{"for=192.0.2.43", "192.0.2.43"},
		{"For=192.0.2.43", "192.0.2.43"},
		{"for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;proto=http;host=example.com", "192.0.2.43 198.51.100.17"},
		{`proto=https;for="[2001:db8:cafe::17]:4711"`, "2001:db8:cafe::17"},
		{`for="[2001:db8:cafe::17]"`, "2001:db8:cafe::17"},
		{`for="192.0.2.43:47011"`, "192.0.2.43"},
		{`for="192.0.2.43:_port-1"`, "192.0.2.43"},
		{`for="[::ffff:192.0.2.43]"`, "192.0.2.43"},
		{`for="192.0.2.\43"`, "192.0.2.43"},
		{"for=1.1.1.1 ; proto=https ;, for=2.2.2.2", "1.1.1.1 2.2.2.2"},
		{"", ""},
		{" , ,\t", ""},

		// The quoted string is one value, whatever it looks like.
		{`for=1.1.1.1;host="a, for=6.6.6.6"`, "1.1.1.1"},
		{`for=1.1.1.1;host="a;for=6.6.6.6"`, "1.1.1.1"},
		{`for=1.1.1.1;host="a\", for=6.6.6.6"`, "1.1.1.1"},
		{`host="a, for=6.6.6.6";for=1.1.1.1`, "1.1.1.1"},

		// Nobody's word.
		{"for=1.1.1.1;for=6.6.6.6", "-"},
		{"for=1.1.1.1;FOR=1.1.1.1", "-"},
		{"for=1.1.1.1;proto=http;proto=https", "-"},
		{"for=1.1.1.1, proto=https, for=2.2.2.2", "1.1.1.1 - 2.2.2.2"},
		{"by=1.1.1.1", "-"},
		{";", "-"},
		{"for=unknown", "-"},
		{"for=_hidden", "-"},
		{`for="unknown:80"`, "-"},
		{"for=", "-"},
		{"for", "-"},
		{"=1.1.1.1", "-"},
		{"for =1.1.1.1", "-"},
		{"for= 1.1.1.1", "-"},
		{"for=1.1.1.1;x", "-"},
		{"for=1.1.1.1 proto=http", "-"},
		{"for=1.1.1.1:80", "-"},             // ":" needs quotes
		{"for=[2001:db8::1]", "-"},          // so do brackets
		{`for="2001:db8::1"`, "-"},          // which an IPv6 address needs
		{`for="[1.1.1.1]"`, "-"},            // and an IPv4 address must not have
		{`for="[fe80::1%eth0]"`, "-"},       // a zone means nothing elsewhere
		{`for="1.1.1.1:"`, "-"},             //
		{`for="1.1.1.1:123456"`, "-"},       //
		{`for="1.1.1.1:000080"`, "-"},       //
		{`for="1.1.1.1:_"`, "-"},            //
		{`for="1.1.1.1:_a b"`, "-"},         //
		{`for="[2001:db8::1]80"`, "-"},      //
		{`for="[2001:db8::1"`, "-"},         //
		{`for="1.1.1.1"x`, "-"},             //
		{`for="1.1.1.1""2.2.2.2"`, "-"},     //
		{`for=1.1.1.1"a, for=6.6.6.6`, "-"}, // a quoted string does not end: it is all one
		{`for=1.1.1.1, for="6.6.6.6`, "-"},
		{`for=1.1.1.1;host="a\`, "-"},
		{`for=1.1.1.1;host="a\"`, "-"},
		{`for=1.1.1.1;host="a` + "\x01" + `"`, "-"},
		{"for=1.1.1.1;a=1;b=1;c=1;d=1;e=1;f=1;g=1;h=1;i=1;j=1;k=1;l=1;m=1;n=1;o=1", "1.1.1.1"},
		{"for=1.1.1.1;a=1;b=1;c=1;d=1;e=1;f=1;g=1;h=1;i=1;j=1;k=1;l=1;m=1;n=1;o=1;p=1", "-"},
	} {
		if got := show(fieldsOf("Forwarded", tt.value).ForwardedFor()); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.value, got, tt.want)
		}
	}
	// A field that is broken breaks no other: each proxy may write its own.
	for _, tt := range []struct {
		values []string
		want   string
	}{
		{[]string{"for=1.1.1.1", "for=2.2.2.2,for=3.3.3.3"}, "1.1.1.1 2.2.2.2 3.3.3.3"},
		{[]string{`for="6.6.6.6`, `for=1.1.1.1;host="a"`}, "- 1.1.1.1"},
		{[]string{"for=1.1.1.1", `for=2.2.2.2, "`, "for=3.3.3.3"}, "1.1.1.1 - 3.3.3.3"},
	} {
		if got := show(fieldsOf("forwarded", tt.values...).ForwardedFor()); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.values, got, tt.want)
		}
	}
}

func TestXForwardedFor(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{"1.1.1.1", "1.1.1.1"},
		{"1.1.1.1, 2.2.2.2:80,,2001:db8::1", "1.1.1.1 2.2.2.2 2001:db8::1"},
		{"[2001:db8::1]:80, [2001:db8::2]", "2001:db8::1 2001:db8::2"},
		{"::ffff:1.1.1.1", "1.1.1.1"},
		{"1.1.1.1, unknown, 2.2.2.2", "1.1.1.1 - 2.2.2.2"},
		{"<script>", "-"},
		{"fe80::1%eth0", "-"},
		{"1.1.1", "-"},
		{"01.1.1.1", "-"},
		{"1.1.1.1:x", "-"},
		{"[1.1.1.1]", "-"},
		{"", ""},
	} {
		if got := show(fieldsOf("X-Forwarded-For", tt.value).XForwardedFor()); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.value, got, tt.want)
		}
	}
}

// FuzzForwarded: whatever a client put in front, a proxy's own element behind it
// is read as it was written, or nothing of that field is believed.
func FuzzForwarded(f *testing.F) {
	own := netip.MustParseAddr("203.0.113.7")
	f.Fuzz(func(t *testing.T, s string) {
		alone := fieldsOf("Forwarded", s).ForwardedFor()
		behind := fieldsOf("Forwarded", s+`, for=203.0.113.7;host="a"`).ForwardedFor()
		switch last := len(behind) - 1; {
		case last < 0:
			t.Fatalf("%q: nothing", s)
		case behind[last] == own && slices.Equal(behind[:last], alone):
		case last == 0 && !behind[0].IsValid():
		default:
			t.Fatalf("%q: %q alone, then %q", s, show(alone), show(behind))
		}
		next := fieldsOf("Forwarded", s, "for=203.0.113.7").ForwardedFor()
		if len(next) != len(alone)+1 || next[len(alone)] != own {
			t.Fatalf("%q: %q alone, with another field %q", s, show(alone), show(next))
		}
		for _, a := range append(alone, fieldsOf("X-Forwarded-For", s).XForwardedFor()...) {
			if a.Is4In6() || a.Zone() != "" {
				t.Fatalf("%q: %v", s, a)
			}
		}
	})
}
