package centrifugal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

func TestConfig(t *testing.T) {
	e, err := engine.New(engine.Config{}, engine.Handler{})
	must(t, err)
	defer func() { must(t, e.Shutdown(ctx)) }()
	for want, cfg := range map[string]Config{
		"Config.Hub has a value":                     {Hub: hub.Config{Formats: 1}},
		"sets them":                                  {Hub: hub.Config{Joining: func(*hub.Client, string, *hub.Join) {}}},
		"Config.Path is \"ws\"":                      {Path: "ws"},
		"Config.PingInterval is 1ms":                 {PingInterval: time.Millisecond},
		"Config.PongTimeout is 25s: it must be less": {PongTimeout: 25 * time.Second},
		"Config.ConnectTimeout is -1ns":              {ConnectTimeout: engine.NoLimit},
		"Config.CommandTimeout is 1ns":               {CommandTimeout: 1},
		"Config.ExpiryGrace is -1s":                  {ExpiryGrace: -time.Second},
		"Config.CommandsPerSecondMax is -2":          {CommandsPerSecondMax: -2},
		"Config.CommandsPerFrameMax is -1":           {CommandsPerFrameMax: engine.NoLimit},
		"Config.FrameBytesMax is 10":                 {FrameBytesMax: 10},
		"Config.ChannelNameMax is 256":               {ChannelNameMax: 256},
		"Config.HistoryMax is -1":                    {HistoryMax: -1},
		"Config.ReplyBytesMax is 1":                  {ReplyBytesMax: 1},
		"hub: Config.RingMax":                        {Hub: hub.Config{RingMax: -1}},
	} {
		if _, err := New(e, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	s, err := New(e, Config{})
	must(t, err)
	must(t, s.Close(ctx))
}

func TestNamespaces(t *testing.T) {
	of := map[string]hub.Options{"": {History: 1}, "news": {History: 2}}
	f := Namespaces(of)
	of["late"] = hub.Options{}
	for name, want := range map[string]int{"a": 1, "$a": 1, "a#1": 1, "news:a": 2, "$news:a": 2, "news:a:b": 2, "news:": 2, ":a": 1, "late:a": 0, "$$a:b": 0, "anews:a": 0} {
		o, err := f(name)
		if o.History != want || (err == nil) != (want > 0) || err != nil && !errors.Is(err, hub.ErrUnknownChannel) {
			t.Errorf("%s: %d %v", name, o.History, err)
		}
	}
	for name, want := range map[string][2]bool{"a": {}, "a#7": {true, true}, "a#1,7,8": {true, true}, "a#77": {true, false}, "a#": {true, false}, "#7": {true, true}, "a#7#8": {true, false}, "n:a#7,": {true, true}} {
		if is, may := limited(name, "7"); is != want[0] || may != want[1] {
			t.Errorf("%s: %v %v", name, is, may)
		}
	}
	if _, may := limited("a#", ""); may {
		t.Error("nobody in particular may join")
	}
}

func TestUpgrade(t *testing.T) {
	n := serve(t, Config{
		OnUpgrade: func(u *engine.Upgrade) (any, error) {
			if u.Request.Cookie("user") == "evil" {
				return nil, engine.Refuse(403, "no")
			}
			return strings.Clone(u.Request.Cookie("user")), nil
		},
		Hub: hub.Config{Hooks: hub.Hooks{Connect: func(ctx context.Context, _ *engine.Conn, as *hub.Connect) error {
			as.User = RequestOf(ctx).State.(string)
			return nil
		}}},
	})
	for _, c := range []struct {
		path   string
		offer  []string
		cookie string
		status string // that refuses
		agreed string
		f      format
	}{
		{"", nil, "anna", "", "", formatJSON},
		{"?a=b", nil, "", "", "", formatJSON},
		{"?cf_protocol=protobuf", nil, "", "", "", formatProtobuf},
		{"?x=y&format=protobuf", nil, "", "", "", formatProtobuf},
		{"?cf_protocol=json&x=protobuf", nil, "", "", "", formatJSON},
		{"", []string{"centrifuge-json"}, "", "", "centrifuge-json", formatJSON},
		{"", []string{"other", "centrifuge-protobuf", "centrifuge-json"}, "", "", "centrifuge-protobuf", formatProtobuf},
		{"?cf_protocol=protobuf", []string{"centrifuge-json"}, "", "", "centrifuge-json", formatJSON},
		{"/more", nil, "", "404", "", formatJSON},
		{"", nil, "evil", "403", "", formatJSON},
	} {
		got, failed := make(chan *engine.Conn, 1), make(chan error, 1)
		frames := make(chan []byte, 1)
		must(t, n.e.Dial(ctx, engine.Dial{URL: n.url + c.path, Subprotocols: c.offer, Header: []protocol.Field{{Name: "Cookie", Value: "user=" + c.cookie}},
			OnFailure: func(e *engine.DialError) { failed <- e },
			Handler: &engine.Handler{
				OnOpen:    func(c *engine.Conn) { got <- c },
				OnMessage: func(_ *engine.Conn, m engine.Message) { frames <- m.Clone().Data },
			}}))
		select {
		case err := <-failed:
			if c.status == "" || !strings.Contains(err.Error(), c.status) {
				t.Errorf("%s %v: %v", c.path, c.offer, err)
			}
		case conn := <-got:
			if c.status != "" || conn.Subprotocol() != c.agreed {
				t.Errorf("%s %v: %q", c.path, c.offer, conn.Subprotocol())
			}
			must(t, conn.Send(c.f.message(c.f.frame(&cf.Command{Id: 1, Connect: &cf.ConnectRequest{}}))))
			r := c.f.replies(t, wait(t, frames, "an answer"))
			if r[0].Connect == nil {
				t.Fatalf("%s %v: %s", c.path, c.offer, show(r))
			}
			if who := n.hub.Client(r[0].Connect.Client).User(); who != c.cookie {
				t.Errorf("the user is %q", who)
			}
		case <-time.After(patience):
			t.Fatal("gave up waiting for an answer to the handshake")
		}
	}
}

// A hook may say how its client is answered.
func TestHookErrors(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		var mu sync.Mutex
		var failure error
		no := func() error {
			mu.Lock()
			defer mu.Unlock()
			return failure
		}
		fail := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			failure = err
		}
		n := serve(t, Config{
			OnSend: func(context.Context, *hub.Client, []byte) error { return no() },
			Hub: hub.Config{Channel: everybodyMay, Hooks: hub.Hooks{
				Connect:  func(context.Context, *engine.Conn, *hub.Connect) error { return no() },
				Join:     func(context.Context, *hub.Client, string, *hub.Join) error { return no() },
				Publish:  func(context.Context, *hub.Client, string, *hub.Publication) error { return no() },
				History:  func(context.Context, *hub.Client, string, *broker.Query) error { return no() },
				Presence: func(context.Context, *hub.Client, string) error { return no() },
				RPC:      func(context.Context, *hub.Client, string, []byte) ([]byte, error) { return nil, no() },
			}},
		})
		commands := []*cf.Command{{Subscribe: &cf.SubscribeRequest{Channel: "a"}}, pubRoom, {History: &cf.HistoryRequest{Channel: "a"}},
			{Presence: &cf.PresenceRequest{Channel: "a"}}, {PresenceStats: &cf.PresenceStatsRequest{Channel: "a"}}, {Rpc: &cf.RPCRequest{}}}
		for _, c := range []struct {
			err  error
			code uint32
		}{{Error{Code: 400, Message: "mine"}, 400}, {Error{Message: "no code"}, 100}, {hub.ErrDenied, 103}, {errors.New("broken"), 100}, {context.DeadlineExceeded, 100}, {broker.ErrTooLarge, 106}, {broker.ErrUnavailable, 100}} {
			fail(nil)
			p := n.client(f)
			fail(c.err)
			for _, cmd := range commands {
				if r := p.ask(cmd); r.Error.GetCode() != c.code {
					t.Errorf("%v, %s: %s", c.err, show(cmd), show(r))
				}
			}
			p.send(&cf.Command{Send: &cf.SendRequest{}}) // is logged
			p.quiet()
			q := n.dial(f)
			if r := q.ask(&cf.Command{Connect: &cf.ConnectRequest{}}); r.Error.GetCode() != c.code {
				t.Errorf("%v, connect: %s", c.err, show(r))
			}
		}
		mine := Disconnect{4444, "mine"}
		for _, cmd := range append(commands, &cf.Command{Send: &cf.SendRequest{}}) {
			fail(nil)
			p := n.client(f)
			fail(errors.Join(errors.New("wrapped"), mine))
			p.send(cmd, &cf.Command{Ping: &cf.PingRequest{}})
			p.over(mine)
		}
		q := n.dial(f)
		q.send(&cf.Command{Connect: &cf.ConnectRequest{}})
		q.over(mine)
		fail(Disconnect{1005, "may not be sent"})
		q = n.dial(f)
		q.send(&cf.Command{Connect: &cf.ConnectRequest{}})
		q.over(DisconnectServerError)
	})
}

