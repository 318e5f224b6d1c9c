package nats

import (
	"context"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// presence is the state of what is here.
type presence struct{}

func (b *Broker) openPresence(context.Context) error { return nil }

// closePresence is called by Close, before closeNodes.
func (b *Broker) closePresence() {}

// Enter implements broker.Presence.
func (b *Broker) Enter(ctx context.Context, channel string, info broker.Info, lifetime time.Duration) error {
	return broker.ErrUnavailable
}

// Leave implements broker.Presence.
func (b *Broker) Leave(ctx context.Context, channel, client string) error {
	return broker.ErrUnavailable
}

// Present implements broker.Presence.
func (b *Broker) Present(ctx context.Context, channel string) ([]broker.Info, error) {
	return nil, broker.ErrUnavailable
}

// Count implements broker.Presence.
func (b *Broker) Count(ctx context.Context, channel string) (broker.Counts, error) {
	return broker.Counts{}, broker.ErrUnavailable
}
