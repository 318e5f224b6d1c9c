package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// link is the state of the connection. nats.go holds its lock while it dials, so nothing that must not wait may ask it.
type link struct {
	live    atomic.Bool   // connected, and the subscriptions are in force at the server
	payload atomic.Int64  // bytes that the server takes in a message
	wake    chan struct{} // something here has changed
	closed  chan struct{} // closed when nats.go will call nothing any more

	changed <-chan struct{} // the first one that watch waits for

	mu     sync.Mutex // guards what follows
	up     bool       // connected
	losses uint64     // how often the connection was lost
}

// hooks are for the parts that want to know of the connection. They are added while New runs, and called one after the other on a goroutine of
// the broker. They must not block for longer than one call of NATS takes. Their context ends with Close.
type hooks struct {
	mu           sync.Mutex
	disconnected []func(ctx context.Context)
	reconnected  []func(ctx context.Context)
	changed      []func(ctx context.Context)
}

// onDisconnect adds a hook for when the connection was lost.
func (b *Broker) onDisconnect(f func(ctx context.Context)) {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	b.hooks.disconnected = append(b.hooks.disconnected, f)
}

// onReconnect adds a hook for when the connection is there again and this node gets again what it follows. Without Config.NoHistory
// it is up to a hook to call Interrupted where something may have been lost.
func (b *Broker) onReconnect(f func(ctx context.Context)) {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	b.hooks.reconnected = append(b.hooks.reconnected, f)
}

// onChange adds a hook for when the server, if it is one in this process that tells, is connected to other servers than before, or has another leader.
func (b *Broker) onChange(f func(ctx context.Context)) {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	b.hooks.changed = append(b.hooks.changed, f)
}

func (b *Broker) call(ctx context.Context, hooks *[]func(ctx context.Context)) {
	b.hooks.mu.Lock()
	all := slices.Clone(*hooks)
	b.hooks.mu.Unlock()
	for _, f := range all {
		f(ctx)
	}
}

func (b *Broker) connectionLost(err error) {
	if b.closed.Load() {
		return
	}
	b.link.mu.Lock()
	b.link.up, b.link.losses = false, b.link.losses+1
	b.link.live.Store(false)
	b.link.mu.Unlock()
	if err == nil {
		err = errors.New("closed by the server")
	}
	b.counts.disconnects.Add(1)
	b.health.set("connection", fmt.Errorf("nats: the connection to NATS is lost: %w", err))
	b.log.Warn("the connection to NATS is lost", zap.Error(err))
	b.wakeWatch()
}

// connectionClosed is called after Close, or when nats.go has given up.
func (b *Broker) connectionClosed() {
	close(b.link.closed)
	if b.closed.Load() {
		return
	}
	b.link.live.Store(false)
	err := fmt.Errorf("nats: the connection to NATS has ended for good: %w", cmp.Or(b.conn.LastError(), natsgo.ErrConnectionClosed))
	b.health.set("connection", err)
	b.log.Error("the connection to NATS has ended for good", zap.Error(err))
}

func (b *Broker) connectionBack() {
	b.link.mu.Lock()
	b.link.up = true
	b.link.mu.Unlock()
	b.wakeWatch()
}

// failedLater is called for what nats.go or the server cannot tell a caller.
func (b *Broker) failedLater(err error) {
	if errors.Is(err, natsgo.ErrSlowConsumer) {
		b.wakeWatch() // which looks at all shards
		return
	}
	if refused(err) {
		b.health.set("refused", fmt.Errorf("nats: the server does not allow what is needed: %w", err))
	}
	b.seldom.Warn("NATS reports an error", zap.Error(err))
}

func (b *Broker) wakeWatch() {
	select {
	case b.link.wake <- struct{}{}:
	default:
	}
}

// watch follows the connection, looks for messages that were dropped, and ends what is not followed any more.
func (b *Broker) watch(ctx context.Context) {
	often, grace := time.NewTicker(watchInterval), time.NewTicker(b.cfg.Grace)
	defer often.Stop()
	defer grace.Stop()
	changed := b.link.changed
	var told uint64 // of link.losses
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = b.cfg.changed()
			b.call(ctx, &b.hooks.changed)
			continue
		case now := <-grace.C:
			b.sweep(now)
			continue
		case <-often.C:
		case <-b.link.wake:
		}
		b.tellLost()
		b.link.mu.Lock()
		up, losses := b.link.up, b.link.losses
		b.link.mu.Unlock()
		if losses != told {
			told = losses
			b.call(ctx, &b.hooks.disconnected)
		}
		if up && !b.live() {
			b.resume(ctx, losses)
		}
	}
}

// resume is called until this node gets again what it follows.
func (b *Broker) resume(ctx context.Context, losses uint64) {
	limited, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
	defer cancel()
	if b.conn.FlushWithContext(limited) != nil {
		return // lost again, or too slow: watch comes again
	}
	err := b.checkServer()
	b.health.set("version", err)
	if err != nil {
		b.seldom.Error("NATS is not what is needed", zap.Error(err))
		return
	}
	b.link.mu.Lock()
	same := b.link.up && b.link.losses == losses
	if same {
		b.link.live.Store(true)
	}
	b.link.mu.Unlock()
	if !same {
		return
	}
	b.health.set("connection", nil)
	b.health.set("refused", nil)
	b.log.Info("connected to NATS again", zap.String("server", b.conn.ConnectedUrlRedacted()))
	if b.cfg.NoHistory {
		b.interruptAll()
	}
	b.call(ctx, &b.hooks.reconnected)
}
