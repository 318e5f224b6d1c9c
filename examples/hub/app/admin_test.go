package app

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestAdmin(t *testing.T) {
	s := serve(t, "-admin", "127.0.0.1:0")
	address, ok := strings.CutPrefix(s.line(), "hub: metrics on http://")
	if !ok {
		t.Fatal("it does not say where the metrics are")
	}
	if status, _, _ := s.ask("GET", "/metrics", ""); status != http.StatusNotFound {
		t.Errorf("everybody may read /metrics: %d", status)
	}
	s.addr = strings.TrimSuffix(address, "/metrics")
	status, _, text := s.ask("GET", "/metrics", "")
	if status != http.StatusOK || !strings.Contains(text, "\nsockmill_hub_clients 0\n") || !strings.Contains(text, "\nsockmill_connections_max ") || strings.Contains(text, "sockmill_nats_") {
		t.Errorf("%d %s", status, text)
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
	p := &program{options: options{admin: "127.0.0.1:0"}}
	at, end, err := p.administer()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	s := &server{t: t, addr: at.String()}
	if status, _, text := s.ask("GET", "/metrics", ""); status != http.StatusServiceUnavailable || !strings.HasPrefix(text, "starting") {
		t.Errorf("%d %s", status, text)
	}
}
