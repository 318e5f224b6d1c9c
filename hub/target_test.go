package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
	"github.com/sockmill/sockmill/protocol"
)

// calls notes what is told about clients, by their index.
type calls struct {
	mu  sync.Mutex
	all []string
}

func (l *calls) note(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
}

func (l *calls) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

func (l *calls) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// settled waits until all that was ordered for a client is carried out.
func (p *peerConn) settled() {
	p.t.Helper()
	done := make(chan struct{})
	p.order(func() { close(done) })
	wait(p.t, done, "the orders")
}

// TestTargets gives each order to each target, from each of two nodes.
func TestTargets(t *testing.T) {
	b, err := memory.New(memory.Config{})
	must(t, err)
	var log calls
	var mu sync.Mutex
	index := map[*Client]int{}
	who := func(c *Client) int { mu.Lock(); defer mu.Unlock(); return index[c] }
	cfg := Config{
		Broker: b, History: b, Presence: b,
		OnCommand: func(c *Client, name string, data []byte) { log.note(fmt.Sprint(who(c), " ", name, string(data))) },
		Joining: func(c *Client, channel string, j *Join) {
			log.note(fmt.Sprint(who(c), " joins ", channel, string(j.Info)))
		},
		OnLeft: func(c *Client, channel string, code protocol.CloseCode, reason string) {
			log.note(fmt.Sprint(who(c), " left ", channel, int(code), reason))
		},
	}
	nodes := []*node{start(t, cfg), start(t, cfg)}
	var clients []*peerConn // 0 and 1 are anna's on the first node, 2 on the other; 3 is bob's there; 4 is nobody's
	for i, user := range []string{"anna", "anna", "anna", "bob", ""} {
		clients = append(clients, nodes[i/2%2].client(user))
		mu.Lock()
		index[clients[i].Client] = i
		mu.Unlock()
	}
	id := func(i int) string { return clients[i].ID() }
	for _, x := range []struct {
		to   Target
		want []int
	}{
		{Target{User: "anna"}, []int{0, 1, 2}},
		{Target{User: "anna", Except: []string{id(1), id(3)}}, []int{0, 2}},
		{Target{User: "anna", Client: id(0)}, []int{0}},
		{Target{User: "anna", Client: id(2)}, []int{2}},
		{Target{User: "anna", Client: id(3)}, nil},
		{Target{User: "bob", Client: id(3), Except: []string{id(3)}}, nil},
		{Target{Client: id(3)}, []int{3}},
		{Target{Client: id(4)}, []int{4}},
		{Target{Client: id(3), Except: []string{id(3)}}, nil},
		{Target{User: "nobody"}, nil},
		{Target{Client: "nobody"}, nil},
		{Target{Client: strings.Repeat("x", 300)}, nil},
		{Target{All: true}, []int{0, 1, 2, 3, 4}},
		{Target{All: true, Except: []string{id(0), id(2), id(4)}}, []int{1, 3}},
	} {
		for _, from := range nodes {
			check := func(give func() (Reach, error), want ...string) {
				t.Helper()
				r, err := give()
				if err != nil || r.Clients != len(x.want) || r.Missing != nil {
					t.Errorf("an order for %+v reaches %+v: %v", x.to, r, err)
				}
				for _, c := range clients {
					c.settled()
				}
				var all []string
				for _, i := range x.want {
					for _, w := range want {
						all = append(all, fmt.Sprint(i, w))
					}
				}
				got := log.take()
				if slices.Sort(got); !slices.Equal(got, all) {
					t.Errorf("for %+v: %q, want %q", x.to, got, all)
				}
			}
			check(func() (Reach, error) { return from.Command(ctx, x.to, "do\xff", []byte("\xfe")) }, " do\xff\xfe")
			check(func() (Reach, error) { return from.Subscribe(ctx, x.to, "room\xff", Join{Info: []byte("!")}) }, " joins room\xff!")
			check(func() (Reach, error) { return from.Subscribe(ctx, x.to, "room\xff", Join{}) })
			check(func() (Reach, error) { return from.Subscribe(ctx, x.to, "b", Join{}) }, " joins b")
			check(func() (Reach, error) { return from.Unsubscribe(ctx, x.to, "room\xff", 2000, "go") }, " left room\xff2000go")
			check(func() (Reach, error) { return from.Unsubscribe(ctx, x.to, "room\xff", 2000, "go") })
			check(func() (Reach, error) { return from.Subscribe(ctx, x.to, "a", Join{}) }, " joins a")
			check(func() (Reach, error) { return from.Unsubscribe(ctx, x.to, "", 2000, "") }, " left a2000", " left b2000")

			log.take()
			p := Publication{Data: []byte("published"), Except: []string{id(1)}}
			must(t, from.PublishTo(ctx, x.to, p))
			sent, err := from.Send(ctx, x.to, p)
			must(t, err)
			reach, err := from.Reach(ctx, x.to)
			must(t, err)
			for i, c := range clients {
				if slices.Contains(x.want, i) && i != 1 {
					c.expect(": published", ": published")
					sent.Clients--
				}
				c.nothing()
			}
			if sent.Clients != 0 || reach.Clients != len(x.want) || reach.Missing != nil {
				t.Errorf("%+v: sent to %+d clients too many, and reaches %+v", x.to, sent.Clients, reach)
			}
		}
	}
	for _, c := range clients {
		if len(c.Channels()) > 0 {
			t.Errorf("still in %v", c.Channels())
		}
	}
	must(t, only(nodes[1].Kick(ctx, Target{User: "anna", Except: []string{id(1)}}, 3500, "anna")))
	for _, i := range []int{0, 2} {
		if e := wait(t, clients[i].over, "the end"); e.Code != 3500 || e.Reason != "anna" {
			t.Errorf("closed with %v", e)
		}
	}
	for _, i := range []int{1, 3, 4} {
		clients[i].nothing()
		must(t, only(nodes[0].Kick(ctx, Target{Client: id(i)}, 3501, "you")))
		if e := wait(t, clients[i].over, "the end"); e.Code != 3501 || e.Reason != "you" {
			t.Errorf("closed with %v", e)
		}
	}
}

