package engine

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
)

// TestSuggestions: an address that cannot be right is answered with one that can.
func TestSuggestions(t *testing.T) {
	schemes := map[string]func() codec.Codec{"chat": newRaw}
	p := pure(t, Config{Schemes: schemes}, Handler{})
	const none = "ws://127.0.0.1:8090"
	for given, want := range map[string][2]string{ // for Dial, and for Config.Addr
		"websocket://a:1":       {"ws://a:1", "ws://a:1"},
		"WebSockets://a:1":      {"ws://a:1", "ws://a:1"},
		"ssl://a:1":             {"tls://a:1", "tls://a:1"},
		"text+ssl://a:1":        {"text+tls://a:1", "text+tls://a:1"},
		"tls+text://a:1":        {"text+tls://a:1", "text+tls://a:1"},
		"unix+tls+chat:///s":    {"chat+tls+unix:///s", "chat+tls+unix:///s"},
		"unix+unix:///s":        {"unix:///s", "unix:///s"},
		"tcp+tls+tls://a:1":     {"tls://a:1", "tls://a:1"},
		"wss+tls://a:1":         {"wss://a:1", "wss://a:1"},
		"http+ws://a:1":         {"ws://a:1", "ws://a:1"},
		"ws+http://a:1":         {"ws://a:1", "ws://a:1"},
		"https+ws://a:1":        {"wss://a:1", "wss://a:1"},
		"http+wss://a:1":        {"wss://a:1", "wss://a:1"},
		"http+ssl://a:1":        {"wss://a:1", "https://a:1"},
		"h2://a:1":              {"wss://a:1", "https://a:1"},
		"http://a:1/x":          {"ws://a:1/x", "for WebSockets write ws:// or wss://"},
		"https://a:1":           {"wss://a:1", "for WebSockets write ws:// or wss://"},
		"tcp4://a:1":            {"tcp://a:1", "tcp://a:1"},
		"lines://a:1":           {"text://a:1", "text://a:1"},
		"file:///s":             {"unix:///s", "unix:///s"},
		"wss:a:1":               {"wss://a:1", "wss://a:1"},
		"wss:/a:1":              {"wss://a:1", "wss://a:1"},
		"ws:127.0.0.1:1/x":      {"ws://127.0.0.1:1/x", "ws://127.0.0.1:1/x"},
		"ws//a:1":               {"ws://a:1", "ws://a:1"},
		"websocket:a:1":         {"ws://a:1", "ws://a:1"},
		"chat:a:1":              {"chat://a:1", "chat://a:1"},
		"localhost:8080":        {"ws://localhost:8080", "ws://localhost:8080"},
		"text:7000":             {"ws://text:7000", "ws://text:7000"},
		"127.0.0.1:8080":        {"ws://127.0.0.1:8080", "ws://127.0.0.1:8080"},
		"[::1]:8080":            {"ws://[::1]:8080", "ws://[::1]:8080"},
		":8080":                 {"ws://127.0.0.1:8080", "ws://:8080"},
		"//a:1":                 {"ws://a:1", "ws://a:1"},
		"/run/s":                {"ws+unix:///run/s", "ws+unix:///run/s"},
		"a.example/x":           {"ws://a.example/x", "ws://a.example/x"},
		" ws://a:1\n":           {"ws://a:1", "ws://a:1"},
		"localhost:8080?secret": {"ws://localhost:8080", "ws://localhost:8080"},

		"me:secret@a:1":      {none, "it must be chat, frame, "},
		"ws:me:secret@a:1":   {none, none},
		"me:secret@[::1":     {none, "it must be chat, frame, "},
		"ws://me:secret@[::": {none, none},
		"gopher://a:1":       {none, "it must be chat, frame, "},
		"udp+tls://a:1":      {none, "it must be chat, frame, "},
		"ws://[::1":          {none, none},
		"ws://a b":           {none, none},
		"://":                {none, none},
		"?":                  {none, "it must be chat, frame, "},
	} {
		_, err := New(Config{Addr: given, Schemes: schemes}, Handler{})
		for i, err := range []error{p.Dial(t.Context(), Dial{URL: given}), err} {
			said := fmt.Sprint(err)
			if said = said[strings.LastIndexByte(said, '"')+1:]; err == nil || !strings.Contains(said, " "+want[i]) || i == 0 && strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v, want %s", given, err, want[i])
			}
		}
	}
	if err := p.Dial(t.Context(), Dial{URL: "a:1", TLS: new(tls.Config)}); err == nil || !strings.HasSuffix(err.Error(), " wss://a:1") {
		t.Error(err)
	}
	if _, err := New(Config{Addr: ":443", CertFile: "c", KeyFile: "k"}, Handler{}); err == nil || !strings.HasSuffix(err.Error(), " wss://:443") {
		t.Error(err)
	}
}
