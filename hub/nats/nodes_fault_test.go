package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/hub/broker"
)

// wire is what a node is connected by. It can be held, so that nothing passes, or cut.
type wire struct {
	held sync.RWMutex

	mu   sync.Mutex // guards what follows
	cut  bool
	conn net.Conn
}

func (w *wire) Dial(network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil, errors.New("cut")
	}
	c, err := net.Dial(network, address)
	w.conn = c
	return &wired{c, w}, err
}

// end ends the connection as the end of the process would.
func (w *wire) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	_ = w.conn.Close()
}

type wired struct {
	net.Conn
	w *wire
}

func (c *wired) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.w.held.RLock()
	defer c.w.held.RUnlock()
	return n, err
}

func (c *wired) Write(p []byte) (int, error) {
	c.w.held.RLock()
	defer c.w.held.RUnlock()
	return c.Conn.Write(p)
}

// onWire is quiet with a wire of its own.
func onWire(s *server.Server, name string) (Config, *wire) {
	cfg, w := quiet(s, name), &wire{}
	cfg.Options = []natsgo.Option{natsgo.SetCustomDialer(w)}
	cfg.AskTimeout = 5 * time.Second
	return cfg, w
}

// three nodes at one server, with a client each, of two users.
func three(t *testing.T) (all [3]*Broker, wires [3]*wire) {
	s := start(t, nil)
	for i := range all {
		var cfg Config
		cfg, wires[i] = onWire(s, nodeName(i))
		all[i] = open(t, cfg)
		enter(t, all[i], "room", fmt.Sprint(i), fmt.Sprint("user ", i%2))
	}
	return all, wires
}

func enter(t testing.TB, b *Broker, channel, client, user string) {
	t.Helper()
	if err := b.Enter(t.Context(), channel, broker.Info{Client: client, User: user}, time.Hour); err != nil {
		t.Fatal(err)
	}
}

// present fails the test unless these clients are in the channel "room", and these nodes are missing.
func present(t *testing.T, b *Broker, users int, missing []string, clients ...string) {
	t.Helper()
	infos, err := b.Present(t.Context(), "room")
	var got []string
	for _, i := range infos {
		got = append(got, i.Client)
	}
	slices.Sort(got)
	if !slices.Equal(got, clients) {
		t.Errorf("present: %q, want %q", got, clients)
	}
	absent(t, err, missing)
	n, err := b.Count(t.Context(), "room")
	if want := (broker.Counts{Clients: len(clients), Users: users}); n != want {
		t.Errorf("counted %+v, want %+v", n, want)
	}
	absent(t, err, missing)
}

func absent(t *testing.T, err error, missing []string) {
	t.Helper()
	var m *broker.MissingError
	switch {
	case errors.As(err, &m) && !slices.Equal(m.Nodes, missing), m == nil && (err != nil || missing != nil):
		t.Errorf("%v, want that %q are missing", err, missing)
	}
}

