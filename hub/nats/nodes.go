package nats

import (
	"context"

	"github.com/sockmill/sockmill/hub/broker"
)

// nodes is the state of what is here.
type nodes struct{}

// NodesStats are the counters of the nodes.
type NodesStats struct{}

func (b *Broker) openNodes(context.Context) error { return nil }

// closeNodes is called by Close, before the connection ends and before ctx of run ends.
func (b *Broker) closeNodes() {}

func (b *Broker) nodesStats() NodesStats { return NodesStats{} }

// Node implements broker.Nodes.
func (b *Broker) Node() string { return b.cfg.Node }

// Answer implements broker.Nodes.
func (b *Broker) Answer(subject string, f func(ctx context.Context, request []byte) []byte) (remove func()) {
	return func() {}
}

// Ask implements broker.Nodes.
func (b *Broker) Ask(ctx context.Context, subject string, request []byte) (broker.Answers, error) {
	return broker.Answers{}, broker.ErrUnavailable
}
