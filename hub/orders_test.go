package hub

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// asked is a memory.Broker whose answers a test changes.
type asked struct {
	*memory.Broker
	change func(broker.Answers) (broker.Answers, error)
}

func (a *asked) Ask(ctx context.Context, subject string, request []byte) (broker.Answers, error) {
	all, err := a.Broker.Ask(ctx, subject, request)
	if err != nil || a.change == nil {
		return all, err
	}
	return a.change(all)
}

func shared(t *testing.T) *memory.Broker {
	t.Helper()
	m, err := memory.New(memory.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return m
}

// Nodes that do not answer, or whose answer nobody understands, are named.
func TestMissing(t *testing.T) {
	b := &asked{Broker: shared(t)}
	core, logs := observer.New(zap.ErrorLevel)
	n := start(t, Config{Broker: b, Logger: zap.New(core)})
	a := n.client("anna")
	b.change = func(all broker.Answers) (broker.Answers, error) {
		all.Missing = append(all.Missing, "silent", "z")
		all.Data = append(all.Data, broker.Answer{Node: "garbage", Data: []byte("{")}, broker.Answer{Node: "older", Data: []byte(`{"what":""}`)}, broker.Answer{Node: "older"})
		return all, nil
	}
	to, want := Target{User: "anna"}, Reach{1, []string{"garbage", "older", "silent", "z"}}
	for what, give := range map[string]func() (Reach, error){
		"Reach":       func() (Reach, error) { return n.Reach(ctx, to) },
		"Send":        func() (Reach, error) { return n.Send(ctx, to, Publication{}) },
		"SendUsers":   func() (Reach, error) { return n.SendUsers(ctx, []string{"anna", "bob", "anna"}, Publication{}) },
		"Command":     func() (Reach, error) { return n.Command(ctx, to, "x", nil) },
		"Subscribe":   func() (Reach, error) { return n.Subscribe(ctx, to, "x", Join{}) },
		"Unsubscribe": func() (Reach, error) { return n.Unsubscribe(ctx, to, "", 2000, "") },
		"Kick":        func() (Reach, error) { return n.Kick(ctx, Target{User: "nobody"}, 3000, "") },
	} {
		if r, err := give(); err != nil || !slices.Equal(r.Missing, want.Missing) || r.Clients != want.Clients && what != "Kick" {
			t.Errorf("%s: %+v %v", what, r, err)
		}
	}
	if logs.Len() != 20 { // of 21: more of one kind are not written at once
		t.Errorf("%d lines in the log", logs.Len())
	}
	users, err := n.ListUsers(ctx, Page{})
	nodes, err2 := n.ListNodes(ctx)
	must(t, errors.Join(err, err2))
	if len(users.Items) != 1 || !slices.Equal(users.Missing, want.Missing) || len(nodes.Items) != 1 || !slices.Equal(nodes.Missing, want.Missing) {
		t.Errorf("listed %+v %+v", users, nodes)
	}

	// Who is here misses nobody, also while the others cannot be asked.
	b.change = func(broker.Answers) (broker.Answers, error) { return broker.Answers{}, broker.ErrUnavailable }
	if r, err := n.Send(ctx, Target{Client: a.ID()}, Publication{Data: []byte("you")}); err != nil || r.Clients != 1 || r.Missing != nil {
		t.Errorf("%+v %v", r, err)
	}
	a.expect(": ", ": ", ": you")
	is(t, "Send", only(n.Send(ctx, to, Publication{})), broker.ErrUnavailable)
	_, err = n.ListUsers(ctx, Page{})
	is(t, "ListUsers", err, broker.ErrUnavailable)
	_, err = n.ListNodes(ctx)
	is(t, "ListNodes", err, broker.ErrUnavailable)
}

// What a hub is asked is not always from a hub.
func TestAnswersAnybody(t *testing.T) {
	b := shared(t)
	core, logs := observer.New(zap.ErrorLevel)
	n := start(t, Config{Broker: b, Logger: zap.New(core)})
	a := n.client("anna")
	for _, request := range []string{"", "{", `{"what":"unknown","all":true}`, `{"what":"subscribe","all":true,"channel":"eA"}`, `{"what":"kick","users":["*"]}`} {
		got, err := b.Ask(ctx, subject, []byte(request))
		must(t, err)
		if len(got.Data) != 1 || string(got.Data[0].Data) != `{"what":""}` {
			t.Errorf("%q is answered with %q", request, got.Data)
		}
	}
	if logs.Len() != 3 {
		t.Errorf("logged %v", logs.All())
	}
	a.settled()
	a.nothing()
}

// What is sent comes as it was given, whatever bytes it has.
func TestSend(t *testing.T) {
	b := shared(t)
	var got []*broker.Publication
	encode := func(format int, channel string, p *broker.Publication) engine.Message {
		got = append(got, p)
		return text(format, channel, p)
	}
	n, other := start(t, Config{Broker: b, Encode: encode}), start(t, Config{Broker: b})
	a, x := n.client("an\xffna"), n.client("bob")
	p := Publication{Data: []byte("data"), Info: &broker.Info{Client: "c\xfd", User: "u\xfc", Conn: []byte("1"), Channel: []byte("2")}, Tags: map[string]string{"k\xfb": "v\xfa"}, Except: []string{x.ID()}}
	for _, give := range []func() (Reach, error){
		func() (Reach, error) { return other.Send(ctx, Target{All: true}, p) },
		func() (Reach, error) { return other.Send(ctx, Target{User: "an\xffna"}, p) },
		func() (Reach, error) { return other.Send(ctx, Target{Client: a.ID()}, p) },
		func() (Reach, error) { return other.SendUsers(ctx, []string{"an\xffna", "bob"}, p) },
	} {
		if r, err := give(); err != nil || r.Clients != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		a.expect(": data")
		x.nothing()
	}
	for _, q := range got {
		if !reflect.DeepEqual(q, &broker.Publication{Data: p.Data, Info: p.Info, Tags: p.Tags, Except: p.Except}) {
			t.Errorf("sent %+v", q)
		}
	}
	is(t, "no user", only(n.SendUsers(ctx, []string{"a", ""}, p)), ErrName)
	if r, err := n.SendUsers(ctx, nil, p); err != nil || r.Clients != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// Lists have what there is on all nodes, and come in parts.
func TestListsOfAllNodes(t *testing.T) {
	b := shared(t)
	nodes := []*node{start(t, Config{Broker: b}), start(t, Config{Broker: b})}
	var want []ListedClient
	for i := range 6 {
		c := nodes[i%2].client(fmt.Sprint("user\xff ", i/2))
		c.join("all", Join{})
		c.join(fmt.Sprint("room ", i%3), Join{})
		want = append(want, ListedClient{ID: c.ID(), User: c.User(), Info: c.Info(), Node: b.Node(), Channels: 2})
	}
	slices.SortFunc(want, func(a, b ListedClient) int { return strings.Compare(a.ID, b.ID) })
	for limit := range 8 {
		var got []ListedClient
		for page := (Page{Limit: limit}); ; page.After = got[len(got)-1].ID {
			l, err := nodes[0].ListClients(ctx, Target{All: true}, page)
			must(t, err)
			if limit > 0 && len(l.Items) > limit || l.Missing != nil || len(l.Items) == 0 {
				t.Fatalf("listed %+v", l)
			}
			if got = append(got, l.Items...); !l.More {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("limit %d: listed %+v, want %+v", limit, got, want)
		}
	}
	one, err := nodes[0].ListClients(ctx, Target{User: want[0].User, Except: []string{want[0].ID}}, Page{})
	must(t, err)
	if len(one.Items) != 1 || one.Items[0].User != want[0].User || one.Items[0].ID == want[0].ID || one.More {
		t.Errorf("listed %+v", one)
	}
	check := func(what string, l List[Listed], err error, more bool, want ...Listed) {
		t.Helper()
		if err != nil || l.More != more || !slices.Equal(l.Items, want) {
			t.Errorf("%s: %+v %v, want %+v", what, l, err, want)
		}
	}
	l, err := nodes[0].ListUsers(ctx, Page{Limit: 2})
	check("users", l, err, true, Listed{"user\xff 0", 2}, Listed{"user\xff 1", 2})
	l, err = nodes[0].ListUsers(ctx, Page{After: "user\xff 0"})
	check("users", l, err, false, Listed{"user\xff 1", 2}, Listed{"user\xff 2", 2})
	l, err = nodes[0].ListChannels(ctx, "*", Page{Limit: 3})
	check("channels", l, err, true, Listed{"all", 6}, Listed{"room 0", 2}, Listed{"room 1", 2})
	l, err = nodes[0].ListChannels(ctx, "r*", Page{Limit: 3})
	check("channels", l, err, false, Listed{"room 0", 2}, Listed{"room 1", 2}, Listed{"room 2", 2})
	l, err = nodes[0].ListChannels(ctx, "x", Page{})
	check("channels", l, err, false)

	hubs, err := nodes[0].ListNodes(ctx)
	must(t, err)
	for i := range hubs.Items {
		if x := &hubs.Items[i]; x.ID == "" || x.Name != b.Node() || x.Uptime <= 0 || x.Clients != 3 || x.Users != 3 || x.Channels != 4 || x.Members != 6 {
			t.Errorf("a node is %+v", *x)
		}
	}
	if len(hubs.Items) != 2 || hubs.Items[0].ID == hubs.Items[1].ID {
		t.Errorf("listed %+v", hubs)
	}
	for _, limit := range []int{-1, ListMax + 1} {
		if _, err := nodes[0].ListUsers(ctx, Page{Limit: limit}); err == nil {
			t.Errorf("a limit of %d", limit)
		}
	}
	_, err = nodes[0].ListClients(ctx, Target{}, Page{})
	is(t, "ListClients of nobody", err, ErrName)
	nodes[0].stop()
	_, err = nodes[0].ListUsers(ctx, Page{})
	is(t, "ListUsers when closed", err, ErrClosed)
	if l, err := nodes[1].ListChannels(ctx, "all", Page{}); err != nil || len(l.Items) != 1 || l.Items[0].Clients != 3 {
		t.Errorf("listed %+v %v", l, err)
	}
}

// A node tells only so much at once.
func TestListOfLargeInfos(t *testing.T) {
	h := &Hub{}
	var all []entry
	for i := range 10 {
		all = append(all, entry{Name: octets(fmt.Sprint(i)), Info: make([]byte, entryBytesMax/3)})
	}
	o := order{Limit: 10}
	for range 5 {
		part, more := h.entries(&o, slices.Clone(all))
		if !more {
			if len(part) != 2 || part[1].Name != "9" {
				t.Errorf("the last part has %d entries", len(part))
			}
			return
		}
		if len(part) != 2 {
			t.Fatalf("a part has %d entries", len(part))
		}
		o.After = part[1].Name
	}
	t.Error("there is no last part")
}

// A broker that knows no other nodes is asked for none.
func TestWithoutNodes(t *testing.T) {
	b := shared(t)
	n := start(t, Config{Broker: struct{ broker.Broker }{b}})
	other := start(t, Config{Broker: struct{ broker.Broker }{b}})
	a := n.client("anna")
	if r, err := n.Send(ctx, Target{User: "anna"}, Publication{Data: []byte("x")}); err != nil || r.Clients != 1 {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := other.Send(ctx, Target{User: "anna"}, Publication{}); err != nil || r.Clients != 0 {
		t.Errorf("%+v %v", r, err)
	}
	a.expect(": x")
	a.nothing()
	l, err := n.ListNodes(ctx)
	must(t, err)
	if len(l.Items) != 1 || l.Items[0].Name != l.Items[0].ID {
		t.Errorf("listed %+v", l)
	}
}
