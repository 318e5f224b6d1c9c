package embedded

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
)

// refuses starts a server that must fail, with all these words in its error.
func refuses(ctx context.Context, t *testing.T, c Config, words ...string) {
	t.Helper()
	if c.Logger == nil {
		c.Logger = zaptest.NewLogger(t).Named(c.Name)
	}
	begun := time.Now()
	s, err := Start(ctx, c)
	if err == nil {
		stop(t, s)
		t.Fatalf("%s starts: want an error with %q", c.Name, words)
	}
	t.Logf("after %v: %v", time.Since(begun).Round(time.Millisecond), err)
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q has no %q", err, w)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for word, c := range map[string]Config{
		"Config.Name is":            {},
		"Config.Name is \"a b\"":    {Name: "a b"},
		"Config.ClusterName is":     {Name: "a", ClusterName: "a.b"},
		"Config.PayloadBytesMax is": {Name: "a", PayloadBytesMax: PayloadBytesMax + 1},
		"must not be negative":      {Name: "a", StoreBytesMax: -1},
		"Config.User and":           {Name: "a", User: "u"},
		"address \"here\"":          {Name: "a", Listen: "here"},
		"address \"there\"":         {Name: "a", ClusterListen: "127.0.0.1:1", Peers: []string{"there"}},
		"without Config.ClusterLis": {Name: "a", Peers: []string{"127.0.0.1:1"}},
	} {
		refuses(within(t), t, c, word)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().String()
	refuses(within(t), t, Config{Name: "a", Listen: taken}, taken, "address already in use")
	refuses(within(t), t, Config{Name: "a", ClusterListen: taken, Peers: free(t, 1)}, taken, "address already in use")
}

func TestStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(within(t), t, Config{Name: "a", Dir: file}, "Config.Dir", file, "not a directory")
	refuses(within(t), t, Config{Name: "a", Dir: filepath.Join(file, "below")}, "Config.Dir", "not a directory")

	used := filepath.Join(dir, "used")
	s := start(t, Config{Name: "a", Dir: used})
	refuses(within(t), t, Config{Name: "a", Dir: used}, used, "is used by another server")
	if err := s.Health(); err != nil {
		t.Errorf("the first: %v", err)
	}
	stop(t, s)
	refuses(within(t), t, Config{Name: "b", Dir: used}, `belongs to server "a", which runs alone`, `this is server "b"`)
	at := free(t, 2)
	refuses(within(t), t, Config{Name: "a", Dir: used, ClusterListen: at[0], Peers: at}, "which runs alone", `this is server "a" of cluster "sockmill"`)
	stop(t, start(t, Config{Name: "a", Dir: used}))
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	at := free(t, 3)
	ended, cancel := context.WithCancel(within(t))
	cancel()
	refuses(ended, t, node(t, 0, at), "canceled")

	ctx, cancel := context.WithTimeout(within(t), progressEvery+progressEvery/2)
	defer cancel()
	c := node(t, 0, at)
	s, err := Start(ctx, c)
	if s != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v %v", s, err)
	}
	for _, word := range []string{at[1] + ": ", at[2] + ": ", "connection refused", "1 of 3 servers"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q has no %q", err, word)
		}
	}
	if strings.Contains(err.Error(), at[0]) {
		t.Errorf("it waits for itself: %v", err)
	}
}

// TestStrangers: a server that does not belong to the cluster is told so, and the others are not disturbed.
func TestStrangers(t *testing.T) {
	t.Parallel()
	at := free(t, 4)
	var configs []Config
	for i := range 3 {
		c := node(t, i, at[:3])
		c.ClusterPassword = "secret"
		if i == 0 {
			c.Listen = "127.0.0.1:0"
		}
		configs = append(configs, c)
	}
	all := startAll(t, configs...)
	var before []map[string]string
	for _, s := range all {
		until(t, s, "all are connected", func(t state) bool { return len(t.routes) == 2 })
		before = append(before, s.routes())
	}

	stranger := func(change func(c *Config)) Config {
		c := Config{Name: "x", ClusterListen: at[3], Peers: at[:3], ClusterPassword: "secret", Logger: zaptest.NewLogger(t).Named("x")}
		change(&c)
		return c
	}
	t.Run("password", func(t *testing.T) {
		refuses(within(t), t, stranger(func(c *Config) { c.ClusterPassword = "guess" }), "it has another Config.ClusterPassword")
	})
	t.Run("no password", func(t *testing.T) {
		refuses(within(t), t, stranger(func(c *Config) { c.ClusterPassword = "" }), "it has another Config.ClusterPassword")
	})
	t.Run("cluster", func(t *testing.T) {
		refuses(within(t), t, stranger(func(c *Config) { c.ClusterName = "theirs" }), `it is in the cluster "sockmill": Config.ClusterName is "theirs"`)
	})
	t.Run("payload", func(t *testing.T) {
		refuses(within(t), t, stranger(func(c *Config) { c.PayloadBytesMax = 1 << 20 }), "Config.PayloadBytesMax is 1048576")
	})
	t.Run("tls", func(t *testing.T) {
		refuses(within(t), t, stranger(func(c *Config) { c.ClusterTLS = newAuthority(t).config(t) }), "it has no TLS, and Config.ClusterTLS is set")
	})
	t.Run("client port", func(t *testing.T) {
		refuses(within(t), t, stranger(func(c *Config) { c.Peers = []string{all[0].server.Addr().String()} }), "it is an address for clients")
	})
	t.Run("name", func(t *testing.T) { testNameTaken(t, at, stranger) })

	for i, s := range all {
		if is := s.routes(); !maps.Equal(is, before[i]) {
			t.Errorf("server %d was disturbed: connected to %v, was to %v", i, is, before[i])
		}
	}
	for _, s := range all {
		if err := s.Health(); err != nil {
			t.Error(err)
		}
	}
}

// testNameTaken: both take as long as a server that has crashed may still be taken for connected.
func testNameTaken(t *testing.T, at []string, stranger func(func(*Config)) Config) {
	t.Run("seen at itself", func(t *testing.T) {
		t.Parallel()
		refuses(within(t), t, stranger(func(c *Config) { c.Name = "n0" }), `the name "n0" is taken`, at[0]+" (n0): a server of this name")
	})
	t.Run("seen at the others", func(t *testing.T) {
		t.Parallel()
		refuses(within(t), t, stranger(func(c *Config) { c.Name, c.Peers = "n0", at[1:3] }), `the name "n0" is taken`, at[1]+" (n1): a server of this name")
	})
}

func TestNotNATS(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail.example.org ESMTP\r\n"))
			_ = c.Close()
		}
	}()
	refuses(within(t), t, Config{Name: "a", ClusterListen: free(t, 1)[0], Peers: []string{l.Addr().String()}}, "it is not a NATS server")
}

// TestNameTakenAtOnce: two of one name that start together do not both become ready.
func TestNameTakenAtOnce(t *testing.T) {
	t.Parallel()
	at := free(t, 3)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	results := make(chan error, 3)
	for i := range at {
		c := node(t, i, at)
		if i == 2 {
			c.Name = "n1"
		}
		go func() {
			s, err := Start(ctx, c)
			if err == nil {
				t.Cleanup(func() { stop(t, s) })
			}
			results <- err
		}()
	}
	var taken error
	for range at {
		err := <-results
		if err != nil && taken == nil {
			taken = err
			cancel() // of the others, none has to become ready
		}
	}
	if taken == nil || !strings.Contains(taken.Error(), `the name "n1" is taken`) {
		t.Errorf("the first error: %v", taken)
	}
}
