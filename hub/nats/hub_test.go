package nats

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// hubNode is a hub on a broker, with clients that dial it.
type hubNode struct {
	*hub.Hub
	t     *testing.T
	b     *Broker
	e     *engine.Engine
	conns chan *engine.Conn
	left  chan string
}

// startHub makes a hub of which all channels have a history.
func startHub(t *testing.T, cfg Config) *hubNode {
	t.Helper()
	n := &hubNode{t: t, conns: make(chan *engine.Conn, 10), left: make(chan string, 10), b: open(t, cfg)}
	var err error
	n.e, err = engine.New(engine.Config{Addr: "ws://127.0.0.1:0", Loops: 1, Logger: zap.NewNop()}, engine.Handler{OnOpen: func(c *engine.Conn) {
		if !c.Dialled() {
			n.conns <- c
		}
	}})
	must(t, err)
	n.Hub, err = hub.New(n.e, hub.Config{
		Broker: n.b, History: n.b,
		Channel: func(string) (hub.Options, error) { return hub.Options{History: 100}, nil },
		Encode: func(_ int, channel string, p *broker.Publication) engine.Message {
			return engine.Message{Type: engine.Text, Data: fmt.Append(nil, channel, ": ", string(p.Data))}
		},
		Hooks: hub.Hooks{Join: func(context.Context, *hub.Client, string, *hub.Join) error { return nil }},
		OnLeft: func(_ *hub.Client, channel string, code protocol.CloseCode, _ string) {
			n.left <- fmt.Sprint(channel, " ", int(code))
		},
	})
	must(t, err)
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- n.e.Run(run) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return n
}

// hubClient is a connection, and what came there.
type hubClient struct {
	*hub.Client
	t   *testing.T
	got chan string
}

func (n *hubNode) client() *hubClient {
	n.t.Helper()
	c := &hubClient{t: n.t, got: make(chan string, 1000)}
	must(n.t, n.e.Dial(ctx, engine.Dial{URL: "ws://" + n.e.Addr().String(), Handler: &engine.Handler{
		OnMessage: func(_ *engine.Conn, m engine.Message) { c.got <- m.Text() },
	}}))
	var err error
	c.Client, err = n.Connect(ctx, <-n.conns, hub.Connect{User: "anna"})
	must(n.t, err)
	return c
}

func (c *hubClient) join(channel string, since *broker.Position) hub.Joined {
	c.t.Helper()
	j, err := c.Join(ctx, channel, hub.Join{Since: since})
	must(c.t, err)
	return j
}

func (c *hubClient) next() string {
	c.t.Helper()
	select {
	case got := <-c.got:
		return got
	case <-time.After(patience):
		c.t.Fatal("gave up waiting for a publication")
		return ""
	}
}

func (c *hubClient) expect(all ...string) {
	c.t.Helper()
	for _, want := range all {
		if got := c.next(); got != want {
			c.t.Fatalf("%q came, want %q", got, want)
		}
	}
}

func (n *hubNode) say(channel, text string) broker.Position {
	n.t.Helper()
	at, err := n.Publish(ctx, channel, hub.Publication{Data: []byte(text)})
	must(n.t, err)
	return at
}

// nobodyLeft fails the test if somebody was told that he misses something.
func (n *hubNode) nobodyLeft() {
	n.t.Helper()
	select {
	case who := <-n.left:
		n.t.Errorf("told: %s", who)
	default:
	}
}

