package centrifugal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// result is what a reply says, with names in place of what is different each time.
func (p *peer) result(r *cf.Reply, epoch string) string {
	r.Id = 0
	if r.History != nil && len(r.History.Publications) == 0 {
		if p.f == formatJSON && r.History.Publications == nil {
			p.t.Error("publications is null")
		}
		r.History.Publications = []*cf.Publication{}
	}
	s := strings.ReplaceAll(show(r), p.client, "ID")
	if epoch != "" {
		s = strings.ReplaceAll(s, epoch, "EPOCH")
	}
	return s
}

func TestCommands(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		sent := make(chan string, 1)
		n := serve(t, Config{
			OnSend: func(_ context.Context, c *hub.Client, data []byte) error {
				sent <- c.ID() + string(data)
				return nil
			},
			Hub: hub.Config{Hooks: hub.Hooks{
				Connect: func(ctx context.Context, _ *engine.Conn, as *hub.Connect) error {
					r := RequestOf(ctx)
					as.User, as.Info = "7", json.RawMessage(`{"name":"Anna"}`)
					as.Data = fmt.Appendf(nil, `{"you":%q,"said":%s}`, r.Name+" "+r.Version+" "+r.Token+" "+r.Headers["k"], as.Data)
					return nil
				},
				Join: func(ctx context.Context, _ *hub.Client, _ string, j *hub.Join) error {
					r := RequestOf(ctx)
					r.Data = append([]byte(`"to `), r.Data[1:]...)
					j.Info = []byte("2")
					return nil
				},
				RPC: func(_ context.Context, _ *hub.Client, method string, data []byte) ([]byte, error) {
					return fmt.Appendf(nil, `[%q,%s]`, method, data), nil
				},
			}},
		})
		p := n.dial(f)
		r := p.connect(&cf.ConnectRequest{Token: "t", Name: "go", Version: "1", Data: cf.Raw(`[1]`), Headers: map[string]string{"k": "v"}})
		if got := p.result(&cf.Reply{Connect: r}, ""); got != `{"connect":{"client":"ID","version":"sockmill","data":{"you":"go 1 t v","said":[1]},"ping":25,"pong":true}}` {
			t.Error(got)
		}
		sub := p.subscribe(&cf.SubscribeRequest{Channel: "news", Data: cf.Raw(`"hello"`)})
		me := `{"user":"7","client":"ID","conn_info":{"name":"Anna"},"chan_info":2}`
		if got := p.result(&cf.Reply{Subscribe: sub}, sub.Epoch); got != `{"subscribe":{"recoverable":true,"epoch":"EPOCH","positioned":true,"data":"to hello"}}` {
			t.Error(got)
		}
		p.publishOwn("news", `{"n":1}`)
		p.publishOwn("news", `2`)
		for _, c := range []struct {
			ask  *cf.Command
			want string
		}{
			{&cf.Command{Presence: &cf.PresenceRequest{Channel: "news"}}, `{"presence":{"presence":{"ID":` + me + `}}}`},
			{&cf.Command{PresenceStats: &cf.PresenceStatsRequest{Channel: "news"}}, `{"presence_stats":{"num_clients":1,"num_users":1}}`},
			{&cf.Command{History: &cf.HistoryRequest{Channel: "news"}}, `{"history":{"publications":[],"epoch":"EPOCH","offset":2}}`},
			{&cf.Command{History: &cf.HistoryRequest{Channel: "news", Limit: -1}}, `{"history":{"publications":[{"data":{"n":1},"info":` + me + `,"offset":1},{"data":2,"info":` + me + `,"offset":2}],"epoch":"EPOCH","offset":2}}`},
			{&cf.Command{History: &cf.HistoryRequest{Channel: "news", Limit: 1, Reverse: true}}, `{"history":{"publications":[{"data":2,"info":` + me + `,"offset":2}],"epoch":"EPOCH","offset":2}}`},
			{&cf.Command{History: &cf.HistoryRequest{Channel: "news", Limit: 1e9, Since: &cf.StreamPosition{Offset: 1, Epoch: sub.Epoch}}}, `{"history":{"publications":[{"data":2,"info":` + me + `,"offset":2}],"epoch":"EPOCH","offset":2}}`},
			{&cf.Command{History: &cf.HistoryRequest{Channel: "news", Limit: 5, Since: &cf.StreamPosition{Offset: 1}}}, `{"history":{"publications":[{"data":2,"info":` + me + `,"offset":2}],"epoch":"EPOCH","offset":2}}`},
			{&cf.Command{History: &cf.HistoryRequest{Channel: "news", Limit: 5, Reverse: true, Since: &cf.StreamPosition{Offset: 2, Epoch: sub.Epoch}}}, `{"history":{"publications":[{"data":{"n":1},"info":` + me + `,"offset":1}],"epoch":"EPOCH","offset":2}}`},
			{&cf.Command{Rpc: &cf.RPCRequest{Method: "sum", Data: cf.Raw(`[1,2]`)}}, `{"rpc":{"data":["sum",[1,2]]}}`},
			{&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: "news"}}, `{"unsubscribe":{}}`},
			{&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: "never"}}, `{"unsubscribe":{}}`},
		} {
			if got := p.result(p.good(c.ask), sub.Epoch); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", show(c.ask), got, c.want)
			}
		}
		p.send(&cf.Command{Send: &cf.SendRequest{Data: cf.Raw(`"note"`)}})
		if got := wait(t, sent, "OnSend"); got != p.client+`"note"` {
			t.Errorf("OnSend got %s", got)
		}
		p.quiet()
	})
}

