// Command hub is a hub server with a page: channels that one follows, who is here, and a counter that proves
// that nothing is lost when a connection is cut.
//
//	go run ./examples/hub [-listen ws://127.0.0.1:8100] [-secret S] [-api-key K]
//
// The SDKs for the Centrifugal protocol connect to /connection/websocket, backends post to /api/METHOD, and load balancers ask
// /healthz and /readyz, all on one port. It ends on SIGINT or SIGTERM, after telling every client to come
// back.
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
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/centrifugal"
)

// options are the flags.
type options struct {
	listen      string
	secret      string
	demoTokens  bool
	apiKey      string
	history     int
	historyFor  time.Duration
	maxChannels int
	unreadyFor  time.Duration
	verbose     bool
}

func (o *options) flags() *flag.FlagSet {
	f := flag.NewFlagSet("hub", flag.ContinueOnError)
	f.StringVar(&o.listen, "listen", "ws://127.0.0.1:8100", "where to listen")
	f.StringVar(&o.secret, "secret", "", "of connection and subscription tokens (JWT, HS256); without it everybody is let in as the name that they give")
	f.BoolVar(&o.demoTokens, "demo-tokens", false, "give the page a token for any name that it asks for; needs -secret")
	f.StringVar(&o.apiKey, "api-key", "", "of the HTTP API; without it there is none")
	f.IntVar(&o.history, "history", 1000, "messages that are kept for each channel; 0: none")
	f.DurationVar(&o.historyFor, "history-for", 10*time.Minute, "how long each of them is kept; 0: it does not end")
	f.IntVar(&o.maxChannels, "max-channels", 128, "that a connection may follow")
	f.DurationVar(&o.unreadyFor, "unready-for", 0, "how long /readyz says 503 before the connections are closed at the end, so that load balancers see it")
	f.BoolVar(&o.verbose, "v", false, "log more than warnings")
	return f
}

// check refuses what does not fit together.
func (o *options) check() error {
	switch {
	case o.demoTokens && o.secret == "":
		return errors.New("-demo-tokens needs -secret: without a secret nobody needs a token")
	case o.history < 0:
		return fmt.Errorf("-history is %d: it must be 0 or more", o.history)
	case o.historyFor < 0:
		return fmt.Errorf("-history-for is %v: it must be 0 or more", o.historyFor)
	case o.maxChannels < 1:
		return fmt.Errorf("-max-channels is %d: it must be 1 or more", o.maxChannels)
	case o.unreadyFor < 0:
		return fmt.Errorf("-unready-for is %v: it must be 0 or more", o.unreadyFor)
	}
	return nil
}

func main() {
	var o options
	f := o.flags()
	if err := f.Parse(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		os.Exit(2)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := run(signals, o, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "hub:", err)
		os.Exit(1)
	}
}

// Bounds of a connection and of the shutdown.
const (
	frameBytesMax = 64 << 10
	replyBytesMax = 4 << 20           // of a recovery
	sendBytesMax  = 2 * replyBytesMax // it has to fit beside what comes next
	closeTimeout  = 3 * time.Second
)

// run serves until the first signal and prints the address to open to out. A second one does not wait for load balancers.
func run(signals <-chan os.Signal, o options, out io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	log, err := newLogger(o.verbose)
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{Logger: log, DrainTimeout: closeTimeout}, engine.Handler{})
	if err != nil {
		return err
	}
	s, err := newServer(e, o, log)
	if err != nil {
		return err
	}
	var ready atomic.Bool
	l, err := e.Listen(engine.Config{
		Addr:                   o.listen,
		HTTP:                   routes(s, o, &ready),
		MessageBytesMax:        frameBytesMax,
		SendBytesMax:           sendBytesMax,
		TopicsPerConnectionMax: 2*o.maxChannels + 1, // a channel has one of messages and one of joins and leaves; a user has one
		SlowCode:               centrifugal.DisconnectSlow.Code,
	}, s.Handler())
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another program; choose another port with -listen ws://127.0.0.1:PORT", o.listen)
	}
	if err != nil {
		return err
	}
	if o.secret == "" {
		log.Warn("no -secret: everybody is let in as the name that they give")
	}
	if o.demoTokens {
		log.Warn("-demo-tokens: everybody gets a token for any name")
	}
	serving, end := context.WithCancel(context.Background())
	defer end()
	done := make(chan error, 1)
	go func() { done <- e.Run(serving) }()
	ready.Store(true)
	_, _ = fmt.Fprintf(out, "hub: open http://%s\n", browsable(l.Addr()))
	select {
	case err = <-done: // it could not go on
		return err
	case <-signals:
	}
	ready.Store(false)
	select {
	case err = <-done:
		return err
	case <-signals:
	case <-time.After(o.unreadyFor):
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	closed := s.Close(ctx) // the clients come back, and may find another node
	end()
	return errors.Join(<-done, closed)
}

func newLogger(verbose bool) (*zap.Logger, error) {
	config := zap.NewDevelopmentConfig()
	config.DisableStacktrace = true
	if !verbose {
		config.Level.SetLevel(zap.WarnLevel)
	}
	return config.Build()
}

// browsable turns the wildcard address into one that a browser can open.
func browsable(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", t.Port)
	}
	return a.String()
}
