package centrifugal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// spaces are the namespaces of most tests: channels without one have a history and a presence, those of "seen" events of who joins and
// leaves too, those of "plain" nothing.
func spaces() hub.Config {
	most, plain := open(), open()
	most.JoinLeave = false
	plain.History, plain.Presence, plain.JoinLeave = 0, false, false
	return hub.Config{Channel: Namespaces(map[string]hub.Options{"": most, "seen": open(), "plain": plain})}
}

// in subscribes to channels.
func (p *peer) in(channels ...string) *peer {
	p.t.Helper()
	for _, name := range channels {
		seen := strings.HasPrefix(name, "seen:")
		p.subscribe(&cf.SubscribeRequest{Channel: name, JoinLeave: seen})
		if seen {
			p.joined(p.client)
		}
	}
	return p
}

// among expects pushes, among those of who joins and leaves.
func (p *peer) among(all ...string) {
	p.t.Helper()
	for _, want := range all {
		r := p.next()
		for r.Push != nil && (r.Push.Join != nil || r.Push.Leave != nil) {
			r = p.next()
		}
		if r.Push == nil || describe(r.Push) != want {
			p.t.Fatalf("received %s, want the push %s", show(r), want)
		}
	}
}

// joined takes pushes until it is told that a client has joined, which is in the presence by then.
func (p *peer) joined(client string) *cf.ClientInfo {
	p.t.Helper()
	for {
		if r := p.next(); r.Push == nil || r.Push.Join == nil {
			p.t.Fatalf("received %s, want a join", show(r))
		} else if r.Push.Join.Info.Client == client {
			return r.Push.Join.Info
		}
	}
}

func TestAPIPublish(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, Hub: spaces()})
		b := n.backend(APIConfig{})
		p := n.client(f).in("news", "plain:a")
		b.want("publish", `{"channel":"news","data":{"n": 1,
			"text":"<b>&"},"tags":{"a":"b"},"delta":true,"version":0,"unknown":[]}`, `{"result":{"offset":1,"epoch":"…"}}`)
		got := p.next().Push.Pub
		var data any
		if err := json.Unmarshal(got.Data, &data); err != nil || fmt.Sprint(data) != "map[n:1 text:<b>&]" || got.Offset != 1 || got.Tags["a"] != "b" || got.Info != nil {
			t.Errorf("received %s", show(got))
		}
		b.want("publish", `{"channel":"plain:a","data":null}`, `{"result":{}}`)
		p.expect("plain:a: null")
		b.want("publish", `{"channel":"news","data":4,"skip_history":true,"idempotency_key":"once"}`, `{"result":{}}`)
		b.want("publish", `{"channel":"news","data":5,"skip_history":true,"idempotency_key":"once"}`, `{"result":{}}`)
		p.expect("news: 4")
		b.want("publish", `{"channel":"news","data":1,"b64data":"/wA="}`, `{"result":{"offset":2,"epoch":"…"}}`)
		if f == formatProtobuf {
			p.expect("news: 2 \xff\x00")
		} else {
			p.expect(`news: 2 "/wA="`)
		}
		q := n.client(f).in("plain:a")
		b.want("publish", fmt.Sprintf(`{"channel":"plain:a","data":2,"except":["%s"]}`, p.client), `{"result":{}}`)
		q.expect("plain:a: 2")
		b.want("publish", `{"channel":"plain:a","data":3,"skip_history":true}`, `{"result":{}}`)
		p.expect("plain:a: 3")

		for params, is := range map[string]Error{
			`{"data":1}`:                              ErrBadRequest,
			`{"channel":"","data":1}`:                 ErrBadRequest,
			`{"channel":"news"}`:                      ErrBadRequest,
			`{"channel":"news","b64data":""}`:         ErrBadRequest,
			`{"channel":"other:a","data":1}`:          ErrUnknownChannel,
			`{"channel":"a\u0000","data":1}`:          ErrBadRequest,
			`{"channel":"\u007f","data":1}`:           ErrBadRequest,
			`{"channel":"news","data":1,"version":1}`: ErrNotAvailable,
			`{"channel":"news","data":1,"idempotency_key":"` + strings.Repeat("k", 256) + `"}`: ErrBadRequest,
			`{"channel":"` + strings.Repeat("x", 256) + `","data":1}`:                          ErrBadRequest,
		} {
			b.fails("publish", params, is)
		}
		b.want("publish", `{"channel":"`+strings.Repeat("x", 255)+`","data":1,"idempotency_key":"`+strings.Repeat("k", 255)+`"}`, `{"result":{"offset":1,"epoch":"…"}}`)
		p.quiet()
	})
}

