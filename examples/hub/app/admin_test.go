package app

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/engine"
)

// administered is a server and what its operators are answered by.
func administered(t *testing.T, args ...string) (s, operators *server) {
	t.Helper()
	s = serve(t, append([]string{"-admin", "127.0.0.1:0"}, args...)...)
	address, ok := strings.CutPrefix(s.line(), "hub: admin on http://")
	if !ok {
		t.Fatal("it does not say where operators are answered")
	}
	at := *s
	at.addr = strings.TrimSuffix(address, "/")
	return s, &at
}

func TestAdmin(t *testing.T) {
	s, operators := administered(t)
	for _, path := range []string{"/metrics", "/api/channels", "/debug/pprof/"} {
		if status, _, _ := s.ask("GET", path, ""); status != http.StatusNotFound {
			t.Errorf("everybody may read %s: %d", path, status)
		}
	}
	status, _, text := operators.ask("GET", "/metrics", "")
	if status != http.StatusOK || !strings.Contains(text, "\nsockmill_hub_clients 0\n") || !strings.Contains(text, "\nsockmill_connections_max ") || strings.Contains(text, "sockmill_nats_") {
		t.Errorf("%d %s", status, text)
	}
	for path, has := range map[string]string{"/": "sockmill admin", "/api/channels": `"items":[]`, "/api/users": `"items":[]`, "/healthz": "ok", "/readyz": "ready"} {
		if status, _, text := operators.ask("GET", path, ""); status != http.StatusOK || !strings.Contains(text, has) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// With a token, what is not for everybody is for nobody without it; Prometheus and balancers have none.
func TestAdminTokens(t *testing.T) {
	_, operators := administered(t, "-admin-read-token", "one-that-is-long-enough")
	for path, want := range map[string]int{"/api/channels": http.StatusUnauthorized, "/metrics": http.StatusOK, "/readyz": http.StatusOK} {
		if status, _, text := operators.ask("GET", path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	err := Run(make(chan os.Signal), "hub", nil, []string{"-listen", "ws://127.0.0.1:0", "-admin-token", "short"}, os.Stderr)
	if err == nil || !strings.Contains(err.Error(), "-admin-token") {
		t.Error(err)
	}
}

func TestAdminAddressIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = Run(signalled(), "hub", nil, []string{"-listen", "ws://127.0.0.1:0", "-admin", l.Addr().String()}, os.Stderr)
	if err == nil || !strings.Contains(err.Error(), "choose another port with -admin") {
		t.Error(err)
	}
}

// A node that is starting has no numbers yet.
func TestAdminOfNode(t *testing.T) {
	e, err := engine.New(engine.Config{Loops: 1}, engine.Handler{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Shutdown(t.Context()) }()
	p := &program{options: options{admin: "127.0.0.1:0"}, engine: e}
	at, end, err := p.administer()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	s := &server{t: t, addr: at.String()}
	for _, path := range []string{"/metrics", "/"} {
		if status, _, text := s.ask("GET", path, ""); status != http.StatusServiceUnavailable || !strings.HasPrefix(text, "starting") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}
