package nats

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// aHub is a hub on a node, with clients that say their name.
type aHub struct {
	*hub.Hub
	t     *testing.T
	e     *engine.Engine
	conns chan *engine.Conn
}

func hubOn(t *testing.T, b *Broker) *aHub {
	t.Helper()
	h := &aHub{t: t, conns: make(chan *engine.Conn, 1)}
	var err error
	h.e, err = engine.New(engine.Config{Addr: "ws://127.0.0.1:0", Loops: 1, Logger: zap.NewNop()}, engine.Handler{
		OnOpen: func(c *engine.Conn) {
			if !c.Dialled() {
				h.conns <- c
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Hub, err = hub.New(h.e, hub.Config{
		Broker: b, Presence: b,
		Encode: func(_ int, _ string, p *broker.Publication) engine.Message {
			text := string(p.Data)
			switch p.Kind {
			case hub.KindJoin:
				text = p.Info.User + " joins"
			case hub.KindLeave:
				text = p.Info.User + " leaves"
			}
			return engine.Message{Type: engine.Text, Data: []byte(text)}
		},
		Channel: hub.ByPattern(hub.Pattern{Match: "room", Options: hub.Options{Presence: true, JoinLeave: true, Join: hub.Everybody}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// join has a user join the channel "room". What the client gets comes on the channel.
func (h *aHub) join(user string) (*hub.Client, <-chan string) {
	h.t.Helper()
	got := make(chan string, 100)
	err := h.e.Dial(h.t.Context(), engine.Dial{URL: "ws://" + h.e.Addr().String(), Handler: &engine.Handler{
		OnMessage: func(_ *engine.Conn, m engine.Message) { got <- m.Text() },
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := h.Connect(h.t.Context(), receive(h.t, h.conns), hub.Connect{User: user})
	if err == nil {
		_, err = c.Join(h.t.Context(), "room", hub.Join{})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return c, got
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case x := <-from:
		return x
	case <-timer.C:
		t.Fatal("gave up waiting")
		panic("unreachable")
	}
}

// users fails the test unless these users are in the channel "room", for all hubs.
func users(t *testing.T, missing []string, wanted []string, hubs ...*aHub) {
	t.Helper()
	for _, h := range hubs {
		infos, err := h.Present(t.Context(), "room")
		absent(t, err, missing)
		var got []string
		for _, i := range infos {
			got = append(got, i.User)
		}
		slices.Sort(got)
		if !slices.Equal(got, wanted) {
			t.Errorf("present: %q, want %q", got, wanted)
		}
		n, err := h.Count(t.Context(), "room")
		absent(t, err, missing)
		if want := len(slices.Compact(got)); n.Clients != len(wanted) || n.Users != want {
			t.Errorf("counted %+v, want %d clients of %d users", n, len(wanted), want)
		}
	}
}

// TestHubs: on two nodes, each join and each leave is told once; those of a node that has ended are gone without being told, and come back with it.
func TestHubs(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	var hubs [2]*aHub
	var nodes [2]*Broker
	var wires [2]*wire
	for i := range hubs {
		var cfg Config
		cfg, wires[i] = onWire(s, nodeName(i))
		nodes[i] = open(t, cfg)
		hubs[i] = hubOn(t, nodes[i])
	}
	_, got := hubs[0].join("anna")
	bob, _ := hubs[1].join("bob")
	hubs[1].join("eve")
	hubs[1].join("anna")
	users(t, nil, []string{"anna", "anna", "bob", "eve"}, hubs[0], hubs[1])
	if err := bob.Leave(t.Context(), "room"); err != nil {
		t.Fatal(err)
	}
	users(t, nil, []string{"anna", "anna", "eve"}, hubs[0], hubs[1])
	said := func(wanted ...string) {
		t.Helper()
		if _, err := hubs[0].Publish(t.Context(), "room", hub.Publication{Data: []byte("end")}); err != nil {
			t.Fatal(err)
		}
		for _, x := range append(wanted, "end") {
			if text := receive(t, got); text != x {
				t.Errorf("%s, want %s", text, x)
			}
		}
	}
	said("anna joins", "bob joins", "eve joins", "anna joins", "bob leaves")

	wires[1].end()
	eventually(t, "the end of the connection", func() bool { return !nodes[1].live() })
	for range beatsMissed {
		nodes[0].tick()
	}
	users(t, nil, []string{"anna"}, hubs[0])
	said()

	wires[1].mu.Lock()
	wires[1].cut = false
	wires[1].mu.Unlock()
	eventually(t, "a connection", nodes[1].live)
	beats(t, nodes[0], nodes[1])
	users(t, nil, []string{"anna", "anna", "eve"}, hubs[0], hubs[1])
	said()
}
