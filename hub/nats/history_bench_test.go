package nats

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sockmill/sockmill/hub/broker"
)

// BenchmarkPublish compares Append, in each kind of stream, with Publish: three servers in one process, 100 channels that are followed at
// another node, 200 bytes, 256 publishers, so that much is under way at once in each case.
func BenchmarkPublish(b *testing.B) {
	for _, x := range []struct {
		name     string
		append   bool
		memory   bool
		replicas int
		key      bool
	}{{name: "core"}, {"R1-file", true, false, 1, false}, {"R1-memory", true, true, 1, false}, {"R3-file", true, false, 3, false}, {"R3-memory", true, true, 3, false}, {"R1-memory-key", true, true, 1, true}} {
		b.Run(x.name, func(b *testing.B) {
			servers := clusterJS(b)
			nodes := benchNodes(b, servers, Config{InMemory: x.memory, Replicas: x.replicas})
			var got atomic.Int64
			all := make(chan struct{})
			n := int64(b.N)
			r := &counting{f: func() {
				if got.Add(1) == n {
					close(all)
				}
			}}
			for i := range 100 {
				must(b, (&wide{nodes[1], b, servers, &known{nodes: map[string]map[*Broker]bool{}}}).Subscribe(ctx, fmt.Sprint("channel ", i), r))
			}
			data := make([]byte, 200)
			var next atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu(b)
			var publishers sync.WaitGroup
			for range 256 {
				publishers.Go(func() {
					for {
						i := next.Add(1)
						if i > n {
							return
						}
						channel := fmt.Sprint("channel ", i%100)
						var err error
						if keep := plenty; x.append {
							if x.key {
								keep.Key = fmt.Sprint(i)
							}
							_, err = nodes[0].Append(ctx, channel, broker.Publication{Data: data}, keep)
						} else {
							err = nodes[0].Publish(ctx, channel, broker.Publication{Data: data})
							for got.Load() < i-1000 { // no more than comes through
								_ = nodes[0].pause(ctx, time.Millisecond)
							}
						}
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			publishers.Wait()
			select {
			case <-all:
			case <-time.After(patience):
				b.Errorf("%d of %d came", got.Load(), n)
			}
			b.ReportMetric(float64(cpu(b)-began)/1e3/float64(n), "µs-cpu/op")
		})
	}
}

type counting struct{ f func() }

func (r *counting) Deliver(string, broker.Publication) { r.f() }
func (r *counting) Interrupted(string)                 {}

func benchNodes(b testing.TB, servers []*server.Server, cfg Config) (nodes []*Broker) {
	for i, s := range servers {
		cfg.Server, cfg.Node, cfg.Grace = s, fmt.Sprint("n", i), time.Hour
		nodes = append(nodes, open(b, cfg))
	}
	return nodes
}

// BenchmarkLatency is how long it takes from Append on one node until a publication is delivered on another, at 5,000 a second, in microseconds.
func BenchmarkLatency(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprint("R", replicas), func(b *testing.B) {
			servers := clusterJS(b)
			nodes := benchNodes(b, servers, Config{Replicas: replicas})
			var mu sync.Mutex
			var all []time.Duration
			r := &stamped{func(d time.Duration) {
				mu.Lock()
				all = append(all, d)
				mu.Unlock()
			}}
			for i := range 100 {
				must(b, (&wide{nodes[1], b, servers, &known{nodes: map[string]map[*Broker]bool{}}}).Subscribe(ctx, fmt.Sprint("channel ", i), r))
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			var sent sync.WaitGroup
			b.ResetTimer()
			n := 0
			for n < b.N {
				<-tick.C
				for range 5 {
					n++
					sent.Go(func() {
						data, _ := time.Now().MarshalBinary()
						if _, err := nodes[0].Append(ctx, fmt.Sprint("channel ", n%100), broker.Publication{Data: data}, plenty); err != nil {
							b.Error(err)
						}
					})
				}
			}
			sent.Wait()
			eventually(b, "all came", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(all) == n
			})
			slices.Sort(all)
			b.ReportMetric(float64(all[n/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(all[n*99/100].Microseconds()), "p99-µs")
		})
	}
}

type stamped struct{ f func(time.Duration) }

func (r *stamped) Deliver(_ string, p broker.Publication) {
	var at time.Time
	if at.UnmarshalBinary(p.Data) == nil {
		r.f(time.Since(at))
	}
}
func (r *stamped) Interrupted(string) {}

// BenchmarkCompare is one comparison of 100,000 channels that are followed, each with a publication that came before the last one; and one when a
// tenth of them has a new one.
func BenchmarkCompare(b *testing.B) {
	for _, memory := range []bool{true, false} {
		b.Run(fmt.Sprint("memory=", memory), func(b *testing.B) {
			node := open(b, Config{Server: startJS(b), Node: "a", InMemory: memory, CompareEvery: time.Hour, Grace: time.Hour})
			const channels = 100_000
			r := &counting{f: func() {}}
			var fill sync.WaitGroup
			fillers := make(chan int)
			for range 512 {
				fill.Go(func() {
					for i := range fillers {
						channel := fmt.Sprint("channel ", i)
						must(b, node.Subscribe(ctx, channel, r))
						put(b, node, channel, "one")
					}
				})
			}
			for i := range channels {
				fillers <- i
			}
			close(fillers)
			fill.Wait()
			p := node.history.parts[0]
			must(b, p.compare(ctx))
			began := cpu(b)
			b.ResetTimer()
			for range b.N {
				must(b, p.compare(ctx))
			}
			b.ReportMetric(float64(cpu(b)-began)/1e6/float64(b.N), "ms-cpu/op")
		})
	}
}
