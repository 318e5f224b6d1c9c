package nats

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sockmill/sockmill/hub/brokertest"
)

// quiet is a configuration with which nothing happens by itself.
func quiet(s *server.Server, name string) Config {
	return Config{URL: s.ClientURL(), Node: name, NoHistory: true, NodeLifetime: time.Hour}
}

// nodeName is the name of a node of tests.
func nodeName(i int) string { return fmt.Sprint("node-", i) }

// TestPresenceConformance: two nodes at one server, and three, each at another server.
func TestPresenceConformance(t *testing.T) {
	for _, count := range []int{1, 3} {
		t.Run(fmt.Sprint(count, "-servers"), func(t *testing.T) {
			all := cluster(t, count)
			var made atomic.Int64
			brokertest.Run(t, func(t *testing.T) brokertest.Backend {
				prefix := fmt.Sprint("test-", made.Add(1))
				began, passed := time.Now(), &atomic.Int64{}
				var nodes []brokertest.Node
				for i := range max(2, count) {
					cfg := quiet(all[i%count], nodeName(i))
					cfg.Prefix = prefix
					cfg.AskTimeout = 5 * time.Second // the machine may be busy
					cfg.clock = func() time.Time { return began.Add(time.Duration(passed.Load())) }
					nodes = append(nodes, brokertest.Node{Presence: open(t, cfg)})
				}
				return brokertest.Backend{Nodes: nodes, Pass: func(d time.Duration) { passed.Add(int64(d)) }, Lifetime: time.Second}
			})
		})
	}
}
