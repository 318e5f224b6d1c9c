package hub_test

import (
	"context"
	"fmt"
	"log"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// A chat in plain text. A client says its name first, and then what all others in the room read. Here a
// connection of the same engine is the client.
func Example() {
	var h *hub.Hub
	ready := make(chan *hub.Client)
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) {
			_ = c.Go(m, func(ctx context.Context, m engine.Message) { // the hub asks a broker
				client := h.ClientOf(c)
				if client != nil {
					_, _ = client.Publish(ctx, "room", hub.Publication{Data: m.Data})
					return
				}
				client, err := h.Connect(ctx, c, hub.Connect{User: m.Text()})
				if err == nil {
					_, err = client.Join(ctx, "room", hub.Join{})
				}
				if err != nil {
					_ = c.Close(protocol.CloseInternalError, "try again later")
					return
				}
				ready <- client
			})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	h, err = hub.New(e, hub.Config{
		Encode: func(format int, channel string, p *broker.Publication) engine.Message {
			return engine.Message{Type: engine.Text, Data: fmt.Appendf(nil, "%s %d: %s", channel, p.Offset, p.Data)}
		},
		Channel: hub.ByPattern(hub.Pattern{Match: "room*", Options: hub.Options{
			History: 100, Presence: true, Join: hub.Everybody, Publish: hub.Members, NotOwn: true,
		}}),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()

	heard := make(chan string)
	_ = e.Dial(ctx, engine.Dial{URL: "ws://" + e.Addr().String(), Handler: &engine.Handler{
		OnOpen:    func(c *engine.Conn) { _ = c.SendText("anna") },
		OnMessage: func(c *engine.Conn, m engine.Message) { heard <- m.Text() },
	}})
	anna := <-ready
	position, _ := h.Publish(ctx, "room", hub.Publication{Data: []byte("hello")})
	fmt.Println(<-heard)

	// She goes away, and comes back with the position of the last publication that she has got.
	_ = anna.Leave(ctx, "room")
	_, _ = h.Publish(ctx, "room", hub.Publication{Data: []byte("are you there?")})
	joined, _ := anna.Join(ctx, "room", hub.Join{Since: &position})
	fmt.Println(<-heard, joined.Recovered)

	counts, _ := h.Count(ctx, "room")
	fmt.Println(counts.Users, "user in", anna.Channels())

	_, _ = h.Kick(ctx, hub.Target{User: "anna"}, 3500, "that is all")
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	_ = h.Close(context.Background())
	// Output:
	// room 1: hello
	// room 2: are you there? true
	// 1 user in [room]
}