func TestTargetErrors(t *testing.T) {
	n := start(t, Config{})
	a := n.client("anna")
	to, none := Target{User: "anna"}, Target{Except: []string{"x"}}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	for what, err := range map[string]error{
		"Kick":             only(n.Kick(ctx, none, 3000, "")),
		"Subscribe":        only(n.Subscribe(ctx, none, "x", Join{})),
		"Unsubscribe":      only(n.Unsubscribe(ctx, none, "x", 2000, "")),
		"Command":          only(n.Command(ctx, none, "x", nil)),
		"PublishTo":        n.PublishTo(ctx, none, Publication{}),
		"all and a user":   only(n.Command(ctx, Target{All: true, User: "anna"}, "x", nil)),
		"all and a client": n.PublishTo(ctx, Target{All: true, Client: a.ID()}, Publication{}),
		"a long user":      only(n.Command(ctx, Target{User: string(make([]byte, 254))}, "x", nil)),
		"no channel":       only(n.Subscribe(ctx, to, "", Join{})),
		"another channel":  only(n.Unsubscribe(ctx, to, "\x00", 2000, "")),
		"a client and ...": only(n.Command(ctx, Target{Client: a.ID(), User: string(make([]byte, 254))}, "x", nil)),
	} {
		is(t, what, err, ErrName)
	}
	is(t, "stopped", only(n.Command(stopped, to, "x", nil)), context.Canceled)
	if only(n.Subscribe(ctx, to, "x", Join{Begin: func(Joined) error { return nil }})) == nil {
		t.Error("Begin was sent to other nodes")
	}
	n.stop()
	is(t, "closed", only(n.Command(ctx, to, "x", nil)), ErrClosed)
}

