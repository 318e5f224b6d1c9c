// Command storm measures what becomes of a server when another one ends and its clients come back at once: handshakes in each
// 100 ms at the server that they come back to. It ends the first server by Shutdown, in stages (engine.Drain), and in stages with
// times to come back (Drain.Comeback).
//
//	go run ./storm -clients 10000 -over 20s
//
// Both servers and the clients are processes of their own, so that a limit of 20,000 descriptors is enough. Clients that are closed
// connect to the other server at once, or after the time that the close frame asks for. An attempt that fails is counted, and made again at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// roleEnv says what a child process is.
const roleEnv = "SOCKMILL_STORM_ROLE"

const (
	bucket     = 100 * time.Millisecond
	processes  = 2 // of clients
	ratioBound = 1.5
)

type options struct {
	clients        int
	over, comeback time.Duration
	first, second  string // addresses of the servers, for the clients
}

func main() {
	o := options{}
	flag.IntVar(&o.clients, "clients", 10_000, "how many there are")
	flag.DurationVar(&o.over, "over", 20*time.Second, "over what time the stop in stages closes them")
	flag.DurationVar(&o.comeback, "comeback", 0, "for a child process")
	flag.StringVar(&o.first, "first", "", "for a child process")
	flag.StringVar(&o.second, "second", "", "for a child process")
	ways := flag.String("ways", strings.Join(slices.Collect(names()), ","), "how the server is ended")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch os.Getenv(roleEnv) {
	case "":
		err = compare(ctx, &o, strings.Split(*ways, ","))
	case "ends":
		err = serveAndEnd(ctx, &o)
	case "stays":
		err = serveAndCount(ctx, &o)
	case "clients":
		err = comeBack(ctx, &o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

// way is how the first server is ended.
type way struct {
	name           string
	over, comeback float64 // parts of -over
}

var all = []way{{"shutdown", 0, 0}, {"staged", 1, 0}, {"comeback", 0.5, 0.5}}

func names() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, w := range all {
			if !yield(w.name) {
				return
			}
		}
	}
}

// compare ends a server in each way, and prints what came to the other one.
func compare(ctx context.Context, o *options, ways []string) error {
	tab := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "way\tclients\ttook\tpeak/100ms\tmean/100ms\tpeak/mean\tpeak/even mean\tfailed\t")
	even := float64(o.clients) / (float64(o.over) / float64(bucket))
	bad := false
	for _, w := range all {
		if !slices.Contains(ways, w.name) {
			continue
		}
		r, err := measure(ctx, o, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		peak, mean := r.figures()
		fmt.Fprintf(tab, "%s\t%d\t%v\t%d\t%.1f\t%.2f\t%.2f\t%d\t\n", w.name, o.clients, time.Duration(len(r.Buckets))*bucket, peak, mean, float64(peak)/mean, float64(peak)/even, r.failed)
		fmt.Fprintln(os.Stderr, w.name, "handshakes in each 100 ms:", r.Buckets)
		bad = bad || w.over > 0 && float64(peak)/mean >= ratioBound
	}
	_ = tab.Flush()
	fmt.Printf("the even mean is that of %d clients over %v\n", o.clients, o.over)
	if bad {
		return fmt.Errorf("in stages, the peak is not below %v of the mean", ratioBound)
	}
	return nil
}

// result is what the second server has counted.
type result struct {
	Buckets []int // from the first handshake on
	failed  int   // attempts
}

func (r *result) figures() (peak int, mean float64) {
	sum := 0
	for _, n := range r.Buckets {
		peak, sum = max(peak, n), sum+n
	}
	return peak, float64(sum) / float64(max(len(r.Buckets), 1))
}

// measure runs the processes of one way.
func measure(ctx context.Context, o *options, w way) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, o.over+2*time.Minute)
	defer cancel()
	var children []*child
	defer func() {
		for _, c := range children {
			c.end()
		}
	}()
	begin := func(role string, args ...string) (*child, error) {
		c, err := start(ctx, role, args...)
		if err == nil {
			children = append(children, c)
		}
		return c, err
	}
	part := func(of float64) string { return (time.Duration(of * float64(o.over))).String() }
	stays, err := begin("stays", "-clients", fmt.Sprint(o.clients))
	if err != nil {
		return nil, err
	}
	ends, err := begin("ends", "-over", part(w.over), "-comeback", part(w.comeback))
	if err != nil {
		return nil, err
	}
	second, err := stays.line()
	if err != nil {
		return nil, err
	}
	first, err := ends.line()
	if err != nil {
		return nil, err
	}
	var clients []*child
	for i := range processes {
		n := (o.clients + i) / processes
		c, err := begin("clients", "-clients", fmt.Sprint(n), "-first", first, "-second", second)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	for _, c := range clients {
		if _, err := c.line(); err != nil { // all are there
			return nil, err
		}
	}
	if err := ends.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return nil, err
	}
	r := new(result)
	if err := stays.read(r); err != nil {
		return nil, err
	}
	for _, c := range clients {
		var failed int
		if err := errors.Join(c.cmd.Process.Signal(syscall.SIGTERM), c.read(&failed)); err != nil {
			return nil, err
		}
		r.failed += failed
	}
	return r, nil
}

// serveAndEnd is the first server.
func serveAndEnd(ctx context.Context, o *options) error {
	e, err := engine.New(engine.Config{
		Addr: "ws://127.0.0.1:0", HalfOpenMax: engine.NoLimit, DrainTimeout: time.Minute,
		Drain: engine.Drain{Over: o.over, Comeback: o.comeback},
	}, engine.Handler{})
	if err != nil {
		return err
	}
	fmt.Println("ws://" + e.Addr().String())
	return e.Run(ctx)
}
