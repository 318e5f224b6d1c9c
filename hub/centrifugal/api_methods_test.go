package centrifugal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
	"github.com/sockmill/sockmill/hub/memory"
	"github.com/sockmill/sockmill/protocol"
)

// TestAPISubscribe: clients are subscribed, with a position and without.
func TestAPISubscribe(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, users(Config{Hub: spaces()}))
		b := n.backend(APIConfig{})
		anna, phone, bob := n.user(f, "anna"), n.user(f, "anna"), n.user(f, "bob").in("seen:it")
		for i := range 3 {
			b.call("publish", fmt.Sprintf(`{"channel":"news","data":%d}`, i+1))
		}
		b.want("subscribe", `{"user":"anna","channel":"news"}`, `{"result":{"clients":2}}`)
		anna.expect("news: subscribe true 3")
		phone.expect("news: subscribe true 3")
		for range 2 { // the second time nothing happens
			b.call("subscribe", fmt.Sprintf(`{"client":"%s","channel":"seen:it","info":{"as":"guest"},"session":"","data":null,"override":{"force_recovery":{"value":true}}}`, phone.client))
		}
		phone.expect("seen:it: subscribe true 0")
		for data, want := range map[string]string{`"data":null`: "", `"data":{"welcome":1}`: `{"welcome":1}`, `"data":1,"b64data":"/wA="`: map[format]string{formatJSON: `"/wA="`, formatProtobuf: "\xff\x00"}[f]} {
			b.call("subscribe", fmt.Sprintf(`{"user":"anna","client":"%s","channel":"plain:x",%s}`, anna.client, data))
			if r := anna.next(); r.Push == nil || r.Push.Subscribe == nil || string(r.Push.Subscribe.Data) != want {
				t.Errorf("received %s, and not the data %s", show(r), want)
			}
			b.call("unsubscribe", `{"user":"anna","channel":"plain:x"}`)
			anna.expect("plain:x: unsubscribe 2000 server unsubscribe")
		}
		if info := bob.joined(phone.client); string(info.ChanInfo) != `{"as":"guest"}` {
			t.Errorf("joined: %s", show(info))
		}
		b.call("subscribe", fmt.Sprintf(`{"user":"bob","client":"%s","channel":"seen:it"}`, anna.client)) // she is not bob
		b.call("subscribe", `{"user":"nobody","channel":"seen:it"}`)
		b.call("publish", `{"channel":"seen:it","data":1}`)
		bob.expect("seen:it: 1 1")
		phone.among("seen:it: 1 1")
		anna.quiet()

		for params, is := range map[string]Error{
			`{"channel":"news"}`:                                                      {107, "bad request: user and client are missing", false},
			`{"user":"anna"}`:                                                         ErrBadRequest,
			`{"user":"anna","channel":"a\n"}`:                                         ErrBadRequest,
			`{"user":"anna","channel":"other:a"}`:                                     ErrUnknownChannel,
			`{"user":"anna","channel":"x","session":"s"}`:                             ErrNotAvailable,
			`{"user":"anna","channel":"x","expire_at":1}`:                             ErrNotAvailable,
			`{"user":"anna","channel":"x","override":{"presence":{"value":false}}}`:   ErrNotAvailable,
			`{"user":"anna","channel":"x","override":{"join_leave":{"value":false}}}`: ErrNotAvailable,
			`{"user":"` + strings.Repeat("u", 300) + `","channel":"x"}`:               ErrBadRequest,
		} {
			b.fails("subscribe", params, is)
		}
		if _, found := n.Hub().Channels()["x"]; found {
			t.Error("a call that failed has subscribed somebody")
		}
	})
}