// The orders of one goroutine to a client are carried out one after the other, in their order, off the goroutine of the broker.
func TestOrdersInOrder(t *testing.T) {
	var log calls
	gate := make(chan struct{})
	n := start(t, Config{
		Channel:   kept,
		OnCommand: func(_ *Client, name string, _ []byte) { <-gate; log.note(name) },
		Joining: func(_ *Client, channel string, j *Join) {
			j.Begin = func(Joined) error { log.note("joins"); return nil }
		},
		OnLeft: func(_ *Client, channel string, code protocol.CloseCode, reason string) { log.note("left") },
	})
	a := n.client("anna")
	to := Target{User: "anna"}
	var want []string
	for i := range 300 {
		name := fmt.Sprint("command ", i)
		must(t, errors.Join(only(n.Command(ctx, to, name, nil)), only(n.Subscribe(ctx, to, "room", Join{})), only(n.Unsubscribe(ctx, to, "room", 2000, ""))))
		want = append(want, name, "joins", "left")
	}
	must(t, only(n.Kick(ctx, to, 3500, "")))
	if got := log.len(); got > 0 {
		t.Errorf("%d are carried out already", got)
	}
	close(gate)
	if e := wait(t, a.over, "the kick, as the last"); e.Code != 3500 {
		t.Errorf("closed with %v", e)
	}
	if got := log.take(); !slices.Equal(got, want) {
		t.Errorf("%d things in another order: %q", len(got), got)
	}
}

// What is ordered for a client has a bound, and so have the goroutines.
func TestOrdersAreBounded(t *testing.T) {
	gate, began := make(chan struct{}), make(chan *Client, 2*ordersMax)
	n := start(t, Config{OnCommand: func(c *Client, _ string, _ []byte) { began <- c; <-gate }})
	n.mu.Lock()
	n.orders.max = 2
	n.mu.Unlock()
	a, other, third := n.client("anna"), n.client("other"), n.client("third")
	order := func(user string) { must(t, only(n.Command(ctx, Target{User: user}, "x", nil))) }
	order("anna")
	if wait(t, began, "the first") != a.Client {
		t.Error("another")
	}
	for range ordersMax {
		order("anna")
	}
	a.nothing()
	order("anna")
	if e := wait(t, a.over, "the end"); e.Code != 3010 {
		t.Errorf("closed with %v", e)
	}
	until(t, "its end", func() bool { return errors.Is(a.room("x"), ErrGone) })
	order("other")
	if wait(t, began, "the second") != other.Client {
		t.Error("another")
	}
	order("third")
	third.nothing()
	n.mu.Lock()
	if len(began) > 0 || n.orders.workers != 2 || len(n.orders.queue)-n.orders.next < 1 {
		t.Errorf("%d goroutines, %d wait", n.orders.workers, len(n.orders.queue)-n.orders.next)
	}
	n.mu.Unlock()
	close(gate)
	if wait(t, began, "the third") != third.Client { // nothing more for the one that is gone
		t.Error("another")
	}
	other.nothing()
	until(t, "no goroutine", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.orders.workers == 0 && n.orders.queue == nil })
}

// holding has a join read from the history until goOn is closed. reading tells when.
func holding(b *lossy) (reading chan string, goOn chan struct{}) {
	reading, goOn = make(chan string), make(chan struct{})
	b.set(nil, func(channel string) error {
		reading <- channel
		<-goOn
		return nil
	})
	return reading, goOn
}

