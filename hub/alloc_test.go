package hub

import (
	"sync/atomic"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// To publish allocates the same for few members as for many: in a channel with and without a history, and to all.
func TestPublishAllocatesNothingForMembers(t *testing.T) {
	var few [3]float64
	for _, members := range []int{4, 64} {
		n := start(t, Config{
			Formats: 2,
			Channel: func(name string) (Options, error) { return Options{History: len(name) - 1}, nil },
			Encode: func(int, string, *broker.Publication) engine.Message {
				return engine.Message{Type: engine.Text, Data: sample}
			},
		})
		var got atomic.Int64
		all := make(chan struct{}, 1)
		handler := &engine.Handler{OnMessage: func(*engine.Conn, engine.Message) {
			if got.Add(1)%int64(members) == 0 {
				all <- struct{}{}
			}
		}}
		for i := range members {
			must(t, n.e.Dial(ctx, engine.Dial{URL: "ws://" + n.e.Addr().String(), Handler: handler}))
			c, err := n.Connect(ctx, wait(t, n.conns, "a connection"), Connect{User: "anna", Format: i % 2})
			must(t, err)
			for _, channel := range []string{"x", "xx"} {
				_, err = n.Join(ctx, c, channel, Join{})
				must(t, err)
			}
		}
		for i, publish := range []func() error{
			func() error { _, err := n.Publish(ctx, "x", Publication{Data: sample}); return err },
			func() error { _, err := n.Publish(ctx, "xx", Publication{Data: sample}); return err },
			func() error { return n.PublishTo(ctx, everyone, Publication{Data: sample}) },
		} {
			allocs := testing.AllocsPerRun(200, func() {
				if err := publish(); err != nil {
					t.Error(err)
				}
				<-all
			})
			t.Logf("%d members, number %d: %.1f allocations", members, i, allocs)
			if few[i] == 0 {
				few[i] = allocs
			} else if allocs > few[i]+4 {
				t.Errorf("number %d: %.1f allocations for %d members, %.1f for few", i, allocs, members, few[i])
			}
		}
	}
}

var sample = make([]byte, 100)
