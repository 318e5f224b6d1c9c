package nats

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/brokertest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

var ctx = context.Background()

// patience is how long an event may take before a test gives up on it. A leader that is alone takes up to 20 s to notice.
const patience = 40 * time.Second

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	often := time.NewTicker(time.Millisecond)
	defer often.Stop()
	for !holds() {
		select {
		case <-often.C:
		case <-end.C:
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

// start starts a NATS server.
func start(t testing.TB, change func(o *server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stop(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// cluster starts servers that know each other.
func cluster(t testing.TB, n int) []*server.Server {
	t.Helper()
	var all []*server.Server
	for i := range n {
		all = append(all, start(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("server-", i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: -1}
			if i > 0 {
				o.Routes = server.RoutesFromStr("nats://" + all[0].ClusterAddr().String())
			}
		}))
	}
	for _, s := range all {
		eventually(t, "all servers of the cluster are connected", func() bool { return s.NumRemotes() == n-1 })
	}
	return all
}

// open makes a node.
func open(t testing.TB, cfg Config) *Broker {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	b, err := New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// TestConformance: two nodes at one server.
func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, func(t *testing.T) brokertest.Backend {
		s := start(t, nil)
		a, b := open(t, Config{Server: s, Node: "a", NoHistory: true, AskTimeout: 5 * time.Second}), open(t, Config{URL: s.ClientURL(), Node: "b", NoHistory: true, AskTimeout: 5 * time.Second})
		return backend(brokertest.Node{Broker: a}, brokertest.Node{Broker: b})
	})
}

// TestConformanceInCluster: three nodes, each at another server.
func TestConformanceInCluster(t *testing.T) {
	t.Parallel()
	servers := cluster(t, 3)
	var n atomic.Int64
	brokertest.Run(t, func(t *testing.T) brokertest.Backend {
		prefix := fmt.Sprint("test", n.Add(1))
		known := &known{nodes: map[string]map[*Broker]bool{}}
		var nodes []brokertest.Node
		for i, s := range servers {
			b := open(t, Config{Server: s, Prefix: prefix, Node: fmt.Sprint("node-", i), NoHistory: true, Grace: time.Hour, AskTimeout: 5 * time.Second})
			nodes = append(nodes, brokertest.Node{Broker: &wide{Broker: b, t: t, servers: servers, known: known}})
		}
		return backend(nodes...)
	})
}

func backend(nodes ...brokertest.Node) brokertest.Backend {
	return brokertest.Backend{Nodes: nodes, Close: func() error {
		for _, n := range nodes {
			if err := n.Broker.(interface{ Close() error }).Close(); err != nil {
				return err
			}
		}
		return nil
	}}
}

// wide is a Broker whose Subscribe returns when all servers of a cluster know of it.
type wide struct {
	*Broker
	t       testing.TB
	servers []*server.Server
	known   *known
}

// known is which nodes have subscribed to a shard. Grace is so long that they stay.
type known struct {
	mu    sync.Mutex
	nodes map[string]map[*Broker]bool // by subject
}

func (k *known) add(subject string, b *Broker) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nodes[subject] == nil {
		k.nodes[subject] = map[*Broker]bool{}
	}
	k.nodes[subject][b] = true
	return len(k.nodes[subject])
}

func (w *wide) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	if err := w.Broker.Subscribe(ctx, channel, r); err != nil {
		return err
	}
	subject := w.liveSubject(channel)
	n := w.known.add(w.shardSubject(w.shardOf(channel)), w.Broker)
	for _, s := range w.servers {
		eventually(w.t, "all servers know who follows a channel", func() bool { return s.GlobalAccount().Interest(subject) >= n })
	}
	return nil
}
