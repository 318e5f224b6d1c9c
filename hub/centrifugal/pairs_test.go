package centrifugal

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// gate is a broker that makes whoever follows a channel wait, when it is told to.
type gate struct {
	*memory.Broker
	channel       string
	waits, passes chan struct{}
}

func newGate(t *testing.T, channel string) *gate {
	m, err := memory.New(memory.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return &gate{m, channel, make(chan struct{}, 10), make(chan struct{}, 10)}
}

func (g *gate) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	if channel == g.channel {
		g.waits <- struct{}{}
		<-g.passes
	}
	return g.Broker.Subscribe(ctx, channel, r)
}

func (g *gate) config() hub.Config {
	return hub.Config{Broker: g, History: g, Presence: g}
}

// A kick in the midst of a batch: what is behind it is not done.
func TestKickAndBatch(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		called, kicked := make(chan *hub.Client), make(chan struct{})
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: everybodyMay, Hooks: hub.Hooks{
			RPC: func(_ context.Context, c *hub.Client, _ string, data []byte) ([]byte, error) {
				called <- c
				<-kicked
				return data, nil
			},
		}}})
		by := n.bystander()
		p := n.client(f)
		p.send(&cf.Command{Rpc: &cf.RPCRequest{Data: cf.Raw("1")}}, &cf.Command{Publish: pubRoom.Publish})
		c := wait(t, called, "the call")
		must(t, only(n.hub.Kick(ctx, hub.Target{Client: c.ID()}, 4500, "out")))
		p.over(Disconnect{4500, "out"})
		kicked <- struct{}{}
		until(t, "the client has gone", func() bool { return n.hub.Client(c.ID()) == nil })
		n.unharmed(by)
	})
}

// Whether a client is in a channel, it knows by what it is told last: that it was taken out, or that it has subscribed.
func TestUnsubscribedAndSubscribing(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: func(string) (hub.Options, error) { return hub.Options{Join: hub.Everybody}, nil }}})
		p := n.client(f)
		c := n.hub.Client(p.client)
		p.subscribe(&cf.SubscribeRequest{Channel: "room"})
		for i := range 50 {
			to := hub.Target{Client: p.client}
			must(t, only(n.hub.Unsubscribe(ctx, to, "room", UnsubscribeServer, "out")))
			must(t, only(n.hub.Command(ctx, to, commandRefresh, []byte("{}")))) // it comes behind it
			p.send(&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: "room"}}, &cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "room"}})
			in := false
			for refreshed, answered := false, false; !refreshed || !answered; {
				switch r := p.next(); {
				case r.Error != nil:
					t.Fatal(show(r))
				case r.Push.GetUnsubscribe() != nil:
					in = false
				case r.Push.GetRefresh() != nil:
					refreshed = true
				case r.Subscribe != nil:
					in, answered = true, true
				}
			}
			p.quiet()
			if got := len(c.Channels()) == 1; got != in {
				t.Fatalf("round %d: the client was told %v, and it is %v", i, in, got)
			}
			if !in {
				p.subscribe(&cf.SubscribeRequest{Channel: "room"})
			}
		}
	})
}

