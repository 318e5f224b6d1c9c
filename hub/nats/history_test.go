package nats

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/brokertest"
)

// startJS starts a NATS server with JetStream.
func startJS(t testing.TB) *server.Server {
	t.Helper()
	return start(t, func(o *server.Options) { o.JetStream, o.StoreDir = true, t.TempDir() })
}

// clusterJS starts three servers with JetStream that know each other.
func clusterJS(t testing.TB) []*server.Server {
	t.Helper()
	var ports []int
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, "nats://"+l.Addr().String())
		must(t, l.Close())
	}
	var servers []*server.Server
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("server-", i), Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port}, Routes: server.RoutesFromStr(strings.Join(routes, ",")),
		})
		must(t, err)
		s.Start()
		t.Cleanup(func() { stop(s) })
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(patience) {
			t.Fatal("a NATS server does not start")
		}
	}
	eventually(t, "JetStream has a leader", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
	return servers
}

// ages is what a test says of the age of messages: time passes for those that are stored.
type ages struct {
	mu     sync.Mutex
	passed []passed
}

type passed struct {
	stream   string
	sequence uint64 // of the last message there was
	d        time.Duration
}

func (a *ages) pass(t testing.TB, b *Broker, d time.Duration) {
	for _, p := range b.history.parts {
		s, err := p.look(ctx)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if err = p.again(ctx); err == nil {
				s, err = p.look(ctx)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		a.mu.Lock()
		a.passed = append(a.passed, passed{s.name, s.last, d})
		a.mu.Unlock()
	}
}

func (a *ages) older(stream string, sequence uint64) (d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.passed {
		if x.stream == stream && sequence <= x.sequence {
			d += x.d
		}
	}
	return d
}

// admin is what an operator has.
func admin(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	conn, err := natsgo.Connect("", natsgo.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// historyBackend has a node at each server.
func historyBackend(t *testing.T, servers []*server.Server, change func(*Config)) brokertest.Backend {
	ages, js := &ages{}, admin(t, servers[0])
	known := &known{nodes: map[string]map[*Broker]bool{}}
	var nodes []brokertest.Node
	var brokers []*Broker
	for i := range max(2, len(servers)) {
		cfg := Config{Server: servers[i%len(servers)], Node: fmt.Sprint("node-", i), Grace: time.Hour, Shards: 16, PublishTimeout: 10 * time.Second, AskTimeout: 5 * time.Second}
		change(&cfg)
		b := open(t, cfg)
		b.history.older = ages.older
		brokers = append(brokers, b)
		nodes = append(nodes, brokertest.Node{Broker: &wide{b, t, servers, known}, History: b})
	}
	x := backend(nodes...)
	x.KeepsMore, x.Lifetime, x.Slow = true, time.Minute, len(servers) > 1
	x.Pass = func(d time.Duration) { ages.pass(t, brokers[0], d) }
	x.Forget = func(channel string) {
		name, err := js.StreamNameBySubject(ctx, brokers[0].storedSubject(channel))
		if err == nil {
			err = js.DeleteStream(ctx, name)
		}
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Error(err)
		}
	}
	return x
}

// TestHistoryConformance: two nodes at one server.
func TestHistoryConformance(t *testing.T) {
	t.Parallel()
	s := startJS(t)
	var made atomic.Int64
	brokertest.Run(t, func(t *testing.T) brokertest.Backend {
		n := int(made.Add(1))
		return historyBackend(t, []*server.Server{s}, func(c *Config) { c.Prefix, c.InMemory, c.Streams = fmt.Sprint("test", n), n%2 == 0, 1+n%2 })
	})
}

// TestHistoryConformanceInCluster: three nodes, each at another server.
func TestHistoryConformanceInCluster(t *testing.T) {
	t.Parallel()
	servers := clusterJS(t)
	var made atomic.Int64
	brokertest.Run(t, func(t *testing.T) brokertest.Backend {
		n := int(made.Add(1))
		return historyBackend(t, servers, func(c *Config) { c.Prefix, c.InMemory, c.Replicas = fmt.Sprint("test", n), n%2 == 0, 3 })
	})
}

var _ = broker.NoLimit