// TestOtherNode: a client that comes back at another node, from the position that it has.
func TestOtherNode(t *testing.T) {
	t.Parallel()
	servers := clusterJS(t)
	a := startHub(t, Config{Server: servers[0], Node: "a", Replicas: 3})
	b := startHub(t, Config{Server: servers[1], Node: "b", Replicas: 3})
	c := a.client()
	begin := c.join("room", nil).Position
	first := a.say("room", "1")
	c.expect("room: 1")
	must(t, c.Leave(ctx, "room"))
	b.say("room", "2")
	a.say("elsewhere", "x")
	b.say("room", "3")
	d := b.client()
	if j := d.join("room", &first); !j.Recovered || len(j.Missed) != 2 {
		t.Errorf("since 1: %+v", j)
	}
	d.expect("room: 2", "room: 3")
	e := b.client()
	if j := e.join("room", &begin); !j.Recovered || len(j.Missed) != 3 {
		t.Errorf("since the beginning: %+v", j)
	}
	e.expect("room: 1", "room: 2", "room: 3")
	quiet := e.join("quiet", nil).Position // on b
	a.say("elsewhere", "y")
	f := a.client()
	if j := f.join("quiet", &quiet); !j.Recovered || len(j.Missed) != 0 {
		t.Errorf("nothing missed: %+v", j)
	}
	at := a.say("quiet", "4")
	f.expect("quiet: 4")
	e.expect("quiet: 4")
	if j := d.join("quiet", &quiet); !j.Recovered || len(j.Missed) != 1 {
		t.Errorf("missed 4: %+v", j)
	}
	d.expect("quiet: 4")
	if j := c.join("quiet", &broker.Position{Offset: at.Offset + 100, Epoch: at.Epoch}); j.Recovered {
		t.Errorf("a position that was never given: %+v", j)
	}
	a.nobodyLeft()
	b.nobodyLeft()
}

// TestGap: what is lost on its way comes before what follows it, and if nothing follows it, soon.
func TestGap(t *testing.T) {
	t.Parallel()
	s := startJS(t)
	var losing atomic.Bool
	var lost atomic.Int32
	a := startHub(t, Config{Server: s, Node: "a", CompareEvery: 20 * time.Millisecond})
	b := startHub(t, Config{Server: s, Node: "b", CompareEvery: time.Hour, drop: func(*natsgo.Msg) bool { return losing.Load() && lost.Add(1) > 0 }})
	c := b.client()
	c.join("room", nil)
	c.join("other", nil)
	a.say("room", "1")
	c.expect("room: 1")
	losing.Store(true)
	for i := range 3 {
		a.say("room", fmt.Sprint(i+2))
	}
	a.say("other", "lost")
	eventually(t, "all of them to be lost", func() bool { return lost.Load() >= 4 })
	losing.Store(false)
	a.say("room", "5")
	c.expect("room: 2", "room: 3", "room: 4", "room: 5")
	b.b.history.parts[0].wake() // as after CompareEvery
	c.expect("other: lost")
	b.nobodyLeft()
	if missed := b.b.Stats().History.Missed; missed != 1 {
		t.Errorf("%d channels were found to miss something", missed)
	}
	if missed := a.b.Stats().History.Missed; missed != 0 {
		t.Errorf("a node that missed nothing found %d", missed)
	}
}

// TestQuiet: a subscriber of a channel where nothing happens for longer than anything is kept gets what comes then. One whose node did not
// look in time is told.
func TestQuiet(t *testing.T) {
	t.Parallel()
	s := startJS(t)
	const lifetime = 1500 * time.Millisecond // the publications that come at the end must be read before they are gone
	a := startHub(t, Config{Server: s, Node: "a", CompareEvery: 20 * time.Millisecond})
	b := startHub(t, Config{Server: s, Node: "b", CompareEvery: time.Hour})
	must(t, change(t, admin(t, s), a.b, func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = lifetime, lifetime }))
	c, d := a.client(), b.client()
	d.join("room", nil)
	c.join("empty", nil)
	c.join("room", nil)
	at := a.say("room", "1")
	c.expect("room: 1")
	d.expect("room: 1")
	often := time.NewTicker(5 * time.Millisecond)
	defer often.Stop()
	eventually(t, "it is older than the stream", func() bool {
		<-often.C
		a.say("busy", "x")
		return firstOf(t, a.b) > at.Offset+20
	})
	a.say("room", "2")
	a.say("empty", "3")
	got := []string{c.next(), c.next()}
	slices.Sort(got)
	if !slices.Equal(got, []string{"empty: 3", "room: 2"}) {
		t.Errorf("%q came", got)
	}
	a.nobodyLeft()
	select {
	case who := <-b.left:
		if who != "room 2500" {
			t.Errorf("told: %s", who)
		}
	case got := <-d.got:
		t.Errorf("%q came, and it was not proven that nothing is missing", got)
	case <-time.After(patience):
		t.Error("nobody was told")
	}
}
