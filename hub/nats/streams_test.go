package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/hub/broker"
)

var plenty = broker.Keep{Publications: 1000}

func put(t testing.TB, b *Broker, channel, text string) broker.Position {
	t.Helper()
	at, err := b.Append(ctx, channel, broker.Publication{Data: []byte(text)}, plenty)
	must(t, err)
	return at
}

// since reads what follows a position; "refused" is all that it returns if that is not proven.
func since(t testing.TB, b *Broker, channel string, at broker.Position) (all []string) {
	t.Helper()
	page, err := b.Read(ctx, channel, broker.Query{Since: &at, Limit: broker.NoLimit})
	if errors.Is(err, broker.ErrUnrecoverable) {
		return unproven
	}
	must(t, err)
	for _, p := range page.Publications {
		all = append(all, string(p.Data))
	}
	return all
}

var unproven = []string{"refused"}

func topOf(t testing.TB, b *Broker, channel string) broker.Position {
	t.Helper()
	page, err := b.Read(ctx, channel, broker.Query{})
	must(t, err)
	return page.Top
}

func expect(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// change changes the stream of a node as an operator does.
func change(t testing.TB, js jetstream.JetStream, b *Broker, f func(c *jetstream.StreamConfig)) error {
	t.Helper()
	s, err := js.Stream(ctx, b.history.parts[0].stream())
	must(t, err)
	c := s.CachedInfo().Config
	f(&c)
	_, err = js.UpdateStream(ctx, c)
	return err
}

func firstOf(t testing.TB, b *Broker) uint64 {
	t.Helper()
	s, err := b.history.parts[0].look(ctx)
	must(t, err)
	return s.first
}

// TestAgedOut: what the stream has removed by its age cannot be recovered.
func TestAgedOut(t *testing.T) {
	t.Parallel()
	s := startJS(t)
	b := open(t, Config{Server: s, Node: "a"})
	begin := topOf(t, b, "room")
	one := put(t, b, "room", "one")
	put(t, b, "room", "two")
	elsewhere := put(t, b, "elsewhere", "x")
	must(t, change(t, admin(t, s), b, func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = 100*time.Millisecond, 100*time.Millisecond }))
	eventually(t, "all is gone", func() bool { return firstOf(t, b) > elsewhere.Offset })
	for range 2 {
		expect(t, "since the beginning", since(t, b, "room", begin), "refused")
		expect(t, "since one", since(t, b, "room", one), "refused")
		top := topOf(t, b, "room")
		put(t, b, "room", "next")
		if got := since(t, b, "room", top); len(got) > 0 && got[0] != "refused" { // it may be gone already
			expect(t, "since Top", got, "next")
		}
	}
}

// TestRemovedBySize: as TestAgedOut, by the size of the stream.
func TestRemovedBySize(t *testing.T) {
	t.Parallel()
	b := open(t, Config{Server: startJS(t), Node: "a", BytesMax: mib})
	begin := topOf(t, b, "room")
	one := put(t, b, "room", "one")
	data := strings.Repeat("x", 100*kib)
	for firstOf(t, b) <= one.Offset {
		put(t, b, "elsewhere", data)
	}
	expect(t, "since the beginning", since(t, b, "room", begin), "refused")
	two := put(t, b, "room", "two")
	expect(t, "since the beginning", since(t, b, "room", begin), "refused")
	expect(t, "since one", since(t, b, "room", one), "refused") // it cannot be proven any more
	expect(t, "since two", since(t, b, "room", two))
	if _, err := b.Append(ctx, "room", broker.Publication{Data: []byte(strings.Repeat("x", 600*kib))}, plenty); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("more than half of the stream: %v", err)
	}
}

