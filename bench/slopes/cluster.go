//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/nats"
	"github.com/sockmill/sockmill/hub/nats/embedded"
)

// cluster is nodes that run in this process.
type cluster struct {
	dir     string
	history bool
	nodes   []*node
	got     atomic.Int64 // publications that were delivered
	want    atomic.Int64 // of them
	arrived chan struct{}
	probed  sync.Map // the probes that have come
}

// probe is the Kind of what spread publishes, and with a channel and a receiver, what has come of it.
const probe = 255

type probed struct {
	from    byte // node
	channel string
	to      *receiver
}

type node struct {
	s *embedded.Server
	b *nats.Broker
	r *receiver
}

// receiver counts.
type receiver struct{ c *cluster }

func (r *receiver) Deliver(channel string, p broker.Publication) {
	if p.Kind == probe {
		r.c.probed.Store(probed{p.Data[0], channel, r}, true)
		return
	}
	if r.c.got.Add(1) == r.c.want.Load() {
		r.c.arrived <- struct{}{}
	}
}

func (r *receiver) Interrupted(string) {}

const everywhere = "everywhere" // a channel that is followed at all nodes

func channel(n int) string { return fmt.Sprintf("c%06d", n) }

// start starts a cluster; kind is core, r1 or r3.
func start(ctx context.Context, kind string, nodes int) (c *cluster, err error) {
	replicas, ok := map[string]int{"core": 0, "r1": 1, "r3": 3}[kind]
	if !ok {
		return nil, fmt.Errorf("-kinds: there is no %q", kind)
	}
	c = &cluster{history: replicas > 0, arrived: make(chan struct{}, 1), nodes: make([]*node, nodes)}
	if c.dir, err = os.MkdirTemp("", "sockmill-slopes"); err != nil {
		return nil, err
	}
	routes, err := free(nodes)
	if err != nil {
		return nil, err
	}
	log := zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel), zap.AddStacktrace(zap.FatalLevel)))
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	failed := make([]error, nodes)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			n := &node{r: &receiver{c}}
			c.nodes[i] = n
			name := fmt.Sprintf("node%d", i)
			if n.s, failed[i] = embedded.Start(ctx, embedded.Config{
				Name: name, Dir: filepath.Join(c.dir, name), ClusterListen: routes[i], Peers: routes, Logger: log,
			}); failed[i] != nil {
				return
			}
			n.b, failed[i] = nats.New(ctx, nats.Config{
				Server: n.s, Node: name, NoHistory: !c.history, Replicas: max(1, replicas), Publications: 100, Logger: log,
			})
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// stop ends it. Nobody is left to hand over to, so nothing is waited for.
func (c *cluster) stop() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(func() {
			if n.b != nil {
				_ = n.b.Close()
			}
			if n.s != nil {
				ended, cancel := context.WithCancel(context.Background())
				cancel()
				_ = n.s.Stop(ended)
			}
		})
	}
	all.Wait()
	_ = os.RemoveAll(c.dir)
}

// join has each channel followed at one node, as a hub does it.
func (c *cluster) join(ctx context.Context, channels int) error {
	return atOnce(channels, func(n int) error { return c.follow(ctx, c.nodes[n%len(c.nodes)], channel(n)) })
}

func (c *cluster) follow(ctx context.Context, n *node, channel string) error {
	if err := n.b.Subscribe(ctx, channel, n.r); err != nil || !c.history {
		return err
	}
	_, err := n.b.Read(ctx, channel, broker.Query{})
	return err
}

func (c *cluster) everywhere(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := c.follow(ctx, n, everywhere); err != nil {
			return err
		}
	}
	return nil
}

// spread returns when all nodes know who follows these channels. Without a history, what is published at a node that does not know it yet is lost.
func (c *cluster) spread(ctx context.Context, channels int) error {
	if c.history {
		return nil
	}
	var missing []probed
	for from := range c.nodes {
		for n := range channels {
			missing = append(missing, probed{byte(from), channel(n), c.nodes[n%len(c.nodes)].r}) //nolint:gosec // there are few nodes
		}
		for _, n := range c.nodes {
			missing = append(missing, probed{byte(from), everywhere, n.r}) //nolint:gosec // as above
		}
	}
	for len(missing) > 0 {
		for _, x := range missing {
			if err := c.nodes[x.from].b.Publish(ctx, x.channel, broker.Publication{Kind: probe, Data: []byte{x.from}}); err != nil {
				return err
			}
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
		missing = slices.DeleteFunc(missing, func(x probed) bool {
			_, ok := c.probed.Load(x)
			return ok
		})
	}
	c.probed.Clear()
	return nil
}

// publish publishes so often, at the nodes in turn, and returns when each has been delivered to so many receivers.
func (c *cluster) publish(ctx context.Context, publications int, channel func(n int) string, receivers int) error {
	c.want.Store(c.got.Load() + int64(publications*receivers))
	p := broker.Publication{Data: bytes.Repeat([]byte("x"), 128), Info: new(member(1))}
	err := atOnce(publications, func(n int) error {
		b := c.nodes[n%len(c.nodes)].b
		if !c.history {
			return b.Publish(ctx, channel(n), p)
		}
		_, err := b.Append(ctx, channel(n), p, broker.Keep{Publications: 100, Lifetime: time.Hour})
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-c.arrived:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%d deliveries have not come", c.want.Load()-c.got.Load())
	}
}

// atOnce does something n times, 16 at once.
func atOnce(n int, f func(n int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	failed := make([]error, 16)
	for i := range failed {
		all.Go(func() {
			for failed[i] == nil {
				at := int(next.Add(1)) - 1
				if at >= n {
					return
				}
				failed[i] = f(at)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// free are addresses where nobody listens.
func free(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after the last: no address twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
