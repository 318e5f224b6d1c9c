package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sockmill/sockmill/hub/broker"
)

// interestOf is how many subscriptions the server has for the channels of a node.
func interestOf(s *server.Server, b *Broker) (n int) {
	for i := range b.cfg.Shards {
		n += s.GlobalAccount().Interest(fmt.Sprint(b.livePrefix, i, ".x"))
	}
	return n
}

// TestInterest: one subscription for a shard, which ends after the last channel of it, but not at once.
func TestInterest(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true, Shards: 16, Grace: time.Hour})
	r := newInbox()
	shards := map[int]bool{}
	for i := range 40 {
		must(t, b.Subscribe(ctx, fmt.Sprint(i), r))
		shards[b.shardOf(fmt.Sprint(i))] = true
		if n := interestOf(s, b); n != len(shards) {
			t.Errorf("%d channels, %d subscriptions, want %d", i+1, n, len(shards))
		}
	}
	want := len(shards)
	counted := func() {
		t.Helper()
		if x := b.Stats(); x.Channels != len(channelsOf(b)) || x.Shards != want || interestOf(s, b) != want {
			t.Errorf("%+v, %d channels, %d subscriptions, want %d", x, len(channelsOf(b)), interestOf(s, b), want)
		}
	}
	counted()
	for i := range 40 {
		must(t, b.Unsubscribe(ctx, fmt.Sprint(i), r))
	}
	counted()
	soon := time.Now()
	must(t, b.Subscribe(ctx, "0", r))
	b.sweep(soon.Add(b.cfg.Grace - time.Minute)) // not yet
	counted()
	b.sweep(time.Now().Add(b.cfg.Grace))
	want = 1
	eventually(t, "the server has one subscription left", func() bool { return interestOf(s, b) == 1 })
	counted()
	must(t, b.Publish(ctx, "0", text("still")))
	next(t, "a publication", r.got)
	must(t, b.Subscribe(ctx, "1", r)) // a shard that had gone
	want = len(map[int]bool{b.shardOf("0"): true, b.shardOf("1"): true})
	counted()
	must(t, b.Publish(ctx, "1", text("again")))
	next(t, "a publication", r.got)
}

// TestGrace: nobody has to ask for it.
func TestGrace(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true, Grace: 10 * time.Millisecond})
	r := follow(t, b, "room")
	must(t, b.Unsubscribe(ctx, "room", r))
	eventually(t, "the subscription has ended", func() bool { return interestOf(s, b) == 0 && b.Stats().Shards == 0 })
}

func channelsOf(b *Broker) (all []string) {
	for i := range lanes {
		for _, x := range b.followedIn(i) {
			all = append(all, x.channel)
		}
	}
	return all
}

// TestSubscribeFails: what could not be subscribed to is not followed, and can be later.
func TestSubscribeFails(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := newProxy(t, s.Addr().String())
	b := open(t, Config{URL: "nats://" + p.l.Addr().String(), Node: "a", NoHistory: true, PublishTimeout: 500 * time.Millisecond})
	r := newInbox()
	p.speech.Lock()
	if err := b.Subscribe(ctx, "room", r); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("without an answer: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := b.Subscribe(short, "room", r); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("when the context ends: %v", err)
	}
	if x := b.Stats(); x.Channels != 0 || x.Shards != 0 {
		t.Errorf("%+v", x)
	}
	p.speech.Unlock()
	eventually(t, "it is subscribed", func() bool { return b.Subscribe(ctx, "room", r) == nil })
	must(t, b.Publish(ctx, "room", text("x")))
	next(t, "a publication", r.got)
}

// TestSubscriptionsRefused: when the server says no, Subscribe does.
func TestSubscriptionsRefused(t *testing.T) {
	t.Parallel()
	const most = 10 // the node has some of its own
	s := start(t, func(o *server.Options) { o.MaxSubs = most })
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	var err error
	n := 0
	for ; err == nil && n <= most; n++ {
		err = b.Subscribe(ctx, fmt.Sprint(n), newInbox())
	}
	if n < 2 || !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Subscribe number %d: %v", n, err)
	}
	eventually(t, "health says so", func() bool { return b.Health() != nil })
}

// TestFollowedIn: where each channel is, for comparing.
func TestFollowedIn(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	c := outsider(t, s)
	at := func(channel string) (x at) {
		for i := range lanes {
			for _, y := range b.followedIn(i) {
				if y.channel == channel {
					x = y
				}
			}
		}
		return x
	}
	same := func(what, channel, stream string, last uint64) {
		t.Helper()
		if x := at(channel); x.channel != channel || x.stream != stream || x.last != last {
			t.Errorf("%s: %+v, want %s %d", what, x, stream, last)
		}
	}
	r := follow(t, b, "room")
	same("new", "room", "", 0)
	must(t, c.PublishMsg(republished(b, "room", "sockmill-0-x", "5", "3", "")))
	next(t, "a publication", r.got)
	same("delivered", "room", "sockmill-0-x", 5)
	b.noted("room", "sockmill-0-x", 4)
	same("noted before it", "room", "sockmill-0-x", 5)
	b.noted("room", "sockmill-0-x", 9)
	same("noted behind it", "room", "sockmill-0-x", 9)
	b.noted("nobody", "sockmill-0-x", 9)
	must(t, c.PublishMsg(republished(b, "room", "sockmill-0-x", "7", "5", "")))
	if p := next(t, "what was noted already", r.got); p.Offset != 7 {
		t.Errorf("%+v", p)
	}
	b.noted("room", "sockmill-0-y", 2)
	same("another stream", "room", "sockmill-0-y", 2)
	b.interrupt("room")
	if next(t, "Interrupted", r.interrupted) != "room" || len(r.interrupted) > 0 {
		t.Error("not once")
	}
	b.interrupt("nobody")
	follow(t, b, "other")
	all := channelsOf(b)
	slices.Sort(all)
	if !slices.Equal(all, []string{"other", "room"}) {
		t.Error(all)
	}
}