// publishOwn publishes to a channel of which the peer is a member: the reply and the publication come in any order.
func (p *peer) publishOwn(channel, data string) {
	p.t.Helper()
	p.send(&cf.Command{Publish: &cf.PublishRequest{Channel: channel, Data: cf.Raw(data)}})
	for answered, came := false, false; !answered || !came; {
		switch r := p.next(); {
		case r.Id == p.id && r.Error == nil:
			answered = true
		case r.Push != nil && r.Push.Pub != nil && string(r.Push.Pub.Data) == data:
			came = true
		default:
			p.t.Fatalf("received %s", show(r))
		}
	}
}

func TestPushes(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true})
		p := n.client(f)
		p.subscribe(&cf.SubscribeRequest{Channel: "room", JoinLeave: true})
		p.expect("room: join") // its own
		me := hub.Target{Client: p.client}
		n.say("room", `{"a":1}`)
		p.expect(`room: 1 {"a":1}`)
		must(t, n.hub.PublishTo(ctx, hub.Target{All: true}, hub.Publication{Data: []byte(`"all"`)}))
		p.expect(`message "all"`)
		other := n.client(1 - f)
		other.subscribe(&cf.SubscribeRequest{Channel: "room"})
		p.expect("room: join")
		_ = other.conn.Close(1000, "")
		p.expect("room: leave")
		must(t, only(n.hub.Subscribe(ctx, me, "lobby", hub.Join{})))
		p.expect("lobby: subscribe true 0")
		must(t, only(n.hub.Unsubscribe(ctx, me, "lobby", UnsubscribeServer, "out")))
		p.expect("lobby: unsubscribe 2000 out")
		must(t, only(n.hub.Command(ctx, me, commandRefresh, []byte(`{}`))))
		p.expect("refresh false 0")
		must(t, only(n.hub.Kick(ctx, me, 4001, "bye")))
		p.over(Disconnect{4001, "bye"})
	})
}

func (n *node) say(channel, data string) broker.Position {
	n.t.Helper()
	at, err := n.hub.Publish(ctx, channel, hub.Publication{Data: []byte(data)})
	must(n.t, err)
	return at
}

// options are those of the channels of TestErrors.
func options(name string) (hub.Options, error) {
	o := open()
	o.JoinLeave = false
	switch strings.Trim(name, "$0123456789#,") {
	case "open":
		return o, nil
	case "public":
		o.Publish, o.ReadHistory, o.ReadPresence = hub.Everybody, hub.Everybody, hub.Everybody
		return o, nil
	case "bare":
		return hub.Options{Join: hub.Everybody, ReadHistory: hub.Everybody, ReadPresence: hub.Everybody}, nil
	case "closed":
		return hub.Options{History: 1, Presence: true}, nil
	case "broken":
		return hub.Options{}, errors.New("no idea")
	case "own":
		return hub.Options{}, Error{Code: 1000, Message: "mine", Temporary: true}
	}
	return hub.Options{}, hub.ErrUnknownChannel
}

