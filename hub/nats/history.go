package nats

import (
	"context"

	"github.com/sockmill/sockmill/hub/broker"
)

// history is the state of what is here.
type history struct{}

// HistoryStats are the counters of the histories.
type HistoryStats struct{}

func (b *Broker) openHistory(context.Context) error { return nil }

// closeHistory is called by Close, before the connection ends and before ctx of run ends.
func (b *Broker) closeHistory() {}

func (b *Broker) historyStats() HistoryStats { return HistoryStats{} }

// Append implements broker.History.
func (b *Broker) Append(ctx context.Context, channel string, p broker.Publication, keep broker.Keep) (broker.Position, error) {
	return broker.Position{}, broker.ErrUnavailable
}

// Read implements broker.History.
func (b *Broker) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	return broker.Page{}, broker.ErrUnavailable
}

// Remove implements broker.History.
func (b *Broker) Remove(ctx context.Context, channel string) error { return broker.ErrUnavailable }