// TestAPISubscribeRecovers: what the client has missed since a position follows, or it begins at the newest one.
func TestAPISubscribeRecovers(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, users(Config{Hub: spaces()}))
		b := n.backend(APIConfig{})
		for i := range 4 {
			b.call("publish", fmt.Sprintf(`{"channel":"news","data":%d}`, i+1))
		}
		page, err := n.Hub().History(ctx, "news", query(0))
		must(t, err)
		for _, c := range []struct {
			since string
			want  []string
		}{
			{fmt.Sprintf(`{"offset":2,"epoch":"%s"}`, page.Top.Epoch), []string{"news: subscribe true 2", "news: 3 3", "news: 4 4"}},
			{fmt.Sprintf(`{"offset":4,"epoch":"%s"}`, page.Top.Epoch), []string{"news: subscribe true 4"}},
			{fmt.Sprintf(`{"offset":9,"epoch":"%s"}`, page.Top.Epoch), []string{"news: subscribe true 4"}},
			{`{"offset":2,"epoch":"another"}`, []string{"news: subscribe true 4"}},
		} {
			p := n.user(f, "anna")
			b.call("subscribe", fmt.Sprintf(`{"client":"%s","channel":"news","recover_since":%s}`, p.client, c.since))
			p.expect(c.want...)
			p.quiet()
			must(t, p.conn.Close(1000, ""))
			p.over(Disconnect{1000, ""})
		}
	})
}

func TestAPIUnsubscribe(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, users(Config{Hub: spaces()}))
		b := n.backend(APIConfig{})
		anna, bob := n.user(f, "anna").in("plain:a", "plain:b"), n.user(f, "bob").in("plain:a")
		b.want("unsubscribe", `{"user":"anna","channel":"plain:a"}`, `{"result":{"clients":1}}`)
		anna.expect("plain:a: unsubscribe 2000 server unsubscribe")
		b.call("publish", `{"channel":"plain:a","data":1}`)
		b.call("publish", `{"channel":"plain:b","data":2}`)
		anna.expect("plain:b: 2")
		bob.expect("plain:a: 1")
		anna.in("plain:a") // she may come back
		b.fails("unsubscribe", `{"user":"anna"}`, ErrBadRequest)
		b.fails("unsubscribe", `{"channel":"plain:a"}`, ErrBadRequest)
		b.fails("unsubscribe", `{"user":"anna","channel":"plain:a","session":"s"}`, ErrNotAvailable)
		anna.quiet()
	})
}

func TestAPIDisconnect(t *testing.T) {
	n := serve(t, users(Config{Hub: spaces()}))
	b := n.backend(APIConfig{})
	anna, phone, tv, bob := n.user(formatJSON, "anna"), n.user(formatProtobuf, "anna"), n.user(formatJSON, "anna"), n.user(formatJSON, "bob")
	for params, is := range map[string]Error{
		`{}`:                            ErrBadRequest,
		`{"user":"anna","session":"s"}`: ErrNotAvailable,
		`{"user":"anna","disconnect":{"code":1000,"reason":""}}`:                                 ErrBadRequest,
		`{"user":"anna","disconnect":{"code":2999,"reason":""}}`:                                 ErrBadRequest,
		`{"user":"anna","disconnect":{"code":5000,"reason":""}}`:                                 ErrBadRequest,
		`{"user":"anna","disconnect":{"code":3000,"reason":"` + strings.Repeat("x", 124) + `"}}`: ErrBadRequest,
	} {
		b.fails("disconnect", params, is)
	}
	// All of a user but those in the whitelist, with a code; then only one; and who is not the user's, never.
	b.want("disconnect", fmt.Sprintf(`{"user":"anna","whitelist":["%s","%s","x"],"disconnect":{"code":4999,"reason":"%s","reconnect":true}}`, anna.client, bob.client, strings.Repeat("x", 123)), `{"result":{"clients":2}}`)
	for _, p := range []*peer{phone, tv} {
		p.over(Disconnect{4999, strings.Repeat("x", 123)})
	}
	b.call("disconnect", fmt.Sprintf(`{"user":"anna","client":"%s","whitelist":["%s"]}`, anna.client, anna.client))
	b.call("disconnect", fmt.Sprintf(`{"user":"anna","client":"%s"}`, bob.client))
	b.call("disconnect", `{"user":"nobody"}`)
	anna.quiet()
	bob.quiet()
	b.call("disconnect", fmt.Sprintf(`{"user":"anna","client":"%s"}`, anna.client))
	anna.over(DisconnectForceNoReconnect)
	b.call("disconnect", fmt.Sprintf(`{"client":"%s","disconnect":{"code":3000,"reason":"bye"}}`, bob.client))
	bob.over(Disconnect{protocol.CloseCode(3000), "bye"})
}

