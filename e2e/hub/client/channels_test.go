package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"
)

func TestPublish(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada, bob := user(t, f, "ada"), user(t, f, "bob")
		channel := fresh("talk")
		a, said := ada.follow(t, channel, centrifuge.SubscriptionConfig{})
		b, _ := bob.follow(t, channel, centrifuge.SubscriptionConfig{})
		if !said.recoverable || !said.positionedToo || said.recovered || said.wasRecovering || said.offset != 0 || said.epoch == "" {
			t.Errorf("%+v", said)
		}
		values := []string{`{"text":"é€𝄞"}`, `"text"`, `12.5`, `[1,[2]]`}
		for _, v := range values {
			_, err := a.Publish(ctx(t), []byte(v))
			ok(t, err)
		}
		for _, l := range []*follower{a, b} {
			for i, v := range values {
				e := l.next(t, "publication")
				same(t, "publication", []any{e.data, e.offset, e.info.Client, e.info.User, string(e.info.ConnInfo)}, []any{v, i + 1, ada.id, "ada", `{"nick":"ADA"}`})
			}
		}
		_, err := ada.Publish(ctx(t), channel, []byte(`"not by its subscription"`))
		ok(t, err)
		b.gets(t, `"not by its subscription"`)
	})
}

func TestBytes(t *testing.T) {
	t.Parallel()
	ada := user(t, formats[1], "ada")
	l, _ := ada.follow(t, fresh("bytes"), centrifuge.SubscriptionConfig{})
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	_, err := l.Publish(ctx(t), all)
	ok(t, err)
	l.gets(t, string(all))
}

func TestJoinLeave(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada, bob := user(t, f, "ada"), user(t, f, "bob")
		channel := fresh("join")
		a, _ := ada.follow(t, channel, centrifuge.SubscriptionConfig{JoinLeave: true})
		same(t, "join", a.next(t, "join").info.Client, ada.id)
		b, _ := bob.follow(t, channel, centrifuge.SubscriptionConfig{})
		e := a.next(t, "join")
		same(t, "join", []string{e.info.Client, e.info.User, string(e.info.ConnInfo)}, []string{bob.id, "bob", `{"nick":"BOB"}`})
		ok(t, b.Unsubscribe())
		same(t, "leave", a.next(t, "leave").info.Client, bob.id)
		b.start(t)
		a.next(t, "join")
		ok(t, bob.Disconnect())
		same(t, "leave", a.next(t, "leave").info.User, "bob")
	})
}

func TestPresence(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		channel := fresh("presence")
		want := map[string]string{}
		var l *follower
		for _, name := range []string{"ada", "ada", "bob"} {
			p := user(t, f, name)
			l, _ = p.follow(t, channel, centrifuge.SubscriptionConfig{})
			want[p.id] = name
		}
		r, err := l.Presence(ctx(t))
		ok(t, err)
		got := map[string]string{}
		for id, info := range r.Clients {
			got[id] = info.User
		}
		same(t, "presence", got, want)
		s, err := l.PresenceStats(ctx(t))
		ok(t, err)
		same(t, "presence stats", s.PresenceStats, centrifuge.PresenceStats{NumClients: 3, NumUsers: 2})
	})
}