// Unsubscribe, for one channel or all, waits for a join that is under way, and then ends it; if that fails, it is no matter.
func TestUnsubscribeWhileJoining(t *testing.T) {
	for _, channel := range []string{"room", ""} {
		for _, fails := range []bool{false, true} {
			b := newLossy(t)
			var log calls
			cfg := b.config()
			cfg.OnLeft = func(c *Client, channel string, code protocol.CloseCode, reason string) {
				log.note(fmt.Sprint(channel, int(code), reason, len(c.Channels())))
			}
			n := start(t, cfg)
			a := n.client("anna")
			reading, goOn := holding(b)
			joined, onPurpose := make(chan error), errors.New("on purpose")
			go func() {
				_, err := a.Join(ctx, "room", Join{Begin: func(Joined) error {
					if fails {
						return onPurpose
					}
					return nil
				}})
				joined <- err
			}()
			wait(t, reading, "the read")
			must(t, only(n.Unsubscribe(ctx, Target{User: "anna"}, channel, 2000, "x")))
			if log.len() > 0 {
				t.Error("left before it has joined")
			}
			b.set(nil, nil)
			close(goOn)
			want := []string{"room2000x1"}
			if err := wait(t, joined, "the join"); fails {
				is(t, "joined", err, onPurpose)
				want = nil
			} else if err != nil {
				t.Error(err)
			}
			a.settled()
			if got := log.take(); !slices.Equal(got, want) || len(a.Channels()) > 0 || len(n.Channels()) > 0 {
				t.Errorf("channel %q, fails %v: told %q, still in %v", channel, fails, got, a.Channels())
			}
			n.say("room", "nobody hears")
			a.nothing()
		}
	}
}

// Without OnLeft, a client that was taken out stays connected, unless it would have missed something.
func TestUnsubscribeWithoutHook(t *testing.T) {
	b := newLossy(t)
	n := start(t, b.config())
	a := n.client("anna")
	a.join("room", Join{})
	must(t, only(n.Unsubscribe(ctx, Target{User: "anna"}, "room", CodeInsufficient, "")))
	a.settled()
	n.say("room", "nobody hears")
	a.nothing()
	a.join("room", Join{})
	b.set(holds("lost"), func(string) error { return errHook })
	n.say("room", "lost")
	n.say("room", "after")
	if e := wait(t, a.over, "the end"); e.Code != 3010 {
		t.Errorf("closed with %v", e)
	}
}

// A kick during a join takes the client out, as soon as that has ended.
func TestKickWhileJoining(t *testing.T) {
	b := newLossy(t)
	cfg := b.config()
	cfg.OnLeft = func(*Client, string, protocol.CloseCode, string) { t.Error("told that it left") }
	n := start(t, cfg)
	a := n.client("anna")
	reading, goOn := holding(b)
	joined := make(chan error)
	go func() { // its own, and one of the hub
		_, err := a.Join(ctx, "room", Join{})
		joined <- err
	}()
	wait(t, reading, "the read")
	must(t, only(n.Kick(ctx, Target{User: "anna"}, 3500, "")))
	must(t, only(n.Subscribe(ctx, Target{User: "anna"}, "room", Join{})))
	if e := wait(t, a.over, "the end"); e.Code != 3500 {
		t.Errorf("closed with %v", e)
	}
	until(t, "nobody", func() bool { return len(n.Clients()) == 0 })
	b.set(nil, nil)
	close(goOn)
	if err := wait(t, joined, "the join"); err != nil && !errors.Is(err, ErrGone) {
		t.Errorf("joined: %v", err)
	}
	until(t, "no channel", func() bool { return len(n.Channels()) == 0 })
}

// Hub.Subscribe that hangs, because the node or the client has to read, ends with the connection, and with the hub.
func TestSubscribeHangs(t *testing.T) {
	for _, node := range []bool{false, true} {
		for _, end := range []string{"connection", "hub"} {
			b := newLossy(t)
			cfg := b.config()
			core, logs := observer.New(zap.WarnLevel)
			cfg.Logger = zap.New(core)
			n := start(t, cfg)
			a, stays := n.client("anna"), n.client("stays")
			at := n.say("room", "one")
			n.say("room", "two")
			if !node {
				stays.join("room", Join{})
			}
			b.mu.Lock()
			b.hanging = make(chan string)
			b.mu.Unlock()
			must(t, only(n.Subscribe(ctx, Target{User: "anna"}, "room", Join{Since: &at})))
			wait(t, b.hanging, "the read")
			if end == "hub" {
				must(t, n.Close(ctx))
			} else {
				must(t, (<-a.far).Abort())
				until(t, "no member", func() bool { return len(n.Channels()) == 0 || n.Channels()["room"] == 1 && !node })
			}
			if logs.Len() > 0 {
				t.Errorf("%s: logged %v", end, logs.All())
			}
			n.stop()
		}
	}
}