// A client that the program connects itself, by a protocol of its own, is none of the Server's.
func TestForeignClient(t *testing.T) {
	n := serve(t, Config{Anonymous: true})
	conns := make(chan *engine.Conn, 1)
	l, err := n.e.Listen(engine.Config{Addr: "text://127.0.0.1:0"}, &engine.Handler{OnOpen: func(c *engine.Conn) { conns <- c }})
	must(t, err)
	lines := make(chan string, 10)
	must(t, n.e.Dial(ctx, engine.Dial{URL: "text://" + l.Addr().String(), Handler: &engine.Handler{OnMessage: func(_ *engine.Conn, m engine.Message) { lines <- m.Text() }}}))
	c, err := n.hub.Connect(ctx, wait(t, conns, "the connection"), hub.Connect{Channels: []string{"a"}})
	must(t, err)
	to := hub.Target{Client: c.ID()}
	must(t, only(n.hub.Subscribe(ctx, to, "b", hub.Join{})))
	must(t, only(n.hub.Command(ctx, to, commandRefresh, []byte("{}"))))
	must(t, only(n.hub.Unsubscribe(ctx, to, "a", UnsubscribeServer, "")))
	until(t, "all is done", func() bool { return slices.Equal(c.Channels(), []string{"b"}) })
	n.say("b", "1")
	for got := wait(t, lines, "the publication"); !strings.Contains(got, `"data":1`); got = wait(t, lines, "the publication") {
		if !strings.Contains(got, `"join":`) { // its own joins
			t.Error(got)
		}
	}
}

