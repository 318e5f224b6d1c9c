// Command hub is sockmill's hub with the Centrifugal protocol, beside Centrifugo.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sockmill/sockmill/bench/peers/internal/hubpeer"
	"github.com/sockmill/sockmill/bench/peers/internal/peer"
	"github.com/sockmill/sockmill/hub/memory"
)

func main() {
	var o hubpeer.Options
	flag.StringVar(&o.Listen, "listen", "127.0.0.1:0", "address to listen on")
	mode := flag.String("mode", "hub", "hub")
	flag.StringVar(&o.Secret, "secret", "", "of the tokens (HS256)")
	flag.IntVar(&o.History, "history", 0, "publications that a channel keeps, for an hour; 0: none, and no positions")
	flag.BoolVar(&o.Presence, "presence", false, "channels know who is there")
	version := flag.Bool("version", false, "print the library and its version")
	flag.Parse()
	if *version {
		fmt.Println("hub github.com/sockmill/sockmill/hub", peer.Revision())
		return
	}
	if err := run(*mode, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(mode string, o hubpeer.Options) error {
	if mode != "hub" {
		return fmt.Errorf("-mode is %q: it must be hub", mode)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := memory.New(memory.Config{ChannelsMax: memory.NoLimit}) // cluster-idle has more than the default
	if err != nil {
		return err
	}
	defer b.Close()
	o.Broker = b
	return hubpeer.Serve(ctx, o, hubpeer.Log(), func(addr string) { fmt.Printf("hub on %s\n", addr) })
}
