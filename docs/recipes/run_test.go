package recipes

import (
	"context"
	"errors"
	"log"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// run runs an engine until the function that it returns is called. A program of
// your own calls e.Run(ctx) in main, as examples/echo does.
func run(e *engine.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			log.Println(err)
		}
	}
}

// visitor is a client, in place of a browser.
type visitor struct {
	*engine.Conn
	heard  chan string
	closed chan struct{}
}

// visit dials. A visitor that is refused is not there, but the status is.
func visit(client *engine.Engine, d engine.Dial) (v *visitor, status int) {
	v = &visitor{heard: make(chan string, 100), closed: make(chan struct{})}
	opened := make(chan error, 1)
	d.Handler = &engine.Handler{
		OnOpen:    func(c *engine.Conn) { v.Conn = c; opened <- nil },
		OnMessage: func(_ *engine.Conn, m engine.Message) { v.heard <- m.Text() },
		OnClose:   func(*engine.Conn, *engine.CloseError) { close(v.closed) },
	}
	d.OnFailure = func(e *engine.DialError) { opened <- e }
	err := client.Dial(context.Background(), d)
	if err == nil {
		err = <-opened
	}
	var refused *codec.HandshakeError
	switch {
	case err == nil:
		return v, 101
	case errors.As(err, &refused):
		return nil, refused.Status
	}
	log.Fatal(err)
	return nil, 0
}

// leave closes, and waits until the server has answered.
func (v *visitor) leave() {
	_ = v.Close(protocol.CloseNormal, "")
	<-v.closed
}

// server makes an engine on a free port.
func server(cfg engine.Config, h engine.Handler) *engine.Engine {
	cfg.Addr = "ws://127.0.0.1:0"
	e, err := engine.New(cfg, h)
	if err != nil {
		log.Fatal(err)
	}
	return e
}

// serve runs a server, and an engine for its visitors.
func serve(e *engine.Engine) (client *engine.Engine, stop func()) {
	client, err := engine.New(engine.Config{}, engine.Handler{})
	if err != nil {
		log.Fatal(err)
	}
	stopServer, stopClient := run(e), run(client)
	return client, func() { stopClient(); stopServer() }
}
