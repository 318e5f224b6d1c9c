package hub

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// The operations of the brokers, and their names in Metrics.Trips.
const (
	tripPublish = iota
	tripSubscribe
	tripUnsubscribe
	tripAppend
	tripRead
	tripRemove
	tripEnter
	tripLeave
	tripPresent
	tripCount
	tripAsk
	tripsAll
)

var tripNames = [tripsAll]string{"publish", "subscribe", "unsubscribe", "history_append", "history_read", "history_remove",
	"presence_enter", "presence_leave", "presence_list", "presence_count", "ask"}

// tripBounds are in seconds: a call within the process takes microseconds, one over a network milliseconds, and upkeepTimeout is 10 s.
var tripBounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}

// trips times the calls of the brokers.
type trips [tripsAll]trip

type trip struct {
	errors, nanoseconds atomic.Uint64
	counts              [16]atomic.Uint64 // one more than tripBounds
}

// note counts a call that has returned.
func (t *trips) note(operation int, began time.Time, err error) {
	took, x := time.Since(began), &t[operation]
	x.nanoseconds.Add(uint64(took))
	i := 0
	for i < len(tripBounds) && took.Seconds() > tripBounds[i] {
		i++
	}
	x.counts[i].Add(1)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, broker.ErrUnrecoverable) {
		x.errors.Add(1)
	}
}

func (t *trips) metrics() []TripMetrics {
	all := make([]TripMetrics, tripsAll)
	for i := range all {
		x, m := &t[i], &all[i]
		m.Operation, m.Errors = tripNames[i], x.errors.Load()
		m.Latency = engine.Histogram{Bounds: tripBounds, Counts: make([]uint64, len(x.counts)), Sum: time.Duration(x.nanoseconds.Load()).Seconds()}
		for k := range x.counts {
			m.Latency.Counts[k] = x.counts[k].Load()
		}
	}
	return all
}

// observe has the calls of the brokers timed. What they have beside the three interfaces is found before.
func (h *Hub) observe(cfg *Config) {
	h.prefixes, _ = cfg.Broker.(broker.Prefixes)
	if b, ok := cfg.Broker.(interface{ Health() error }); ok {
		h.health = b.Health
	}
	if b, ok := cfg.Broker.(broker.Nodes); ok {
		h.nodes = timedNodes{b, &h.trips}
	}
	cfg.Broker = timedBroker{cfg.Broker, &h.trips}
	if cfg.History != nil {
		cfg.History = timedHistory{cfg.History, &h.trips}
	}
	if cfg.Presence != nil {
		cfg.Presence = timedPresence{cfg.Presence, &h.trips}
	}
}

type timedBroker struct {
	broker.Broker
	t *trips
}

func (b timedBroker) Publish(ctx context.Context, channel string, p broker.Publication) error {
	began := time.Now()
	err := b.Broker.Publish(ctx, channel, p)
	b.t.note(tripPublish, began, err)
	return err
}

func (b timedBroker) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	began := time.Now()
	err := b.Broker.Subscribe(ctx, channel, r)
	b.t.note(tripSubscribe, began, err)
	return err
}

func (b timedBroker) Unsubscribe(ctx context.Context, channel string, r broker.Receiver) error {
	began := time.Now()
	err := b.Broker.Unsubscribe(ctx, channel, r)
	b.t.note(tripUnsubscribe, began, err)
	return err
}

type timedNodes struct {
	broker.Nodes
	t *trips
}

func (n timedNodes) Ask(ctx context.Context, subject string, request []byte) (broker.Answers, error) {
	began := time.Now()
	answers, err := n.Nodes.Ask(ctx, subject, request)
	n.t.note(tripAsk, began, err)
	return answers, err
}

type timedHistory struct {
	broker.History
	t *trips
}

func (h timedHistory) Append(ctx context.Context, channel string, p broker.Publication, keep broker.Keep) (broker.Position, error) {
	began := time.Now()
	position, err := h.History.Append(ctx, channel, p, keep)
	h.t.note(tripAppend, began, err)
	return position, err
}

func (h timedHistory) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	began := time.Now()
	page, err := h.History.Read(ctx, channel, q)
	h.t.note(tripRead, began, err)
	return page, err
}

func (h timedHistory) Remove(ctx context.Context, channel string) error {
	began := time.Now()
	err := h.History.Remove(ctx, channel)
	h.t.note(tripRemove, began, err)
	return err
}

type timedPresence struct {
	broker.Presence
	t *trips
}

func (p timedPresence) Enter(ctx context.Context, channel string, info broker.Info, lifetime time.Duration) error {
	began := time.Now()
	err := p.Presence.Enter(ctx, channel, info, lifetime)
	p.t.note(tripEnter, began, err)
	return err
}

func (p timedPresence) Leave(ctx context.Context, channel, client string) error {
	began := time.Now()
	err := p.Presence.Leave(ctx, channel, client)
	p.t.note(tripLeave, began, err)
	return err
}

func (p timedPresence) Present(ctx context.Context, channel string) ([]broker.Info, error) {
	began := time.Now()
	all, err := p.Presence.Present(ctx, channel)
	p.t.note(tripPresent, began, err)
	return all, err
}

func (p timedPresence) Count(ctx context.Context, channel string) (broker.Counts, error) {
	began := time.Now()
	n, err := p.Presence.Count(ctx, channel)
	p.t.note(tripCount, began, err)
	return n, err
}
