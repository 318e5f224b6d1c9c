//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/bench/internal/cpu"
	"github.com/sockmill/sockmill/engine"
)

// patience is how long connecting and joining may take.
const patience = time.Minute

// run starts the server and the clients, and measures.
func run(o options) (r *result, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.Command(program, "-role=server")
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close(), child.Wait()) }()
	var address, metrics string
	if _, err := fmt.Fscan(out, &address, &metrics); err != nil {
		return nil, fmt.Errorf("the server says nothing: %w", err)
	}
	c, err := connect("ws://"+address, o.conns)
	if err != nil {
		return nil, err
	}
	defer c.close()
	s := &scraper{url: "http://" + metrics + "/metrics"}
	r = &result{options: o}
	if r.idle, err = measure(o, s, child.Process.Pid); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(in, "probe"); err != nil {
		return nil, err
	}
	stop := c.talk(o.rate)
	defer stop()
	r.busy, err = measure(o, s, child.Process.Pid)
	r.bytes, r.series = s.bytes, s.series
	return r, err
}

// crowd are the clients.
type crowd struct {
	e      *engine.Engine
	done   chan error
	end    context.CancelFunc
	conns  []*engine.Conn
	joined atomic.Int64
	all    chan struct{} // closed when all have joined
}

func connect(url string, n int) (*crowd, error) {
	c := &crowd{done: make(chan error, 1), all: make(chan struct{})}
	var mu sync.Mutex
	failed := make(chan error, 1)
	handler := &engine.Handler{
		OnOpen: func(conn *engine.Conn) {
			mu.Lock()
			c.conns = append(c.conns, conn)
			mu.Unlock()
			_ = conn.SendText(joinWord)
		},
		OnMessage: func(_ *engine.Conn, m engine.Message) {
			if string(m.Data) == joinWord && c.joined.Add(1) == int64(n) {
				close(c.all)
			}
		},
	}
	told := func(err *engine.DialError) {
		select {
		case failed <- err:
		default:
		}
	}
	var err error
	if c.e, err = engine.New(engine.Config{PingInterval: engine.NoLimit}, *handler); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	c.end = end
	go func() { c.done <- c.e.Run(ctx) }()
	for range n {
		if err := c.e.Dial(ctx, engine.Dial{URL: url, OnFailure: told}); err != nil {
			c.close()
			return nil, err
		}
	}
	select {
	case <-c.all:
		return c, nil
	case err = <-failed:
	case <-time.After(patience):
		err = fmt.Errorf("%d of %d clients have joined", c.joined.Load(), n)
	}
	c.close()
	return nil, err
}

func (c *crowd) close() {
	c.end()
	if err := <-c.done; err != nil {
		fmt.Fprintln(os.Stderr, "scrape: the clients:", err)
	}
}

// talk sends messages, rate a second of all connections together, until the returned function is called.
func (c *crowd) talk(rate int) (stop func()) {
	ctx, end := context.WithCancel(context.Background())
	var over sync.WaitGroup
	over.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		began, sent := time.Now(), 0
		for ctx.Err() == nil {
			<-tick.C
			for due := int(time.Since(began).Seconds() * float64(rate)); sent < due; sent++ {
				_ = c.conns[sent%len(c.conns)].SendText("0123456789012345678901234567890123456789012345678901234567890123")
			}
		}
	})
	return func() {
		end()
		over.Wait()
	}
}

// measure has windows of both kinds take turns.
func measure(o options, s *scraper, pid int) (all []*window, err error) {
	for range o.pairs {
		for _, w := range []*window{{}, {scraped: true}} {
			if err := w.pass(o, s, pid); err != nil {
				return nil, err
			}
			all = append(all, w)
		}
	}
	return all, nil
}

// pass lets a window pass. The scrapes that read the server's own numbers lie before and behind what is measured of the CPU.
func (w *window) pass(o options, s *scraper, pid int) error {
	before, err := s.scrape()
	if err != nil {
		return err
	}
	began := time.Now()
	cpu0, err := cpu.Clock(pid)
	if err != nil {
		return err
	}
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for time.Since(began) < o.window {
		<-tick.C
		if w.scraped {
			at := time.Now()
			if _, err := s.scrape(); err != nil {
				return err
			}
			w.took = append(w.took, time.Since(at))
		}
	}
	cpu1, err := cpu.Clock(pid)
	if err != nil {
		return err
	}
	w.length, w.cpu = time.Since(began), time.Duration(cpu1-cpu0)
	after, err := s.scrape()
	if err != nil {
		return err
	}
	w.turns = after.turns.since(&before.turns)
	w.delays = after.delays.since(&before.delays)
	w.connections = after.open
	if after.open < o.conns || after.clients < o.conns {
		return fmt.Errorf("%d connections and %d clients of the hub are left", after.open, after.clients)
	}
	return nil
}
