package centrifugal

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

var secret = []byte("a secret of the tests")

// sign makes a token.
func sign(claims jwt.MapClaims) string {
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		panic(err)
	}
	return s
}

func tokens(t testing.TB) *token.Verifier {
	t.Helper()
	v, err := token.New(token.Config{Secret: secret})
	must(t, err)
	return v
}

// at is a time on the clock of the node, for a claim.
func (n *node) at(d time.Duration) int64 { return n.clock().Add(d).Unix() }

func TestPing(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true})
		p := n.client(f)
		ping := func() {
			t.Helper()
			if r := p.next(); r.Id != 0 || r.Push != nil || r.Error != nil {
				t.Fatalf("%s, want a ping", show(r))
			}
		}
		for range 3 {
			n.advance(25 * time.Second)
			ping()
			p.write(f.frame(&cf.Command{}))
			p.quiet()
			n.advance(9 * time.Second)
			p.quiet()
			n.advance(6 * time.Second) // the answer was there: nothing follows until the next ping
			p.quiet()
		}
		n.advance(10 * time.Second)
		ping()
		p.write(f.frame(&cf.Command{Id: 1, Ping: &cf.PingRequest{}}, &cf.Command{})) // among others
		p.next()
		p.quiet()
		n.advance(10 * time.Second)
		n.advance(15 * time.Second)
		ping()
		p.quiet() // other commands are no answer
		n.advance(10*time.Second - 1)
		p.quiet()
		n.advance(1)
		p.over(DisconnectNoPong)
	})
}

func TestNoPing(t *testing.T) {
	n := serve(t, Config{Anonymous: true, PingInterval: engine.NoLimit})
	p := n.dial(formatJSON)
	if r := p.connect(&cf.ConnectRequest{}); r.Ping != 0 || r.Pong {
		t.Error(show(r))
	}
	n.advance(24 * time.Hour)
	p.quiet()

	n = serve(t, Config{Anonymous: true, PongTimeout: engine.NoLimit, PingInterval: 1500 * time.Millisecond})
	p = n.dial(formatJSON)
	if r := p.connect(&cf.ConnectRequest{}); r.Ping != 2 || r.Pong {
		t.Error(show(r))
	}
	for range 3 {
		n.advance(25 * time.Second)
		if r := p.next(); show(r) != "{}" {
			t.Error(show(r))
		}
	}
	p.quiet()
}

// While commands are carried out, the client is not read: its answer may be there.
func TestPingWhileWorking(t *testing.T) {
	called, answer := make(chan struct{}), make(chan struct{})
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Hooks: hub.Hooks{RPC: func(context.Context, *hub.Client, string, []byte) ([]byte, error) {
		called <- struct{}{}
		<-answer
		return nil, nil
	}}}})
	p := n.client(formatJSON)
	p.send(&cf.Command{Rpc: &cf.RPCRequest{}})
	wait(t, called, "the call")
	n.advance(25 * time.Second)
	p.next() // the ping
	p.write([]byte("{}"))
	n.advance(10 * time.Second)
	n.advance(10 * time.Second)
	answer <- struct{}{}
	p.next()
	p.quiet() // now the answer was read
	n.advance(10 * time.Second)
	p.quiet()

	q := n.client(formatJSON) // and this one has not answered
	q.send(&cf.Command{Rpc: &cf.RPCRequest{}})
	wait(t, called, "the call")
	n.advance(25 * time.Second)
	q.next()
	n.advance(9 * time.Second)
	answer <- struct{}{}
	q.next()
	n.advance(time.Second) // the time is over, but it has been read for one second only
	q.quiet()
	n.advance(9*time.Second - 1)
	q.quiet()
	n.advance(1)
	q.over(DisconnectNoPong)
}

func TestStale(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true})
		p, q := n.dial(f), n.client(f)
		until(t, "both are there", func() bool { return n.e.Stats().Open == 4 })
		n.advance(10*time.Second - 1)
		n.advance(1)
		p.over(DisconnectStale)
		q.quiet()
	})
}