// Whoever reads too slowly is closed with 3008, comes back and misses nothing.
func TestSlowReaderRecovers(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: func(string) (hub.Options, error) {
			return hub.Options{History: 1000, Join: hub.Everybody}, nil
		}}}, engine.Config{SendBytesMax: 64 << 10, SendBytesHigh: 32 << 10, SendBytesLow: 8 << 10, NotSentBytesMax: 16 << 10})
		p := n.client(f)
		epoch := p.subscribe(&cf.SubscribeRequest{Channel: "news"}).Epoch
		must(t, p.conn.PauseReading())
		data, sent := `"`+strings.Repeat("x", 16<<10)+`"`, 0
		for open := n.e.Stats().Open; n.e.Stats().Open == open; {
			if sent++; sent > 900 {
				t.Fatal("the reader is not found slow")
			}
			n.say("news", data)
		}
		must(t, p.conn.ResumeReading())
		e := wait(t, p.closed, "the close")
		if e.Code != 3008 {
			t.Fatalf("closed with %d", e.Code)
		}
		got := 0
		for len(p.frames) > 0 {
			for _, r := range f.replies(t, <-p.frames) {
				if got++; r.Push.Pub.Offset != uint64(got) {
					t.Fatalf("received offset %d, want %d", r.Push.Pub.Offset, got)
				}
			}
		}
		if got == 0 || got == sent {
			t.Fatalf("received %d of %d", got, sent)
		}
		// a byte limit of the engine holds for the answer, too
		for got < sent {
			q := n.client(f)
			r := q.subscribe(&cf.SubscribeRequest{Channel: "news", Recover: true, Epoch: epoch, Offset: uint64(got)})
			if !r.Recovered || len(r.Publications) != sent-got {
				t.Fatalf("recovered %v, %d of %d", r.Recovered, len(r.Publications), sent-got)
			}
			got += len(r.Publications)
		}
	})
}

// A client that leaves while it joins is in nothing afterwards.
func TestJoiningAndLeaving(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		g := newGate(t, "slow")
		n := serve(t, Config{Anonymous: true, Hub: g.config()})
		p := n.client(f)
		p.send(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "slow"}})
		wait(t, g.waits, "the join")
		_ = p.conn.Abort()
		_ = wait(t, p.closed, "the end")
		g.passes <- struct{}{}
		until(t, "the client has gone", func() bool { return n.hub.Client(p.client) == nil && len(n.hub.Channels()) == 0 })
		if all, err := n.hub.Present(ctx, "slow"); err != nil || len(all) > 0 {
			t.Errorf("present: %v, %v", all, err)
		}
	})
}

// A client that leaves while it connects is nobody afterwards.
func TestConnectingAndLeaving(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		asked, answer := make(chan struct{}), make(chan struct{})
		n := serve(t, Config{Hub: hub.Config{Hooks: hub.Hooks{Connect: func(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
			as.User, as.Channels = "7", []string{"news"}
			asked <- struct{}{}
			<-answer
			return nil
		}}}})
		p := n.dial(f)
		p.send(&cf.Command{Connect: &cf.ConnectRequest{}}, &cf.Command{Publish: pubRoom.Publish})
		wait(t, asked, "the hook")
		_ = p.conn.Abort()
		_ = wait(t, p.closed, "the end")
		close(answer)
		until(t, "nobody is left", func() bool { return n.e.Stats().Open == 0 && len(n.hub.Clients()) == 0 && len(n.hub.Channels()) == 0 })
		if len(n.hub.Users()) > 0 {
			t.Error(n.hub.Users())
		}
	})
}

