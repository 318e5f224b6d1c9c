package crowd_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// planted is the memory broker with a fault, one at most.
type planted struct {
	*memory.Broker
	drop, twice, lie, epoch, ghost, joins bool

	mu       sync.Mutex
	appended int
	relays   map[broker.Receiver]*relay
}

const faultAt = 60 // publications before the fault

// Append appends one publication twice.
func (b *planted) Append(ctx context.Context, channel string, p broker.Publication, keep broker.Keep) (broker.Position, error) {
	b.mu.Lock()
	b.appended++
	n := b.appended
	b.mu.Unlock()
	if b.twice && n == faultAt {
		_, _ = b.Broker.Append(ctx, channel, p, keep)
	}
	at, err := b.Broker.Append(ctx, channel, p, keep)
	return b.named(at), err
}

// named gives all streams one epoch.
func (b *planted) named(at broker.Position) broker.Position {
	if b.epoch && at != (broker.Position{}) {
		at.Epoch = "e"
	}
	return at
}

// Subscribe has what is delivered go through a relay.
func (b *planted) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	return b.Broker.Subscribe(ctx, channel, b.relay(r))
}

// Unsubscribe ends that.
func (b *planted) Unsubscribe(ctx context.Context, channel string, r broker.Receiver) error {
	return b.Broker.Unsubscribe(ctx, channel, b.relay(r))
}

func (b *planted) relay(to broker.Receiver) *relay {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.relays[to]
	if r == nil {
		r = &relay{Receiver: to, b: b, dropped: map[string]broker.Publication{}}
		b.relays[to] = r
	}
	return r
}

// relay does not deliver one publication, and says of the next one that it follows the one before that.
type relay struct {
	broker.Receiver
	b       *planted
	dropped map[string]broker.Publication
}

// Deliver implements broker.Receiver.
func (r *relay) Deliver(channel string, p broker.Publication) {
	r.b.mu.Lock()
	n := r.b.appended
	before, found := r.dropped[channel]
	switch {
	case !r.b.drop:
	case n >= faultAt && len(r.dropped) == 0:
		r.dropped[channel] = p
		r.b.mu.Unlock()
		return
	case found && p.Prev == before.Offset:
		p.Prev = before.Prev
	}
	r.b.mu.Unlock()
	p.Position = r.b.named(p.Position)
	r.Receiver.Deliver(channel, p)
	if r.b.joins && p.Kind == hub.KindJoin {
		r.Receiver.Deliver(channel, p)
	}
}

// Read claims that nothing is missing where that cannot be proven.
func (b *planted) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	if b.epoch && q.Since != nil {
		newest, err := b.Broker.Read(ctx, channel, broker.Query{})
		if err != nil {
			return newest, err
		}
		q.Since = &broker.Position{Offset: q.Since.Offset, Epoch: newest.Top.Epoch}
	}
	page, err := b.Broker.Read(ctx, channel, q)
	if b.lie && errors.Is(err, broker.ErrUnrecoverable) {
		since := q.Since.Offset
		q.Since, q.Limit = nil, broker.NoLimit
		if page, err = b.Broker.Read(ctx, channel, q); err == nil && len(page.Publications) > 0 {
			page.Publications[0].Prev = since
		}
	}
	page.Top = b.named(page.Top)
	for i := range page.Publications {
		page.Publications[i].Position = b.named(page.Publications[i].Position)
	}
	return page, err
}

// Leave leaves some behind.
func (b *planted) Leave(ctx context.Context, channel, client string) error {
	if b.ghost {
		return nil
	}
	return b.Broker.Leave(ctx, channel, client)
}

// lose makes the broker lose all histories: it has room for so many only.
func (b *planted) lose() error {
	for i := range histories {
		if _, err := b.Broker.Append(context.Background(), fmt.Sprint("filler-", i), broker.Publication{}, broker.Keep{Publications: 1}); err != nil {
			return err
		}
	}
	return nil
}
