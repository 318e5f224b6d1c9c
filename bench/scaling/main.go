// Command scaling measures what idle connections cost, in this process's children
// and in the kernel: servers with sockmill, each with its own clients, since a
// process may have only so many descriptors.
//
//	go run ./scaling -connections 1000,10000,100000
//
// Both ends are on this machine, so the kernel's share is that of both. Whatever else
// runs here adds to it, or takes away. It needs Linux, and root for the caches
// of /proc/slabinfo; it ends all that it started.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// perProcess is how many connections a process gets where 20,000 descriptors are all
// it may have.
const perProcess = 17_000

func main() {
	var (
		levels = flag.String("connections", "1000,10000,100000", "how many connections, ascending")
		quiet  = flag.Duration("quiet", 10*time.Second, "rest before a measurement")
		size   = flag.Int("size", 128, "bytes of a message")
		role   = flag.String("role", "", "server or client: what a child is; leave it empty")
		addr   = flag.String("addr", "", "address of a client's server")
	)
	flag.Parse()
	var err error
	switch *role {
	case "server":
		err = server()
	case "client":
		err = client(*addr, *size)
	default:
		err = run(os.Stdout, *levels, *quiet)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, levels string, quiet time.Duration) error {
	var counts []int
	for s := range strings.SplitSeq(levels, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || len(counts) > 0 && n <= counts[len(counts)-1] {
			return fmt.Errorf("-connections is %q: it must be ascending numbers", levels)
		}
		counts = append(counts, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f, err := newFleet(ctx, (counts[len(counts)-1]+perProcess-1)/perProcess)
	defer f.end()
	if err != nil {
		return err
	}
	if err := f.rest(ctx, quiet); err != nil {
		return err
	}
	zero, err := f.sample()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d servers and as many clients; all per connection, above what they had without\n\n", len(f.servers))
	fmt.Fprintln(w, "| connections | handshake, CPU of the server | RSS of the server | idle CPU of all servers | a message each, CPU of the server | RSS after it |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	var caches string
	before := 0
	for _, n := range counts {
		row, c, err := f.level(ctx, before, n, quiet, zero)
		if err != nil {
			return err
		}
		fmt.Fprintln(w, row)
		before, caches = n, c
	}
	fmt.Fprintf(w, "\nthe kernel, for each of the %d connections, both ends:\n%s", before, caches)
	return nil
}

// level goes from before to n connections, and has them exchange a message each.
func (f *fleet) level(ctx context.Context, before, n int, quiet time.Duration, zero sample) (row, caches string, err error) {
	step := func(act func() error) (from, to sample, err error) {
		if from, err = f.sample(); err == nil {
			if err = act(); err == nil {
				to, err = f.sample()
			}
		}
		return from, to, err
	}
	a, b, err := step(func() error { return f.each("open", n) })
	if err != nil {
		return "", "", err
	}
	handshake := (b.cpu - a.cpu) / time.Duration(n-before)
	a, b, err = step(func() error { return f.rest(ctx, quiet) })
	if err != nil {
		return "", "", err
	}
	idle, caches := float64(b.cpu-a.cpu)/float64(b.at.Sub(a.at)), b.kernel.caches(zero.kernel, n)
	x, y, err := step(func() error { return f.each("round", n) })
	if err != nil {
		return "", "", err
	}
	// A loop tells its counters at the end of its turn; a client may have its answer before.
	for late := time.Now().Add(10 * time.Second); y.messages-x.messages < n && time.Now().Before(late); {
		if y, err = f.sample(); err != nil {
			return "", "", err
		}
	}
	if b.open != n || y.messages-x.messages != n {
		return "", "", fmt.Errorf("%d connections are open and %d messages came, not %d", b.open, y.messages-x.messages, n)
	}
	_, c, err := step(func() error { return f.rest(ctx, quiet) })
	if err != nil {
		return "", "", err
	}
	per := func(bytes int64) int64 { return bytes / int64(n) }
	return fmt.Sprintf("| %d | %.1f µs | %d B | %.2f %% | %.1f µs | %d B |", n,
		micro(handshake), per(b.rss-zero.rss), 100*idle,
		micro((y.cpu-x.cpu)/time.Duration(n)), per(c.rss-zero.rss)), caches, nil
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// fleet is the children: clients[i] talks to servers[i].
type fleet struct{ servers, clients []*child }

// child is a process that carries out a line at a time and answers it with one.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func newFleet(ctx context.Context, n int) (*fleet, error) {
	f := &fleet{}
	for range n {
		s, err := start(ctx, "-role", "server")
		if err != nil {
			return f, err
		}
		f.servers = append(f.servers, s)
		addr, err := s.answer()
		if err != nil {
			return f, err
		}
		c, err := start(ctx, "-role", "client", "-addr", addr)
		if err != nil {
			return f, err
		}
		f.clients = append(f.clients, c)
	}
	return f, nil
}

func start(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, args...)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewScanner(out)
	return c, c.cmd.Start()
}

// end ends all children: clients first, whose resets leave no port in TIME_WAIT.
func (f *fleet) end() {
	for _, of := range [][]*child{f.clients, f.servers} {
		for _, c := range of {
			_ = c.in.Close()
		}
		for _, c := range of {
			_ = c.cmd.Wait()
		}
	}
}

func (c *child) answer() (string, error) {
	if !c.out.Scan() {
		return "", fmt.Errorf("%v ended early", c.cmd.Args[1:])
	}
	return c.out.Text(), nil
}

// each has the clients do something with n connections in all, at the same time.
func (f *fleet) each(what string, n int) error {
	for i, c := range f.clients {
		k := n*(i+1)/len(f.clients) - n*i/len(f.clients)
		if _, err := fmt.Fprintln(c.in, what, k); err != nil {
			return err
		}
	}
	for _, c := range f.clients {
		if s, err := c.answer(); err != nil || s != "ok" {
			return fmt.Errorf("%s %d: %s %w", what, n, s, err)
		}
	}
	return nil
}

func (f *fleet) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// sample is what the servers and the kernel hold at an instant.
type sample struct {
	at  time.Time
	cpu time.Duration // of all servers
	rss int64         // of all servers

	open, messages int // of all servers: connections now, messages so far
	kernel         kernel
}

func (f *fleet) sample() (s sample, err error) {
	s.at = time.Now()
	for _, c := range f.servers {
		if _, err := fmt.Fprintln(c.in, "usage"); err != nil {
			return s, err
		}
		line, err := c.answer()
		if err != nil {
			return s, err
		}
		var cpu, rss int64
		var open, messages int
		if _, err := fmt.Sscan(line, &cpu, &rss, &open, &messages); err != nil {
			return s, fmt.Errorf("usage of a server is %q: %w", line, err)
		}
		s.cpu += time.Duration(cpu)
		s.rss += rss
		s.open += open
		s.messages += messages
	}
	s.kernel, err = readKernel()
	return s, err
}
