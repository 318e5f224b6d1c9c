// Package memory is the broker.Broker, the broker.History, the broker.Presence and the broker.Nodes of one process. Nothing
// of it outlives the process, and everything is bounded by Config.
//
// Append and Publish call the receivers themselves: when they return nil, the publication was
// delivered, and nothing is ever lost on the way. Offsets begin with 1 and rise by one.
package memory

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// Broker implements broker.Broker, broker.Prefixes, broker.History, broker.Presence and broker.Nodes. Several hubs of one process may
// share it: they are one node.
type Broker struct {
	cfg    Config
	began  time.Time
	seed   maphash.Seed
	turns  [shares]sync.Mutex // the one of a channel is held from when a publication gets its place until it is delivered
	closed atomic.Bool

	mu        sync.Mutex                   // guards what follows; not held while receivers are called
	receivers map[string][]broker.Receiver // the slices are replaced, never changed
	prefixes  []prefixed                   // few
	histories histories
	keys      keys

	presence presence // has its own mutex
	nodes    nodes    // has its own mutex
}

// shares is how many parts the channels are divided into, by a hash of the name.
const shares = 256

// New makes an empty Broker.
func New(cfg Config) (*Broker, error) {
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, began: cfg.Clock(), seed: maphash.MakeSeed(), receivers: map[string][]broker.Receiver{}}
	b.histories.init(&b.cfg, b.share)
	b.keys.init(&b.cfg)
	b.presence.init(&b.cfg)
	b.nodes.init()
	return b, nil
}

// Close ends all: see package broker. It never fails.
func (b *Broker) Close() error {
	b.closed.Store(true)
	b.wait()
	b.nodes.close()
	return nil
}

// wait waits for whoever is delivering.
func (b *Broker) wait() {
	for i := range b.turns {
		b.turns[i].Lock()
		b.turns[i].Unlock() //nolint:staticcheck // only waited for
	}
}

func (b *Broker) share(channel string) int { return int(maphash.String(b.seed, channel) % shares) }

func (b *Broker) now() time.Duration { return b.cfg.Clock().Sub(b.began) }

// check is the beginning of every method.
func (b *Broker) check(ctx context.Context, channel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.closed.Load() {
		return broker.ErrClosed
	}
	return broker.CheckChannel(channel)
}

// turn waits until it is the caller's turn to change the channel.
func (b *Broker) turn(channel string) (*sync.Mutex, error) {
	t := &b.turns[b.share(channel)]
	t.Lock()
	if b.closed.Load() {
		t.Unlock()
		return nil, broker.ErrClosed
	}
	return t, nil
}

// Publish implements broker.Broker. Nil means that all receivers have been called.
func (b *Broker) Publish(ctx context.Context, channel string, p broker.Publication) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	turn, err := b.turn(channel)
	if err != nil {
		return err
	}
	defer turn.Unlock()
	b.mu.Lock()
	to := b.to(channel)
	b.mu.Unlock()
	p.Position, p.Prev = broker.Position{}, 0
	deliver(to, channel, p)
	return nil
}

// Append implements broker.History. Nil means that all receivers have been called.
func (b *Broker) Append(ctx context.Context, channel string, p broker.Publication, keep broker.Keep) (broker.Position, error) {
	if err := b.check(ctx, channel); err != nil {
		return broker.Position{}, err
	}
	if err := keep.Check(); err != nil {
		return broker.Position{}, err
	}
	turn, err := b.turn(channel)
	if err != nil {
		return broker.Position{}, err
	}
	defer turn.Unlock()
	to, err := b.keep(channel, &p, keep)
	if err != nil {
		return broker.Position{}, err
	}
	deliver(to, channel, p)
	return p.Position, nil
}

// keep puts p into the history and gives it its position, or that of the publication with the same key, and returns
// who has to get it.
func (b *Broker) keep(channel string, p *broker.Publication, keep broker.Keep) ([]broker.Receiver, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, key := b.now(), channelKey{channel, keep.Key}
	if keep.Key != "" {
		if at, ok := b.keys.find(key, now); ok {
			p.Position = at
			return nil, nil
		}
	}
	if err := b.histories.add(channel, p, keep, now); err != nil {
		return nil, err
	}
	if keep.Key != "" {
		b.keys.add(key, p.Position, now)
	}
	return b.to(channel), nil
}

// prefixed is a subscription to all channels that begin alike.
type prefixed struct {
	prefix string
	r      broker.Receiver
}

// to returns the receivers of a channel. It is called with mu.
func (b *Broker) to(channel string) []broker.Receiver {
	all := b.receivers[channel]
	for _, x := range b.prefixes {
		if strings.HasPrefix(channel, x.prefix) {
			all = append(slices.Clip(all), x.r)
		}
	}
	return all
}

func deliver(to []broker.Receiver, channel string, p broker.Publication) {
	for _, r := range to {
		r.Deliver(channel, p)
	}
}

// Subscribe implements broker.Broker.
func (b *Broker) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	return b.follow(ctx, channel, func(rs []broker.Receiver) []broker.Receiver {
		if slices.Contains(rs, r) {
			return rs
		}
		return append(slices.Clip(rs), r)
	})
}

// Unsubscribe implements broker.Broker.
func (b *Broker) Unsubscribe(ctx context.Context, channel string, r broker.Receiver) error {
	return b.follow(ctx, channel, func(rs []broker.Receiver) []broker.Receiver {
		return slices.DeleteFunc(slices.Clone(rs), func(x broker.Receiver) bool { return x == r })
	})
}

// follow changes who follows a channel, while nothing is being delivered to it.
func (b *Broker) follow(ctx context.Context, channel string, change func([]broker.Receiver) []broker.Receiver) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	turn, err := b.turn(channel)
	if err != nil {
		return err
	}
	defer turn.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if rs := change(b.receivers[channel]); len(rs) > 0 {
		b.receivers[channel] = rs
	} else {
		delete(b.receivers, channel)
	}
	return nil
}

// SubscribePrefix implements broker.Prefixes.
func (b *Broker) SubscribePrefix(ctx context.Context, prefix string, r broker.Receiver) error {
	if err := b.check(ctx, prefix); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if x := (prefixed{prefix, r}); !slices.Contains(b.prefixes, x) {
		b.prefixes = append(b.prefixes, x)
	}
	return nil
}

// UnsubscribePrefix implements broker.Prefixes.
func (b *Broker) UnsubscribePrefix(ctx context.Context, prefix string, r broker.Receiver) error {
	if err := b.check(ctx, prefix); err != nil {
		return err
	}
	b.mu.Lock()
	b.prefixes = slices.DeleteFunc(b.prefixes, func(x prefixed) bool { return x == prefixed{prefix, r} })
	b.mu.Unlock()
	b.wait()
	return nil
}

// Read implements broker.History.
func (b *Broker) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	if err := b.check(ctx, channel); err != nil {
		return broker.Page{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.histories.read(channel, q, b.now())
}

// Remove implements broker.History. The newest position stays what it was.
func (b *Broker) Remove(ctx context.Context, channel string) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.histories.empty(channel)
	return nil
}

// newEpoch is a name that was never used, and says nothing of the machine.
func newEpoch() string { return strconv.FormatUint(rand.Uint64(), 36) }
