package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// Begin comes first, whatever is published and ordered meanwhile; all that follows, in order, and nothing is lost.
func TestConnectBegin(t *testing.T) {
	commands := make(chan string, 10)
	cfg := Config{
		OnCommand: func(c *Client, name string, _ []byte) { commands <- name },
		Joining: func(c *Client, channel string, j *Join) {
			j.Begin = func(j Joined) error { return c.Conn().SendText("joins " + channel) }
		},
	}
	n := start(t, cfg)
	p, conn := n.dial()
	other := n.client("anna")
	c, err := n.Connect(ctx, conn, Connect{User: "anna", Channels: []string{"x", "y", "x"}, Begin: func(c *Client) error {
		if n.Hub.Client(c.ID()) != c || n.ClientOf(conn) != c || !slices.Equal(n.Users(), []string{"anna"}) || len(n.Clients("anna")) != 2 || len(c.Channels()) > 0 {
			t.Error("the client is not known, or is in a channel")
		}
		for i := range 3 {
			must(t, n.PublishUsers(ctx, []string{"anna"}, Publication{Data: fmt.Append(nil, "user ", i)}))
			must(t, n.PublishTo(ctx, everyone, Publication{Data: fmt.Append(nil, "all ", i)}))
			must(t, n.PublishTo(ctx, Target{Client: c.ID()}, Publication{Data: fmt.Append(nil, "it ", i)}))
		}
		must(t, n.PublishUsers(ctx, []string{"anna"}, Publication{Data: []byte("not for it"), Except: []string{c.ID()}}))
		must(t, n.PublishTo(ctx, everyone, Publication{Data: []byte("not for it"), Except: []string{c.ID()}}))
		must(t, only(n.Command(ctx, Target{User: "anna"}, "command", nil)))
		must(t, only(n.Subscribe(ctx, Target{Client: c.ID()}, "z", Join{})))
		if got := wait(t, commands, "that of the other"); len(commands) > 0 {
			t.Errorf("%s was carried out too early", got)
		}
		return c.Conn().SendText("welcome")
	}})
	must(t, err)
	p.Client = c
	p.expect("welcome", ": user 0", ": all 0", ": it 0", ": user 1", ": all 1", ": it 1", ": user 2", ": all 2", ": it 2")
	until(t, "z", func() bool { return len(p.Channels()) == 3 })
	got := []string{wait(t, p.got, "x"), wait(t, p.got, "y"), wait(t, p.got, "z")} // z comes from an order
	if x, y := slices.Index(got, "joins x"), slices.Index(got, "joins y"); x < 0 || y < x || !slices.Contains(got, "joins z") {
		t.Errorf("got %v", got)
	}
	if got := wait(t, commands, "its command"); got != "command" {
		t.Error(got)
	}
	must(t, n.PublishTo(ctx, everyone, Publication{Data: []byte("later")}))
	p.expect(": later")
	other.expect(": user 0", ": all 0", ": user 1", ": all 1", ": user 2", ": all 2", ": not for it", ": not for it", ": later")
}

// If Begin fails, or a channel, there is no client.
func TestConnectFails(t *testing.T) {
	onPurpose := errors.New("on purpose")
	var early *Client
	var in Connect
	n := start(t, Config{ChannelsPerClientMax: 2, Hooks: Hooks{Connect: func(_ context.Context, _ *engine.Conn, as *Connect) error {
		*as = in
		return nil
	}}, Joining: func(c *Client, channel string, j *Join) {
		if channel == "bad" {
			j.Begin = func(Joined) error { return onPurpose }
		}
	}})
	fails := func(c *Client) error {
		early = c
		_, err := n.Join(ctx, c, "early", Join{})
		return errors.Join(err, onPurpose)
	}
	_, conn := n.dial()
	for _, x := range []struct {
		as   Connect
		want error
	}{
		{Connect{User: "anna", Begin: fails}, onPurpose},
		{Connect{User: "anna", Channels: []string{"good", "bad"}}, onPurpose},
		{Connect{User: "anna", Channels: []string{""}}, ErrName},
		{Connect{User: "anna", Channels: []string{"x", "y", "z"}}, ErrLimit},
		{Connect{User: strings.Repeat("x", 254)}, ErrName},
	} {
		in = x.as
		_, err := n.Connect(ctx, conn, Connect{})
		is(t, fmt.Sprint(x.as), err, x.want)
		n.mu.Lock()
		if len(n.Hub.clients)+len(n.Hub.conns)+len(n.users)+len(n.channels) > 0 {
			t.Errorf("%v: something is left", x.as)
		}
		n.mu.Unlock()
	}
	_, err := early.Join(ctx, "x", Join{})
	is(t, "the client that was none", err, ErrGone)
	in = Connect{User: strings.Repeat("x", 253), Channels: []string{"y"}}
	c, err := n.Connect(ctx, conn, Connect{})
	if err != nil || len(c.User()) != 253 || !slices.Equal(c.Channels(), []string{"y"}) {
		t.Errorf("connected: %v", err)
	}
}