func TestAPIRefresh(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		v, err := token.New(token.Config{Secret: []byte("s")})
		must(t, err)
		n := serve(t, Config{Tokens: v, Hub: spaces()})
		b := n.backend(APIConfig{})
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "anna", "exp": time.Now().Unix() + 60}).SignedString([]byte("s"))
		must(t, err)
		p := n.dial(f)
		if got := p.connect(&cf.ConnectRequest{Token: text}); !got.Expires {
			t.Fatalf("connected %s", show(got))
		}
		b.want("refresh", `{"user":"anna"}`, `{"result":{"clients":1}}`)
		p.expect("refresh false 0")
		b.call("refresh", fmt.Sprintf(`{"user":"anna","client":"%s","expire_at":%d}`, p.client, time.Now().Unix()+3600))
		if r := p.next(); r.Push == nil || r.Push.Refresh == nil || !r.Push.Refresh.Expires || r.Push.Refresh.Ttl < 3590 || r.Push.Refresh.Ttl > 3600 {
			t.Errorf("received %s", show(r))
		}
		for params, is := range map[string]Error{
			`{}`:                                        ErrBadRequest,
			`{"user":"anna","session":"s"}`:             ErrNotAvailable,
			`{"user":"anna","info":{}}`:                 ErrNotAvailable,
			`{"user":"anna","expire_at":-1}`:            ErrBadRequest,
			`{"user":"anna","expire_at":1900000000000}`: ErrBadRequest,
		} {
			b.fails("refresh", params, is)
		}
		b.call("refresh", `{"user":"bob","expired":true}`)
		p.quiet()
		b.call("refresh", `{"user":"anna","expired":true}`)
		p.over(DisconnectExpired)
	})
}

func TestAPIPresence(t *testing.T) {
	n := serve(t, users(Config{Hub: spaces(), ReplyBytesMax: 1 << 10}))
	b := n.backend(APIConfig{})
	b.want("presence", `{"channel":"seen:a"}`, `{"result":{"presence":{}}}`)
	b.want("presence_stats", `{"channel":"seen:a"}`, `{"result":{"num_clients":0,"num_users":0}}`)
	p := n.user(formatProtobuf, "anna").in("seen:a")
	b.want("presence", `{"channel":"seen:a"}`, fmt.Sprintf(`{"result":{"presence":{"%s":{"client":"%s","user":"anna"}}}}`, p.client, p.client))
	b.call("subscribe", `{"user":"bob","channel":"seen:a","b64info":"/w=="}`)
	q := n.user(formatJSON, "bob")
	b.call("subscribe", `{"user":"bob","channel":"seen:a","b64info":"/w=="}`)
	q.expect("seen:a: subscribe true 0")
	p.joined(q.client)
	b.want("presence", `{"channel":"seen:a"}`, fmt.Sprintf(`{"result":{"presence":{"%s":{"client":"%s","user":"anna"},"%s":{"client":"%s","user":"bob","chan_info":"/w=="}}}}`, p.client, p.client, q.client, q.client))
	b.want("presence_stats", `{"channel":"seen:a"}`, `{"result":{"num_clients":2,"num_users":2}}`)
	for _, name := range []string{"presence", "presence_stats"} {
		b.fails(name, `{"channel":"plain:a"}`, ErrNotAvailable)
		b.fails(name, `{"channel":"other:a"}`, ErrUnknownChannel)
		b.fails(name, `{}`, ErrBadRequest)
	}
	for range 10 {
		n.user(formatJSON, "crowd").in("seen:a")
	}
	b.fails("presence", `{"channel":"seen:a"}`, ErrLimit)
	b.want("presence_stats", `{"channel":"seen:a"}`, `{"result":{"num_clients":12,"num_users":3}}`)
}

