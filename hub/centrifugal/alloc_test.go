package centrifugal

import (
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// A publication is encoded once for each format: what its delivery allocates does not depend on the number of clients.
func TestDeliveryAllocatesNothing(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: func(string) (hub.Options, error) {
		return hub.Options{Join: hub.Everybody}, nil
	}}})
	const clients, publications = 100, 50
	var subscribed, received atomic.Int64
	all := make(chan struct{}, 1)
	for i := range clients {
		f := format(i % 2)
		hello := f.frame(&cf.Command{Id: 1, Connect: &cf.ConnectRequest{}}, &cf.Command{Id: 2, Subscribe: &cf.SubscribeRequest{Channel: "room"}})
		d := engine.Dial{URL: n.url, Handler: &engine.Handler{
			OnOpen: func(c *engine.Conn) { _ = c.Send(f.message(hello)) },
			OnMessage: func(_ *engine.Conn, m engine.Message) {
				switch {
				case len(m.Data) > 1000:
					if received.Add(1)%clients == 0 {
						all <- struct{}{}
					}
				case len(m.Data) < 40: // the answer to subscribe
					subscribed.Add(1)
				}
			},
		}}
		if f == formatProtobuf {
			d.Subprotocols = []string{subprotocolProtobuf}
		}
		must(t, n.e.Dial(ctx, d))
	}
	until(t, "all have subscribed", func() bool { return subscribed.Load() == clients && len(n.hub.Clients()) == clients })
	data := make([]byte, 2000)
	for i := range data {
		data[i] = '1'
	}
	publish := func() {
		if _, err := n.hub.Publish(ctx, "room", hub.Publication{Data: data}); err != nil {
			t.Fatal(err)
		}
		wait(t, all, "the publication")
	}
	for range 10 {
		publish()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range publications {
		publish()
	}
	runtime.ReadMemStats(&after)
	got := float64(after.Mallocs-before.Mallocs) / publications
	if t.Logf("%.1f allocations for a publication to %d clients", got, clients); got > clients/4 {
		t.Error("too many")
	}
}

// A server has a session for each connection.
func TestSessionIsSmall(t *testing.T) {
	if got := unsafe.Sizeof(session{}); got > 96 {
		t.Errorf("a session has %d bytes", got)
	}
}
