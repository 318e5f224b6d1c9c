package nats

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/hub/broker"
)

// sink is a receiver that does nothing but count, and says when it has got as many again as a batch has.
type sink struct {
	n    atomic.Int64
	full chan struct{}
}

const batch = 1000

func (s *sink) Deliver(string, broker.Publication) { s.add() }
func (s *sink) Interrupted(string)                 {}

func (s *sink) add() {
	if s.n.Add(1)%batch == 0 && s.full != nil {
		s.full <- struct{}{}
	}
}

var published = broker.Publication{Data: make([]byte, 100), Info: &broker.Info{Client: "client", User: "user"}}

// leastAllocs is how many allocations a call makes. What other goroutines allocate is counted too, so it is the least of a few times.
func leastAllocs(f func()) float64 {
	least := testing.AllocsPerRun(1000, f)
	for range 4 {
		least = min(least, testing.AllocsPerRun(1000, f))
	}
	return least
}

// TestAllocations: publishing makes the subject, if the publication is small. Delivering makes the publication's own Info with its two names. What nats.go makes of a
// message is not counted.
func TestAllocations(t *testing.T) {
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	if n := leastAllocs(func() { _ = b.Publish(ctx, "room", published) }); n > 1 {
		t.Errorf("to publish: %v allocations, want the subject only", n)
	}
	for _, channel := range []string{"room", "a.room"} {
		to := &sink{}
		must(t, b.Subscribe(ctx, channel, to))
		calls := int64(0)
		m := &natsgo.Msg{Subject: b.liveSubject(channel), Data: (&record{Publication: published}).encode(nil)}
		stored := republished(b, channel, "sockmill-0-x", "5", "3", "data")
		l := b.laneOf(b.shardOf(channel))
		if n := leastAllocs(func() { calls++; b.dispatch(l, m) }); n > 3 || to.n.Load() != calls {
			t.Errorf("to deliver to %s: %v allocations, want at most 3; delivered %d times", channel, n, to.n.Load())
		}
		f := b.shards[b.shardOf(channel)].find(channel)
		if f == nil {
			f = b.shards[b.shardOf(channel)].find("a%2Eroom")
		}
		if n := leastAllocs(func() { calls++; f.last = 0; b.dispatch(l, stored) }); n > 0 || to.n.Load() != calls {
			t.Errorf("to deliver what %s has stored: %v allocations, want none; delivered %d times", channel, n, to.n.Load())
		}
	}
}

// names are those of many channels.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("channel:", i)
	}
	return all
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const channelsMany = 100_000

// TestBytesOfAChannel: what a channel costs here, with what nats.go and the server in the process need for it.
func TestBytesOfAChannel(t *testing.T) {
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	all, to := names(channelsMany), &sink{}
	before := heap()
	for _, name := range all {
		must(t, b.Subscribe(ctx, name, to))
	}
	each := (heap() - before) / channelsMany
	t.Logf("%d bytes for each of %d channels, with %d subscriptions", each, channelsMany, b.Stats().Shards)
	if each > 300 {
		t.Errorf("%d bytes for each channel, want at most 300", each)
	}
	runtime.KeepAlive(all)
}

