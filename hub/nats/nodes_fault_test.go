package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
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

// TestNewNodeKnowsAll: as soon as New has returned, also at another server, and all know it.
func TestNewNodeKnowsAll(t *testing.T) {
	all3 := cluster(t, 3)
	var all []*Broker
	var clients []string
	for i := range 6 {
		cfg, _ := onWire(all3[i%3], nodeName(i))
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
	all3 := cluster(t, 3)
	var all [6]*Broker
	var starting sync.WaitGroup
	for i := range all {
		starting.Add(1)
		go func() {
			defer starting.Done()
			cfg, _ := onWire(all3[i%3], nodeName(i))
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
