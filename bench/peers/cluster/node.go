package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/sockmill/sockmill/bench/peers/internal/hubpeer"
	"github.com/sockmill/sockmill/hub/nats"
	"github.com/sockmill/sockmill/hub/nats/embedded"
)

// node is one node: a NATS server, a broker at it, and the hub.
func node(ctx context.Context, o *options) (err error) {
	if o.profile != "" {
		f, err := os.Create(filepath.Join(o.profile, fmt.Sprintf("node%d.pprof", o.node)))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	log := hubpeer.Log()
	routes := strings.Split(o.routes, ",")
	name := fmt.Sprintf("node%d", o.node)
	s, err := embedded.Start(ctx, embedded.Config{Name: name, Dir: o.dir, ClusterListen: routes[o.node], Peers: routes, Logger: log})
	if err != nil {
		return err
	}
	defer func() {
		patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = errors.Join(err, stopped(s.Stop(patience)))
	}()
	b, err := nats.New(ctx, nats.Config{
		Server: s, Node: name, NoHistory: o.History == 0, Replicas: o.replicas, Publications: max(o.History, 1),
		Lifetime: hubpeer.Lifetime, Logger: log,
	})
	if err != nil {
		return err
	}
	defer b.Close()
	o.Broker = b
	return hubpeer.Serve(ctx, o.Options, log, func(addr string) { fmt.Printf("hub on %s\n", addr) })
}

// stopped: all nodes end at once, so that nobody may be left to hand over to.
func stopped(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}