func TestConnectToken(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	other, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "7"}).SignedString(key)
	must(t, err)
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "7"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	must(t, err)
	good := sign(jwt.MapClaims{"sub": "7"})
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Tokens: tokens(t)})
		for name, bad := range map[string]string{"none": none, "another key": other, "forged": good[:len(good)-4] + "AAAA", "garbage": "x",
			"cut short": good[:20], "a subscription token": sign(jwt.MapClaims{"sub": "7", "channel": "a"})} {
			t.Run(name, func(t *testing.T) {
				p := n.dial(f)
				p.t = t
				p.send(&cf.Command{Connect: &cf.ConnectRequest{Token: bad}}, &cf.Command{Publish: pubRoom.Publish})
				p.over(DisconnectInvalidToken)
			})
		}
		for code, r := range map[uint32]*cf.ConnectRequest{101: {}, 109: {Token: sign(jwt.MapClaims{"sub": "7", "exp": n.at(-time.Hour)})}} {
			p := n.dial(f)
			p.send(&cf.Command{Connect: r}, &cf.Command{Publish: pubRoom.Publish})
			if got := p.next(); got.Error.GetCode() != code {
				t.Errorf("%s, want error %d", show(got), code)
			}
			p.write(f.frame(&cf.Command{Id: 5, Connect: &cf.ConnectRequest{Token: good}})) // the connection is of no more use
			p.over(DisconnectBadRequest)
		}
		if len(n.hub.Clients()) > 0 {
			t.Error("a client was let in")
		}
		p := n.dial(f)
		r := p.connect(&cf.ConnectRequest{Token: sign(jwt.MapClaims{"sub": "7", "exp": n.at(time.Hour), "info": map[string]int{"a": 1}, "meta": 5,
			"channels": []string{"a"}, "subs": map[string]any{"b": map[string]any{"data": "hello", "info": 3}}})})
		if !r.Expires || r.Ttl != 3600 || len(r.Subs) != 2 || string(r.Subs["b"].Data) != `"hello"` || r.Subs["a"].Data != nil && string(r.Subs["a"].Data) != "null" {
			t.Error(show(r))
		}
		c := n.hub.Client(p.client)
		if c.User() != "7" || string(c.Info()) != `{"a":1}` || show(c.Get(MetaKey)) != "5" {
			t.Errorf("the client is %q %s %v", c.User(), c.Info(), c.Get(MetaKey))
		}
		until(t, "it is present", func() bool {
			all, err := n.hub.Present(ctx, "b")
			return err == nil && len(all) == 1 && string(all[0].Channel) == "3"
		})
	})
}

func TestConnectionExpiry(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Tokens: tokens(t), PingInterval: engine.NoLimit})
		connect := func() *peer {
			p := n.dial(f)
			p.connect(&cf.ConnectRequest{Token: sign(jwt.MapClaims{"sub": "7", "exp": n.at(time.Hour)})})
			return p
		}
		refresh := func(p *peer, claims jwt.MapClaims) *cf.RefreshResult {
			t.Helper()
			return p.good(&cf.Command{Refresh: &cf.RefreshRequest{Token: sign(claims)}}).Refresh
		}
		late, renewed, forever, pushed := connect(), connect(), connect(), connect()
		n.advance(time.Hour)
		if r := refresh(renewed, jwt.MapClaims{"sub": "7", "exp": n.at(time.Hour), "meta": 6}); !r.Expires || r.Ttl != 3600 {
			t.Error(show(r))
		}
		if got := show(n.hub.Client(renewed.client).Get(MetaKey)); got != "6" {
			t.Errorf("meta %s", got)
		}
		if r := refresh(forever, jwt.MapClaims{"sub": "7"}); r.Expires || r.Ttl != 0 {
			t.Error(show(r))
		}
		must(t, only(n.hub.Command(ctx, hub.Target{Client: pushed.client}, commandRefresh, []byte(show(renewal{Expire: n.clock().Add(time.Minute)})))))
		pushed.expect("refresh true 60")
		n.advance(25*time.Second - 1)
		late.quiet()
		n.advance(1)
		late.over(DisconnectExpired)
		n.advance(time.Minute)
		pushed.over(DisconnectExpired)
		n.advance(time.Hour)
		renewed.over(DisconnectExpired)
		forever.quiet()
		must(t, only(n.hub.Command(ctx, hub.Target{Client: forever.client}, "no such", nil))) // is logged
		must(t, only(n.hub.Command(ctx, hub.Target{Client: forever.client}, commandRefresh, []byte(`{"expired":true}`))))
		forever.over(DisconnectExpired)

		p := connect()
		must(t, only(n.hub.Command(ctx, hub.Target{Client: p.client}, commandRefresh, []byte(show(renewal{Expire: n.clock()})))))
		p.over(DisconnectExpired)
	})
}

