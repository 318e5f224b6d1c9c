// Command chat is a small messenger in one process: the page, its WebSocket and, for
// comparison, the same chat by ajax polling, all on one port.
//
//	go run ./examples/chat [-listen ws://127.0.0.1:8090] [-v]
//
// It ends on SIGINT or SIGTERM after telling every browser, which then tries to come back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
)

// sendBytesMax is what may wait for a slow reader: a few times the longest history.
const sendBytesMax = 1 << 20

func main() {
	listen := flag.String("listen", "ws://127.0.0.1:8090", "where to listen")
	verbose := flag.Bool("v", false, "log every connection")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *verbose, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends and prints the address to open to out.
func run(ctx context.Context, listen string, verbose bool, out io.Writer) error {
	config := zap.NewDevelopmentConfig()
	config.DisableStacktrace = true
	if !verbose {
		config.Level.SetLevel(zap.WarnLevel)
	}
	log, err := config.Build()
	if err != nil {
		return err
	}
	h := newHub()
	e, err := engine.New(engine.Config{
		Addr:            listen,
		HTTP:            routes(h),
		Logger:          log,
		MessageBytesMax: wireBytesMax,
		SendBytesMax:    sendBytesMax,
		DrainTimeout:    3 * time.Second,
	}, handler(h, log))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another program; choose another port with -listen ws://127.0.0.1:PORT", listen)
	}
	if err != nil {
		return err
	}
	go h.sweep(ctx)
	_, _ = fmt.Fprintf(out, "chat: open http://%s\n", browsable(e.Addr()))
	return e.Run(ctx)
}

// browsable turns the wildcard address into one that a browser can open.
func browsable(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", t.Port)
	}
	return a.String()
}
