// Command echo answers every message with itself. With -mode broadcast it sends
// each message to every connection, with -mode address it answers with the
// client's address.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() (err error) {
	var cfg engine.Config
	limitFlags(&cfg)
	flag.StringVar(&cfg.Addr, "listen", "ws://127.0.0.1:8091", "URL to listen on")
	mode := flag.String("mode", "echo", "echo: answer each message with itself; broadcast: send it to every connection; address: answer with the client's address")
	flag.Func("trusted-proxies", "addresses or prefixes of proxies that say who the client is, with commas between", func(s string) error {
		cfg.TrustedProxies = strings.Split(s, ",")
		return nil
	})
	deflate := flag.Bool("deflate", true, "compress messages for clients that offer it (RFC 7692)")
	flag.Parse()
	if *deflate {
		cfg.Deflate = engine.DeflateTakeover
	}
	cfg.Logger = zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel), zap.AddStacktrace(zap.FatalLevel)))

	var e *engine.Engine
	answer := func(c *engine.Conn, m engine.Message) {
		_ = c.Send(m) // fails only if c is closing: nobody is left to answer
	}
	switch *mode {
	case "echo":
	case "address":
		answer = func(c *engine.Conn, _ engine.Message) { _ = c.SendText(c.ClientAddr().String()) }
	case "broadcast":
		answer = func(_ *engine.Conn, m engine.Message) {
			if err := e.Broadcast(m); err != nil {
				cfg.Logger.Warn("broadcast", zap.Error(err))
			}
		}
	default:
		return fmt.Errorf("-mode is %q: it must be echo, broadcast or address", *mode)
	}
	if e, err = engine.New(cfg, engine.Handler{OnMessage: answer}); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Printf("%s on %s\n", *mode, e.Addr())
	fmt.Printf("up to %d connections\n", e.Stats().Most)
	return e.Run(ctx)
}
