package engine

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// TestDialURLs: what is wrong with a Dial is said at once.
func TestDialURLs(t *testing.T) {
	c := pure(t, Config{}, Handler{})
	for want, d := range map[string]Dial{
		"is no URL":                    {URL: "ws://user:secret@[::1"},
		"must begin with ws://":        {URL: "http://a/"},
		"must begin with ws://, wss":   {URL: "https://a/?secret"},
		"does not use Dial.TLS":        {URL: "ws://a", TLS: new(tls.Config)},
		"must be tcp://host:port":      {URL: "tcp://a:1/?secret"},
		"port from 1 to":               {URL: "text://a"},
		"must be unix:///path":         {URL: "unix://a"},
		"are for WebSocket":            {URL: "frame://a:1", Subprotocols: []string{"a"}},
		"names no host":                {URL: "ws:///x"},
		"Dial.URL \"\" must begin":     {},
		"port from 1":                  {URL: "ws://a:65536"},
		"port from 1 ":                 {URL: "ws://a:0"},
		"Authorization":                {URL: "ws://user:secret@a/"},
		"fragment":                     {URL: "ws://a/#secret"},
		"ws+unix:///path":              {URL: "ws+unix://host/path"},
		"ws+unix:///path, or":          {URL: "ws+unix://"},
		"no server would take":         {URL: "ws://bücher.example/"},
		"malformed name or value":      {URL: "ws://a", Header: []protocol.Field{{Name: "X", Value: "a\r\nb: c"}}},
		"\"host\" belongs to the":      {URL: "ws://a", Header: []protocol.Field{{Name: "host", Value: "b"}}},
		"sec-websocket-key":            {URL: "ws://a", Header: []protocol.Field{{Name: "sec-websocket-key", Value: "b"}}},
		"\"a b\" is no token":          {URL: "ws://a", Subprotocols: []string{"a b"}},
		"Sec-WebSocket-Protocol":       {URL: "ws://a", Subprotocols: []string{"a", "a"}},
		"another engine's":             {URL: "ws://a", Loop: pure(t, Config{}, Handler{}).Loops()[0]},
		"Dial.Timeout is -1s":          {URL: "ws://a", Timeout: -time.Second},
		"Dial.BackoffMin is -1s":       {URL: "ws://a", BackoffMin: -time.Second},
		"Dial.BackoffMax is 1s: it":    {URL: "ws://a", BackoffMin: time.Minute, BackoffMax: time.Second},
		"Dial.BackoffMax is 48h0m0s: ": {URL: "ws://a", BackoffMax: 48 * time.Hour},
	} {
		err := c.Dial(t.Context(), d)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: error %v, want %s", d, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Dial(ctx, Dial{URL: "ws://127.0.0.1:9"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	if c.Stats().Connections != 0 {
		t.Error("what was refused was counted")
	}
	if err := c.end(); err != nil {
		t.Error(err)
	}
	if err := c.Dial(context.Background(), Dial{URL: "ws://a"}); !errors.Is(err, ErrStopped) {
		t.Errorf("Dial after the end: %v", err)
	}
}

// TestDialTargets: the request line and Host, as they follow from the URL.
func TestDialTargets(t *testing.T) {
	for url, want := range map[string]string{
		"ws://a":                        "tcp a:80 a /",
		"WS://a:80?":                    "tcp a:80 a /?",
		"ws://a:/x":                     "tcp a:80 a /x",
		"ws+unix:/s@x":                  "unix /s@x localhost /",
		"ws://A.b:81/x%2Fy?z=%20#":      "",
		"ws://A.b:81/x%2Fy?z=%20":       "tcp A.b:81 A.b:81 /x%2Fy?z=%20",
		"ws://[::1]:81":                 "tcp [::1]:81 [::1]:81 /",
		"ws://[fe80::1%25eth0]/":        "tcp [fe80::1%eth0]:80 [fe80::1] /",
		"wss://a":                       "tcp a:443 a / a",
		"wss://a:80":                    "tcp a:80 a:80 / a",
		"wss://[fe80::1%25eth0]":        "tcp [fe80::1%eth0]:443 [fe80::1] / fe80::1",
		"ws+tls+unix:///run/s":          "unix /run/s localhost / localhost",
		"tls://a:1":                     "tcp a:1 a:1 / a",
		"text://a:1":                    "tcp a:1 a:1 /",
		"chat://a:1":                    "tcp a:1 a:1 /",
		"unix:///a:b":                   "unix /a:b localhost /",
		"ws+unix:///run/s":              "unix /run/s localhost /",
		"ws+unix:///run/s:/x%20y?z=1:2": "unix /run/s localhost /x%20y?z=1:2",
	} {
		x := &target{full: url, endpoint: endpoint{settings: &settings{MessageBytesMax: 1, Schemes: map[string]func() codec.Codec{"chat": newRaw}}}}
		err := x.locate()
		got := fmt.Sprintf("%s %s %s %s", x.network, x.address, x.options.Host, x.options.Target)
		if x.tls != nil {
			got += " " + x.tls.ServerName
		}
		if err == nil && got != want || err != nil && want != "" {
			t.Errorf("%s: %s (%v), want %s", url, got, err, want)
		}
	}
}

// TestDialShares: who dials a crowd keeps one target for all.
func TestDialShares(t *testing.T) {
	e, err := New(Config{}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.life.endServing()
	d := Dial{URL: "ws://a/", Subprotocols: []string{"a", "b"}, Header: []protocol.Field{{Name: "X", Value: "y"}}}
	first, _ := e.target(&d)
	d.Subprotocols, d.Header = slices.Clone(d.Subprotocols), slices.Clone(d.Header)
	if again, err := e.target(&d); again != first || err != nil {
		t.Errorf("the same Dial has another target (%v)", err)
	}
	d.Header[0].Value = "z"
	if other, err := e.target(&d); other == first || err != nil || first.options.Fields[0].Value != "y" {
		t.Errorf("another Dial has the same target (%v)", err)
	}
}

// FuzzDialURL holds what becomes of a URL against net/http's reading of the
// request.
func FuzzDialURL(f *testing.F) {
	for _, url := range []string{
		"ws://a", "ws://[::1]:81/x?y=z", "ws://[fe80::1%25eth0]/", "ws+unix:///s:/x?y", "ws://u:p@a/", "ws://u:p@[", "ws://a/%2f%0d%0a?\r\n", "wss://a",
		"ws://a\r\nX: y/", "ws://a/ HTTP/1.1\r\n", "ws:a", "ws:///", "ws://a:80:81", "ws://\x00", "//a", "ws://a/é ü?é", "ws+unix:////:x", "ws+unix:///a@b",
	} {
		f.Add(url)
	}
	e, err := New(Config{}, Handler{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(e.life.endServing)
	f.Fuzz(func(t *testing.T, url string) {
		x, err := e.target(&Dial{URL: url})
		if err != nil {
			return
		}
		if strings.ContainsAny(x.url, "?#") || !strings.HasPrefix(url, x.url) {
			t.Errorf("%q: errors would show %q", url, x.url)
		}
		head := protocol.AppendRequest(nil, x.options.Host, x.options.Target, "AAAAAAAAAAAAAAAAAAAAAA==", nil, "", nil)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(head))))
		if err != nil || r.Host != x.options.Host || r.RequestURI != x.options.Target || len(r.Header) != 4 {
			t.Errorf("%q: the request %q is read as %+v (%v)", url, head, r, err)
		}
		if _, _, err := net.SplitHostPort(x.address); x.network == "tcp" && err != nil {
			t.Errorf("%q: %v", url, err)
		}
	})
}
