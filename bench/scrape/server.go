//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/ops/metrics"
)

// channels is how many the clients are spread over.
const channels = 100

// joinWord is the message by which a connection becomes a client; all others come back.
const joinWord = "join"

// probes are a connection of each loop, to which a goroutine sends.
type probes struct {
	mu sync.Mutex
	of map[*engine.Loop]*engine.Conn
}

// serve prints the addresses of the engine and of /metrics, and serves until the end of its input, from whose first line on it sends to
// the probes.
func serve() error {
	var h *hub.Hub
	p := &probes{of: map[*engine.Loop]*engine.Conn{}}
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0", Timings: true, PingInterval: engine.NoLimit}, engine.Handler{
		OnOpen: func(c *engine.Conn) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.of[c.Loop()] = c
		},
		OnMessage: func(c *engine.Conn, m engine.Message) {
			if string(m.Data) != joinWord {
				_ = c.Send(m)
				return
			}
			_ = c.Go(m, func(ctx context.Context, m engine.Message) {
				if err := join(ctx, h, c); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
				_ = c.Send(m)
			})
		},
	})
	if err != nil {
		return err
	}
	h, err = hub.New(e, hub.Config{
		Channel:          func(string) (hub.Options, error) { return hub.Options{History: 10, Presence: true}, nil },
		PresenceLifetime: time.Hour, // nothing is renewed meanwhile
		Encode:           func(_ int, _ string, p *broker.Publication) engine.Message { return engine.Message{Data: p.Data} },
	})
	if err != nil {
		return err
	}
	c, err := metrics.New(metrics.Config{Engine: e, Hub: h})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := &http.Server{Handler: metrics.Handler(c), ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(l) }()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	fmt.Println(e.Addr(), l.Addr())
	if lines := bufio.NewScanner(os.Stdin); lines.Scan() { // from the first line on it probes
		go p.send(ctx)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	stop()
	return errors.Join(web.Close(), <-done, h.Close(context.Background()))
}

func join(ctx context.Context, h *hub.Hub, c *engine.Conn) error {
	client, err := h.Connect(ctx, c, hub.Connect{User: "user " + strconv.FormatUint(c.ID(), 10)})
	if err == nil {
		_, err = h.Join(ctx, client, "channel "+strconv.FormatUint(c.ID()%channels, 10), hub.Join{})
	}
	return err
}

// send sends to a connection of each loop every millisecond.
func (p *probes) send(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		for _, c := range p.of {
			_ = c.SendText("probe")
		}
		p.mu.Unlock()
	}
}
