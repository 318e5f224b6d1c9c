package hub

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sockmill/sockmill/hub/broker"
)

func TestByPattern(t *testing.T) {
	f := ByPattern(
		Pattern{"news", Options{History: 1}},
		Pattern{"chat:*", Options{History: 2}},
		Pattern{"*:*:end", Options{History: 3}},
		Pattern{"a*b*a", Options{History: 4}},
		Pattern{"**x", Options{History: 5}},
	)
	for name, want := range map[string]int{
		"news": 1, "new": 0, "newsX": 0, "chat:": 2, "chat:x": 2, "chat:x:end": 2, "a:b:end": 3, "a:end": 0, "::end": 3, "a:b:endless": 0,
		"aba": 4, "ab": 0, "aa": 0, "abba": 4, "aXbXbXa": 4, "xaba": 0, "x": 5, "yx": 5, "xy": 0, "": 0, "aab": 0, "abaa": 4,
	} {
		o, err := f(name)
		if o.History != want || (err != nil) != (want == 0) || err != nil && !errors.Is(err, ErrUnknownChannel) {
			t.Errorf("%q: %d %v, want %d", name, o.History, err, want)
		}
	}
	if _, err := ByPattern()("x"); !errors.Is(err, ErrUnknownChannel) {
		t.Error(err)
	}
	if o, err := ByPattern(Pattern{Match: "*"})(""); err != nil || o != (Options{}) {
		t.Error(err)
	}
}

// All methods fail for a channel that there is not.
func TestUnknownChannel(t *testing.T) {
	n := start(t, Config{Channel: ByPattern(Pattern{Match: "room"})})
	a := n.client("anna")
	for name, f := range map[string]func() error{
		"Options":       func() error { _, err := n.Hub.Options("x"); return err },
		"Hub.Join":      func() error { _, err := n.Join(ctx, a.Client, "x", Join{}); return err },
		"Join":          func() error { _, err := a.Join(ctx, "x", Join{}); return err },
		"Publish":       func() error { _, err := n.Publish(ctx, "x", Publication{}); return err },
		"History":       func() error { _, err := n.History(ctx, "x", broker.Query{}); return err },
		"RemoveHistory": func() error { return n.RemoveHistory(ctx, "x") },
		"Present":       func() error { _, err := n.Present(ctx, "x"); return err },
		"Count":         func() error { _, err := n.Count(ctx, "x"); return err },
		"Subscribe":     func() error { return only(n.Subscribe(ctx, Target{User: "anna"}, "x", Join{})) },
		"Connect": func() error {
			_, c := n.dial()
			_, err := n.Connect(ctx, c, Connect{Channels: []string{"room", "x"}})
			return err
		},
	} {
		is(t, name, f(), ErrUnknownChannel)
	}
	if len(n.Clients()) != 1 || len(n.Channels()) != 0 {
		t.Errorf("%d clients, channels %v", len(n.Clients()), n.Channels())
	}
	is(t, "leave", a.Leave(ctx, "x"), ErrNotJoined)
}

// A publisher does not get its own, now and by recovery; others do, also in the same connection's other channels.
func TestNotOwn(t *testing.T) {
	n := start(t, Config{Channel: all(Options{History: 10, Publish: Everybody, NotOwn: true})})
	a, b := n.client("anna"), n.client("bob")
	at := a.join("room", Join{}).Position
	b.join("room", Join{})
	except := make([]string, 1, 10)
	except[0] = "nobody"
	for i, c := range []*peerConn{a, b, a} {
		_, err := c.Publish(ctx, "room", Publication{Data: fmt.Append(nil, c.User(), i), Except: except})
		must(t, err)
	}
	if except[:2][1] != "" {
		t.Error("the program's slice was changed")
	}
	n.say("room", "the program")
	a.expect("room: 2 bob1", "room: 4 the program")
	b.expect("room: 1 anna0", "room: 3 anna2", "room: 4 the program")
	must(t, a.Leave(ctx, "room"))
	if j := a.join("room", Join{Since: &at}); !j.Recovered || len(j.Missed) != 2 || j.Position.Offset != 4 {
		t.Errorf("joined %+v", j)
	}
	a.expect("room: 2 bob1", "room: 4 the program")
	page, err := n.History(ctx, "room", broker.Query{Limit: broker.NoLimit})
	if err != nil || len(page.Publications) != 4 || page.Publications[0].Info.User != "anna" {
		t.Errorf("history %+v %v", page, err)
	}
}
