package protocol_test

import (
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

func TestRFC6455Section10_2_SameOrigin(t *testing.T) {
	for _, tt := range []struct {
		origin, host string
		want         bool
	}{
		{"http://a.org", "a.org", true},
		{"http://A.org", "a.ORG", true},
		{"HTTP://a.org", "a.org", true},
		{"http://a.org", "a.org:80", true},
		{"http://a.org:80", "a.org", true},
		{"https://a.org", "a.org", true},
		{"https://a.org", "a.org:443", true},
		{"https://a.org:8443", "a.org:8443", true},
		{"ws://a.org", "a.org:80", true},
		{"wss://a.org", "a.org:443", true},
		{"http://127.0.0.1:8090", "127.0.0.1:8090", true},
		{"http://[::1]:8090", "[::1]:8090", true},
		{"http://[::1]", "[::1]:80", true},
		{"http://[2001:DB8::1]", "[2001:db8::1]", true},
		{"http://a.org", "a.org:", true},
		{"http://[::1]", "[0:0:0:0:0:0:0:1]", true},

		{"http://a.org", "b.org", false},
		{"http://a.org", "a.org.b.org", false},
		{"http://a.org.b.org", "a.org", false},
		{"http://b.a.org", "a.org", false},
		{"http://ba.org", "a.org", false},
		{"http://a.org", "a.org:443", false},
		{"https://a.org", "a.org:80", false},
		{"http://a.org:8080", "a.org", false},
		{"http://a.org", "a.org:8080", false},
		{"http://a.org:8080", "a.org:8081", false},
		{"http://[::1]", "[::2]", false},
		{"http://::1", "[::1]", false},
		{"http://\u212A.org", "k.org", false},
		{"null", "null", false},
		{"", "", false},
		{"", "a.org", false},
		{"a.org", "a.org", false},
		{"//a.org", "a.org", false},
		{"://a.org", "a.org", false},
		{"http:a.org", "a.org", false},
		{"http://", "", false},
		{"http://a.org", "", false},
		{"http://a.org/", "a.org", false},
		{"http://a.org/x", "a.org", false},
		{"http://a.org?x", "a.org", false},
		{"http://a.org#x", "a.org", false},
		{"http://u@a.org", "a.org", false},
		{"http://b.org@a.org", "a.org", false},
		{"http://a.org http://b.org", "a.org", false},
		{"http://a.org, http://b.org", "a.org", false},
		{"http://a.org:99999", "a.org:99999", false},
		{"http://a.org:x", "a.org:x", false},
		{"file://a.org", "a.org", false},
		{"app://localhost", "localhost", false},
		{"htt p://a.org", "a.org", false},
	} {
		if got := protocol.SameOrigin(tt.origin, tt.host); got != tt.want {
			t.Errorf("SameOrigin(%q, %q) = %v", tt.origin, tt.host, got)
		}
	}
}

func TestRFC6455Section10_2_MatchOrigin(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"*", []string{"http://a.org", "null", "app://x", ""}, nil},
		{"https://a.org", []string{"https://a.org", "HTTPS://A.ORG", "https://a.org:443"},
			[]string{"http://a.org", "https://a.org:444", "https://b.a.org", "https://a.org.b", "https://ba.org", "null", "a.org", "https://a.org/"}},
		{"https://a.org:444", []string{"https://a.org:444"}, []string{"https://a.org", "https://a.org:443", "http://a.org:444"}},
		{"https://*.a.org", []string{"https://b.a.org", "https://c.b.a.org", "https://B.A.org"},
			[]string{"https://a.org", "https://.a.org", "https://ba.org", "https://evila.org", "https://b.a.org.c", "http://b.a.org", "https://b.a.org:444"}},
		{"a.org", []string{"http://a.org", "https://a.org", "http://a.org:80", "https://a.org:443", "app://a.org"},
			[]string{"http://b.a.org", "http://a.org:443", "https://a.org:80", "http://a.org:8080", "app://a.org:80"}},
		{"a.org:8080", []string{"http://a.org:8080", "https://a.org:8080"}, []string{"http://a.org", "http://a.org:80", "http://b.a.org:8080"}},
		{"*.a.org:8080", []string{"http://b.a.org:8080"}, []string{"http://b.a.org", "http://a.org:8080"}},
		{"*.a.org", []string{"http://b.a.org", "https://c.b.a.org"}, []string{"http://a.org", "http://b.a.org:81", "http://xa.org"}},
		{"http://localhost:*", []string{"http://localhost", "http://localhost:1", "http://LOCALHOST:65535"},
			[]string{"https://localhost:1", "http://a.localhost:1", "http://localhost:65536", "http://localhost:*"}},
		{"*.a.org:*", []string{"https://b.a.org:1"}, []string{"https://a.org:1"}},
		{"[::1]:8090", []string{"http://[::1]:8090"}, []string{"http://[::1]", "http://[::2]:8090"}},
		{"http://[::1]:*", []string{"http://[::1]:8090", "http://[::1]"}, []string{"http://[::2]"}},
		{"a.org:", []string{"http://a.org"}, []string{"http://a.org:81"}}, // RFC 3986 §3.2.3: an empty port is none
		{"app://x", []string{"app://x"}, []string{"http://x", "app://x:1"}},
		{"null", []string{"null"}, []string{"http://null", "", "file://", "nul"}},
		{"file://", []string{"file://", "FILE://"}, []string{"null", "file:///", "file://a", "file:", "http://a.org"}},
		{"http://[0:0:0:0:0:0:0:1]:80", []string{"http://[::1]"}, []string{"http://[::2]", "http://a.org"}},
		{"[::ffff:1.2.3.4]", []string{"http://[::ffff:102:304]"}, []string{"http://1.2.3.4"}},
		{"127.0.0.1:8090", []string{"http://127.0.0.1:8090"}, []string{"http://127.0.0.2:8090"}},
		{"*.168.1.1", []string{"http://192.168.1.1"}, []string{"http://168.1.1"}},
		{"a1", []string{"http://a1"}, nil},
	} {
		if err := protocol.ValidOriginPattern(tt.pattern); err != nil {
			t.Error(err)
		}
		for _, origin := range tt.yes {
			if !protocol.MatchOrigin(tt.pattern, origin) {
				t.Errorf("%q does not admit %q", tt.pattern, origin)
			}
		}
		for _, origin := range tt.no {
			if protocol.MatchOrigin(tt.pattern, origin) {
				t.Errorf("%q admits %q", tt.pattern, origin)
			}
		}
	}
}

