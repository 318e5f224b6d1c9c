package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zaptest"
)

// patience is what only a failure takes.
const patience = time.Minute

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// portsTaken is how many ports free has tried.
var portsTaken atomic.Uint32

// free are addresses on which nobody listens. Their ports are below 32768: one of those that the system gives to connections could be taken
// by a connection of another test before the server listens.
func free(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	for range 1000 {
		if len(all) == n {
			return all
		}
		port := 16384 + (uint32(os.Getpid())*64+portsTaken.Add(1))%16384 //nolint:gosec // any number is good
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		all = append(all, l.Addr().String())
		_ = l.Close()
	}
	t.Fatal("no port is free")
	return nil
}

func start(t testing.TB, c Config) *Server {
	t.Helper()
	if c.Logger == nil {
		c.Logger = zaptest.NewLogger(t)
	}
	s, err := Start(within(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Stop(within(t)); err != nil {
		t.Error(err)
	}
}

func connect(t testing.TB, s *Server) *natsgo.Conn {
	t.Helper()
	c, err := natsgo.Connect("", natsgo.InProcessServer(s), natsgo.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// node is the configuration of one of the servers at these addresses.
func node(t testing.TB, i int, at []string) Config {
	return Config{Name: fmt.Sprint("n", i), Dir: t.TempDir(), ClusterListen: at[i], Peers: at, Logger: zaptest.NewLogger(t).Named(fmt.Sprint(i))}
}

// startAll starts servers at once, as those of a cluster must be. They are stopped at the end of the test.
func startAll(t testing.TB, configs ...Config) []*Server {
	t.Helper()
	type result struct {
		i   int
		s   *Server
		err error
	}
	results := make(chan result, len(configs))
	for i, c := range configs {
		go func() {
			s, err := Start(within(t), c)
			results <- result{i, s, err}
		}()
	}
	all := make([]*Server, len(configs))
	for range configs {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		all[r.i] = r.s
		t.Cleanup(func() { stop(t, r.s) })
	}
	return all
}

func three(t testing.TB) []*Server {
	t.Helper()
	at := free(t, 3)
	return startAll(t, node(t, 0, at), node(t, 1, at), node(t, 2, at))
}

// until waits for a state of a server. It looks at each change.
func until(t testing.TB, s *Server, what string, is func(state) bool) {
	t.Helper()
	end := time.After(patience)
	for {
		changed := s.Changed()
		if is(s.look()) {
			return
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("%s: not within %v: %+v", what, patience, s.look())
		}
	}
}

func TestAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	s, err := Start(within(t), Config{Name: "a", Dir: dir, ClusterListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Health(); err != nil {
		t.Error(err)
	}
	if url := s.ClientURL(); url != "" {
		t.Errorf("clients are let in at %s", url)
	}
	c := connect(t, s)
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "s", Subjects: []string{"s.*"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(within(t), "s.a", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	stop(t, s)
	if err := s.Health(); err == nil {
		t.Error("a server that has ended is healthy")
	}

	s, err = Start(within(t), Config{Name: "a", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c = connect(t, s)
	if js, err = jetstream.New(c); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(within(t), "s")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.GetLastMsgForSubject(within(t), "s.a"); err != nil || string(m.Data) != "kept" {
		t.Errorf("after a restart: %v %v", m, err)
	}
	c.Close()
	stop(t, s)
	stop(t, s) // again
}

func TestInMemoryLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := start(t, Config{Name: "a"})
	if found, err := os.ReadDir(os.TempDir()); err != nil || len(found) != 1 {
		t.Errorf("while it runs: %v %v", found, err)
	}
	stop(t, s)
	if found, err := os.ReadDir(os.TempDir()); err != nil || len(found) != 0 {
		t.Errorf("after it: %v %v", found, err)
	}
}

func TestLimits(t *testing.T) {
	s := start(t, Config{Name: "a", StoreBytesMax: 1 << 20, MemoryBytesMax: 1 << 16, SyncAlways: true})
	if c := s.server.JetStreamConfig(); !c.SyncAlways {
		t.Error("SyncAlways is not set")
	}
	js, err := jetstream.New(connect(t, s))
	if err != nil {
		t.Fatal(err)
	}
	for storage, bytes := range map[jetstream.StorageType]int64{jetstream.FileStorage: 1 << 20, jetstream.MemoryStorage: 1 << 16} {
		c := jetstream.StreamConfig{Name: storage.String(), Subjects: []string{storage.String()}, Storage: storage, MaxBytes: bytes + 1}
		if _, err := js.CreateStream(within(t), c); err == nil || !strings.Contains(err.Error(), "insufficient") {
			t.Errorf("%v: more than the limit: %v", storage, err)
		}
		c.MaxBytes = bytes
		if _, err := js.CreateStream(within(t), c); err != nil {
			t.Errorf("%v: the limit: %v", storage, err)
		}
	}
}

// TestStopWithoutWaiting: the end of its context cuts a stop short, but the server ends.
func TestStopWithoutWaiting(t *testing.T) {
	t.Parallel()
	for _, s := range three(t) {
		ctx, cancel := context.WithCancel(within(t))
		cancel()
		if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if s.server.Running() {
			t.Error("it runs")
		}
		stop(t, s)
	}
}

func TestOwnAddress(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		peer, own string
		is        bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "127.0.0.1:2", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"127.0.0.1:1", ":1", true},
		{"127.0.0.1:1", "0.0.0.0:1", true},
		{"127.0.0.1:2", "0.0.0.0:1", false},
		{"192.0.2.1:1", "0.0.0.0:1", false},
		{name + ":1", ":1", true},
		{name + ".hub.default.svc:1", "[::]:1", true},
	} {
		if isOwn(within(t), c.peer, c.own) != c.is {
			t.Errorf("%+v", c)
		}
	}
}

func TestThree(t *testing.T) {
	t.Parallel()
	at := free(t, 3)
	first := startAll(t, node(t, 0, at), node(t, 1, at)) // two of three are ready
	third := start(t, node(t, 2, at))
	for _, s := range append(slices.Clone(first), third) {
		until(t, s, "all are connected", func(t state) bool { return len(t.routes) == 2 && t.leader != "" })
		if err := s.Health(); err != nil {
			t.Error(err)
		}
	}

	stop(t, third)
	for _, s := range first {
		until(t, s, "one is gone", func(t state) bool { return len(t.routes) == 1 && t.health() == nil })
	}
	stop(t, first[1])
	until(t, first[0], "the last one is not healthy", func(t state) bool { return len(t.routes) == 0 && t.health() != nil })
	stop(t, first[0])
}

// TestLargest: a message of the largest size reaches another server, but a stream keeps half of it.
func TestLargest(t *testing.T) {
	t.Parallel()
	at := free(t, 2)
	configs := []Config{node(t, 0, at), node(t, 1, at)}
	for i := range configs {
		configs[i].PayloadBytesMax = PayloadBytesMax
	}
	all := startAll(t, configs...)
	c := connect(t, all[0])
	if n := c.MaxPayload(); n != PayloadBytesMax {
		t.Errorf("the largest message has %d bytes", n)
	}
	sub, err := connect(t, all[1]).SubscribeSync("s")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	poll(t, "the interest of one server is known to the other", func() bool {
		if err := c.Publish("s", nil); err != nil {
			t.Fatal(err)
		}
		_, err := sub.NextMsg(100 * time.Millisecond)
		return err == nil
	})
	poll(t, "the largest arrives", func() bool { // it is at most once: a busy machine may take the connection for dead
		if err := c.Publish("s", make([]byte, PayloadBytesMax)); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := sub.NextMsg(patience / 6)
			if err != nil {
				return false
			}
			if n := len(m.Data); n != 0 {
				return n == PayloadBytesMax
			}
		}
	})

	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	makeStream(t, js, 1)
	if _, err := js.Publish(within(t), "s.a", make([]byte, 32<<20-4096)); err != nil {
		t.Error(err)
	}
	if _, err := js.Publish(within(t), "s.a", make([]byte, PayloadBytesMax)); err == nil || !strings.Contains(err.Error(), "message too large") {
		t.Errorf("a stream keeps 64 MiB: %v", err)
	}
}

func TestClients(t *testing.T) {
	s := start(t, Config{Name: "a", Listen: "127.0.0.1:0", User: "u", Password: "p"})
	connect(t, s) // needs neither
	for _, c := range []struct {
		options []natsgo.Option
		ok      bool
	}{
		{nil, false},
		{[]natsgo.Option{natsgo.UserInfo("u", "q")}, false},
		{[]natsgo.Option{natsgo.UserInfo("v", "p")}, false},
		{[]natsgo.Option{natsgo.UserInfo("u", "p")}, true},
	} {
		conn, err := natsgo.Connect(s.ClientURL(), c.options...)
		if (err == nil) != c.ok {
			t.Errorf("%d options: %v", len(c.options), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// TestNoClients: a server of a cluster has to listen, but lets nobody in.
func TestNoClients(t *testing.T) {
	t.Parallel()
	s := three(t)[0]
	if conn, err := natsgo.Connect("nats://" + s.server.Addr().String()); err == nil {
		conn.Close()
		t.Error("a client of another process is let in")
	}
	connect(t, s)
}

// poll waits for what nobody tells.
func poll(t testing.TB, what string, is func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for end := time.After(patience); !is(); {
		select {
		case <-again.C:
		case <-end:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