// BenchmarkInterest compares one NATS subscription for each channel with one for each shard: how much heap a channel takes, and how
// much time it takes to publish and to deliver a publication. "channel" does not even decode what it gets.
func BenchmarkInterest(b *testing.B) {
	b.Run("channel", func(b *testing.B) {
		s := start(b, nil)
		c, err := natsgo.Connect("", natsgo.InProcessServer(s))
		must(b, err)
		b.Cleanup(c.Close)
		n := named("sockmill", 4096, 1)
		subjects := names(channelsMany)
		for i, name := range subjects {
			subjects[i] = n.liveSubject(name)
		}
		messages := make(chan *natsgo.Msg, laneMessages)
		before := heap()
		for _, subject := range subjects {
			_, err := c.ChanSubscribe(subject, messages)
			must(b, err)
		}
		must(b, c.Flush())
		each := float64(heap()-before) / channelsMany
		to := &sink{full: make(chan struct{}, 1)}
		go func() {
			for range messages {
				to.add()
			}
		}()
		b.Cleanup(func() { close(messages) })
		data := (&record{Publication: published}).encode(nil)
		runPublish(b, each, to, func(i int) error { return c.Publish(subjects[i%channelsMany], data) })
	})
	for _, shards := range []int{256, 4096} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			s := start(b, nil)
			n := open(b, Config{Server: s, Node: "a", NoHistory: true, Shards: shards})
			all, to := names(channelsMany), &sink{full: make(chan struct{}, 1)}
			before := heap()
			for _, name := range all {
				must(b, n.Subscribe(ctx, name, to))
			}
			each := float64(heap()-before) / channelsMany
			runPublish(b, each, to, func(i int) error { return n.Publish(ctx, all[i%channelsMany], published) })
		})
	}
}

// runPublish publishes to one channel after the other, a batch at a time.
func runPublish(b *testing.B, each float64, to *sink, publish func(i int) error) {
	b.ReportAllocs()
	began, n := cpu(b), 0
	for b.Loop() {
		must(b, publish(n*7919)) // not in the order of the subscriptions
		if n++; n%batch == 0 {
			<-to.full
		}
	}
	b.ReportMetric(float64(cpu(b)-began)/float64(n), "cpu-ns/op")
	b.ReportMetric(each, "B/channel")
}

// cpu is the time of all processors that this process has used: node and server.
func cpu(b *testing.B) int64 {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkSubscribe is for a node that has all shards already, and for one that has to ask NATS.
func BenchmarkSubscribe(b *testing.B) {
	s := start(b, nil)
	n := open(b, Config{Server: s, Node: "a", NoHistory: true})
	to := &sink{}
	for _, name := range names(channelsMany) {
		must(b, n.Subscribe(ctx, name, to))
	}
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(b, n.Subscribe(ctx, "new", to))
			must(b, n.Unsubscribe(ctx, "new", to))
		}
	})
	b.Run("new", func(b *testing.B) {
		n := open(b, Config{Server: s, Node: "b", Prefix: "other", NoHistory: true, Shards: 65_536})
		all := names(channelsMany)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			must(b, n.Subscribe(ctx, all[i%channelsMany], to))
			n.forget(b, all[i%channelsMany], to)
		}
	})
}

// forget ends the subscription of a shard without Grace.
func (b *Broker) forget(t testing.TB, channel string, r broker.Receiver) {
	must(t, b.Unsubscribe(ctx, channel, r))
	l, s := b.laneOf(b.shardOf(channel)), &b.shards[b.shardOf(channel)]
	l.mu.Lock()
	sub := s.sub
	s.sub = nil
	l.mu.Unlock()
	must(t, sub.Unsubscribe())
}

// BenchmarkDispatch is what a lane does with a message.
func BenchmarkDispatch(b *testing.B) {
	s := start(b, nil)
	n := open(b, Config{Server: s, Node: "a", NoHistory: true})
	for _, channel := range []string{"room", strings.Repeat("a.", 50)} {
		must(b, n.Subscribe(ctx, channel, &sink{}))
		l := n.laneOf(n.shardOf(channel))
		for name, m := range map[string]*natsgo.Msg{
			"published": {Subject: n.liveSubject(channel), Data: (&record{Publication: published}).encode(nil)},
			"stored":    republished(n, channel, "sockmill-0-x", "5", "3", strings.Repeat("x", 100)),
		} {
			b.Run(fmt.Sprintf("%s,name=%d", name, len(channel)), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					n.change(channel, func(_ *shard, f *followed) { f.last = 0 })
					n.dispatch(l, m)
				}
			})
		}
	}
}