func TestAPIBroadcast(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: spaces()})
	b := n.backend(APIConfig{ChannelsMax: 50})
	p := n.client(formatJSON).in("a", "plain:b")
	b.want("broadcast", `{"channels":["a","other:a","plain:b","","c"],"data":{"n":1},"tags":{"x":"y"}}`, `{"result":{"responses":[
		{"result":{"offset":1,"epoch":"…"}},{"error":{"code":102,"message":"unknown channel"}},{"result":{}},
		{"error":{"code":107,"message":"bad request: channel is missing"}},{"result":{"offset":1,"epoch":"…"}}]}}`)
	got := map[string]bool{}
	for range 2 {
		r := p.next()
		got[r.Push.Channel] = string(r.Push.Pub.Data) == `{"n":1}` && r.Push.Pub.Tags["x"] == "y"
	}
	if !got["a"] || !got["plain:b"] {
		t.Errorf("received %v", got)
	}
	names := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("many%d", i)
		}
		return fmt.Sprintf(`{"channels":%s,"data":1}`, show(all))
	}
	b.fails("broadcast", names(51), ErrLimit)
	for i := range 51 {
		if n.published(fmt.Sprintf("many%d", i)) != 0 {
			t.Errorf("channel %d has a part of a broadcast that was too large", i)
		}
	}
	b.call("broadcast", names(50))
	for i := range 50 {
		if n.published(fmt.Sprintf("many%d", i)) != 1 {
			t.Errorf("channel %d has no publication", i)
		}
	}
	b.fails("broadcast", `{"channels":[],"data":1}`, ErrBadRequest)
	b.fails("broadcast", `{"channels":["a"]}`, ErrBadRequest)
	p.quiet()
}

func TestAPISend(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, users(Config{Hub: spaces()}))
		b := n.backend(APIConfig{ChannelsMax: 2})
		anna, phone, bob := n.user(f, "anna"), n.user(f, "anna"), n.user(f, "bob")
		b.want("send", `{"users":["anna","carl"],"data":{"n":1}}`, `{"result":{"clients":2}}`)
		anna.expect(`message {"n":1}`)
		phone.expect(`message {"n":1}`)
		b.want("send", fmt.Sprintf(`{"all":true,"data":2,"except":["%s"],"idempotency_key":"k"}`, phone.client), `{"result":{"clients":2}}`)
		b.want("send", `{"all":true,"data":2,"idempotency_key":"k"}`, `{"result":{"clients":2}}`)
		b.want("send", fmt.Sprintf(`{"client":"%s","data":3}`, bob.client), `{"result":{"clients":1}}`)
		anna.expect("message 2")
		bob.expect("message 2", "message 3")
		for _, p := range []*peer{anna, phone, bob} {
			p.quiet()
		}
		b.fails("send", `{"data":1}`, ErrBadRequest)
		b.fails("send", `{"users":["anna"],"all":true,"data":1}`, ErrBadRequest)
		b.fails("send", `{"users":["anna"]}`, ErrBadRequest)
		b.fails("send", `{"client":"x","all":true,"data":1}`, ErrBadRequest)
		b.fails("send", `{"users":["anna",""],"data":1}`, ErrBadRequest)
		b.fails("send", `{"users":["anna","bob","carl"],"data":1}`, ErrLimit)
		anna.quiet()
	})
}

// users lets everybody in as the user that the data of the connect command names.
func users(cfg Config) Config {
	cfg.Hub.Hooks.Connect = func(_ context.Context, _ *engine.Conn, as *hub.Connect) error {
		if as.Data == nil {
			return nil
		}
		return json.Unmarshal(as.Data, &as.User)
	}
	return cfg
}

func (n *node) user(f format, name string) *peer {
	n.t.Helper()
	p := n.dial(f)
	p.connect(&cf.ConnectRequest{Data: cf.Raw(show(name))})
	return p
}

