// Command arena is a game for many: cells that eat and grow, thirty times a
// second, in the browser. The page, its WebSocket and its measurements are on
// one port.
//
//	go run ./examples/arena [-listen ws://127.0.0.1:8095] [-loops 2] [-npcs 24] [-players 5000] [-v]
//
// It ends on SIGINT or SIGTERM.
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
	"github.com/sockmill/sockmill/examples/arena/wire"
)

// options are the flags.
type options struct {
	listen  string
	loops   int
	npcs    int
	players int
	seed    uint64
	verbose bool
	grace   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "ws://127.0.0.1:8095", "where to listen")
	flag.IntVar(&o.loops, "loops", 0, "event loops (0: one for each processor)")
	flag.IntVar(&o.npcs, "npcs", 24, "players that the server plays itself while others are missing")
	flag.IntVar(&o.players, "players", 5000, "that may play, those included whose connection is lost; above: 1013")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the world's chance")
	flag.DurationVar(&o.grace, "grace", 30*time.Second, "how long the cells of a lost player wait")
	flag.BoolVar(&o.verbose, "v", false, "log every connection")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "arena:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends and prints the address to open to out.
func run(ctx context.Context, o options, out io.Writer) error {
	config := zap.NewDevelopmentConfig()
	config.DisableStacktrace = true
	if !o.verbose {
		config.Level.SetLevel(zap.WarnLevel)
	}
	log, err := config.Build()
	if err != nil {
		return err
	}
	g := newGame(o, log)
	e, err := open(o, g)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another program; choose another port with -listen ws://127.0.0.1:PORT", o.listen)
	}
	if err != nil {
		return err
	}
	g.start()
	_, _ = fmt.Fprintf(out, "arena: open http://%s\n", browsable(e.Addr()))
	return e.Run(ctx)
}

// open makes the engine and gives the game a place on it.
func open(o options, g *game) (*engine.Engine, error) {
	e, err := engine.New(engine.Config{
		Addr:            o.listen,
		HTTP:            routes(g),
		Logger:          g.log,
		Loops:           o.loops,
		MessageBytesMax: wire.ClientBytesMax,
		// A player who does not read costs this much: a snapshot on its way, and
		// the newest one behind it.
		NotSentBytesMax:   4 << 10,
		SendBytesHigh:     16 << 10,
		SendBytesMax:      64 << 10,
		Deflate:           engine.DeflateOff, // thousands of small binary messages a second
		WriteStallTimeout: 20 * time.Second,
		PingInterval:      10 * time.Second,
		DrainTimeout:      3 * time.Second,
	}, handler(g))
	if err != nil {
		return nil, err
	}
	if err := g.live(e, o.players); err != nil {
		return nil, errors.Join(err, e.Shutdown(context.Background()))
	}
	return e, nil
}

// browsable turns the wildcard address into one that a browser can open.
func browsable(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", t.Port)
	}
	return a.String()
}
