package embedded

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap/zaptest"
)

// patience is what only a failure takes.
const patience = 20 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// free are addresses on which nobody listens.
func free(t testing.TB, n int) []string {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		all = append(all, l.Addr().String())
	}
	return all
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
	t.Cleanup(func() {
		if err := s.Stop(within(t)); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t testing.TB, s *Server) *natsgo.Conn {
	t.Helper()
	c, err := natsgo.Connect("", natsgo.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAlone(t *testing.T) {
	begun := time.Now()
	s := start(t, Config{Name: "a"})
	t.Log("ready after", time.Since(begun))
	if err := s.Health(); err != nil {
		t.Error(err)
	}
	c := connect(t, s)
	if err := c.FlushTimeout(patience); err != nil {
		t.Error(err)
	}
}

func three(t testing.TB, change func(i int, c *Config)) []*Server {
	t.Helper()
	at := free(t, 3)
	type result struct {
		i   int
		s   *Server
		err error
	}
	results := make(chan result, 3)
	for i := range at {
		c := Config{Name: fmt.Sprintf("n%d", i), Dir: t.TempDir(), ClusterListen: at[i], Peers: at, Logger: zaptest.NewLogger(t).Named(fmt.Sprint(i))}
		if change != nil {
			change(i, &c)
		}
		go func() {
			s, err := Start(within(t), c)
			results <- result{i, s, err}
		}()
	}
	all := make([]*Server, 3)
	for range all {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		all[r.i] = r.s
		t.Cleanup(func() { _ = r.s.Stop(within(t)) })
	}
	return all
}

func TestThree(t *testing.T) {
	begun := time.Now()
	all := three(t, nil)
	t.Log("ready after", time.Since(begun))
	for _, s := range all {
		if err := s.Health(); err != nil {
			t.Error(err)
		}
	}
}
