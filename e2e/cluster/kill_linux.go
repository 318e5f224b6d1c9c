package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
	"github.com/sockmill/sockmill/e2e/cluster/crowd"
)

const (
	killChannels = 200
	backWithin   = 10 * time.Second
)

// killOne kills the node that leads the stream, which is the worst one, under many clients, and measures until all are back at the others.
func (l *lab) killOne(ctx context.Context, o options) error {
	c, err := crowd.Start(crowd.Config{
		Nodes: l.nodes(), Key: apiKey, From: l.from(), Clients: o.kill, Channels: crowd.Names(killChannels), Follow: 2, Publish: 50,
		Every: 200 * time.Millisecond, Silence: backWithin, Seed: o.seed, Book: check.New(), Progress: progress,
	})
	if err != nil {
		return err
	}
	defer c.End()
	if err := c.Ready(ctx, time.Minute); err != nil {
		return err
	}
	if err := c.Acked(ctx, 5*killChannels, time.Minute); err != nil {
		return err
	}
	say("  until now: %+v", c.Tally())
	h, err := l.leader(ctx)
	if err != nil {
		return err
	}
	i := slices.Index(l.hosts, h)
	n, lost := c.At(i), c.Lost()
	say("SIGKILL for %s, which leads the stream, with %d of %d clients, in %d channels", h.name, n, o.kill, killChannels)
	from := time.Now()
	h.kill()
	if err := c.Back(ctx, lost+int64(n), from.Add(backWithin)); err != nil {
		return fmt.Errorf("not all are back: %w; %+v", err, c.Tally())
	}
	back := time.Since(from)
	say("  all are back after %v", back.Round(10*time.Millisecond))
	c.Without(i)
	wrong := c.Settle(ctx, settleWithin)
	t := c.Tally()
	say("  all complete, and the other nodes agree on who is there, after %.1f s; %+v", time.Since(from).Seconds(), t)
	if t.Missed > 0 {
		wrong = append(wrong, fmt.Sprintf("%d subscriptions were told that something was missing", t.Missed))
	}
	if len(wrong) > 0 {
		return errors.New(first(wrong))
	}
	say("%d clients on %d nodes, %d channels: %d lost their node and were back on the others within %.1f s; each channel was complete for every client",
		o.kill, len(l.hosts), killChannels, n, back.Seconds())
	return nil
}
