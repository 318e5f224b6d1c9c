package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

var errHook = errors.New("the hook says no")

// TestWho tries all that a client may ask for, with all that options and a hook say, in a channel and outside.
func TestWho(t *testing.T) {
	var asked int
	var answer error
	hooked := Hooks{
		Join:     func(context.Context, *Client, string, *Join) error { asked++; return answer },
		Publish:  func(context.Context, *Client, string, *Publication) error { asked++; return answer },
		History:  func(context.Context, *Client, string, *broker.Query) error { asked++; return answer },
		Presence: func(context.Context, *Client, string) error { asked++; return answer },
	}
	for name, x := range map[string]struct {
		set func(o *Options, who Who)
		ask func(c *Client) error
		in  error // the error of asking in the channel
	}{
		"Join": {func(o *Options, who Who) { o.Join = who }, func(c *Client) error { _, err := c.Join(ctx, "room", Join{}); return err }, ErrJoined},
		"Publish": {func(o *Options, who Who) { o.Publish = who }, func(c *Client) error {
			_, err := c.Publish(ctx, "room", Publication{})
			return err
		}, nil},
		"History": {func(o *Options, who Who) { o.ReadHistory = who }, func(c *Client) error {
			_, err := c.History(ctx, "room", broker.Query{})
			return err
		}, nil},
		"Present": {func(o *Options, who Who) { o.ReadPresence = who }, func(c *Client) error { _, err := c.Present(ctx, "room"); return err }, nil},
		"Count":   {func(o *Options, who Who) { o.ReadPresence = who }, func(c *Client) error { _, err := c.Count(ctx, "room"); return err }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, hook := range []bool{false, true} {
				for who := Nobody; who <= Everybody; who++ {
					o := Options{History: 1, Presence: true}
					x.set(&o, who)
					cfg := Config{Channel: all(o)}
					if hook {
						cfg.Hooks = hooked
					}
					n := startStrict(t, cfg)
					a, member := n.client("anna"), n.client("bob")
					if _, err := n.Join(ctx, member.Client, "room", Join{}); err != nil {
						t.Fatal(err)
					}
					want := func(allowed bool) error {
						if allowed {
							return nil
						}
						return ErrDenied
					}
					if !hook {
						is(t, fmt.Sprint("outside, ", who), x.ask(a.Client), want(who == Everybody))
						in := x.in
						if in == nil {
							in = want(who >= Members)
						}
						is(t, fmt.Sprint("in it, ", who), x.ask(member.Client), in)
						continue
					}
					asked, answer = 0, errHook
					is(t, "the hook refuses", x.ask(a.Client), errHook)
					answer = nil
					is(t, "the hook allows", x.ask(a.Client), nil)
					if asked != 2 {
						t.Errorf("the hook was asked %d times", asked)
					}
				}
			}
		})
	}
}

// Hooks may change what is asked for.
func TestHooksChange(t *testing.T) {
	var since *broker.Position
	n := startStrict(t, Config{Formats: 2, Channel: all(Options{History: 10, Presence: true}), Hooks: Hooks{
		Connect: func(_ context.Context, conn *engine.Conn, as *Connect) error {
			if conn == nil || string(as.Data) != "said" {
				return errHook
			}
			as.User, as.Info, as.Format, as.Data = "anna", []byte("info"), 1, []byte("told")
			as.Channels = append(as.Channels, "more")
			begin := as.Begin
			as.Begin = func(c *Client) error { return errors.Join(begin(c), c.Conn().SendText(string(as.Data))) }
			return nil
		},
		Join: func(_ context.Context, c *Client, channel string, j *Join) error {
			j.Info, j.Since = []byte(c.User()+" in "+channel), since
			return nil
		},
		Publish: func(_ context.Context, c *Client, channel string, p *Publication) error {
			if p.Info.Client != c.ID() || string(p.Info.Conn) != "info" {
				return errHook
			}
			p.Data = append([]byte(string(p.Info.Channel)+" says "), p.Data...)
			return nil
		},
		History: func(_ context.Context, _ *Client, _ string, q *broker.Query) error {
			q.Limit = min(q.Limit, 1)
			return nil
		},
		RPC: func(_ context.Context, c *Client, method string, data []byte) ([]byte, error) {
			if method != "add" {
				return nil, errHook
			}
			return append(data, c.User()...), nil
		},
	}})
	_, conn := n.dial()
	_, err := n.Connect(ctx, conn, Connect{User: "eve"})
	is(t, "connect", err, errHook)
	begun := false
	a := n.connect(Connect{User: "eve", Data: []byte("said"), Begin: func(*Client) error { begun = true; return nil }})
	if a.User() != "anna" || string(a.Info()) != "info" || a.Format() != 1 || !begun || !slices.Equal(a.Channels(), []string{"more"}) {
		t.Errorf("it is %s with %s in %v", a.User(), a.Info(), a.Channels())
	}
	a.expect("told")
	at := n.say("room", "zero")
	n.say("room", "one")
	since = &at
	if j := a.join("room", Join{}); !j.Recovered || len(j.Missed) != 1 || j.Options.History != 10 {
		t.Errorf("joined %+v", j)
	}
	a.expect("1|room: 2 one")
	if all, err := n.Present(ctx, "room"); err != nil || len(all) != 1 || string(all[0].Channel) != "anna in room" {
		t.Errorf("present %+v %v", all, err)
	}
	if _, err := a.Publish(ctx, "room", Publication{Data: []byte("hello"), Info: &broker.Info{Client: "forged"}}); err != nil {
		t.Fatal(err)
	}
	a.expect("1|room: 3 anna in room says hello")
	if page, err := a.History(ctx, "room", broker.Query{Limit: 100}); err != nil || len(page.Publications) != 1 || page.Top.Offset != 3 {
		t.Errorf("history %+v %v", page, err)
	}
	if got, err := a.Call(ctx, "add", []byte("x")); err != nil || string(got) != "xanna" {
		t.Errorf("called: %s %v", got, err)
	}
	_, err = a.Call(ctx, "sub", nil)
	is(t, "another method", err, errHook)
}