// What hooks set in Begin comes before the answer, which they cannot suppress.
func TestHooksBegin(t *testing.T) {
	n := serve(t, Config{Hub: hub.Config{Hooks: hub.Hooks{
		Connect: func(_ context.Context, conn *engine.Conn, as *hub.Connect) error {
			as.Format = 99
			as.Begin = func(*hub.Client) error { return conn.SendText(`{"push":{"message":{"data":"first"}}}`) }
			return nil
		},
		Join: func(_ context.Context, c *hub.Client, _ string, j *hub.Join) error {
			j.Begin = func(hub.Joined) error { return c.Conn().SendText(`{"push":{"message":{"data":"second"}}}`) }
			return nil
		},
	}}})
	p := n.dial(formatJSON)
	p.send(&cf.Command{Connect: &cf.ConnectRequest{Data: cf.Raw("1")}}, &cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "a", Data: cf.Raw("2")}})
	p.expect(`message "first"`)
	if r := p.next().Connect; r == nil || len(r.Data) > 0 { // what it has said it knows
		t.Fatal(show(r))
	}
	p.expect(`message "second"`)
	if r := p.next().Subscribe; r == nil || len(r.Data) > 0 {
		t.Fatal(show(r))
	}
}

func TestTooManyChannels(t *testing.T) {
	n := serve(t, Config{Hub: hub.Config{ChannelsPerClientMax: 2, Hooks: hub.Hooks{
		Connect: func(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
			as.Channels = []string{"a", "b", "c"}
			return nil
		},
	}}})
	p := n.dial(formatJSON)
	p.send(&cf.Command{Connect: &cf.ConnectRequest{}})
	p.over(DisconnectChannelLimit)
}

func TestUnknownServerChannel(t *testing.T) {
	n := serve(t, Config{Hub: hub.Config{Channel: options, Hooks: hub.Hooks{
		Connect: func(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
			as.Channels = []string{"nowhere"}
			return nil
		},
	}}})
	p := n.dial(formatJSON)
	if r := p.ask(&cf.Command{Connect: &cf.ConnectRequest{}}); r.Error.GetCode() != 102 {
		t.Error(show(r))
	}
}

// A hook that waits for ever is ended by CommandTimeout.
func TestCommandTimeout(t *testing.T) {
	n := serve(t, Config{Anonymous: true, CommandTimeout: 10 * time.Millisecond, Hub: hub.Config{Hooks: hub.Hooks{
		RPC: func(ctx context.Context, _ *hub.Client, _ string, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}}})
	if r := n.client(formatJSON).ask(&cf.Command{Rpc: &cf.RPCRequest{}}); r.Error.GetCode() != 100 || !r.Error.Temporary {
		t.Error(show(r))
	}
}

func TestClose(t *testing.T) {
	n := serve(t, Config{Anonymous: true})
	p := n.client(formatJSON)
	must(t, n.Close(ctx))
	p.over(DisconnectShutdown)
	q := n.dial(formatJSON)
	q.send(&cf.Command{Connect: &cf.ConnectRequest{}})
	q.over(DisconnectShutdown)
}
