package nats

import (
	"fmt"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// BenchmarkPresence asks who is in a channel whose members are spread over nodes of this process, at one server. cpu-µs is the processor time of all
// nodes and of the server, bytes/op what the one who asks gets and sends. The members have 16 bytes of program data. To measure
// all, give it time: -benchtime 2s.
func BenchmarkPresence(b *testing.B) {
	for _, nodes := range []int{1, 3, 10} {
		s := start(b, nil)
		var all []*Broker
		for i := range nodes {
			cfg := quiet(s, nodeName(i))
			cfg.AskTimeout = time.Minute
			all = append(all, open(b, cfg))
		}
		for _, members := range []int{10, 1000, 100_000} {
			channel := fmt.Sprint(members)
			for i := range members {
				info := broker.Info{Client: fmt.Sprintf("client-%013d", i), User: fmt.Sprint("user ", i), Conn: make([]byte, 16)}
				if err := all[i%nodes].Enter(b.Context(), channel, info, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
			for name, ask := range map[string]func() (int, error){
				"Present": func() (int, error) {
					infos, err := all[0].Present(b.Context(), channel)
					return len(infos), err
				},
				"Count": func() (int, error) {
					n, err := all[0].Count(b.Context(), channel)
					return n.Users, err
				},
			} {
				b.Run(fmt.Sprintf("%s/nodes=%d/members=%d", name, nodes, members), func(b *testing.B) {
					before, used := all[0].conn.Stats(), cpu(b)
					b.ReportAllocs()
					for b.Loop() {
						if n, err := ask(); n != members || err != nil {
							b.Fatal(n, err)
						}
					}
					after := all[0].conn.Stats()
					b.ReportMetric(float64(cpu(b)-used)/1e3/float64(b.N), "cpu-µs/op")
					b.ReportMetric(float64(after.InBytes+after.OutBytes-before.InBytes-before.OutBytes)/float64(b.N), "bytes/op")
				})
			}
		}
	}
}

// BenchmarkEnter is for each client that joins a channel with presence.
func BenchmarkEnter(b *testing.B) {
	n := open(b, quiet(start(b, nil), "a"))
	infos := make([]broker.Info, 10_000)
	for i := range infos {
		infos[i] = broker.Info{Client: fmt.Sprint("client ", i), User: fmt.Sprint("user ", i)}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := n.Enter(b.Context(), "room", infos[i%len(infos)], time.Minute); err != nil {
			b.Fatal(err)
		}
	}
}