// TestCountedOut: as TestAgedOut, by the number of publications of the channel.
func TestCountedOut(t *testing.T) {
	t.Parallel()
	log, seen := observer.New(zap.WarnLevel)
	b := open(t, Config{Server: startJS(t), Node: "a", Publications: 3, Logger: zap.New(log)})
	at := []broker.Position{topOf(t, b, "room")}
	for i := range 3 {
		at = append(at, put(t, b, "room", fmt.Sprint(i+1)))
	}
	expect(t, "since the beginning", since(t, b, "room", at[0]), "1", "2", "3")
	for i := range 3 {
		at = append(at, put(t, b, "room", fmt.Sprint(i+4)))
	}
	for i := range 3 {
		expect(t, fmt.Sprint("since ", i), since(t, b, "room", at[i]), "refused")
	}
	expect(t, "since 3", since(t, b, "room", at[3]), "4", "5", "6")
	if n := seen.FilterMessageSnippet("keep more publications").Len(); n != 1 {
		t.Errorf("warned %d times that a channel is promised more", n)
	}
}

// TestOperator: what would make holes in a stream is refused by the server, and when a stream is deleted, all are told.
func TestOperator(t *testing.T) {
	t.Parallel()
	s := startJS(t)
	js := admin(t, s)
	b := open(t, Config{Server: s, Node: "a"})
	begin := topOf(t, b, "room")
	one := put(t, b, "room", "one")
	put(t, b, "room", "two")
	stream, err := js.Stream(ctx, b.history.parts[0].stream())
	must(t, err)
	if stream.Purge(ctx, jetstream.WithPurgeSubject(b.storedSubject("room"))) == nil || stream.Purge(ctx) == nil || stream.DeleteMsg(ctx, one.Offset) == nil {
		t.Error("the server removes what it is told to")
	}
	if err := change(t, js, b, func(c *jetstream.StreamConfig) { c.DenyPurge = false }); err == nil {
		t.Error("the server lets itself be told to remove something")
	}
	expect(t, "since the beginning", since(t, b, "room", begin), "one", "two")
	r := &told{names: make(chan string, 10)}
	must(t, b.Subscribe(ctx, "room", r))
	must(t, b.Subscribe(ctx, "another", r))
	must(t, js.DeleteStream(ctx, one.Epoch))
	if a, b := r.next(t), r.next(t); a == b {
		t.Errorf("%s was told twice", a)
	}
	expect(t, "since one", since(t, b, "room", one), "refused")
	expect(t, "since the beginning", since(t, b, "room", begin), "refused")
	if next := put(t, b, "room", "three"); next.Epoch == one.Epoch {
		t.Error("it is the same epoch")
	}
	if b.Stats().History.Made != 2 {
		t.Errorf("%+v", b.Stats().History)
	}
}

// told is a receiver that is interrupted.
type told struct{ names chan string }

func (r *told) Deliver(string, broker.Publication) {}
func (r *told) Interrupted(channel string)         { r.names <- channel }

func (r *told) next(t testing.TB) string {
	t.Helper()
	select {
	case name := <-r.names:
		return name
	case <-time.After(patience):
		t.Fatal("nobody was told")
		return ""
	}
}

// TestFullStore: when the server has no room, Append says so, and nothing has happened.
func TestFullStore(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *server.Options) {
		o.JetStream, o.StoreDir, o.JetStreamMaxStore = true, t.TempDir(), 4*mib
	})
	_, err := New(ctx, Config{Server: s, Node: "a", BytesMax: 8 * mib})
	if err == nil || !strings.Contains(err.Error(), "10047") {
		t.Errorf("a stream that is larger than the store: %v", err)
	}
	b := open(t, Config{Server: s, Node: "a", BytesMax: 3 * mib})
	js := admin(t, s)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, MaxBytes: -1})
	must(t, err)
	data := make([]byte, 500*kib)
	var full error
	for range 20 {
		if _, full = js.Publish(ctx, "other", data); full != nil {
			break
		}
	}
	one, err := b.Append(ctx, "room", broker.Publication{Data: data}, plenty)
	if !errors.Is(err, broker.ErrFull) || full == nil {
		t.Fatalf("appended %+v: %v; the other stream: %v", one, err, full)
	}
	must(t, js.DeleteStream(ctx, "OTHER"))
	begin := topOf(t, b, "room")
	put(t, b, "room", "one")
	expect(t, "all", since(t, b, "room", begin), "one")
}