func TestHistory(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada := user(t, f, "ada")
		l, said := ada.follow(t, fresh("history"), centrifuge.SubscriptionConfig{})
		for n := range 5 {
			_, err := l.Publish(ctx(t), fmt.Append(nil, n+1))
			ok(t, err)
		}
		since := func(offset uint64) centrifuge.HistoryOption {
			return centrifuge.WithHistorySince(&centrifuge.StreamPosition{Offset: offset, Epoch: said.epoch})
		}
		limit, reverse := centrifuge.WithHistoryLimit, centrifuge.WithHistoryReverse(true)
		for _, c := range []struct {
			options []centrifuge.HistoryOption
			want    []uint64
		}{
			{nil, []uint64{}},
			{[]centrifuge.HistoryOption{limit(3)}, []uint64{1, 2, 3}},
			{[]centrifuge.HistoryOption{limit(-1)}, []uint64{1, 2, 3, 4, 5}},
			{[]centrifuge.HistoryOption{limit(3), reverse}, []uint64{5, 4, 3}},
			{[]centrifuge.HistoryOption{limit(2), since(1)}, []uint64{2, 3}},
			{[]centrifuge.HistoryOption{limit(10), since(5)}, []uint64{}},
			{[]centrifuge.HistoryOption{limit(10), since(4), reverse}, []uint64{3, 2, 1}},
		} {
			r, err := l.History(ctx(t), c.options...)
			ok(t, err)
			got := []uint64{}
			for _, p := range r.Publications {
				got = append(got, p.Offset)
				same(t, "data", string(p.Data), fmt.Sprint(p.Offset))
			}
			same(t, "history", []any{got, r.Offset, r.Epoch}, []any{c.want, 5, said.epoch})
		}
		_, err := l.History(ctx(t), limit(1), centrifuge.WithHistorySince(&centrifuge.StreamPosition{Offset: 1, Epoch: "another"}))
		fails(t, 112, err)
	})
}

func TestNamespaces(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada := user(t, f, "ada")
		bare, said := ada.follow(t, "bare:"+fresh("x"), centrifuge.SubscriptionConfig{Recoverable: true, Positioned: true})
		same(t, "recoverable", said.recoverable, false)
		_, err := bare.Publish(ctx(t), []byte("{}"))
		fails(t, 103, err)
		_, err = bare.Presence(ctx(t))
		fails(t, 108, err)
		_, err = bare.History(ctx(t))
		fails(t, 108, err)
		l := ada.subscription(t, "nowhere:x", centrifuge.SubscriptionConfig{})
		l.start(t)
		if e := l.next(t, "unsubscribed"); !e.said(102, "unknown channel") {
			t.Errorf("%d %s", e.code, e.reason)
		}
	})
}

func TestSomeUsers(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		channel := fresh("room") + "#ada,bob"
		a, _ := user(t, f, "ada").follow(t, channel, centrifuge.SubscriptionConfig{})
		b, _ := user(t, f, "bob").follow(t, channel, centrifuge.SubscriptionConfig{})
		_, err := a.Publish(ctx(t), []byte("1"))
		ok(t, err)
		b.gets(t, "1")
		e := user(t, f, "eve").subscription(t, channel, centrifuge.SubscriptionConfig{})
		e.start(t)
		if said := e.next(t, "unsubscribed"); !said.said(103, "permission denied") {
			t.Errorf("%d %s", said.code, said.reason)
		}
	})
}

func TestPrivate(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada := user(t, f, "ada")
		channel := "$" + fresh("private")
		refused := ada.subscription(t, channel, centrifuge.SubscriptionConfig{})
		refused.start(t)
		same(t, "without a token", refused.next(t, "unsubscribed").code, 103)
		ok(t, ada.RemoveSubscription(refused.Subscription))
		asked := make(chan string, 10)
		l, _ := ada.follow(t, channel, centrifuge.SubscriptionConfig{GetToken: func(e centrifuge.SubscriptionTokenEvent) (string, error) {
			asked <- e.Channel
			return token(t, jwt.MapClaims{"sub": "ada", "channel": e.Channel, "info": map[string]string{"role": "owner"}, "exp": in(2 * time.Second)}), nil
		}})
		for range 3 { // when it subscribed, and twice later: by then the first has been expired for longer than the server bears
			select {
			case of := <-asked:
				same(t, "asked for", of, channel)
			case <-time.After(patience):
				t.Fatal("nobody asked for a token")
			}
		}
		_, err := l.Publish(ctx(t), []byte("1"))
		ok(t, err)
		same(t, "info", string(l.next(t, "publication").info.ChanInfo), `{"role":"owner"}`)
		l.next(t, "subscribing")
		l.no(t, "subscribing")
		l.no(t, "error")
	})
}