// A connection that is closed for being stale while its hook decides is no client when that has decided.
func TestStaleWhileConnecting(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	n := serve(t, Config{Hub: hub.Config{Hooks: hub.Hooks{Connect: func(context.Context, *engine.Conn, *hub.Connect) error {
		asked <- struct{}{}
		<-answer
		return nil
	}}}})
	p := n.dial(formatJSON)
	p.send(&cf.Command{Connect: &cf.ConnectRequest{}})
	wait(t, asked, "the hook")
	n.advance(10 * time.Second)
	p.over(DisconnectStale)
	close(answer)
	until(t, "nobody is left", func() bool { return n.e.Stats().Open == 0 && len(n.hub.Clients()) == 0 })
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	look, give := time.NewTicker(time.Millisecond), time.After(patience)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-give:
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// Subscriptions of the server go on exactly where the answer to the connect command says.
func TestServerSubscriptions(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		g := newGate(t, "news")
		cfg := g.config()
		cfg.Hooks.Connect = func(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
			as.Channels = []string{"news", "plain", "latest"}
			return nil
		}
		cfg.Channel = func(name string) (hub.Options, error) {
			switch name {
			case "plain":
				return hub.Options{}, nil
			case "latest":
				return hub.Options{History: 5, Latest: true}, nil
			}
			return hub.Options{History: 3}, nil
		}
		n := serve(t, Config{Hub: cfg})
		connect := func(subs map[string]*cf.SubscribeRequest, meanwhile ...string) (*peer, map[string]*cf.SubscribeResult) {
			p := n.dial(f)
			p.send(&cf.Command{Connect: &cf.ConnectRequest{Subs: subs}})
			r := p.next()
			if r.Connect == nil {
				t.Fatal(show(r))
			}
			wait(t, g.waits, "the join")
			for _, data := range meanwhile {
				n.say("news", data)
			}
			g.passes <- struct{}{}
			return p, r.Connect.Subs
		}
		say := func(channel string, all ...string) {
			for _, data := range all {
				n.say(channel, data)
			}
		}
		say("news", "1")
		say("latest", "1")
		p, subs := connect(nil)
		news, latest := subs["news"], subs["latest"]
		if len(subs) != 3 || !news.Recoverable || !news.Positioned || news.Offset != 1 || news.WasRecovering || news.Recovered || latest.Offset != 1 || subs["plain"].Recoverable {
			t.Fatalf("subscribed %s", show(subs))
		}
		until(t, "all are joined", func() bool { return len(n.hub.Clients()[0].Channels()) == 3 })
		say("news", "2")
		p.expect("news: 2 2")
		say("plain", `"p"`)
		p.expect(`plain: "p"`)
		_ = p.conn.Close(1000, "")
		until(t, "it has left", func() bool { return len(n.hub.Channels()) == 0 })

		say("news", "3", "4")
		say("latest", "2", "3")
		want := map[string]*cf.SubscribeRequest{"news": {Recover: true, Offset: 2, Epoch: news.Epoch}, "latest": {Recover: true, Offset: 1, Epoch: latest.Epoch}, "plain": {Recover: true}}
		p, subs = connect(want, "5", "6")
		news, latest = subs["news"], subs["latest"]
		if !news.WasRecovering || !news.Recovered || news.Offset != 2 || len(news.Publications) != 2 || string(news.Publications[1].Data) != "4" {
			t.Errorf("news %s", show(news))
		}
		if !latest.Recovered || len(latest.Publications) != 1 || string(latest.Publications[0].Data) != "3" {
			t.Errorf("latest %s", show(latest))
		}
		p.expect("news: 5 5", "news: 6 6")
		say("news", "7")
		p.expect("news: 7 7")
		_ = p.conn.Close(1000, "")
		until(t, "it has left", func() bool { return len(n.hub.Channels()) == 0 })

		// more than the history keeps: not recovered, and that is said
		_, subs = connect(map[string]*cf.SubscribeRequest{"news": {Recover: true, Offset: 1, Epoch: news.Epoch}, "latest": {Recover: true, Offset: 3, Epoch: latest.Epoch}})
		if news = subs["news"]; !news.WasRecovering || news.Recovered || news.Publications != nil || news.Offset != 7 {
			t.Errorf("news %s", show(news))
		}
		if latest = subs["latest"]; !latest.Recovered || len(latest.Publications) > 0 || latest.Offset != 3 {
			t.Errorf("latest %s", show(latest))
		}
	})
}

// What is lost between the answer and the join is not lost without the client knowing.
func TestServerSubscriptionLosesNothing(t *testing.T) {
	g := newGate(t, "news")
	cfg := g.config()
	cfg.Hooks.Connect = func(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
		as.Channels = []string{"news"}
		return nil
	}
	cfg.Channel = func(string) (hub.Options, error) { return hub.Options{History: 2}, nil }
	n := serve(t, Config{Hub: cfg})
	p := n.dial(formatJSON)
	p.send(&cf.Command{Connect: &cf.ConnectRequest{}}, &cf.Command{Publish: pubRoom.Publish})
	p.next()
	wait(t, g.waits, "the join")
	for range 4 {
		n.say("news", "1")
	}
	g.passes <- struct{}{}
	p.over(DisconnectInsufficientState)
	until(t, "it has gone", func() bool { return len(n.hub.Clients()) == 0 })
}

