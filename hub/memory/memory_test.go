package memory_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/brokertest"
	"github.com/sockmill/sockmill/hub/memory"
)

// clock is a time that passes when a test says so.
type clock struct{ passed atomic.Int64 }

var began = time.Now()

func (c *clock) now() time.Time       { return began.Add(time.Duration(c.passed.Load())) }
func (c *clock) pass(d time.Duration) { c.passed.Add(int64(d)) }

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Backend {
		c := &clock{}
		b := open(t, memory.Config{ChannelsMax: 64, Clock: c.now})
		n := brokertest.Node{Broker: b, History: b, Presence: b}
		return brokertest.Backend{
			Nodes:    []brokertest.Node{n, n},
			Pass:     c.pass,
			Lifetime: time.Second,
			Close:    b.Close,
			Forget: func(channel string) {
				// Others are used more recently, until there is no room for this one.
				for i := range 64 {
					_, _ = add(b, fmt.Sprint("filler ", i), "x", 1)
				}
			},
		}
	})
}

// TestAskEndsWithContext, or after Config.AskTimeout, whichever is sooner.
func TestAskEndsWithContext(t *testing.T) {
	for _, timeout := range []time.Duration{memory.NoLimit, time.Millisecond} {
		ends, cancel := context.WithCancel(ctx)
		defer cancel()
		b := open(t, memory.Config{Node: "node", AskTimeout: timeout})
		b.Answer("subject", func(ctx context.Context, _ []byte) []byte {
			if timeout < 0 {
				cancel()
			}
			<-ctx.Done()
			return nil
		})
		if all, err := b.Ask(ends, "subject", nil); err != nil || fmt.Sprint(all.Missing) != "[node]" {
			t.Errorf("%+v %v", all, err)
		}
	}
}

func open(t testing.TB, cfg memory.Config) *memory.Broker {
	t.Helper()
	b, err := memory.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func add(b *memory.Broker, channel, text string, keep int) (broker.Position, error) {
	return b.Append(ctx, channel, broker.Publication{Data: []byte(text)}, broker.Keep{Publications: keep})
}

var ctx = context.Background()
