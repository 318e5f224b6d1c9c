//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// cost is what something took, for each.
type cost struct {
	cpu   time.Duration
	bytes float64
	each  time.Duration // of the clock
}

func (c cost) String() string {
	return fmt.Sprintf("%.3g µs, %d B", float64(c.cpu.Nanoseconds())/1e3, int64(c.bytes))
}

// meter measures, and takes away what the cluster costs when nobody does anything.
type meter struct{ idle cost } // for each second

func (m *meter) of(n int, f func() error) (c cost, err error) {
	began := time.Now()
	cpu, err := spent()
	if err != nil {
		return c, err
	}
	bytes, err := sent()
	if err != nil {
		return c, err
	}
	if err = f(); err != nil {
		return c, err
	}
	cpu2, err := spent()
	if err != nil {
		return c, err
	}
	bytes2, err := sent()
	if err != nil {
		return c, err
	}
	took := time.Since(began)
	c.each = took / time.Duration(n)
	c.cpu = (cpu2 - cpu - time.Duration(float64(m.idle.cpu)*took.Seconds())) / time.Duration(n)
	c.bytes = (float64(bytes2-bytes) - m.idle.bytes*took.Seconds()) / float64(n)
	return c, nil
}

// row is one line of the table.
type row struct {
	kind            string
	nodes, channels int
	memory          float64 // heap of all nodes for a channel
	idle            cost    // of a node, for each second
	join            cost
	publish         cost
	deliver         cost // at one more node; of one node, nothing
	enter           cost
	count, present  cost
}

func run(ctx context.Context, w io.Writer, o *options) error {
	fmt.Fprintln(w, "| kind | nodes | channels | heap for a channel | idle, a node, a second | join | publish, delivered at one node | publications a second | at one more node | enter | count | present, 100 members |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, kind := range o.kinds {
		for _, nodes := range o.nodes {
			if kind == "r3" && nodes < 3 {
				continue
			}
			for _, channels := range o.channels {
				r, err := measure(ctx, o, kind, nodes, channels)
				if err != nil {
					return fmt.Errorf("%s, %d nodes, %d channels: %w", kind, nodes, channels, err)
				}
				more := ""
				if nodes > 1 {
					more = r.deliver.String()
				}
				fmt.Fprintf(w, "| %s | %d | %d | %.0f B | %v | %v | %v | %.0f | %s | %v | %v | %v |\n", r.kind, r.nodes, r.channels,
					r.memory, r.idle, r.join, r.publish, 1/r.publish.each.Seconds(), more, r.enter, r.count, r.present)
			}
		}
	}
	return nil
}

// measure makes a cluster and measures everything at it.
func measure(ctx context.Context, o *options, kind string, nodes, channels int) (r row, err error) {
	r = row{kind: kind, nodes: nodes, channels: channels}
	c, err := start(ctx, kind, nodes)
	if err != nil {
		return r, err
	}
	defer c.stop()
	var m meter
	heap := heapInUse()
	if r.join, err = m.of(channels, func() error { return c.join(ctx, channels) }); err != nil {
		return r, fmt.Errorf("join: %w", err)
	}
	r.memory = float64(heapInUse()-heap) / float64(channels)
	if err = c.everywhere(ctx); err != nil {
		return r, err
	}
	if err = c.spread(ctx, channels); err != nil {
		return r, err
	}
	idle, err := m.of(1, func() error { return pause(ctx, o.quiet) })
	if err != nil {
		return r, err
	}
	m.idle = cost{cpu: time.Duration(float64(idle.cpu) / idle.each.Seconds()), bytes: idle.bytes / idle.each.Seconds()}
	r.idle = cost{cpu: m.idle.cpu / time.Duration(nodes), bytes: m.idle.bytes / float64(nodes)}
	if r.publish, err = m.of(o.publications, func() error {
		return c.publish(ctx, o.publications, func(n int) string { return channel((n*7919 + n/nodes) % channels) }, 1)
	}); err != nil {
		return r, fmt.Errorf("publish: %w", err)
	}
	all, err := m.of(o.publications, func() error {
		return c.publish(ctx, o.publications, func(int) string { return everywhere }, nodes)
	})
	if err != nil {
		return r, fmt.Errorf("deliver: %w", err)
	}
	if nodes > 1 {
		r.deliver.cpu = (all.cpu - r.publish.cpu) / time.Duration(nodes-1)
		r.deliver.bytes = (all.bytes - r.publish.bytes) / float64(nodes-1)
	}
	return r, c.presence(ctx, o, &m, &r)
}

// presence measures that.
func (c *cluster) presence(ctx context.Context, o *options, m *meter, r *row) (err error) {
	if r.enter, err = m.of(r.channels, func() error {
		return atOnce(r.channels, func(n int) error {
			return c.nodes[n%len(c.nodes)].b.Enter(ctx, channel(n), member(n), time.Hour)
		})
	}); err != nil {
		return fmt.Errorf("enter: %w", err)
	}
	for n := range hundred {
		if err = c.nodes[n%len(c.nodes)].b.Enter(ctx, everywhere, member(n), time.Hour); err != nil {
			return fmt.Errorf("enter: %w", err)
		}
	}
	if r.count, err = m.of(o.questions, func() error {
		return atOnce(o.questions, func(n int) error {
			who, err := c.nodes[n%len(c.nodes)].b.Count(ctx, channel(n%r.channels))
			if err == nil && who.Clients != 1 {
				err = fmt.Errorf("%d are in %s, want 1", who.Clients, channel(n%r.channels))
			}
			return err
		})
	}); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	if r.present, err = m.of(o.questions, func() error {
		return atOnce(o.questions, func(n int) error {
			who, err := c.nodes[n%len(c.nodes)].b.Present(ctx, everywhere)
			if err == nil && len(who) != hundred {
				err = fmt.Errorf("%d are in %s, want %d", len(who), everywhere, hundred)
			}
			return err
		})
	}); err != nil {
		return fmt.Errorf("present: %w", err)
	}
	return nil
}

const hundred = 100

func member(n int) broker.Info {
	return broker.Info{Client: fmt.Sprintf("0123456789abcdef%08d", n), User: fmt.Sprintf("user%08d", n)}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