func TestAPIHistory(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: spaces(), HistoryMax: 5, ReplyBytesMax: 1 << 10})
	b := n.backend(APIConfig{})
	for i := range 8 {
		b.call("publish", fmt.Sprintf(`{"channel":"news","data":%d}`, i+1))
	}
	page, err := n.Hub().History(ctx, "news", query(0))
	must(t, err)
	epoch := page.Top.Epoch
	for _, c := range []struct {
		params string // beside the channel
		want   []int
	}{
		{``, nil},
		{`,"limit":0`, nil},
		{`,"limit":2`, []int{1, 2}},
		{`,"limit":-1`, []int{1, 2, 3, 4, 5}},
		{`,"limit":1000000000`, []int{1, 2, 3, 4, 5}},
		{`,"limit":-1000000000`, []int{1, 2, 3, 4, 5}},
		{`,"limit":2,"reverse":true`, []int{8, 7}},
		{`,"limit":1000000000,"reverse":true`, []int{8, 7, 6, 5, 4}},
		{`,"limit":2,"since":{"offset":6,"epoch":"` + epoch + `"}`, []int{7, 8}},
		{`,"limit":2,"since":{"offset":6}`, []int{7, 8}},
		{`,"limit":2,"since":{"offset":8,"epoch":"` + epoch + `"}`, nil},
		{`,"limit":2,"since":{"offset":4,"epoch":"` + epoch + `"},"reverse":true`, []int{3, 2}},
		{`,"limit":2,"since":null`, []int{1, 2}},
	} {
		all := []string{}
		for _, i := range c.want {
			all = append(all, fmt.Sprintf(`{"data":%d,"offset":%d}`, i, i))
		}
		b.want("history", `{"channel":"news"`+c.params+`}`, fmt.Sprintf(`{"result":{"publications":[%s],"epoch":"%s","offset":8}}`, strings.Join(all, ","), epoch))
	}
	for params, is := range map[string]Error{
		`{"channel":"news","limit":1,"since":{"offset":1,"epoch":"another"}}`:                          ErrUnrecoverable,
		`{"channel":"news","limit":1,"since":{"offset":1,"epoch":"another"},"reverse":true}`:           ErrUnrecoverable,
		`{"channel":"news","limit":1,"since":{"offset":9,"epoch":"` + epoch + `"}}`:                    ErrUnrecoverable,
		`{"channel":"news","limit":1,"since":{"offset":18446744073709551615,"epoch":"` + epoch + `"}}`: ErrUnrecoverable,
		`{"channel":"news","limit":1,"since":{"offset":0},"reverse":true}`:                             ErrBadRequest,
		`{"channel":"plain:a","limit":1}`:                                                              ErrNotAvailable,
		`{"channel":"other:a","limit":1}`:                                                              ErrUnknownChannel,
		`{"limit":1}`:                                                                                  ErrBadRequest,
	} {
		b.fails("history", params, is)
	}
	for _, limit := range []string{"1e300", "99999999999999999999", "1.5", `"1"`, "[]"} {
		resp, text := b.do("POST", "/api/history", strings.NewReader(`{"channel":"news","limit":`+limit+`}`), nil)
		if resp.StatusCode != 400 {
			t.Errorf("limit %s: %s %s", limit, resp.Status, text)
		}
	}

	// Who published, the tags, bytes, and an answer that would be too large.
	p := n.client(formatJSON).in("talk")
	p.publishOwn("talk", `{"n": 1}`)
	b.call("publish", `{"channel":"talk","b64data":"/w==","tags":{"a":"b"}}`)
	b.want("history", `{"channel":"talk","limit":-1}`, fmt.Sprintf(`{"result":{"publications":[{"data":{"n":1},"info":{"client":"%s","user":""},"offset":1},{"data":"/w==","offset":2,"tags":{"a":"b"}}],"epoch":"…","offset":2}}`, p.client))
	for range 4 {
		b.call("publish", fmt.Sprintf(`{"channel":"large","data":"%s"}`, strings.Repeat("x", 300)))
	}
	if got := b.call("history", `{"channel":"large","limit":-1}`); strings.Count(got, `"data"`) != 2 || !strings.Contains(got, `"offset":4}}`) {
		t.Errorf("%d bytes: %s", len(got), got)
	}

	b.want("history_remove", `{"channel":"news"}`, `{"result":{}}`)
	b.want("history", `{"channel":"news","limit":-1}`, fmt.Sprintf(`{"result":{"publications":[],"epoch":"%s","offset":8}}`, epoch))
	b.fails("history_remove", `{"channel":"plain:a"}`, ErrNotAvailable)
	b.fails("history_remove", `{}`, ErrBadRequest)
}

