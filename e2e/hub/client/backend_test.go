package client

import (
	"errors"
	"testing"

	"github.com/centrifugal/centrifuge-go"
	"github.com/centrifugal/gocent/v3"
)

func TestBackend(t *testing.T) {
	t.Parallel()
	b, channel := backend(), fresh("backend")
	ada := user(t, formats[0], fresh("ada"))
	l, said := ada.follow(t, channel, centrifuge.SubscriptionConfig{})
	r, err := b.Publish(ctx(t), channel, []byte(`{"n":1}`))
	ok(t, err)
	same(t, "publish", []any{r.Offset, r.Epoch}, []any{1, said.epoch})
	_, err = b.Publish(ctx(t), channel, []byte(`{"n":2}`), gocent.WithSkipHistory(true))
	ok(t, err)
	l.gets(t, `{"n":1}`, `{"n":2}`)
	other := fresh("backend")
	all, err := b.Broadcast(ctx(t), []string{channel, other}, []byte(`{"n":3}`))
	ok(t, err)
	same(t, "broadcast", []uint64{all.Responses[0].Result.Offset, all.Responses[1].Result.Offset}, []int{2, 1})
	l.gets(t, `{"n":3}`)

	h, err := b.History(ctx(t), channel, gocent.WithLimit(gocent.NoLimit))
	ok(t, err)
	same(t, "history", []any{len(h.Publications), string(h.Publications[1].Data), h.Offset, h.Epoch}, []any{2, `{"n":3}`, 2, said.epoch})
	h, err = b.History(ctx(t), channel, gocent.WithLimit(1), gocent.WithReverse(true))
	ok(t, err)
	same(t, "history, reverse", h.Publications[0].Offset, 2)
	h, err = b.History(ctx(t), channel, gocent.WithLimit(5), gocent.WithSince(&gocent.StreamPosition{Offset: 1, Epoch: said.epoch}))
	ok(t, err)
	same(t, "history since", []any{len(h.Publications), h.Publications[0].Offset}, []any{1, 2})
	ok(t, b.HistoryRemove(ctx(t), channel))
	h, err = b.History(ctx(t), channel, gocent.WithLimit(5))
	ok(t, err)
	same(t, "history, removed", len(h.Publications), 0)

	p, err := b.Presence(ctx(t), channel)
	ok(t, err)
	same(t, "presence", []any{len(p.Presence), p.Presence[ada.id].Client}, []any{1, ada.id})
	s, err := b.PresenceStats(ctx(t), channel)
	ok(t, err)
	same(t, "presence stats", s, gocent.PresenceStatsResult{NumUsers: 1, NumClients: 1})
	c, err := b.Channels(ctx(t), gocent.WithPattern(channel+"*"))
	ok(t, err)
	if _, there := c.Channels[channel]; !there || len(c.Channels) != 1 {
		t.Errorf("channels: %v", c.Channels)
	}
	i, err := b.Info(ctx(t))
	ok(t, err)
	same(t, "nodes", len(i.Nodes), 1)
}

func TestBackendErrors(t *testing.T) {
	t.Parallel()
	_, err := backend().Publish(ctx(t), "nowhere:x", []byte("{}"))
	var e *gocent.Error
	if !errors.As(err, &e) || e.Code != 102 {
		t.Errorf("an unknown channel: %v", err)
	}
	stranger := gocent.New(gocent.Config{Addr: "http://" + *addr + "/api", Key: *apiKey + "x"})
	_, err = stranger.Publish(ctx(t), "news", []byte("{}"))
	var status gocent.ErrStatusCode
	if !errors.As(err, &status) || status.Code != 401 {
		t.Errorf("another key: %v", err)
	}
}

func TestBackendPipe(t *testing.T) {
	t.Parallel()
	channel := fresh("pipe")
	pipe := backend().Pipe()
	ok(t, pipe.AddPublish(channel, []byte("1")))
	ok(t, pipe.AddPublish("nowhere:x", []byte("2")))
	ok(t, pipe.AddHistory(channel, gocent.WithLimit(10)))
	replies, err := backend().SendPipe(ctx(t), pipe)
	ok(t, err)
	same(t, "replies", len(replies), 3)
	if replies[0].Error != nil || replies[1].Error == nil || replies[1].Error.Code != 102 || replies[2].Error != nil {
		t.Errorf("%+v", replies)
	}
}

func TestBackendSubscribes(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		name, channel := fresh("ada"), fresh("given")
		ada, second := user(t, f, name), user(t, f, name)
		ok(t, backend().Subscribe(ctx(t), channel, name, gocent.WithSubscribeInfo([]byte(`{"by":"the server"}`))))
		for _, p := range []*peer{ada, second} {
			same(t, "subscribed", p.next(t, "subscribed").channel, channel)
		}
		publish(t, channel, "1")
		for _, p := range []*peer{ada, second} {
			p.gets(t, "1")
		}
		ok(t, backend().Unsubscribe(ctx(t), channel, name, gocent.WithUnsubscribeClient(second.id)))
		same(t, "unsubscribed", second.next(t, "unsubscribed").channel, channel)
		publish(t, channel, "2")
		ada.gets(t, "2")
		ada.no(t, "unsubscribed")
		second.no(t, "publication")

		l, _ := ada.follow(t, fresh("taken"), centrifuge.SubscriptionConfig{})
		ok(t, backend().Unsubscribe(ctx(t), l.Channel, name))
		if e := l.next(t, "unsubscribed"); !e.said(2000, "server unsubscribe") {
			t.Errorf("%d %s", e.code, e.reason)
		}
	})
}

func TestBackendDisconnects(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		for _, c := range []struct {
			code uint32
			back bool
		}{{3011, true}, {3501, false}, {4000, true}, {4500, false}} {
			name := fresh("ada")
			ada := user(t, f, name)
			ada.next(t, "connecting")
			ok(t, backend().Disconnect(ctx(t), name, gocent.WithDisconnect(&gocent.Disconnect{Code: c.code, Reason: "the backend says so"})))
			kind := "disconnected"
			if c.back {
				kind = "connecting"
			}
			if e := ada.next(t, kind); !e.said(c.code, "the backend says so") {
				t.Errorf("%d %s, not %d", e.code, e.reason, c.code)
			}
			if c.back {
				ada.next(t, "connected")
			}
		}
		name := fresh("ada")
		ada, second := user(t, f, name), user(t, f, name)
		ok(t, backend().Disconnect(ctx(t), name, gocent.WithDisconnectClient(ada.id)))
		if e := ada.next(t, "disconnected"); !e.said(3503, "force disconnect") {
			t.Errorf("%d %s", e.code, e.reason)
		}
		second.follow(t, fresh("fence"), centrifuge.SubscriptionConfig{})
		second.no(t, "disconnected")
	})
}
