// Command server runs the hub that the SDKs are tested with, until SIGINT or SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/e2e/hub/testserver"
)

func main() {
	var cfg testserver.Config
	flag.StringVar(&cfg.Addr, "listen", "ws://127.0.0.1:0", "where to listen")
	flag.StringVar(&cfg.Secret, "secret", "", "of tokens (JWT, HS256)")
	flag.StringVar(&cfg.APIKey, "api-key", "", "of the HTTP API")
	flag.Parse()
	cfg.Logger = zap.Must(zap.NewDevelopment())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := testserver.Run(ctx, cfg, func(a net.Addr) { fmt.Println("server: listening on", a) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
