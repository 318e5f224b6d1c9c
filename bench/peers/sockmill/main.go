// Command sockmill is sockmill beside its peers: every option at its default, as
// in examples/echo.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
	"github.com/sockmill/sockmill/engine"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	mode := flag.String("mode", peer.Echo, "echo, broadcast or topics")
	deflate := flag.Bool("deflate", false, "compress messages for clients that offer it")
	alone := flag.Bool("no-takeover", false, "compress each message by itself")
	cert := flag.String("cert", "", "PEM file of the certificate; then TLS is spoken, which needs -key, too")
	key := flag.String("key", "", "PEM file of its key")
	metrics := flag.Bool("metrics", false, "measure how long things take, and read the metrics every second")
	version := flag.Bool("version", false, "print the library and its version")
	flag.Parse()
	if *version {
		fmt.Println("sockmill github.com/sockmill/sockmill", peer.Revision())
		return
	}
	if err := run(*listen, *mode, *deflate, *alone, *metrics, *cert, *key); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen, mode string, deflate, alone, metrics bool, cert, key string) (err error) {
	cfg := engine.Config{
		Addr:    "ws://" + listen,
		Deflate: engine.DeflateOff,
		Timings: metrics,
		Logger:  zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel), zap.AddStacktrace(zap.FatalLevel))),
	}
	if cert != "" {
		cfg.Addr, cfg.CertFile, cfg.KeyFile = "wss://"+listen, cert, key
	}
	switch {
	case deflate && alone:
		cfg.Deflate = engine.DeflateNoTakeover
	case deflate:
		cfg.Deflate = engine.DeflateTakeover
	}
	var e *engine.Engine
	onMessage := map[string]func(*engine.Conn, engine.Message) error{
		peer.Echo:      func(c *engine.Conn, m engine.Message) error { return c.Send(m) },
		peer.Broadcast: func(_ *engine.Conn, m engine.Message) error { return e.Broadcast(m) },
		peer.Topics: func(c *engine.Conn, m engine.Message) error {
			verb, topic, payload := peer.Command(m.Data)
			switch verb {
			case 's':
				return c.Subscribe(string(topic))
			case 'p':
				return e.Publish(string(topic), engine.Message{Type: m.Type, Data: payload})
			}
			return nil
		},
	}[mode]
	if onMessage == nil {
		return fmt.Errorf("-mode is %q: it must be echo, broadcast or topics", mode)
	}
	e, err = engine.New(cfg, engine.Handler{OnMessage: func(c *engine.Conn, m engine.Message) {
		_ = onMessage(c, m) // fails only if c is closing: nobody is left to answer
	}})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if metrics {
		go read(ctx, e)
	}
	fmt.Printf("%s on %s\n", mode, e.Addr())
	return e.Run(ctx)
}

// read does what a monitoring system does, only more often.
func read(ctx context.Context, e *engine.Engine) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = e.Metrics()
		case <-ctx.Done():
			return
		}
	}
}