// A client that would miss something in a channel of the server has to connect again; in one of its own, to subscribe.
func TestInsufficientState(t *testing.T) {
	n := serve(t, Config{Anonymous: true})
	p := n.client(formatJSON)
	to := hub.Target{Client: p.client}
	p.subscribe(&cf.SubscribeRequest{Channel: "own"})
	must(t, only(n.hub.Subscribe(ctx, to, "server", hub.Join{})))
	p.expect("server: subscribe true 0")
	must(t, only(n.hub.Unsubscribe(ctx, to, "own", hub.CodeInsufficient, "insufficient state")))
	p.expect("own: unsubscribe 2500 insufficient state")
	p.subscribe(&cf.SubscribeRequest{Channel: "own"})
	must(t, only(n.hub.Unsubscribe(ctx, to, "server", hub.CodeInsufficient, "insufficient state")))
	p.over(DisconnectInsufficientState)
}

// Commands of one connection are carried out in order, and answered in one message where that can be.
func TestBatch(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		var mu sync.Mutex
		var order []string
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: everybodyMay, Hooks: hub.Hooks{
			RPC: func(_ context.Context, _ *hub.Client, method string, data []byte) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, method)
				return data, nil
			},
		}}})
		p := n.dial(f)
		rpc := func(m string) *cf.Command {
			return &cf.Command{Rpc: &cf.RPCRequest{Method: m, Data: cf.Raw("1")}}
		}
		p.send(&cf.Command{Connect: &cf.ConnectRequest{}}, rpc("a"), rpc("b"), &cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "room"}}, rpc("c"), rpc("d"))
		p.send(rpc("e"))
		var sizes []int
		for sum := 0; sum < 7; {
			all := f.replies(t, wait(t, p.frames, "an answer"))
			sizes, sum = append(sizes, len(all)), sum+len(all)
		}
		if !slices.Equal(sizes, []int{1, 3, 2, 1}) { // connect and subscribe are answered at once
			t.Errorf("messages with %v answers", sizes)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(order, ""); got != "abcde" {
			t.Errorf("order %s", got)
		}
	})
}

// broken is a Presence that cannot be reached.
type broken struct{ *gate }

func (broken) Enter(context.Context, string, broker.Info, time.Duration) error {
	return broker.ErrUnavailable
}

// A subscription that fails when the client has been told that it is there: the client has to connect again.
func TestFailsTooLate(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		g := newGate(t, "")
		cfg := g.config()
		cfg.Broker = mute{g.Broker}
		p := serve(t, Config{Anonymous: true, Hub: cfg}).client(f)
		p.send(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "a"}}, &cf.Command{Publish: &cf.PublishRequest{Channel: "b", Data: cf.Raw("1")}})
		if r := p.next(); r.Subscribe == nil {
			t.Fatal(show(r))
		}
		p.over(DisconnectServerError)
	})
}

// Without a presence, a subscription that the client asks for fails before it is told that it is there; one that it was told of when it
// connected cannot be taken back.
func TestFailsWithoutPresence(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		g := newGate(t, "")
		cfg := g.config()
		cfg.Presence = broken{g}
		cfg.Hooks.Connect = func(ctx context.Context, _ *engine.Conn, as *hub.Connect) error {
			if RequestOf(ctx).Name != "" {
				as.Channels = []string{"a"}
			}
			return nil
		}
		n := serve(t, Config{Hub: cfg})
		p := n.client(f)
		for range 2 { // the connection stays
			p.send(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "a"}})
			if r := p.next(); r.Error == nil || r.Error.Code != ErrInternal.Code {
				t.Fatal(show(r))
			}
		}
		q := n.dial(f)
		q.send(&cf.Command{Connect: &cf.ConnectRequest{Name: "x"}})
		if r := q.next(); r.Connect == nil {
			t.Fatal(show(r))
		}
		q.over(DisconnectServerError)
	})
}
