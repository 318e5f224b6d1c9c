package nats

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Stats are counters since New, and gauges.
type Stats struct {
	Published   uint64 // publications handed to NATS by Publish
	Delivered   uint64 // publications of NATS for a channel that is followed here
	Passed      uint64 // messages of a shard for channels that nobody follows here
	Foreign     uint64 // messages on our subjects that are not ours
	Lost        uint64 // messages that this node was too slow for; the receivers were told
	Interrupted uint64 // calls of broker.Receiver.Interrupted
	Disconnects uint64 // of the connection to NATS

	Channels  int  // that are followed here
	Shards    int  // that this node has a NATS subscription for
	Connected bool // to NATS

	History HistoryStats
	Nodes   NodesStats
}

type counters struct {
	published, delivered, passed, foreign, lost, interrupted, disconnects atomic.Uint64
}

// Stats returns the counters. It does not ask NATS.
func (b *Broker) Stats() Stats {
	c := &b.counts
	s := Stats{
		Published: c.published.Load(), Delivered: c.delivered.Load(), Passed: c.passed.Load(), Foreign: c.foreign.Load(),
		Lost: c.lost.Load(), Interrupted: c.interrupted.Load(), Disconnects: c.disconnects.Load(),
		Connected: b.live(), History: b.historyStats(), Nodes: b.nodesStats(),
	}
	s.Channels, s.Shards = b.interest()
	return s
}

// health is why this node is not well: reasons that come and go, by a name of their own. The whole of it is for
// Broker.Health; whoever notices a reason sets it, and sets it to nil when it has gone.
type health struct {
	mu      sync.Mutex
	reasons map[string]error
}

// set says that there is a reason, or with nil that there is none any more. It reports whether that is a change from none to some, or
// back, so that the caller logs only changes.
func (h *health) set(name string, reason error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, was := h.reasons[name]
	if reason == nil {
		delete(h.reasons, name)
	} else {
		if h.reasons == nil {
			h.reasons = map[string]error{}
		}
		h.reasons[name] = reason
	}
	return was != (reason != nil)
}

// Health returns nil if this node can do all that it is for, or else why it cannot: one error for each reason, joined. It does not ask
// NATS: what is wrong is noticed within seconds.
func (b *Broker) Health() error {
	if b.closed.Load() {
		return errors.New("nats: the node was closed")
	}
	var all []error
	if server, ok := b.cfg.Server.(healthy); ok {
		all = append(all, server.Health())
	}
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(b.health.reasons)) {
		all = append(all, b.health.reasons[name])
	}
	return errors.Join(all...)
}
