package hub

import (
	"sync/atomic"

	"github.com/sockmill/sockmill/engine"
)

// Metrics are the numbers of a Hub for a monitoring system, all of this node. Those of type uint64 are counts since New and only rise.
type Metrics struct {
	Channels      int // that clients are in, or are joining
	Clients       int
	Users         int // that have clients
	Subscriptions int // memberships: a client in three channels counts three times
	Present       int // of these, and of those who are joining, the ones that Config.Presence knows

	Joins     uint64 // that have succeeded
	Recovered uint64 // of these, those with a Join.Since and Joined.Recovered: nothing is missing
	Lacking   uint64 // of these, those with a Join.Since but without Joined.Recovered: something may be missing
	CaughtUp  uint64 // publications in Joined.Missed
	Lost      uint64 // memberships that ended because the client would have missed a publication
	Cut       uint64 // connections that were closed with 3010, because they would have missed something

	Published uint64 // publications that the brokers took from the program and the clients here; KindJoin and KindLeave are not among them
	Delivered uint64 // publications that the brokers brought to this node, KindJoin and KindLeave included
	Sent      uint64 // publications that were given to connections, each counted once for each connection

	Work    []WorkMetrics // "orders", "ends", "reads", always in this order
	Stalled int           // channels that wait because their history cannot be read
	Owed    int           // subscriptions that should have ended, but of which the broker could not be told

	Trips []TripMetrics // always the same operations, in the same order

	// BrokerHealth says why Config.Broker does not work: what its method Health() error returns, as that of hub/nats has it. nil: it works, or
	// has no such method.
	BrokerHealth error
}

// WorkMetrics are the numbers of what the hub does by itself: the orders of Reach, the ends of clients that have disconnected, and the
// reads of gaps from the history.
type WorkMetrics struct {
	Name    string
	Running int // goroutines
	Waiting int // for a goroutine; for orders, clients that have some
}

// TripMetrics are the numbers of one operation of the brokers, such as "publish" or "history_read". With hub/memory, publish and
// history_append take as long as it takes to queue the publication for all members.
type TripMetrics struct {
	Operation string
	Errors    uint64           // calls that failed, but not by the end of the caller's context, nor with broker.ErrUnrecoverable, which is an answer
	Latency   engine.Histogram // of all calls, in seconds
}

// counts is what happens to a Hub.
type counts struct {
	subscriptions, present atomic.Int64

	joins, recovered, lacking, caughtUp, lost, cut atomic.Uint64
	published, delivered, sent                     atomic.Uint64
}

// Metrics returns the numbers of the hub. It costs the same however many clients and channels there are, and asks no broker but for its
// Health. Any goroutine may call it.
func (h *Hub) Metrics() Metrics {
	c := &h.counts
	m := Metrics{
		Subscriptions: int(c.subscriptions.Load()), Present: int(c.present.Load()),
		Recovered: c.recovered.Load(), Lacking: c.lacking.Load(), CaughtUp: c.caughtUp.Load(), Lost: c.lost.Load(), Cut: c.cut.Load(),
		Published: c.published.Load(), Delivered: c.delivered.Load(), Sent: c.sent.Load(),
		Trips: h.trips.metrics(),
	}
	m.Joins = c.joins.Load() // after its parts, which are never more
	if h.health != nil {
		m.BrokerHealth = h.health()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m.Channels, m.Clients, m.Users = len(h.channels), len(h.clients), len(h.users)
	m.Work = []WorkMetrics{h.orders.metrics("orders"), h.ends.metrics("ends"), h.reads.metrics("reads")}
	m.Stalled, m.Owed = len(h.later.reads), len(h.later.owed)
	return m
}

// metrics is called with the lock of the hub.
func (p *pool) metrics(name string) WorkMetrics {
	return WorkMetrics{Name: name, Running: p.workers, Waiting: len(p.queue) - p.next}
}

// noteJoin counts a join that has succeeded.
func (c *counts) noteJoin(j *Join, joined *Joined) {
	c.joins.Add(1)
	switch {
	case j.Since == nil:
	case joined.Recovered:
		c.recovered.Add(1)
		c.caughtUp.Add(uint64(len(joined.Missed)))
	default:
		c.lacking.Add(1)
	}
}