// A client that takes long to begin is not sent more than a bounded number, and a kick does not wait for it.
func TestConnectIsSlow(t *testing.T) {
	n := start(t, Config{})
	for _, x := range []struct {
		what  string
		order func(c *Client) error
		times int
		code  protocol.CloseCode
	}{
		{"publications", func(c *Client) error { return n.PublishUsers(ctx, []string{"anna"}, Publication{}) }, earlyMax, 3010},
		{"orders", func(c *Client) error { return only(n.Command(ctx, Target{User: "anna"}, "x", nil)) }, ordersMax, 3010},
		{"kick", func(c *Client) error { return only(n.Kick(ctx, Target{User: "anna"}, 3500, "")) }, 0, 3500},
	} {
		p, conn := n.dial()
		_, err := n.Connect(ctx, conn, Connect{User: "anna", Begin: func(c *Client) error {
			for range x.times {
				must(t, x.order(c))
			}
			must(t, conn.SendText("mark"))
			if got := wait(t, p.got, "the mark"); got != "mark" || len(p.over) > 0 {
				t.Errorf("%s: got %q, or closed", x.what, got)
			}
			must(t, x.order(c)) // one more
			if e := wait(t, p.over, "the end"); e.Code != x.code {
				t.Errorf("%s: closed with %v", x.what, e)
			}
			return nil
		}})
		is(t, x.what, err, ErrGone)
	}
	until(t, "no client", func() bool { return len(n.Clients()) == 0 && len(n.Users()) == 0 })
}

// What is published to a user when his connection is there is delivered to it, however many come and go at once.
func TestPublishUsersWhileConnecting(t *testing.T) {
	n := start(t, Config{Formats: 2})
	var conns sync.WaitGroup
	for i := range 4 {
		conns.Go(func() {
			for k := range 25 {
				p, conn := n.dial()
				name := fmt.Sprint("user ", i%2)
				began := false
				c, err := n.Connect(ctx, conn, Connect{User: name, Format: i % 2, Begin: func(c *Client) error {
					if k%3 == 0 { // from within, too
						must(t, n.PublishUsers(ctx, []string{name}, Publication{Data: []byte("to " + c.ID())}))
						began = true
					}
					return nil
				}})
				must(t, err)
				if !began {
					must(t, n.PublishUsers(ctx, []string{"user 0", "user 1"}, Publication{Data: []byte("to " + c.ID())}))
				}
				for got := wait(t, p.got, "its own"); !strings.HasSuffix(got, "to "+c.ID()); got = wait(t, p.got, "its own") {
				}
				must(t, (<-p.far).Abort())
			}
		})
	}
	conns.Wait()
	until(t, "no user", func() bool { return len(n.Users()) == 0 })
}

// A broker that refuses a user fails all of his connections that wait, and the next one asks anew.
func TestUserIsRefused(t *testing.T) {
	b := newLossy(t)
	n := start(t, b.config())
	stays := n.client("stays")
	down, asked, goOn := errors.New("down"), make(chan string), make(chan struct{})
	b.mu.Lock()
	b.refusing = func(channel string) error { asked <- channel; <-goOn; return down }
	b.mu.Unlock()
	errs := make(chan error, 3)
	for range 3 {
		_, conn := n.dial()
		go func() {
			_, err := n.Connect(ctx, conn, Connect{User: "anna", Begin: func(*Client) error { t.Error("it has begun"); return nil }})
			errs <- err
		}()
	}
	if got := wait(t, asked, "the question"); got != userPrefix+"anna" {
		t.Errorf("asked for %q", got)
	}
	var held *user
	until(t, "three who wait", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		held = n.followed["anna"]
		return held.uses == 3
	})
	n.mu.Lock()
	held.uses++ // somebody else waits too
	n.mu.Unlock()
	close(goOn)
	for range 3 {
		is(t, "connect", wait(t, errs, "an error"), down)
	}
	b.mu.Lock()
	b.refusing = nil
	b.mu.Unlock()
	a := n.client("anna")
	must(t, n.PublishUsers(ctx, []string{"anna", "stays"}, Publication{Data: []byte("hello")}))
	a.expect(": hello")
	stays.expect(": hello")
	must(t, n.PublishTo(ctx, everyone, Publication{Data: []byte("all")}))
	a.expect(": all")
	held.release()
	must(t, n.PublishTo(ctx, Target{User: "anna"}, Publication{Data: []byte("again")}))
	a.expect(": again")
}

// TestSubscribeWhileConnecting: Hub.Subscribe may be faster than the hub is with one of Connect.Channels. The client is in it then,
// once, and Connect succeeds.
func TestSubscribeWhileConnecting(t *testing.T) {
	joins := make(chan chan struct{}, 2)
	n := start(t, Config{Joining: func(*Client, string, *Join) {
		goOn := make(chan struct{})
		joins <- goOn
		<-goOn
	}})
	p, conn := n.dial()
	done := make(chan error, 1)
	go func() {
		var err error
		p.Client, err = n.Connect(ctx, conn, Connect{User: "anna", Channels: []string{"room"}})
		done <- err
	}()
	slow := wait(t, joins, "the join of Connect")
	if r, err := n.Subscribe(ctx, Target{User: "anna"}, "room", Join{}); err != nil || r.Clients != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	close(wait(t, joins, "the join of Subscribe"))
	c := n.Clients("anna")[0]
	until(t, "it has joined", func() bool { return c.member("room") != nil })
	close(slow)
	must(t, wait(t, done, "Connect"))
	n.say("room", "x")
	p.expect("room: x")
	p.nothing()
	if n.Channels()["room"] != 1 {
		t.Errorf("channels %v", n.Channels())
	}
}
