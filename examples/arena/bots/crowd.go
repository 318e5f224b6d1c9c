package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/examples/arena/wire"
)

const (
	period        = time.Second / 30 // of the server's ticks
	rampMax       = 60 * time.Second
	settle        = 2 * time.Second // between the last welcome and the measuring
	progressEvery = 2 * time.Second
	errorsShown   = 5
)

// crowd is all bots and what they saw.
type crowd struct {
	options
	e         *engine.Engine
	page      string // of the server: its http:// URL
	tallies   []*tally
	bots      []*bot // the slow ones are last
	playing   atomic.Int64
	measuring atomic.Bool
	leaving   atomic.Bool
	errors    atomic.Uint64
	mu        sync.Mutex
	told      []string // the first errors
}

func newCrowd(o options) (*crowd, error) {
	u, err := url.Parse(o.url)
	if err != nil || u.Scheme != "ws" {
		return nil, fmt.Errorf("-url is %q: it must be like ws://127.0.0.1:8095/play", o.url)
	}
	c := &crowd{options: o, page: "http://" + u.Host}
	c.e, err = engine.New(engine.Config{
		Loops: o.loops, MessageBytesMax: 64 << 10, Deflate: engine.DeflateOff, DrainTimeout: 3 * time.Second,
	}, c.handler())
	if err != nil {
		return nil, err
	}
	for range c.e.Loops() {
		c.tallies = append(c.tallies, newTally(c))
	}
	for i := range o.n + o.slow {
		c.bots = append(c.bots, &bot{crowd: c, name: fmt.Sprintf("bot %d", i+1), slow: i >= o.n})
	}
	return c, nil
}

// report counts an error and keeps the first few.
func (c *crowd) report(format string, args ...any) {
	c.errors.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) < errorsShown {
		c.told = append(c.told, fmt.Sprintf(format, args...))
	}
}

// dial has every bot connect, from many addresses of this machine: a limit of
// the server for each shall not be what is measured, and one address has no
// more than 28,000 ports.
func (c *crowd) dial(ctx context.Context) error {
	u, _ := url.Parse(c.url)
	ip := net.ParseIP(u.Hostname())
	many := ip != nil && ip.IsLoopback() && ip.To4() != nil && runtime.GOOS == "linux" // elsewhere 127.0.0.2 is nobody
	for i, b := range c.bots {
		d := engine.Dial{
			URL: c.url, State: b, Subprotocols: []string{wire.Subprotocol}, Timeout: rampMax,
			OnFailure: func(e *engine.DialError) { c.report("%v", e) },
		}
		if b.slow {
			d.Control = narrow
		}
		if many {
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%250))}
		}
		if err := c.e.Dial(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// narrow gives a slow player a small buffer for what it has not read: the
// kernel would take half a minute of snapshots for it.
func narrow(_, _ string, c syscall.RawConn) (err error) {
	const bytes = 4 << 10
	failed := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
	})
	return errors.Join(failed, err)
}

// play lets the bots in, measures, and takes them out.
func (c *crowd) play(ctx context.Context, progress io.Writer) (*result, error) {
	if err := c.dial(ctx); err != nil {
		return nil, err
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	say := func(phase string) {
		_, _ = fmt.Fprintf(progress, "%s: %d of %d play, %d snapshots, %d errors\n", phase, c.playing.Load(), len(c.bots), c.snapshots(), c.errors.Load())
	}
	ramp := time.After(rampMax)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for c.playing.Load() < int64(len(c.bots)) {
		select {
		case <-ctx.Done():
			return nil, errors.New("interrupted")
		case <-ramp:
			return nil, fmt.Errorf("only %d of %d players came in within %v: %v", c.playing.Load(), len(c.bots), rampMax, c.firstErrors())
		case <-tick.C:
			say("joining")
		case <-look.C:
			if c.errors.Load() > 0 && c.playing.Load() == 0 {
				return nil, fmt.Errorf("no player came in: %v", c.firstErrors())
			}
		}
	}
	if err := pass(ctx, settle, tick.C, func() { say("settling") }); err != nil {
		return nil, err
	}
	r := &result{N: c.n, Slow: c.slow}
	before, err := c.metrics(ctx)
	if err != nil {
		return nil, err
	}
	cpu, began := cpuTime(), time.Now()
	c.measuring.Store(true)
	if err := pass(ctx, c.span, tick.C, func() { say("measuring") }); err != nil {
		return nil, err
	}
	c.measuring.Store(false)
	r.Seconds, r.BotsCPUPct = time.Since(began).Seconds(), 100*(cpuTime()-cpu).Seconds()/time.Since(began).Seconds()
	after, err := c.metrics(ctx)
	if err != nil {
		return nil, err
	}
	c.leaving.Store(true)
	c.sum(r)
	r.server(before, after)
	return r, nil
}

// pass waits for d, and calls each at every tick.
func pass(ctx context.Context, d time.Duration, tick <-chan time.Time, each func()) error {
	over := time.After(d)
	for {
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case <-over:
			return nil
		case <-tick:
			each()
		}
	}
}

func (c *crowd) firstErrors() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