func TestErrors(t *testing.T) {
	long := "open" + strings.Repeat("1", 300)
	sub := func(c string) *cf.Command { return &cf.Command{Subscribe: &cf.SubscribeRequest{Channel: c}} }
	pub := func(c, data string) *cf.Command {
		return &cf.Command{Publish: &cf.PublishRequest{Channel: c, Data: cf.Raw(data)}}
	}
	at := func(offset uint64, epoch string, reverse bool) *cf.Command {
		return &cf.Command{History: &cf.HistoryRequest{Channel: "public", Limit: 10, Reverse: reverse, Since: &cf.StreamPosition{Offset: offset, Epoch: epoch}}}
	}
	var all []*cf.Command
	var codes []uint32
	add := func(code uint32, cs ...*cf.Command) {
		for _, c := range cs {
			all, codes = append(all, c), append(codes, code)
		}
	}
	add(100, sub("broken"), pub("broken", "1"))
	add(1000, sub("own"), &cf.Command{Presence: &cf.PresenceRequest{Channel: "own"}})
	add(102, sub("nowhere"), pub("nowhere", "1"), &cf.Command{Presence: &cf.PresenceRequest{Channel: "nowhere"}},
		&cf.Command{PresenceStats: &cf.PresenceStatsRequest{Channel: "nowhere"}}, &cf.Command{History: &cf.HistoryRequest{Channel: "nowhere"}})
	add(103, sub("closed"), sub("$open"), sub("open#1,2"), pub("open", "1"), pub("closed", "1"),
		&cf.Command{Presence: &cf.PresenceRequest{Channel: "open"}}, &cf.Command{PresenceStats: &cf.PresenceStatsRequest{Channel: "open"}},
		&cf.Command{History: &cf.HistoryRequest{Channel: "open"}}, &cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: "open", Token: "x"}},
		&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "open", Token: "x"}})
	add(104, &cf.Command{Id: 1000}, &cf.Command{Rpc: &cf.RPCRequest{Method: "x"}})
	add(105, sub("public"))
	add(106, sub("open3"))
	add(107, sub(long), sub("a\nb"), sub("\x7f"), pub("\x00open", "1"), pub("public", ""), at(0, "", true),
		&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "open", Type: 5}}, &cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "open", Type: -1}},
		&cf.Command{History: &cf.HistoryRequest{Channel: long}}, &cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: long}},
		&cf.Command{Presence: &cf.PresenceRequest{Channel: long}}, &cf.Command{PresenceStats: &cf.PresenceStatsRequest{Channel: long}},
		&cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: long}})
	add(108, &cf.Command{Presence: &cf.PresenceRequest{Channel: "bare"}}, &cf.Command{PresenceStats: &cf.PresenceStatsRequest{Channel: "bare"}},
		&cf.Command{History: &cf.HistoryRequest{Channel: "bare"}}, &cf.Command{Ping: &cf.PingRequest{}}, &cf.Command{Refresh: &cf.RefreshRequest{Token: "x"}},
		&cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: "public", Token: "x"}}, &cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: "public", Type: 1}},
		&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "open", Type: 1}}, &cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "open", Type: 4}},
		&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "open", Tf: &cf.FilterNode{Key: "a", Cmp: "ex"}}},
		&cf.Command{Publish: &cf.PublishRequest{Channel: "public", Type: 1, Data: cf.Raw("1")}})
	add(112, at(1, "other", false), at(1, "other", true), at(1000, "", false),
		&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "public1", Recover: true, Epoch: "other", Flag: flagRejectUnrecovered}})
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: options, ChannelsPerClientMax: 4}})
		witness, p := n.client(formatJSON), n.client(f)
		witness.subscribe(&cf.SubscribeRequest{Channel: "public"})
		for _, c := range []string{"public", "open1", "open2"} {
			p.subscribe(&cf.SubscribeRequest{Channel: c})
		}
		for i, c := range all {
			if codes[i] == 106 {
				p.subscribe(&cf.SubscribeRequest{Channel: "open4"})
			}
			if i > 0 && codes[i] == 107 && codes[i-1] == 106 {
				p.good(&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: "open2"}})
				p.good(&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: "open4"}})
			}
			id := c.Id
			r := p.ask(c)
			if r.Error == nil || r.Error.Code != codes[i] || r.Error.Temporary != (codes[i] == 100 || codes[i] == 1000) || r.Error.Message == "" {
				t.Errorf("%s: %s, want error %d", show(c), show(r), codes[i])
			}
			c.Id = id
		}
		if got := n.hub.Client(p.client).Channels(); len(got) != 2 {
			t.Errorf("the client is in %v", got)
		}
		witness.quiet()
	})
}

func TestUnknownEpochIsNotRecovered(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true})
		at := n.say("news", "1")
		for _, r := range []*cf.SubscribeRequest{
			{Channel: "news", Recover: true, Offset: 1, Epoch: "another"},
			{Channel: "news", Recover: true, Offset: 1},
			{Channel: "news", Recover: true, Offset: 1 << 63, Epoch: at.Epoch},
		} {
			got := n.client(f).subscribe(r)
			if got.Recovered || !got.WasRecovering || got.Publications != nil || got.Offset != 1 || got.Epoch != at.Epoch {
				t.Errorf("%s: %s", show(r), show(got))
			}
		}
	})
}
