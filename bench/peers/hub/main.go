// Command hub is sockmill's hub with the Centrifugal protocol, beside Centrifugo: every
// option at its default, on one loop, but for the rate of commands, which others do not limit.
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
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/centrifugal"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	mode := flag.String("mode", "hub", "hub")
	secret := flag.String("secret", "", "of the tokens (HS256)")
	history := flag.Int("history", 0, "publications that a channel keeps, for an hour; 0: none, and no positions")
	version := flag.Bool("version", false, "print the library and its version")
	flag.Parse()
	if *version {
		fmt.Println("hub github.com/sockmill/sockmill/hub", peer.Revision())
		return
	}
	if err := run(*listen, *mode, *secret, *history); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen, mode, secret string, history int) error {
	if mode != "hub" {
		return fmt.Errorf("-mode is %q: it must be hub", mode)
	}
	log := zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel), zap.AddStacktrace(zap.FatalLevel)))
	tokens, err := token.New(token.Config{Secret: []byte(secret)})
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{Deflate: engine.DeflateOff, Logger: log}, engine.Handler{})
	if err != nil {
		return err
	}
	channel := hub.Options{History: history, Join: hub.Everybody, Publish: hub.Everybody}
	if history > 0 {
		channel.Lifetime = time.Hour
	}
	s, err := centrifugal.New(e, centrifugal.Config{
		Tokens: tokens,
		Hub:    hub.Config{Channel: func(string) (hub.Options, error) { return channel, nil }},
		Logger: log,
	})
	if err != nil {
		return err
	}
	l, err := e.Listen(engine.Config{Addr: "ws://" + listen, SlowCode: 3008}, s.Handler())
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Printf("hub on %s\n", l.Addr())
	return e.Run(ctx)
}
