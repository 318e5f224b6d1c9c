package admin

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

var (
	serveAt   = flag.String("admin.serve", "", "serve the page at this address until SIGTERM, in place of testing: for the end-to-end tests")
	simulated = flag.Int("admin.simulated", 0, "of so many connections that do not exist; 0: of an engine with a hub")
	withToken = flag.String("admin.token", "", "Config.Token")
	withRead  = flag.String("admin.read-token", "", "Config.ReadToken")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *serveAt == "" {
		m.Run() // its code is that of the process
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // it is a program
	defer stop()
	if err := run(ctx); err != nil {
		panic(err)
	}
}

func run(ctx context.Context) error {
	cfg := Config{Token: *withToken, ReadToken: *withRead, Profile: true}
	if *simulated > 0 {
		cfg.Health = func() Health { return Health{Live: Verdict{OK: true}, Ready: Verdict{OK: true}} }
		h, err := newHandler(cfg, newSimulation(*simulated))
		if err != nil {
			return err
		}
		return servePage(ctx, h)
	}
	e, members, err := program()
	if err != nil {
		return err
	}
	cfg.Engine, cfg.Hub = e, members
	h, err := New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() { ended <- e.Run(running) }()
	err = servePage(ctx, h)
	end()
	return errors.Join(err, <-ended)
}

func servePage(ctx context.Context, h http.Handler) error {
	l, err := net.Listen("tcp", *serveAt)
	if err != nil {
		return err
	}
	server := http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("page on http://%v/\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// program is an engine with two listeners: one answers each message with itself and calls a connection by its User-Agent; at the other one, clients say
// who they are and which channel they join.
func program() (*engine.Engine, *hub.Hub, error) {
	e, err := engine.New(engine.Config{Logger: zap.NewNop(), Describe: func(c *engine.Conn) string {
		name, _ := c.State().(string)
		return name
	}}, engine.Handler{})
	if err != nil {
		return nil, nil, err
	}
	members, err := hub.New(e, hub.Config{Encode: func(_ int, _ string, p *broker.Publication) engine.Message { return engine.Message{Data: p.Data} }})
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(
		listen(e, "echo", &engine.Handler{
			OnUpgrade: func(u *engine.Upgrade) error {
				u.State = u.Request.Fields.Get("User-Agent")
				return nil
			},
			OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.Send(m) },
		}),
		listen(e, "hub", &engine.Handler{OnMessage: func(c *engine.Conn, m engine.Message) {
			_ = c.Go(m, func(ctx context.Context, m engine.Message) {
				var said struct{ Name, Channel string }
				err := json.Unmarshal(m.Data, &said)
				if err == nil {
					_, err = members.Connect(ctx, c, hub.Connect{User: said.Name, Channels: []string{said.Channel}})
				}
				_ = c.SendText(fmt.Sprint("joined: ", err))
			})
		}}),
	)
	return e, members, err
}

func listen(e *engine.Engine, name string, h *engine.Handler) error {
	l, err := e.Listen(engine.Config{Addr: "ws://127.0.0.1:0"}, h)
	if err == nil {
		fmt.Printf("%s on %v\n", name, l)
	}
	return err
}