func TestAPIBatch(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: spaces()})
	b := n.backend(APIConfig{CommandsMax: 6})
	p := n.client(formatJSON).in("news")
	for i, parallel := range []string{"false", "true"} {
		b.want("batch", `{"parallel":`+parallel+`,"commands":[
			{"publish":{"channel":"c`+parallel+`","data":1}},
			{"publish":{"channel":5,"data":1}},
			{"presence_stats":{"channel":"news"}},
			{"nothing":{}},
			{"batch":{"commands":[]}},
			{"history":{"channel":"plain:a"}}]}`, `{"replies":[
			{"publish":{"offset":1,"epoch":"…"}},
			{"error":{"code":107,"message":"bad request: channel must not be a number"}},
			{"presence_stats":{"num_clients":1,"num_users":1}},
			{"error":{"code":104,"message":"method not found"}},
			{"error":{"code":104,"message":"method not found"}},
			{"error":{"code":108,"message":"…"}}]}`)
		b.want("batch", `{"commands":[{},{"publish":{"channel":"news","data":1},"info":{}}],"parallel":`+parallel+`}`,
			`{"replies":[{"error":{"code":107,"message":"…"}},{"error":{"code":107,"message":"…"}}]}`)
		b.want("batch", `{"parallel":`+parallel+`}`, `{"replies":[]}`)
		one := `{"publish":{"channel":"news","data":1}}`
		b.fails("batch", `{"parallel":`+parallel+`,"commands":[`+strings.Repeat(one+",", 6)+one+`]}`, ErrLimit)
		if got := n.published("news"); got != uint64(i) {
			t.Errorf("%d publications", got)
		}
		b.want("batch", `{"parallel":`+parallel+`,"commands":[`+one+`,{"publish":null}]}`, `{"replies":[{"publish":{"offset":`+fmt.Sprint(i+1)+`,"epoch":"…"}},{"error":{"code":107,"message":"…"}}]}`)
		p.expect(fmt.Sprintf("news: %d 1", i+1))
	}
	p.quiet()
	// One after the other, unless it says otherwise.
	b.want("batch", `{"commands":[{"publish":{"channel":"o","data":1}},{"publish":{"channel":"o","data":2}},{"history_remove":{"channel":"o"}},
		{"publish":{"channel":"o","data":3}},{"history":{"channel":"o","limit":-1}}]}`, `{"replies":[{"publish":{"offset":1,"epoch":"…"}},{"publish":{"offset":2,"epoch":"…"}},
		{"history_remove":{}},{"publish":{"offset":3,"epoch":"…"}},{"history":{"publications":[{"data":3,"offset":3}],"epoch":"…","offset":3}}]}`)
}

// TestAPICommands: what Centrifugo took at /api before version 5, and some libraries send.
func TestAPICommands(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: spaces()})
	b := n.backend(APIConfig{CommandsMax: 4})
	const one = `{"method":"publish","params":{"channel":"news","data":1}}` + "\n"
	for _, path := range []string{"/api", "/api/", ""} {
		resp, text := b.do("POST", path, strings.NewReader(one+`{"id":7,"method":"info"}{"id":0,"method":"nothing","params":{}}`+"\n"+`{"method":"publish","params":{"channel":"other:a","data":1}}`), nil)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if resp.StatusCode != 200 || len(lines) != 4 {
			t.Fatalf("%s: %s %s", path, resp.Status, text)
		}
		for i, want := range []string{`{"result":{"offset":` + fmt.Sprint(n.published("news")) + `,"epoch":"…"}}`, "", `{"id":0,"error":{"code":104,"message":"method not found"}}`, `{"error":{"code":102,"message":"unknown channel"}}`} {
			if want != "" && !alike(t, want, lines[i]) {
				t.Errorf("%s: %s, and not %s", path, lines[i], want)
			}
		}
		if !strings.HasPrefix(lines[1], `{"id":7,"result":{"nodes":[`) {
			t.Errorf("%s: %s", path, lines[1])
		}
	}
	before := n.published("news")
	for body, status := range map[string]int{"": 400, "\n\n": 400, one + "x": 400, one + one[:9]: 400, one + `"x"`: 400, one + `{"method":5}`: 400, strings.Repeat(one, 5): 200} {
		resp, text := b.do("POST", "/api", strings.NewReader(body), nil)
		if resp.StatusCode != status {
			t.Errorf("%q: %s %s", body, resp.Status, text)
		}
		b.answered(body, text, map[int]Error{400: ErrBadRequest, 200: ErrLimit}[status])
	}
	if got := n.published("news"); got != before {
		t.Errorf("%d publications of bodies that were refused", got-before)
	}
}

