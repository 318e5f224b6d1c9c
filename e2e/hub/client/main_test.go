// Package client tests servers of the Centrifugal protocol with centrifuge-go, and with gocent as the backend: the one of
// testserver, or the one that the flags name.
package client

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"testing"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/e2e/hub/testserver"
)

var (
	addr   = flag.String("addr", "", "host:port of the server; empty: one of our own is started")
	secret = flag.String("secret", "secret", "of tokens")
	apiKey = flag.String("api-key", "key", "of the HTTP API")
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "32") // they wait more than they work
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if *addr != "" {
		return m.Run(), nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	listening := make(chan net.Addr, 1)
	done := make(chan error, 1)
	cfg := testserver.Config{Addr: "ws://127.0.0.1:0", Secret: *secret, APIKey: *apiKey, Logger: zap.NewNop()}
	go func() { done <- testserver.Run(ctx, cfg, func(a net.Addr) { listening <- a }) }()
	select {
	case err := <-done:
		return 1, err
	case a := <-listening:
		*addr = a.String()
	}
	code := m.Run()
	cancel()
	return code, <-done
}