// A token may be good for longer than the server counts.
func TestLongLife(t *testing.T) {
	n := serve(t, Config{Tokens: tokens(t), PingInterval: engine.NoLimit})
	p := n.dial(formatJSON)
	if r := p.connect(&cf.ConnectRequest{Token: sign(jwt.MapClaims{"exp": 250_000_000_000})}); !r.Expires || r.Ttl != 24*24*3600 {
		t.Error(show(r))
	}
	n.advance(364 * 24 * time.Hour)
	p.quiet()
	n.advance(2 * 24 * time.Hour)
	p.over(DisconnectExpired)
}

func TestBadRefresh(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Tokens: tokens(t)})
		for _, c := range []struct {
			token string
			want  Disconnect
		}{
			{"", DisconnectBadRequest},
			{"x", DisconnectInvalidToken},
			{sign(jwt.MapClaims{"sub": "8"}), DisconnectInvalidToken},
			{sign(jwt.MapClaims{"sub": "7", "channel": "a"}), DisconnectInvalidToken},
			{sign(jwt.MapClaims{"sub": "7", "exp": n.at(-time.Hour)}), DisconnectExpired},
		} {
			p := n.dial(f)
			p.connect(&cf.ConnectRequest{Token: sign(jwt.MapClaims{"sub": "7"})})
			p.send(&cf.Command{Refresh: &cf.RefreshRequest{Token: c.token}}, &cf.Command{Publish: pubRoom.Publish})
			p.over(c.want)
		}
	})
}

func TestSubscriptionToken(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Tokens: tokens(t), Hub: hub.Config{
			Channel: func(string) (hub.Options, error) { return hub.Options{History: 10, Presence: true}, nil },
			Hooks:   hub.Hooks{Join: func(context.Context, *hub.Client, string, *hub.Join) error { return hub.ErrDenied }},
		}})
		connect := func() *peer {
			p := n.dial(f)
			p.connect(&cf.ConnectRequest{Token: sign(jwt.MapClaims{"sub": "7"})})
			return p
		}
		p := connect()
		for _, channel := range []string{"$room", "room", "room#8"} { // a token is enough
			r := p.subscribe(&cf.SubscribeRequest{Channel: channel, Token: sign(jwt.MapClaims{"sub": "7", "channel": channel, "client": p.client, "exp": n.at(time.Hour), "info": 4})})
			if !r.Expires || r.Ttl != 3600 {
				t.Error(show(r))
			}
			until(t, "it is present", func() bool {
				all, err := n.hub.Present(ctx, channel)
				return err == nil && len(all) == 1 && string(all[0].Channel) == "4"
			})
		}
		p.subscribe(&cf.SubscribeRequest{Channel: "room#9,7"})
		for _, c := range []struct {
			channel, token string
			code           uint32
		}{
			{"$a", "", 103}, {"b", "", 103}, {"b#77", "", 103}, {"b#", "", 103}, {"$b#7", "", 103},
			{"$a", "x", 103}, {"$a", sign(jwt.MapClaims{"sub": "7"}), 103},
			{"$a", sign(jwt.MapClaims{"sub": "7", "channel": "$a", "exp": n.at(-time.Hour)}), 109},
		} {
			if r := p.ask(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: c.channel, Token: c.token}}); r.Error.GetCode() != c.code {
				t.Errorf("%s %s: %s, want error %d", c.channel, c.token, show(r), c.code)
			}
		}
		for _, claims := range []jwt.MapClaims{{"sub": "7", "channel": "$b"}, {"sub": "8", "channel": "$a"}, {"channel": "$a"}, {"sub": "7", "channel": "$a", "client": "x"}} {
			q := connect()
			q.send(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "$a", Token: sign(claims)}})
			q.over(DisconnectInvalidToken)
		}
		if got := n.hub.Channels(); len(got) != 4 {
			t.Errorf("channels %v", got)
		}
	})
}

