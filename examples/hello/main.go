// Command hello is the smallest server: it answers every message with itself. It
// is the program in the README.
package main

import (
	"context"
	"log"

	"github.com/sockmill/sockmill/engine"
)

func main() {
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:8090"}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) {
			_ = c.Send(m) // fails only if c is closing
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err = e.Run(context.Background()); err != nil { // returns when the context ends
		log.Fatal(err)
	}
}
