package crowd_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/sockmill/sockmill/e2e/cluster/check"
	"github.com/sockmill/sockmill/e2e/cluster/crowd"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/centrifugal"
	"github.com/sockmill/sockmill/hub/memory"
)

const (
	histories = 64
	patience  = 20 * time.Second
)

// node starts a server on a broker that others may share.
func node(t *testing.T, name string, b *planted, history int) crowd.Node {
	t.Helper()
	e, err := engine.New(engine.Config{DrainTimeout: time.Second}, engine.Handler{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := centrifugal.New(e, centrifugal.Config{
		Hub: hub.Config{
			Broker: b, History: b, Presence: b, RingMax: 1,
			Channel: centrifugal.Namespaces(map[string]hub.Options{"": {
				History: history, Lifetime: time.Hour, Presence: true, JoinLeave: true,
				Join: hub.Everybody, Publish: hub.Members, ReadPresence: hub.Members,
			}}),
		},
		Anonymous: true, Logger: zaptest.NewLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/", s.API(centrifugal.APIConfig{Keys: []string{"k"}}))
	l, err := e.Listen(engine.Config{Addr: "ws://127.0.0.1:0", HTTP: mux}, s.Handler())
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		closing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Close(closing)
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return crowd.Node{Name: name, URL: fmt.Sprintf("ws://%v/connection/websocket", l.Addr()), HTTP: fmt.Sprintf("http://%v", l.Addr())}
}

func newPlanted(t *testing.T) *planted {
	t.Helper()
	inner, err := memory.New(memory.Config{ChannelsMax: histories})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inner.Close() })
	return &planted{Broker: inner, relays: map[broker.Receiver]*relay{}}
}

// TestPlanted runs a crowd, some of whose connections are cut, against two nodes whose broker has a fault.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name    string
		plant   func(b *planted)
		history int
		lose    bool
		want    string // part of what is found; empty: nothing is
	}{
		{"none", func(*planted) {}, 1000, false, ""},
		{"none, a short history", func(*planted) {}, 2, false, ""},
		{"none, histories lost", func(*planted) {}, 1000, true, ""},
		{"a dropped message", func(b *planted) { b.drop = true }, 1000, false, "has not got"},
		{"a doubled message", func(b *planted) { b.twice = true }, 1000, false, "is there twice"},
		{"recovered that is not", func(b *planted) { b.lie = true }, 2, false, "has not got"},
		{"a wrong epoch", func(b *planted) { b.epoch = true }, 1000, true, "has not got"},
		{"a doubled join", func(b *planted) { b.joins = true }, 1000, false, "the join of"},
		{"a presence ghost", func(b *planted) { b.ghost = true }, 1000, false, "is named and is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newPlanted(t)
			c.plant(b)
			if found := run(t, b, c.history, c.lose); c.want == "" && found != "" || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

func run(t *testing.T, b *planted, history int, lose bool) string {
	t.Helper()
	x, err := crowd.Start(crowd.Config{
		Nodes: []crowd.Node{node(t, "a", b, history), node(t, "b", b, history)}, Key: "k",
		Clients: 6, Channels: crowd.Names(2), Follow: 2, Publish: 6, Every: 2 * time.Millisecond, Silence: patience, Events: true, Seed: 1,
		Book: check.New(), Progress: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer x.End()
	if err := x.Ready(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		x.Drop(2)
		if lose {
			if err := b.lose(); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Acked(t.Context(), 100, patience); err != nil {
			t.Fatal(err)
		}
		x.Drop(3)
	}
	within := patience
	if b.ghost || b.epoch {
		within = time.Second // it never comes
	}
	wrong := x.Settle(t.Context(), within)
	if tally := x.Tally(); tally.Recovered == 0 && history > 2 && !lose {
		t.Errorf("nobody was recovered: %+v", tally)
	}
	return strings.Join(wrong, "\n")
}