// A subscription that has expired ends with 2501; the client comes back with another token and misses nothing.
func TestSubscriptionExpiry(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Tokens: tokens(t), Anonymous: true, PingInterval: engine.NoLimit, Hub: hub.Config{
			Channel: func(string) (hub.Options, error) { return hub.Options{History: 10}, nil }}})
		p := n.client(f)
		fresh := func() string {
			return sign(jwt.MapClaims{"channel": "$room", "exp": n.at(time.Hour)})
		}
		at := p.subscribe(&cf.SubscribeRequest{Channel: "$room", Token: fresh()})
		n.advance(time.Hour)
		if r := p.good(&cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: "$room", Token: fresh()}}).SubRefresh; !r.Expires || r.Ttl != 3600 {
			t.Error(show(r))
		}
		n.advance(time.Minute)
		n.say("$room", "1")
		p.expect("$room: 1 1")
		n.advance(time.Hour - time.Minute + 25*time.Second - 1)
		n.say("$room", "2")
		p.expect("$room: 2 2")
		n.advance(1)
		p.expect("$room: unsubscribe 2501 subscription expired")
		n.say("$room", "3")
		p.quiet()
		r := p.subscribe(&cf.SubscribeRequest{Channel: "$room", Token: fresh(), Recover: true, Offset: 2, Epoch: at.Epoch})
		if !r.Recovered || len(r.Publications) != 1 || string(r.Publications[0].Data) != "3" {
			t.Error(show(r))
		}
		n.advance(time.Hour + 25*time.Second)
		p.expect("$room: unsubscribe 2501 subscription expired")
		// who has left on his own is told nothing, and nothing is kept of it
		p.subscribe(&cf.SubscribeRequest{Channel: "$room", Token: fresh()})
		p.good(&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: "$room"}})
		x := sessionOf(n.hub.Client(p.client).Conn())
		x.mu.Lock()
		if len(x.subs) > 0 {
			t.Errorf("%+v", x.subs)
		}
		x.mu.Unlock()
		n.advance(2 * time.Hour)
		p.quiet()
	})
}

// A subscription that is refreshed in the moment when it is about to end goes on.
func TestRefreshedWhileExpiring(t *testing.T) {
	called, answer := make(chan struct{}), make(chan struct{})
	n := serve(t, Config{Tokens: tokens(t), Anonymous: true, PingInterval: engine.NoLimit, Hub: hub.Config{
		Channel: func(string) (hub.Options, error) { return hub.Options{History: 10}, nil },
		Hooks: hub.Hooks{RPC: func(context.Context, *hub.Client, string, []byte) ([]byte, error) {
			called <- struct{}{}
			<-answer
			return nil, nil
		}},
	}})
	p := n.client(formatJSON)
	token := func() string { return sign(jwt.MapClaims{"channel": "$room", "exp": n.at(time.Hour)}) }
	p.subscribe(&cf.SubscribeRequest{Channel: "$room", Token: token()})
	p.send(&cf.Command{Rpc: &cf.RPCRequest{}}, &cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: "$room", Token: token()}})
	wait(t, called, "the call")
	n.advance(time.Hour + 25*time.Second)
	n.move(-time.Hour)
	answer <- struct{}{}
	p.next()
	if r := p.next(); r.SubRefresh == nil {
		t.Fatal(show(r))
	}
	p.quiet()
	n.say("$room", "1")
	p.expect("$room: 1 1")
}

