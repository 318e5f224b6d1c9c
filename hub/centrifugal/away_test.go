package centrifugal

import (
	"context"
	"sync/atomic"
	"testing"

	cf "github.com/centrifugal/protocol"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// cut is a broker that may be cut off.
type cut struct {
	*memory.Broker
	off atomic.Bool
}

func (c *cut) err() error {
	if c.off.Load() {
		return broker.ErrUnavailable
	}
	return nil
}

func (c *cut) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Broker.Subscribe(ctx, channel, r)
}

func (c *cut) Publish(ctx context.Context, channel string, p broker.Publication) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Broker.Publish(ctx, channel, p)
}

func (c *cut) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	if err := c.err(); err != nil {
		return broker.Page{}, err
	}
	return c.Broker.Read(ctx, channel, q)
}

// While the broker is cut off, clients are told the temporary error 100, upon which SDKs try again; one line in the log
// says so.
func TestAway(t *testing.T) {
	m, err := memory.New(memory.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	c := &cut{Broker: m}
	core, logs := observer.New(zap.WarnLevel)
	cfg := users(Config{Hub: spaces(), Logger: zap.New(core)})
	cfg.Hub.Broker, cfg.Hub.History, cfg.Hub.Presence = c, c, m
	n := serve(t, cfg)
	b := n.backend(APIConfig{})
	a := n.user(formatJSON, "anna").in("seen:a")
	c.off.Store(true)
	for range 3 {
		r := a.ask(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "plain:a"}})
		if r.Error == nil || r.Error.Code != 100 || !r.Error.Temporary {
			t.Errorf("subscribed: %s", show(r))
		}
	}
	b.fails("publish", `{"channel":"plain:a","data":1}`, ErrInternal)
	if logs.Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
	n.move(awayLog)
	b.fails("publish", `{"channel":"plain:a","data":1}`, ErrInternal)
	if logs.Len() != 2 {
		t.Errorf("logged %v", logs.All())
	}
	c.off.Store(false)
	a.in("plain:a")
	b.call("publish", `{"channel":"plain:a","data":2}`)
	a.expect("plain:a: 2")
}