// While OnLeft runs, the client cannot join again: a Join waits for it. Leave has nothing to do.
func TestOnLeftComesFirst(t *testing.T) {
	told, goOn := make(chan error), make(chan struct{})
	n := start(t, Config{Channel: all(Options{History: 10, Publish: Members}), OnLeft: func(c *Client, channel string, _ protocol.CloseCode, _ string) {
		c.Set("key", "value")
		c.Set("key", nil) // the client keeps nothing but what waits for this hook
		told <- c.Leave(ctx, channel)
		<-goOn
	}})
	a := n.client("anna")
	a.join("room", Join{})
	must(t, only(n.Unsubscribe(ctx, Target{User: "anna"}, "room", 2000, "")))
	is(t, "leave in the hook", wait(t, told, "the hook"), ErrNotJoined)
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	is(t, "gave up", a.list(stopped, &membership{name: "room"}), context.Canceled)
	_, err := a.Publish(ctx, "room", Publication{})
	is(t, "publish as no member", err, ErrDenied)
	joined := make(chan error)
	go func() {
		_, err := a.Join(ctx, "room", Join{})
		joined <- err
	}()
	n.say("room", "nobody hears")
	a.nothing()
	select {
	case err := <-joined:
		t.Errorf("joined while it is told: %v", err)
	default:
	}
	close(goOn)
	must(t, wait(t, joined, "the join"))
	n.say("room", "two")
	a.expect("room: 2 two")
	until(t, "nothing to be left of it", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.more == nil
	})
}

// What nobody waits for is logged if it fails.
func TestSubscribeFails(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	n := start(t, Config{ChannelsPerClientMax: 1, Logger: zap.New(core)})
	a := n.client("anna")
	a.join("room", Join{})
	for _, channel := range []string{"room", "other"} {
		must(t, only(n.Subscribe(ctx, Target{User: "anna"}, channel, Join{})))
	}
	a.settled()
	if all := logs.TakeAll(); len(all) != 1 || all[0].ContextMap()["channel"] != "other" || all[0].ContextMap()["error"] != ErrLimit.Error() {
		t.Errorf("logged %v", all)
	}
	for _, data := range []string{"", "\x05", "\x05four", "\x01x"} {
		must(t, n.cfg.Broker.Publish(ctx, userPrefix+"anna", broker.Publication{Kind: kindDirect, Data: []byte(data)}))
		must(t, n.cfg.Broker.Publish(ctx, everybodyName, broker.Publication{Kind: kindDirect, Data: []byte(data)}))
	}
	a.nothing()
	if logs.Len() != 2*3 {
		t.Errorf("logged %v", logs.All())
	}
	n.say("room", "x")
	a.expect("room: x")
}

// Subscribe takes all of Join to the node of the client.
func TestSubscribeSince(t *testing.T) {
	b, err := memory.New(memory.Config{})
	must(t, err)
	var joining Join
	cfg := Config{Broker: b, History: b, Channel: all(Options{History: 10, JoinLeave: true}), Joining: func(_ *Client, _ string, j *Join) { joining = *j }}
	n, other := start(t, cfg), start(t, cfg)
	a := n.client("anna")
	at := n.say("room", "one")
	n.say("room", "two")
	must(t, only(other.Subscribe(ctx, Target{User: "anna"}, "room", Join{Since: &at, Data: []byte("data"), Info: []byte("info"), NoJoinLeave: true})))
	a.settled()
	n.say("room", "three")
	a.expect("room: 2 two", "room: 3 three")
	if string(joining.Data) != "data" || string(joining.Info) != "info" || !joining.NoJoinLeave {
		t.Errorf("joined with %+v", joining)
	}
}
