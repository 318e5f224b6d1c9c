package centrifugal_test

import (
	"context"
	"fmt"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/centrifugal"
)

// A server whose clients may follow any channel and publish to those that they follow. One of them, in JSON, is shown.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	e, err := engine.New(engine.Config{}, engine.Handler{})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := centrifugal.New(e, centrifugal.Config{
		Anonymous: true,
		Hub: hub.Config{Channel: centrifugal.Namespaces(map[string]hub.Options{
			"": {Join: hub.Everybody, Publish: hub.Members, NotOwn: true},
		})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := e.Listen(engine.Config{Addr: "ws://127.0.0.1:0", SlowCode: centrifugal.DisconnectSlow.Code}, s.Handler())
	if err != nil {
		fmt.Println(err)
		return
	}

	answers := 0
	err = e.Dial(ctx, engine.Dial{URL: "ws://" + l.Addr().String() + "/connection/websocket", Handler: &engine.Handler{
		OnOpen: func(c *engine.Conn) { _ = c.SendText(`{"id":1,"connect":{}}`) },
		OnMessage: func(c *engine.Conn, m engine.Message) {
			switch answers++; answers {
			case 1: // of connect
				_ = c.SendText(`{"id":2,"subscribe":{"channel":"news"}}` + "\n" + `{"id":3,"publish":{"channel":"news","data":"hello"}}`)
			default:
				if fmt.Println(m.Text()); answers == 3 {
					stop()
				}
			}
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := e.Run(ctx); err != nil {
		fmt.Println(err)
	}
	if err := s.Close(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// {"id":2,"subscribe":{}}
	// {"id":3,"publish":{}}
}