func TestAPIIdempotency(t *testing.T) {
	n := serve(t, Config{Anonymous: true, PingInterval: engine.NoLimit, Hub: spaces()})
	b := n.backend(APIConfig{})
	p := n.client(formatJSON).in("news", "plain:a", "plain:b")

	// With a history the first position is told again; without one there is none.
	const kept, plain = `{"channel":"news","data":%d,"idempotency_key":"%s"}`, `{"channel":"plain:%s","data":%d,"idempotency_key":"%s"}`
	for i := range 3 {
		b.want("publish", fmt.Sprintf(kept, i, "k"), `{"result":{"offset":1,"epoch":"…"}}`)
		b.want("publish", fmt.Sprintf(plain, "a", i, "k"), `{"result":{}}`)
	}
	p.expect("news: 1 0", "plain:a: 0")
	b.call("publish", fmt.Sprintf(plain, "b", 5, "k")) // another channel
	b.call("publish", fmt.Sprintf(plain, "a", 6, "l")) // another key
	b.call("publish", fmt.Sprintf(kept, 7, "l"))
	p.expect("plain:b: 5", "plain:a: 6", "news: 2 7")

	// In a batch, one after the other and at once, and together with a broadcast.
	for _, parallel := range []string{"false", "true"} {
		key := "batch" + parallel
		commands := strings.Repeat(`{"publish":`+fmt.Sprintf(kept, 8, key)+`},{"publish":`+fmt.Sprintf(plain, "a", 8, key)+`},`, 10)
		at := n.published("news") + 1
		got := b.call("batch", `{"parallel":`+parallel+`,"commands":[`+commands+`{"broadcast":{"channels":["plain:a","news","plain:a"],"data":8,"idempotency_key":"`+key+`"}}]}`)
		if c := strings.Count(got, fmt.Sprintf(`"offset":%d,`, at)); c != 11 || strings.Contains(got, "error") {
			t.Errorf("parallel %s: %s", parallel, got)
		}
		seen := map[string]int{}
		for range 2 {
			seen[describe(p.next().Push)]++
		}
		if seen["plain:a: 8"] != 1 || seen[fmt.Sprintf("news: %d 8", at)] != 1 {
			t.Errorf("parallel %s: received %v", parallel, seen)
		}
		p.quiet()
	}

	// From several backends at once.
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { b.call("publish", fmt.Sprintf(plain, "a", 9, "many")) })
	}
	all.Wait()
	p.expect("plain:a: 9")
	p.quiet()

	// For a time.
	n.move(onceLifetime)
	b.call("publish", fmt.Sprintf(plain, "a", 10, "many"))
	b.call("publish", fmt.Sprintf(plain, "a", 11, "many"))
	p.expect("plain:a: 10")
	p.quiet()
}

// watched tells when somebody waits for its end.
type watched struct {
	context.Context
	asked chan struct{}
}

func (w *watched) Done() <-chan struct{} {
	w.asked <- struct{}{}
	return w.Context.Done()
}

func (o *once) doErr(ctx context.Context, channel, key string, f func() error) error {
	_, err := o.do(ctx, channel, key, func() (any, error) { return nil, f() })
	return err
}

func TestOnce(t *testing.T) {
	var o once
	now := time.Unix(1, 0)
	o.init(func() time.Time { return now })
	calls := 0
	ok := func() error { calls++; return nil }
	do := func(ctx context.Context, channel, key string, f func() error) {
		t.Helper()
		must(t, o.doErr(ctx, channel, key, f))
	}

	// What fails is done again, also by who waits for it; a channel and a key do not run into each other.
	begun, end := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		failed <- o.doErr(ctx, "a", "bc", func() error { close(begun); <-end; return errors.New("broken") })
	}()
	<-begun
	ended, stop := context.WithCancel(ctx)
	stop()
	if err := o.doErr(ended, "a", "bc", ok); !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait any more: %v", err)
	}
	second, waits := make(chan error, 1), &watched{ctx, make(chan struct{}, 1)}
	go func() { second <- o.doErr(waits, "a", "bc", ok) }()
	<-waits.asked
	close(end)
	if err := <-failed; err == nil || err.Error() != "broken" {
		t.Error(err)
	}
	must(t, <-second)
	do(ctx, "a", "bc", ok)
	do(ctx, "ab", "c", ok)
	if calls != 2 {
		t.Errorf("%d calls, and not 2", calls)
	}
	func() {
		defer func() { _ = recover() }()
		_ = o.doErr(ctx, "a", "panics", func() error { panic("x") })
	}()
	do(ctx, "a", "panics", ok)
	if calls != 3 {
		t.Error("what has panicked counts as done")
	}

	// Bounded in number and in time.
	for i := range onceMax {
		do(ctx, "many", fmt.Sprint(i), ok)
	}
	if len(o.byKey) != onceMax || o.byAge.Len() != onceMax {
		t.Errorf("%d keys are remembered, %d in order", len(o.byKey), o.byAge.Len())
	}
	calls = 0
	do(ctx, "many", fmt.Sprint(onceMax-1), ok)
	do(ctx, "a", "bc", ok) // the oldest are forgotten
	if calls != 1 {
		t.Errorf("%d calls, and not 1", calls)
	}
	now = now.Add(onceLifetime)
	do(ctx, "a", "bc", ok)
	if calls != 2 || len(o.byKey) != 1 || o.byAge.Len() != 1 {
		t.Errorf("%d calls, %d keys", calls, len(o.byKey))
	}
}