// beats has a node hear others, and beat itself.
func beats(t *testing.T, b *Broker, others ...*Broker) {
	t.Helper()
	heard := func(o *Broker) uint64 {
		b.nodes.mu.Lock()
		defer b.nodes.mu.Unlock()
		if p := b.nodes.peers[o.nodes.instance]; p != nil {
			return p.heard
		}
		return 0
	}
	for _, o := range others {
		before := heard(o)
		if err := o.say(o.nodes.all, &note{kind: noteBeat}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a beat", func() bool { return heard(o) > before })
	}
	b.tick()
}

// TestNodeEndsSuddenly: it is missing until its time is over, then its clients have gone, and nobody else's. It is not waited for twice.
func TestNodeEndsSuddenly(t *testing.T) {
	all, wires := three(t)
	a, c := all[0], all[2]
	present(t, a, 2, nil, "0", "1", "2")
	wires[1].end()
	a.cfg.AskTimeout = time.Second
	_, err := a.Present(t.Context(), "room")
	absent(t, err, []string{"node-1"})
	a.cfg.AskTimeout = time.Minute // nobody waits so long
	began := time.Now()
	present(t, a, 1, []string{"node-1"}, "0", "2")
	for range beatsMissed - 1 {
		beats(t, a, c)
	}
	present(t, a, 1, []string{"node-1"}, "0", "2")
	beats(t, a, c)
	present(t, a, 1, nil, "0", "2")
	if passed := time.Since(began); passed > patience {
		t.Errorf("%v have passed: a silent node was waited for", passed)
	}
	if known := a.Stats().Nodes.Known; known != 1 {
		t.Errorf("%d nodes are known, want 1", known)
	}
}

// TestNodeIsHeardAgain: a silent node is waited for as soon as it is heard.
func TestNodeIsHeardAgain(t *testing.T) {
	all, wires := three(t)
	a, b := all[0], all[1]
	wires[1].held.Lock()
	a.cfg.AskTimeout = time.Second
	_, err := a.Present(t.Context(), "room")
	absent(t, err, []string{"node-1"})
	wires[1].held.Unlock()
	a.cfg.AskTimeout = 5 * time.Second
	beats(t, a, b)
	present(t, a, 2, nil, "0", "1", "2")
}

// TestAskEndsWithContext: nobody waits longer, and a node that had less time than it may have is not silent for that.
func TestAskEndsWithContext(t *testing.T) {
	all, wires := three(t)
	a := all[0]
	a.cfg.AskTimeout = time.Minute
	wires[1].held.Lock()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := a.Present(short, "room")
	if m := (*broker.MissingError)(nil); !errors.As(err, &m) || !slices.Contains(m.Nodes, "node-1") || time.Since(began) > patience {
		t.Errorf("after %v: %v, want that node-1 is missing", time.Since(began), err)
	}
	wires[1].held.Unlock()
	present(t, a, 2, nil, "0", "1", "2")
}

// TestNodeStopsAndResumes: its clients come back once, and it does not think that the others were gone.
func TestNodeStopsAndResumes(t *testing.T) {
	all, wires := three(t)
	a, b, c := all[0], all[1], all[2]
	wires[1].held.Lock()
	for range beatsMissed {
		beats(t, a, c)
		beats(t, c, a)
	}
	present(t, a, 1, nil, "0", "2")
	wires[1].held.Unlock()
	b.tick() // the one that was due
	present(t, b, 2, nil, "0", "1", "2")
	beats(t, a, b)
	beats(t, c, b)
	for _, x := range all {
		present(t, x, 2, nil, "0", "1", "2")
	}
}

// TestNodeWithoutConnection: it says so at once, still knows who was there, and is complete when it is back.
func TestNodeWithoutConnection(t *testing.T) {
	all, wires := three(t)
	b := all[1]
	wires[1].end()
	eventually(t, "the end of the connection", func() bool { return !b.live() })
	for range beatsMissed {
		b.tick()
	}
	if known := b.Stats().Nodes.Known; known != 2 {
		t.Errorf("%d nodes are known, want 2: nothing was to be heard of them", known)
	}
	if _, err := b.Present(t.Context(), "room"); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Present: %v, want ErrUnavailable", err)
	}
	if _, err := b.Ask(t.Context(), "subject", nil); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Ask: %v, want ErrUnavailable", err)
	}
	enter(t, b, "room", "3", "user 3")
	wires[1].mu.Lock()
	wires[1].cut = false
	wires[1].mu.Unlock()
	eventually(t, "a connection", b.live)
	present(t, b, 3, nil, "0", "1", "2", "3")
}

// TestNodeSaysGoodbye: nobody waits for a node that was closed.
func TestNodeSaysGoodbye(t *testing.T) {
	all, _ := three(t)
	_ = all[1].Close()
	eventually(t, "a goodbye", func() bool { return all[0].Stats().Nodes.Known == 1 })
	present(t, all[0], 1, nil, "0", "2")
}
