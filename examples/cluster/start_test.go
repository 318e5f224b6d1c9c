package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sockmill/sockmill/examples/hub/app"
)

const patience = 20 * time.Second

// outside starts a NATS of somebody else.
func outside(t *testing.T, o server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog, o.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, t.TempDir()
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS is not ready")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s.ClientURL()
}

// taken is an address at which somebody listens.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// running runs a node until the test ends. It is ready when the returned function returns.
func running(t *testing.T, args ...string) (ready func()) {
	t.Helper()
	signals, done := make(chan os.Signal, 2), make(chan error, 1)
	r, w := io.Pipe()
	go func() {
		err := app.Run(signals, "cluster", &cluster{}, append([]string{"-listen", "ws://127.0.0.1:0"}, args...), w)
		_ = w.CloseWithError(err)
		done <- err
	}()
	open := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "cluster: open http://127.0.0.1:") {
				close(open)
			}
		}
	}()
	t.Cleanup(func() {
		signals <- os.Interrupt
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() {
		t.Helper()
		select {
		case <-open:
		case err := <-done:
			done <- err
			t.Fatalf("%q ended: %v", args, err)
		case <-time.After(patience):
			t.Fatalf("%q is not ready", args)
		}
	}
}

func TestWrongNATS(t *testing.T) {
	store := t.TempDir()
	running(t, "-node", "alone", "-store", store)()
	url := outside(t, server.Options{JetStream: true})
	running(t, "-node", "a", "-nats", url)()
	for _, c := range []struct {
		says string
		args []string
	}{
		{"-nats: ", []string{"-node", "a", "-nats", "nats://" + closedPort(t)}},
		{"-nats: ", []string{"-node", "a", "-nats", "nats://%"}},
		{"JetStream", []string{"-node", "a", "-nats", outside(t, server.Options{})}},
		{"uthorization", []string{"-node", "a", "-nats", outside(t, server.Options{JetStream: true, Username: "u", Password: "p"})}},
		{`"a" is taken`, []string{"-node", "a", "-nats", url}},
		{"is used by another server", []string{"-node", "alone", "-store", store}},
		{"address already in use", []string{"-node", "a", "-nats-listen", taken(t)}},
	} {
		fails(t, c.says, c.args...)
	}
}

func TestWrongMembers(t *testing.T) {
	a, b, c, peers := closedPort(t), closedPort(t), closedPort(t), ""
	peers = strings.Join([]string{a, b, c}, ",")
	args := func(name, listen string, more ...string) []string {
		return append([]string{"-node", name, "-cluster-listen", listen, "-cluster-peers", peers, "-cluster-secret", "s", "-replicas", "1"}, more...)
	}
	one, two := running(t, args("a", a)...), running(t, args("b", b)...)
	one()
	two()
	fails(t, `the name "a" is taken`, args("a", c)...)
	fails(t, "it has another Config.ClusterPassword", args("c", c, "-cluster-secret", "other")...)
	fails(t, "no majority of the 3 servers can be reached", args("c", c, "-cluster-name", "other")...)
	fails(t, "address already in use", args("c", b)...)
	running(t, args("c", c)...)()
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