// stuck is a broker whose Publish to a channel waits for the end of its context.
type stuck struct {
	*memory.Broker
	begun chan struct{}
	ended chan error
}

func (s *stuck) Publish(ctx context.Context, channel string, p broker.Publication) error {
	if channel != "stuck" {
		return s.Broker.Publish(ctx, channel, p)
	}
	s.begun <- struct{}{}
	<-ctx.Done()
	s.ended <- ctx.Err()
	return ctx.Err()
}

// barrier is a broker whose Publish to a channel waits until the test lets it pass.
type barrier struct {
	*memory.Broker
	begun chan struct{}
	pass  chan error
}

func (g *barrier) Publish(ctx context.Context, channel string, p broker.Publication) error {
	if channel != "gate" {
		return g.Broker.Publish(ctx, channel, p)
	}
	g.begun <- struct{}{}
	return <-g.pass
}

// TestAPIBatchOrder: a command begins when the one before it has ended, unless they are parallel.
func TestAPIBatchOrder(t *testing.T) {
	m, err := memory.New(memory.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	g := &barrier{Broker: m, begun: make(chan struct{}, 1), pass: make(chan error, 1)}
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Broker: g}})
	b := n.backend(APIConfig{})
	p := n.client(formatJSON).in("plain:a")
	run := func(params string) <-chan string {
		done := make(chan string, 1)
		go func() { done <- b.call("batch", params) }()
		return done
	}
	const two = `"commands":[{"publish":{"channel":"gate","data":1}},{"publish":{"channel":"plain:a","data":2}}]}`
	done := run(`{` + two)
	wait(t, g.begun, "the first command")
	b.call("publish", `{"channel":"plain:a","data":"between"}`)
	g.pass <- nil
	p.expect(`plain:a: "between"`, "plain:a: 2")
	wait(t, done, "the batch")

	done = run(`{"parallel":true,` + two)
	p.expect("plain:a: 2")
	g.pass <- errors.New("broken")
	if got := wait(t, done, "the batch"); !alike(t, `{"replies":[{"error":{"code":100,"message":"internal server error"}},{"publish":{}}]}`, got) {
		t.Error(got)
	}
	wait(t, g.begun, "the first command")
}

func TestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, calls atomic.Int32
		end, done := make(chan bool), make(chan bool)
		go func() {
			each(40, true, func(i int) { running.Add(1); <-end; running.Add(-1); calls.Add(int32(i)) })
			close(done)
		}()
		synctest.Wait()
		for n := range 40 {
			if got, want := int(running.Load()), min(parallelMax, 40-n); got != want {
				t.Errorf("%d at once, and not %d", got, want)
			}
			end <- true
			synctest.Wait()
		}
		<-done
		if calls.Load() != 39*40/2 {
			t.Error("not all were called once")
		}
	})
}

func TestAPIContext(t *testing.T) {
	m, err := memory.New(memory.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	s := &stuck{m, make(chan struct{}, 1), make(chan error, 1)}
	n := serve(t, Config{Anonymous: true, CommandTimeout: engine.NoLimit, Hub: hub.Config{Broker: s}})
	b := n.backend(APIConfig{})
	gone, leave := context.WithCancel(ctx)
	r, err := http.NewRequestWithContext(gone, "POST", b.url+"/api/publish", bytes.NewReader([]byte(`{"channel":"stuck","data":1}`)))
	must(t, err)
	r.Header.Set("X-API-Key", apiKey)
	left := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = resp.Body.Close()
		}
		left <- err
	}()
	wait(t, s.begun, "the broker to be asked")
	leave()
	if err := wait(t, s.ended, "the end of the context"); !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended with %v", err)
	}
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	n = serve(t, Config{Anonymous: true, CommandTimeout: 10 * time.Millisecond, Hub: hub.Config{Broker: s}})
	b = n.backend(APIConfig{})
	b.fails("publish", `{"channel":"stuck","data":1}`, ErrInternal)
	wait(t, s.begun, "the broker to be asked")
	if err := wait(t, s.ended, "the end of the context"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context ended with %v", err)
	}
}
