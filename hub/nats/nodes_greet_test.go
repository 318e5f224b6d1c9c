package nats

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// TestNewNodeKnowsAll: as soon as New has returned, also at another server, and all know it.
func TestNewNodeKnowsAll(t *testing.T) {
	servers := cluster(t, 3)
	var all []*Broker
	var clients []string
	for i := range 6 {
		cfg, _ := onWire(servers[i%3], nodeName(i))
		b := open(t, cfg)
		all, clients = append(all, b), append(clients, fmt.Sprint(i))
		enter(t, b, "room", fmt.Sprint(i), "user")
		for _, x := range all {
			present(t, x, 1, nil, clients...)
		}
	}
}

// TestNodesBeginTogether: all know all then.
func TestNodesBeginTogether(t *testing.T) {
	servers := cluster(t, 3)
	var all [6]*Broker
	var starting sync.WaitGroup
	for i := range all {
		starting.Add(1)
		go func() {
			defer starting.Done()
			cfg, _ := onWire(servers[i%3], nodeName(i))
			b, err := New(t.Context(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = b.Close() })
			all[i] = b
		}()
	}
	starting.Wait()
	for _, b := range all {
		eventually(t, "all nodes", func() bool { return b != nil && b.Stats().Nodes.Known == len(all)-1 })
	}
}

// TestNameIsTaken: by a node that lives. One that was closed or killed can begin again at once.
func TestNameIsTaken(t *testing.T) {
	s := start(t, nil)
	other, _ := onWire(s, "other")
	open(t, other)
	cfg, w := onWire(s, "name")
	cfg.AskTimeout = time.Minute // nobody waits so long
	b := open(t, cfg)
	again := quiet(s, "name")
	if _, err := New(t.Context(), again); err == nil || !strings.Contains(err.Error(), `the node name "name" is taken by a node that is running`) {
		t.Errorf("%v, want that the name is taken", err)
	}
	if err := b.Health(); err != nil {
		t.Error(err)
	}
	w.end()
	eventually(t, "the end of the connection", func() bool { return s.NumClients() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg.Options = nil
	killed, err := New(ctx, cfg)
	if err != nil {
		t.Fatal("killed: ", err)
	}
	_ = killed.Close()
	closed, err := New(ctx, cfg)
	if err != nil {
		t.Fatal("closed: ", err)
	}
	_ = closed.Close()
}

// TestNameIsTakenTogether: of several that begin at once with a name, one goes on, or none, or all that do say so.
func TestNameIsTakenTogether(t *testing.T) {
	s := start(t, nil)
	for range 20 {
		var starting sync.WaitGroup
		all := make([]*Broker, 3)
		for i := range all {
			starting.Add(1)
			go func() {
				defer starting.Done()
				all[i], _ = New(t.Context(), quiet(s, "name"))
			}()
		}
		starting.Wait()
		all = slices.DeleteFunc(all, func(b *Broker) bool { return b == nil })
		for _, b := range all {
			eventually(t, "what the node says", func() bool { return (b.Health() != nil) == (len(all) > 1) })
		}
		for _, b := range all {
			_ = b.Close()
		}
	}
}

// TestLeft: what a process said before it ended may come after its farewell, on another subscription.
func TestLeft(t *testing.T) {
	b := open(t, quiet(start(t, nil), "name"))
	left := note{kind: noteBye, node: "name", instance: "x"}
	b.onSign(nil, &left)
	left.kind = noteHere
	b.onInbox(nil, &left)
	if err := b.Health(); err != nil || b.Stats().Nodes.Known != 0 {
		t.Errorf("%v, and %d nodes are known", err, b.Stats().Nodes.Known)
	}
	for range beatsMissed {
		b.tick()
	}
	b.onInbox(nil, &left)
	if b.Health() == nil {
		t.Error("it is remembered for ever")
	}
}

// TestTwoOfOneName: two that meet later both say so, until one has gone.
func TestTwoOfOneName(t *testing.T) {
	s := start(t, nil)
	cfg, w := onWire(s, "name")
	one := open(t, cfg)
	w.held.Lock()
	again := quiet(s, "name")
	again.AskTimeout = 100 * time.Millisecond
	two := open(t, again)
	w.held.Unlock()
	for _, b := range []*Broker{one, two} {
		b.tick()
	}
	for _, b := range []*Broker{one, two} {
		eventually(t, "a conflict", func() bool { return b.Stats().Nodes.Conflicts > 0 && b.Health() != nil })
		if err := b.Health(); !strings.Contains(err.Error(), `another node has the name of this one, "name"`) {
			t.Error(err)
		}
	}
	enter(t, one, "room", "1", "")
	enter(t, two, "room", "2", "")
	present(t, one, 1, nil, "1", "2")
	_ = two.Close()
	eventually(t, "health", func() bool { return one.Health() == nil })
}

// TestNewWaitsUntilAllKnow: a node that is there says so, but has not heard yet that the new one has begun.
func TestNewWaitsUntilAllKnow(t *testing.T) {
	s := start(t, nil)
	conn, err := natsgo.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := make(chan *note, 100)
	if _, err = conn.Subscribe("sockmill.n.all", func(msg *natsgo.Msg) {
		var m note
		if m.decode(msg.Data) == nil {
			heard <- &m
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	cfg := quiet(s, "node")
	cfg.AskTimeout = time.Minute
	made := make(chan *Broker, 1)
	here := func(kind noteKind) {
		m := <-heard
		if m.kind != kind {
			t.Errorf("heard %d, want %d", m.kind, kind)
		}
		for range 100 { // time enough for New to return, if it does not wait
			if err := conn.Flush(); err != nil {
				t.Error(err)
			}
		}
		if len(made) > 0 {
			t.Error("New has returned")
		}
		if err := conn.Publish("sockmill.n.i."+m.instance+".0", (&note{kind: noteHere, node: "other", instance: "other"}).encode(nil)); err != nil {
			t.Error(err)
		}
	}
	go func() {
		b, err := New(t.Context(), cfg)
		if err != nil {
			t.Error(err)
		}
		made <- b
	}()
	here(noteHello)
	here(noteBeat)
	if b := <-made; b != nil {
		if known := b.Stats().Nodes.Known; known != 1 {
			t.Errorf("%d nodes are known, want 1", known)
		}
		_ = b.Close()
	}
}

// TestOtherSettings: nodes that would not hear each other do not work together in silence.
func TestOtherSettings(t *testing.T) {
	s := startJS(t)
	open(t, quiet(s, "a"))
	for what, change := range map[string]func(c *Config){
		"Shards 1024":     func(c *Config) { c.Shards = 1024 },
		"NoHistory false": func(c *Config) { c.NoHistory = false },
	} {
		cfg := quiet(s, "b")
		change(&cfg)
		b, err := New(t.Context(), cfg)
		if err == nil {
			_ = b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "must be the same") {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := quiet(s, "b")
	other.Shards, other.Prefix = 1024, "other"
	open(t, other)
	open(t, quiet(s, "b"))
}