func TestBadSubRefresh(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Tokens: tokens(t), Anonymous: true})
		good := sign(jwt.MapClaims{"channel": "$a"})
		for _, c := range []struct {
			token string
			want  Disconnect
		}{
			{"x", DisconnectInvalidToken},
			{sign(jwt.MapClaims{"channel": "$b"}), DisconnectInvalidToken},
			{sign(jwt.MapClaims{"channel": "$a", "sub": "8"}), DisconnectInvalidToken},
			{sign(jwt.MapClaims{"channel": "$a", "exp": n.at(-time.Hour)}), DisconnectSubExpired},
		} {
			p := n.client(f)
			p.subscribe(&cf.SubscribeRequest{Channel: "$a", Token: good})
			for code, r := range map[uint32]*cf.SubRefreshRequest{103: {Channel: "$b", Token: good}, 107: {Channel: "$a"}} {
				if got := p.ask(&cf.Command{SubRefresh: r}); got.Error.GetCode() != code {
					t.Errorf("%s, want error %d", show(got), code)
				}
			}
			p.send(&cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: "$a", Token: c.token}})
			e := wait(t, p.closed, "the close")
			if e.Code != c.want.Code {
				t.Errorf("closed with %d %s, want %d", e.Code, e.Reason, c.want.Code)
			}
			until(t, "it has gone", func() bool { return len(n.hub.Clients()) == 0 })
		}
	})
}

// A subscription of the server that has expired cannot be made again by the client alone.
func TestServerSubscriptionExpiry(t *testing.T) {
	n := serve(t, Config{Tokens: tokens(t), Anonymous: true, PingInterval: engine.NoLimit})
	p := n.client(formatJSON)
	must(t, only(n.hub.Subscribe(ctx, hub.Target{Client: p.client}, "a", hub.Join{})))
	p.expect("a: subscribe true 0")
	until(t, "it is in", func() bool { return len(n.hub.Client(p.client).Channels()) == 1 })
	p.good(&cf.Command{SubRefresh: &cf.SubRefreshRequest{Channel: "a", Token: sign(jwt.MapClaims{"channel": "a", "exp": n.at(time.Hour)})}})
	n.advance(time.Hour + 25*time.Second - 1)
	p.quiet()
	n.advance(1)
	p.over(DisconnectSubExpired)
}

// What has expired is ended once, and nothing is due because of it.
func TestExpiresOnce(t *testing.T) {
	s := &Server{cfg: Config{PingInterval: engine.NoLimit, ExpiryGrace: 10}}
	x := &session{s: s, index: -1, client: &hub.Client{}, subs: map[string]sub{"a": {expire: 5, server: true}, "b": {expire: 50}, "c": {server: true}}}
	if got := x.next(0); got != 15 {
		t.Errorf("due in %d", got)
	}
	if got := x.takeExpired(14); got != nil {
		t.Error(got)
	}
	if got := x.takeExpired(15); len(got) != 1 || got[0] != "a" {
		t.Error(got)
	}
	if got := x.takeExpired(16); got != nil {
		t.Error(got)
	}
	if got := x.next(16); got != 44 {
		t.Errorf("due in %d", got)
	}
	if u, ok := x.lapsed("a"); !ok || !u.server {
		t.Errorf("%+v %v", u, ok)
	}
	for _, name := range []string{"a", "b", "c"} {
		if _, ok := x.lapsed(name); ok {
			t.Errorf("%s has lapsed", name)
		}
	}
}

// A subscription that expires while a large frame is worked on cannot be ended behind that, so the connection is: the client
// comes back.
func TestExpiredBehindLargeFrame(t *testing.T) {
	called, answer := make(chan struct{}), make(chan struct{})
	n := serve(t, Config{Tokens: tokens(t), Anonymous: true, PingInterval: engine.NoLimit, FrameBytesMax: 32 << 20, Hub: hub.Config{
		Hooks: hub.Hooks{RPC: func(context.Context, *hub.Client, string, []byte) ([]byte, error) {
			called <- struct{}{}
			<-answer
			return nil, nil
		}},
	}}, engine.Config{MessageBytesMax: 32 << 20})
	p := n.client(formatProtobuf)
	p.subscribe(&cf.SubscribeRequest{Channel: "$room", Token: sign(jwt.MapClaims{"channel": "$room", "exp": n.at(time.Hour)})})
	p.send(&cf.Command{Rpc: &cf.RPCRequest{Data: make([]byte, 17<<20)}})
	wait(t, called, "the call")
	n.advance(time.Hour + 25*time.Second)
	close(answer)
	e := wait(t, p.closed, "the close")
	if e.Code != DisconnectSubExpired.Code {
		t.Errorf("closed with %d %s", e.Code, e.Reason)
	}
}
