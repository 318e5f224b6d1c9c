// Command bots plays the arena as many players at once, through the engine's
// client, and measures what they get.
//
//	go run ./examples/arena/bots [-url ws://127.0.0.1:8095/play] [-n 1000] [-for 30s] [-slow 10]
//
// Each bot sends 20 inputs a second and decodes every snapshot. Tick to client
// is the time from the instant for which a tick was scheduled to the end of the
// decoding of its snapshot; of a tick for which none came, to that of the next.
// It is by the clock of this machine, and so only meant for a server on it.
// -slow adds players that read at a trickle; nothing of them is in the times.
// The last line is one JSON object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// options are the flags.
type options struct {
	url   string
	n     int
	slow  int
	pause time.Duration // from one reading of a slow player to the next
	span  time.Duration
	loops int
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "ws://127.0.0.1:8095/play", "of the server")
	flag.IntVar(&o.n, "n", 1000, "players")
	flag.DurationVar(&o.span, "for", 30*time.Second, "how long to measure, once all play")
	o.pause = 8 * time.Second
	flag.IntVar(&o.slow, "slow", 0, "more players, that read at a trickle")
	flag.IntVar(&o.loops, "loops", 0, "event loops (0: one for each processor)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bots:", err)
		os.Exit(1)
	}
}

// run plays, and prints the table and the JSON line to out, and how it goes to
// progress.
func run(ctx context.Context, o options, out, progress io.Writer) error {
	c, err := newCrowd(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.e.Run(ctx) }()
	result, err := c.play(ctx, progress)
	cancel()
	stop, cut := <-ended, (*engine.CutError)(nil)
	if err == nil && !errors.As(stop, &cut) { // who does not read does not see the end
		err = stop
	}
	if err != nil {
		return err
	}
	result.print(out)
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", line)
	return err
}