// TestAPITwoNodes: what holds for all nodes, and what is about one.
func TestAPITwoNodes(t *testing.T) {
	m, err := memory.New(memory.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	cfg := users(Config{Hub: spaces()})
	cfg.Hub.Broker, cfg.Hub.History, cfg.Hub.Presence = m, m, m
	one, two := serve(t, cfg), serve(t, cfg)
	b := one.backend(APIConfig{ChannelsMax: 3})
	near, far := one.user(formatJSON, "anna").in("plain:near", "plain:two"), two.user(formatProtobuf, "bob").in("seen:a", "plain:far")
	b.call("subscribe", `{"user":"anna","channel":"seen:a"}`)
	near.among("seen:a: subscribe true 0")
	far.joined(near.client)

	b.call("publish", `{"channel":"seen:a","data":1}`)
	near.among("seen:a: 1 1")
	far.among("seen:a: 1 1")
	b.call("send", `{"all":true,"data":2}`)
	far.among("message 2")
	near.among("message 2")
	b.want("presence_stats", `{"channel":"seen:a"}`, `{"result":{"num_clients":2,"num_users":2}}`)
	b.want("presence", `{"channel":"seen:a"}`, fmt.Sprintf(`{"result":{"presence":{"%s":{"user":"anna","client":"%s"},"%s":{"user":"bob","client":"%s"}}}}`, near.client, near.client, far.client, far.client))
	b.call("refresh", `{"user":"bob"}`)
	far.among("refresh false 0")
	b.call("subscribe", `{"user":"bob","channel":"plain:more"}`)
	far.among("plain:more: subscribe false 0")
	b.call("unsubscribe", fmt.Sprintf(`{"client":"%s","channel":"plain:far"}`, far.client))
	far.among("plain:far: unsubscribe 2000 server unsubscribe")

	b.fails("channels", `{}`, ErrLimit)
	b.want("channels", `{"pattern":"plain:*"}`, `{"result":{"channels":{"plain:more":{"num_clients":1},"plain:near":{"num_clients":1},"plain:two":{"num_clients":1}}}}`)
	b.want("channels", `{"pattern":"s*"}`, `{"result":{"channels":{"seen:a":{"num_clients":2}}}}`)
	b.want("channels", `{"pattern":"plain"}`, `{"result":{"channels":{}}}`)
	nodes, err := one.Hub().ListNodes(ctx)
	must(t, err)
	var want []string
	for _, x := range nodes.Items {
		want = append(want, fmt.Sprintf(`{"uid":"%s","name":"memory","version":"sockmill","uptime":0,"num_clients":1,"num_users":1,"num_channels":%d,"num_subs":%d}`, x.ID, x.Channels, x.Members))
	}
	b.want("info", `{}`, `{"result":{"nodes":[`+strings.Join(want, ",")+`]}}`)
	b.want("users", `{}`, `{"result":{"users":[{"user":"anna","num_clients":1},{"user":"bob","num_clients":1}],"more":false}}`)
	b.want("users", `{"limit":1}`, `{"result":{"users":[{"user":"anna","num_clients":1}],"more":true}}`)
	b.want("users", `{"limit":1,"after":"anna"}`, `{"result":{"users":[{"user":"bob","num_clients":1}],"more":false}}`)
	const of = `{"result":{"connections":[{"client":"%s","user":"%s","node":"memory","num_channels":%d}],"more":false}}`
	b.want("connections", `{"user":"bob"}`, fmt.Sprintf(of, far.client, "bob", 2))
	b.want("connections", fmt.Sprintf(`{"client":"%s"}`, near.client), fmt.Sprintf(of, near.client, "anna", 3))
	b.want("connections", `{"user":"nobody"}`, `{"result":{"connections":[],"more":false}}`)
	all := []string{near.client, far.client}
	slices.Sort(all)
	b.want("connections", fmt.Sprintf(`{"after":"%s"}`, all[1]), `{"result":{"connections":[],"more":false}}`)
	if got := b.call("connections", `{"limit":1}`); !strings.Contains(got, all[0]) || strings.Contains(got, all[1]) || !strings.Contains(got, `"more":true`) {
		t.Errorf("connections: %s", got)
	}
	for _, name := range []string{"connections", "users"} {
		b.fails(name, `{"limit":-1}`, ErrBadRequest)
		b.fails(name, `{"limit":10001}`, ErrBadRequest)
	}

	b.call("disconnect", `{"user":"bob"}`)
	far.over(DisconnectForceNoReconnect)
}

func query(limit int) broker.Query { return broker.Query{Limit: limit} }
