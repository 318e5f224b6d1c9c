// Command follow subscribes to a channel with centrifuge-go and prints what it gets, one JSON object a line, until SIGINT or
// SIGTERM.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

func main() {
	url := flag.String("url", "", "of the server")
	token := flag.String("token", "", "of the connection")
	channel := flag.String("channel", "", "to subscribe to")
	format := flag.String("format", "json", "json or protobuf")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := follow(ctx, *url, *token, *channel, *format); err != nil {
		fmt.Fprintln(os.Stderr, "follow:", err)
		os.Exit(1)
	}
}

// line is what is printed, of a publication or of a subscription.
type line struct {
	Data          json.RawMessage `json:"data,omitempty"`
	Offset        uint64          `json:"offset,omitempty"`
	Subscribed    bool            `json:"subscribed,omitempty"`
	WasRecovering bool            `json:"wasRecovering"`
	Recovered     bool            `json:"recovered"`
}

func follow(ctx context.Context, url, token, channel, format string) error {
	client := centrifuge.NewJsonClient
	if format == "protobuf" {
		client = centrifuge.NewProtobufClient
	}
	c := client(url, centrifuge.Config{
		Token: token, ReadTimeout: 500 * time.Millisecond, MinReconnectDelay: 10 * time.Millisecond, MaxReconnectDelay: 200 * time.Millisecond,
	})
	defer c.Close()
	s, err := c.NewSubscription(channel, centrifuge.SubscriptionConfig{MinResubscribeDelay: 10 * time.Millisecond, MaxResubscribeDelay: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout) // the callbacks are one after the other
	s.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		_ = out.Encode(line{Subscribed: true, WasRecovering: e.WasRecovering, Recovered: e.Recovered})
	})
	s.OnPublication(func(e centrifuge.PublicationEvent) {
		_ = out.Encode(line{Data: e.Data, Offset: e.Offset})
		go func() { _, _ = s.PresenceStats(ctx) }() // something to send; the answer may be cut off
	})
	if err := s.Subscribe(); err != nil {
		return err
	}
	_ = c.Connect() // if it fails, it is tried again
	<-ctx.Done()
	return nil
}