func TestInvalidOriginPatterns(t *testing.T) {
	for _, pattern := range []string{
		"", "http://", "://a.org", "http://*", "*:80", "**", "*.", "*.*", "*.*.org", "a.*", "a.*.org", "*a.org", "http://*a.org",
		"a.org/", "http://a.org/x", "a.org:x", "a.org:80:*", "a.org::*", "a.org:65536", ":80", ":*", "a b", "u@a.org",
		"file://a", "file://*.a", "file://localhost:*", "a.org:0", "127.1", "http://192.168.001.1", "1.2.3.4.5", "256.1.1.1", "a.org.1", "*.1.2.3.4", "1.2.3.4.",
		"*://a.org", "1://a.org", "[::1", "*.[::1]", "http://http://a.org", "ä.org", "*.:80", "a%zz",
	} {
		err := protocol.ValidOriginPattern(pattern)
		if err == nil {
			t.Errorf("pattern %q is taken", pattern)
		}
		for _, origin := range []string{"http://a.org", "https://b.a.org:80", "null", "", "http://" + pattern, pattern} {
			if protocol.MatchOrigin(pattern, origin) {
				t.Errorf("pattern %q admits %q", pattern, origin)
			}
		}
	}
}

func TestOriginAllocations(t *testing.T) {
	wantAllocs(t, 0, func() {
		if !protocol.SameOrigin("http://[::1]:8090", "[::1]:8090") || !protocol.MatchOrigin("https://*.a.org", "https://b.a.org") {
			t.Fatal("refused")
		}
	})
}
