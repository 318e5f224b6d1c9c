// Package nats is the broker.Broker, the broker.History, the broker.Presence and the broker.Nodes of nodes that have a NATS
// server or a cluster of them between them. Histories are streams of JetStream; Config.NoHistory does without.
package nats

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sockmill/sockmill/hub/broker"
)

// Broker is one node. It implements broker.Broker, broker.History, broker.Presence and broker.Nodes.
type Broker struct {
	cfg  Config
	log  *zap.Logger
	conn *natsgo.Conn

	ctx    context.Context // ends with Close; for whatever runs by itself
	cancel context.CancelFunc
	work   sync.WaitGroup // what run started
	closed atomic.Bool
	ended  sync.Once

	seldom *zap.Logger // the same text once a minute at most

	livePrefix, storedPrefix string // of subjects

	link   link
	hooks  hooks
	health health
	counts counters

	lanes  [lanes]lane
	shards []shard

	history history // history.go
	nodes   nodes   // nodes.go
}

var (
	_ broker.Broker   = (*Broker)(nil)
	_ broker.History  = (*Broker)(nil)
	_ broker.Presence = (*Broker)(nil)
	_ broker.Nodes    = (*Broker)(nil)
)

// New connects to NATS, makes or checks the streams, and takes the name of the node. It returns when all is ready, or an error that
// says what is not. When ctx ends, it gives up.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, log: cfg.Logger}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.seldom = b.log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewSamplerWithOptions(c, time.Minute, 1, 0) }))
	b.link.wake, b.link.closed = make(chan struct{}, 1), make(chan struct{})
	b.name()
	b.begin()
	for _, open := range []func(context.Context) error{b.connect, b.openHistory, b.openNodes} {
		if err := open(ctx); err != nil {
			_ = b.Close()
			return nil, err
		}
	}
	return b, nil
}

// name sets what depends on names.
func (b *Broker) name() { b.livePrefix, b.storedPrefix = b.cfg.Prefix+".l.", b.cfg.Prefix+".h." }

// Close ends all: see package broker. Other nodes are told. It waits for what goes on, if need be for Config.PublishTimeout and 2 s, the longest time that
// nats.go takes to connect. It never fails.
func (b *Broker) Close() error {
	b.ended.Do(func() {
		b.closed.Store(true)
		b.closeNodes()
		b.closeHistory()
		b.cancel()
		b.disconnect()
		b.work.Wait()
	})
	return nil
}

// run calls f on a goroutine of its own. f returns soon after ctx has ended, which Close waits for.
func (b *Broker) run(f func(ctx context.Context)) {
	b.work.Add(1)
	go func() {
		defer b.work.Done()
		f(b.ctx)
	}()
}

// check is the beginning of every method with a channel.
func (b *Broker) check(ctx context.Context, channel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.closed.Load() {
		return broker.ErrClosed
	}
	return broker.CheckChannel(channel)
}
