package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"

	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/hub/broker"
)

// hooks are for the parts that want to know of the connection. They are added while New runs. They are called one after the other, on a goroutine of
// the broker (not on one of nats.go), and must not block for longer than a call of NATS takes; the context is that of run.
type hooks struct {
	mu           sync.Mutex
	disconnected []func(ctx context.Context)
	reconnected  []func(ctx context.Context) // the subscriptions are in force again at the server
	lost         []func(ctx context.Context, shard int)
}

// onDisconnect adds a hook for when the connection is lost.
func (b *Broker) onDisconnect(f func(ctx context.Context)) {
	b.hooks.disconnected = append(b.hooks.disconnected, f)
}

// onReconnect adds a hook for when it is there again and this node gets again what it follows.
func (b *Broker) onReconnect(f func(ctx context.Context)) {
	b.hooks.reconnected = append(b.hooks.reconnected, f)
}

// onLost adds a hook for when messages of a shard were dropped because this node was too slow. The receivers were told already.
func (b *Broker) onLost(f func(ctx context.Context, shard int)) {
	b.hooks.lost = append(b.hooks.lost, f)
}

// connect is the first thing that New does.
func (b *Broker) connect(ctx context.Context) error {
	return errors.New("nats: not yet")
}

// disconnect is the last thing that Close does.
func (b *Broker) disconnect() {
	if b.conn != nil {
		b.conn.Close()
	}
}

// live reports whether there is a connection, and whether this node gets what it follows.
func (b *Broker) live() bool {
	return b.conn != nil && b.conn.IsConnected()
}

// failed makes an error of package broker of an error of nats.go.
func (b *Broker) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case b.closed.Load():
		return broker.ErrClosed
	case errors.Is(err, natsgo.ErrMaxPayload):
		return fmt.Errorf("%w: the server takes %d bytes", broker.ErrTooLarge, b.conn.MaxPayload())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}