// TestStartErrors: what New says when it cannot have its streams.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	js := startJS(t)
	_ = open(t, Config{Server: js, Node: "first"})
	_, err := admin(t, js).CreateStream(ctx, jetstream.StreamConfig{Name: "FOREIGN", Subjects: []string{"foreign.>"}})
	must(t, err)
	account := start(t, func(o *server.Options) {
		o.JetStream, o.StoreDir = true, t.TempDir()
		a, b := server.NewAccount("WITH"), server.NewAccount("WITHOUT")
		o.Accounts = []*server.Account{a, b}
		o.Users = []*server.User{{Username: "u", Password: "p", Account: b}}
	})
	must(t, func() error {
		a, err := account.LookupAccount("WITH")
		must(t, err)
		return a.EnableJetStream(nil, nil)
	}())
	for _, x := range []struct {
		cfg  Config
		want string
	}{
		{Config{Server: start(t, nil)}, "the server has no JetStream"},
		{Config{URL: account.ClientURL(), Options: []natsgo.Option{natsgo.UserInfo("u", "p")}}, "the account has no JetStream"},
		{Config{Server: js, Prefix: "foreign"}, `the stream "FOREIGN" has the subjects ["foreign.>"], but is not one of this program: set Config.Prefix to another value`},
		{Config{Server: js, Publications: 7}, "has max_msgs_per_subject 1001, and this node wants 8: set Config.Publications (one less) to what the stream has, change the stream"},
		{Config{Server: js, Lifetime: time.Hour}, "has max_age 24h0m0s, and this node wants 1h0m0s: set Config.Lifetime to"},
		{Config{Server: js, BytesMax: mib}, "has max_bytes 1073741824, and this node wants 1048576: set Config.BytesMax to"},
		{Config{Server: js, InMemory: true}, "has storage File, and this node wants Memory: set Config.InMemory to"},
		{Config{Server: js, Shards: 7}, "has metadata sockmill-shards 4096, and this node wants 7: set Config.Shards to"},
		{Config{Server: js, Streams: 2}, "has metadata sockmill-streams 1, and this node wants 2: set Config.Streams to"},
		{Config{Server: js, Prefix: "other", Replicas: 3}, "replicas > 1 not supported in non-clustered mode"},
	} {
		x.cfg.Node = "second"
		b, err := New(ctx, x.cfg)
		if err == nil {
			_ = b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %s", err, x.want)
		}
	}
}

// TestStartTogether: nodes that start at once have one stream, whoever makes it.
func TestStartTogether(t *testing.T) {
	t.Parallel()
	servers := clusterJS(t)
	var all sync.WaitGroup
	nodes := make([]*Broker, 6)
	for i := range nodes {
		all.Go(func() {
			b, err := New(ctx, Config{Server: servers[i%3], Node: fmt.Sprint("n", i), Replicas: 3, Streams: 2})
			if err != nil {
				t.Error(err)
			}
			nodes[i] = b
		})
	}
	all.Wait()
	made := uint64(0)
	for _, b := range nodes {
		if b == nil {
			continue
		}
		made += b.Stats().History.Made
		for n, p := range b.history.parts {
			if nodes[0] != nil && p.stream() != nodes[0].history.parts[n].stream() {
				t.Errorf("%s and %s for part %d", p.stream(), nodes[0].history.parts[n].stream(), n)
			}
		}
		t.Cleanup(func() { _ = b.Close() })
	}
	if made != 2 {
		t.Errorf("%d streams were made", made)
	}
}