// A hook is not asked for what cannot be.
func TestHooksAreSpared(t *testing.T) {
	asked := 0
	n := startStrict(t, Config{
		ChannelsPerClientMax: 2,
		Channel: func(name string) (Options, error) {
			if name == "none" {
				return Options{}, ErrUnknownChannel
			}
			return Options{}, nil
		},
		Hooks: Hooks{Join: func(context.Context, *Client, string, *Join) error { asked++; return nil }, Connect: func(context.Context, *engine.Conn, *Connect) error {
			asked++
			return nil
		}},
	})
	a, gone := n.client("anna"), n.client("gone")
	a.join("x", Join{})
	a.join("y", Join{})
	gone.finish()
	asked = 0
	for _, x := range []struct {
		c       *Client
		channel string
		want    error
	}{{a.Client, "x", ErrJoined}, {a.Client, "z", ErrLimit}, {a.Client, "", ErrName}, {a.Client, "none", ErrUnknownChannel}, {gone.Client, "x", ErrGone}} {
		_, err := x.c.Join(ctx, x.channel, Join{})
		is(t, "join "+x.channel, err, x.want)
		if !slices.Contains([]error{ErrGone, ErrLimit, ErrJoined}, x.want) { // of joining alone
			_, err = x.c.Publish(ctx, x.channel, Publication{})
			is(t, "publish to "+x.channel, err, x.want)
			_, err = x.c.History(ctx, x.channel, broker.Query{})
			is(t, "history of "+x.channel, err, x.want)
			_, err = x.c.Present(ctx, x.channel)
			is(t, "present in "+x.channel, err, x.want)
		}
	}
	_, err := n.Connect(ctx, a.Conn(), Connect{})
	is(t, "connect twice", err, ErrConnected)
	_, err = a.Call(ctx, "any", nil)
	is(t, "call", err, ErrMethod)
	if asked > 0 {
		t.Errorf("a hook was asked %d times", asked)
	}
}

// Methods with hooks fail on a loop too.
func TestHooksOnLoop(t *testing.T) {
	n := start(t, Config{})
	a := n.client("anna")
	errs := make(chan error, 10)
	must(t, a.Conn().Loop().Post(func() {
		_, err := a.Publish(ctx, "room", Publication{})
		errs <- err
		_, err = a.History(ctx, "room", broker.Query{})
		errs <- err
		_, err = a.Present(ctx, "room")
		errs <- err
		_, err = a.Count(ctx, "room")
		errs <- err
		_, err = a.Call(ctx, "any", nil)
		errs <- err
		_, err = n.Join(ctx, a.Client, "room", Join{})
		errs <- err
		errs <- only(n.Kick(ctx, Target{Client: a.ID()}, 3000, ""))
		errs <- only(n.Command(ctx, Target{Client: a.ID()}, "x", nil))
		errs <- n.PublishUsers(ctx, []string{"anna"}, Publication{})
		close(errs)
	}))
	k := 0
	for err := range errs {
		k++
		is(t, fmt.Sprint("number ", k), err, ErrOnLoop)
	}
	if k != 9 {
		t.Errorf("%d methods", k)
	}
}

// A join that a hook refuses, or that fails later, leaves nothing behind, and recovery goes on from the same position.
func TestHooksAndRecovery(t *testing.T) {
	answer := errHook
	n := startStrict(t, Config{Channel: all(Options{History: 10, Publish: Members}), Hooks: Hooks{
		Join: func(context.Context, *Client, string, *Join) error { return answer },
	}})
	a := n.client("anna")
	at := n.say("room", "zero")
	n.say("room", "one")
	for range 2 {
		_, err := a.Join(ctx, "room", Join{Since: &at})
		is(t, "join", err, errHook)
	}
	if len(n.Channels()) > 0 || len(a.Channels()) > 0 {
		t.Errorf("left: %v, %v", n.Channels(), a.Channels())
	}
	_, err := a.Publish(ctx, "room", Publication{})
	is(t, "publish as no member", err, ErrDenied)
	answer = nil
	_, err = a.Join(ctx, "room", Join{Since: &at, Begin: func(Joined) error { return errHook }})
	is(t, "join", err, errHook)
	_, err = a.Publish(ctx, "room", Publication{})
	is(t, "publish as no member", err, ErrDenied)
	if j := a.join("room", Join{Since: &at}); !j.Recovered || len(j.Missed) != 1 {
		t.Errorf("joined %+v", j)
	}
	if _, err = a.Publish(ctx, "room", Publication{Data: []byte("two")}); err != nil {
		t.Error(err)
	}
	a.expect("room: 2 one", "room: 3 two")
	must(t, a.Leave(ctx, "room"))
	_, err = a.Publish(ctx, "room", Publication{})
	is(t, "publish as no member", err, ErrDenied)
}
