package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// sink is a receiver that does nothing.
type sink struct{ n int }

func (s *sink) Deliver(string, broker.Publication) { s.n++ }
func (s *sink) Interrupted(string)                 {}

func channels(b *testing.B, m *memory.Broker) []string {
	all := make([]string, 1000)
	for i := range all {
		all[i] = fmt.Sprint("channel ", i)
		if err := m.Subscribe(ctx, all[i], &sink{}); err != nil {
			b.Fatal(err)
		}
	}
	return all
}

var publication = broker.Publication{Data: make([]byte, 100)}

func BenchmarkPublish(b *testing.B) {
	m := open(b, memory.Config{})
	all := channels(b, m)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = m.Publish(ctx, all[i%len(all)], publication)
	}
}

func BenchmarkPublishParallel(b *testing.B) {
	m := open(b, memory.Config{})
	all := channels(b, m)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			_ = m.Publish(ctx, all[i%len(all)], publication)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, keep := range []broker.Keep{{Publications: 1}, {Publications: 100}, {Publications: 100, Lifetime: time.Minute}} {
		b.Run(fmt.Sprintf("keep=%d,lifetime=%v", keep.Publications, keep.Lifetime), func(b *testing.B) {
			m := open(b, memory.Config{})
			all := channels(b, m)
			for i := range 200 * len(all) { // until the histories are full
				_, _ = m.Append(ctx, all[i%len(all)], publication, keep)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_, _ = m.Append(ctx, all[i%len(all)], publication, keep)
			}
		})
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	m := open(b, memory.Config{})
	all := channels(b, m)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			_, _ = m.Append(ctx, all[i%len(all)], publication, broker.Keep{Publications: 100})
		}
	})
}

// BenchmarkAppendNew appends to channels that are new, where others have to go.
func BenchmarkAppendNew(b *testing.B) {
	m := open(b, memory.Config{ChannelsMax: 10_000})
	all := make([]string, 100_000)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = m.Append(ctx, all[i%len(all)], publication, broker.Keep{Publications: 100})
	}
}

func BenchmarkAppendKeyed(b *testing.B) {
	m := open(b, memory.Config{})
	all := channels(b, m)
	keys := make([]string, 1<<20)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = m.Append(ctx, all[i%len(all)], publication, broker.Keep{Publications: 100, Key: keys[i%len(keys)]})
	}
}

func BenchmarkReadSince(b *testing.B) {
	m := open(b, memory.Config{})
	var since broker.Position
	for i := range 100 {
		at, _ := m.Append(ctx, "a", publication, broker.Keep{Publications: 100})
		if i == 79 {
			since = at
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if page, err := m.Read(ctx, "a", broker.Query{Since: &since, Limit: broker.NoLimit}); err != nil || len(page.Publications) != 20 {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnter(b *testing.B) {
	m := open(b, memory.Config{})
	infos := make([]broker.Info, 10_000)
	for i := range infos {
		infos[i] = broker.Info{Client: fmt.Sprint("client ", i), User: fmt.Sprint("user ", i)}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = m.Enter(ctx, "a", infos[i%len(infos)], time.Minute)
	}
}

func BenchmarkCount(b *testing.B) {
	m := open(b, memory.Config{})
	for i := range 1000 {
		_ = m.Enter(ctx, "a", broker.Info{Client: fmt.Sprint("client ", i), User: fmt.Sprint("user ", i)}, time.Hour)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = m.Count(ctx, "a")
	}
}