// TestNoMajority: while JetStream has no leader, New waits and says so.
func TestNoMajority(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *server.Options) { // one of three, and there is nobody else
		o.ServerName, o.JetStream, o.StoreDir = "a", true, t.TempDir()
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: -1}
		o.Routes = server.RoutesFromStr("nats://127.0.0.1:1,nats://127.0.0.1:2")
	})
	log, seen := observer.New(zap.InfoLevel)
	short, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() {
		_, err := New(short, Config{Server: s, Node: "b", Replicas: 3, PublishTimeout: 500 * time.Millisecond, Logger: zap.New(log)})
		done <- err
	}()
	eventually(t, "New says what it waits for", func() bool { return seen.FilterMessage("waiting for JetStream").Len() > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "leader") {
		t.Errorf("%v", err)
	}
}

// TestLargeHistory: what does not fit into one answer.
func TestLargeHistory(t *testing.T) {
	t.Parallel()
	b := open(t, Config{Server: startJS(t), Node: "a", Publications: 5000, InMemory: true})
	begin := topOf(t, b, "room")
	const n = 3*batchMax + 7
	data := strings.Repeat("x", 8*kib) // more than batchBytesMax at once
	for i := range n {
		put(t, b, "room", fmt.Sprint(i, data))
	}
	if got := since(t, b, "room", begin); len(got) != n || got[n-1] != fmt.Sprint(n-1, data) {
		t.Errorf("%d came", len(got))
	}
	page, err := b.Read(ctx, "room", broker.Query{Limit: 3, Reverse: true})
	must(t, err)
	if ps := page.Publications; len(ps) != 3 || string(ps[2].Data) != fmt.Sprint(n-3, data) {
		t.Errorf("the newest three: %d came", len(ps))
	}
}

// TestLostInTheNextStream: positions of a stream that is gone say nothing of the one that was made instead, which begins at 1.
func TestLostInTheNextStream(t *testing.T) {
	s := startJS(t)
	var losing atomic.Bool
	b := open(t, Config{Server: s, Node: "a", CompareEvery: 20 * time.Millisecond, drop: func(*natsgo.Msg) bool { return losing.Load() }})
	must(t, b.Subscribe(t.Context(), "room", &told{names: make(chan string, 1000)}))
	for range 5 { // compared up to the fourth at least
		compared := b.Stats().History.Compared
		put(t, b, "room", "of the first")
		eventually(t, "it is compared", func() bool { return b.Stats().History.Compared > compared })
	}
	part := b.history.parts[0]
	gone := part.stream()
	must(t, admin(t, s).DeleteStream(t.Context(), gone))
	eventually(t, "there is another stream", func() bool { return part.stream() != gone })
	losing.Store(true)
	put(t, b, "room", "of the second")
	eventually(t, "it is missed", func() bool { return b.Stats().History.Missed > 0 })
}

// TestStartTogetherAtOneServer: nodes that begin at the same moment have one stream in the end, also where the server makes one for each of them.
func TestStartTogetherAtOneServer(t *testing.T) {
	t.Parallel()
	s := startJS(t)
	js := admin(t, s)
	for round := range 40 {
		prefix := fmt.Sprint("round", round)
		var all sync.WaitGroup
		nodes := make([]*Broker, 4)
		for i := range nodes {
			all.Go(func() {
				nodes[i] = open(t, Config{Server: s, Node: fmt.Sprint("n", i), Prefix: prefix, BytesMax: mib, CompareEvery: 10 * time.Millisecond})
			})
		}
		all.Wait()
		names := []string{}
		list := js.StreamNames(ctx, jetstream.WithStreamListSubject(nodes[0].history.parts[0].subjects("h")))
		for name := range list.Name() {
			names = append(names, name)
		}
		must(t, list.Err())
		if len(names) != 1 {
			t.Fatalf("there are %q", names)
		}
		for _, b := range nodes {
			eventually(t, "all use it", func() bool { return b.history.parts[0].stream() == names[0] })
			must(t, b.Close())
		}
	}
}
