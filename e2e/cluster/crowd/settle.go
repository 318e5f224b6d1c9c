package crowd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
)

// markBy is the publisher of the messages that end a turn.
const markBy = "mark"

// Settle stops the publishers, publishes one message more to each channel, waits until all clients have what was published
// and the nodes agree on who is there, checks everything, and lets the publishers go on. It returns what is wrong. within is the time
// for each of these.
func (c *Crowd) Settle(ctx context.Context, within time.Duration) (wrong []string) {
	c.gate.Lock()
	defer c.gate.Unlock()
	if w := c.mark(ctx, within); len(w) > 0 {
		wrong = append(wrong, w...)
	} else if w := c.agree(ctx, within); w != "" {
		wrong = append(wrong, w)
	}
	wrong = append(wrong, c.cfg.Book.Check()...)
	c.mu.Lock()
	wrong = append(wrong, c.wrong...)
	c.wrong = nil
	c.mu.Unlock()
	if len(wrong) == 0 {
		c.cfg.Book.Settle()
	}
	return wrong
}

// mark has all clients get a last message in each channel.
func (c *Crowd) mark(ctx context.Context, within time.Duration) (wrong []string) {
	marks := map[string]check.Message{}
	for i, channel := range c.cfg.Channels {
		err := c.until(ctx, within, func() (string, bool) {
			m := check.Message{By: markBy, N: c.marker.Add(1)}
			node := (i + int(m.N)) % len(c.cfg.Nodes) // another one each time
			if node == c.without {
				node = (node + 1) % len(c.cfg.Nodes)
			}
			err := c.one(channel, m, func(ctx context.Context, m check.Message) (*check.Position, error) {
				return c.post(ctx, node, channel, m)
			})
			marks[channel] = m
			return fmt.Sprintf("publish to %s on %s: %v", channel, c.cfg.Nodes[node].Name, err), err == nil
		})
		if err != nil {
			return []string{err.Error()}
		}
	}
	err := c.until(ctx, within, func() (string, bool) {
		var waiting []string
		for _, x := range c.clients {
			for _, channel := range x.channels {
				if id, node := x.there(channel); id == "" || !c.cfg.Book.Has(x.name, channel, marks[channel]) {
					waiting = append(waiting, fmt.Sprintf("%s at %s (subscribed: %v)", channel, c.cfg.Nodes[node].Name, id != ""))
				}
			}
		}
		return fmt.Sprintf("%d subscriptions that have not got the last message: %s", len(waiting), strings.Join(waiting[:min(3, len(waiting))], ", ")), len(waiting) == 0
	})
	if err != nil {
		return []string{err.Error()}
	}
	return nil
}

// agree waits until all nodes, asked by HTTP and by a client of each, name those in each channel who are there.
func (c *Crowd) agree(ctx context.Context, within time.Duration) (wrong string) {
	err := c.until(ctx, within, func() (string, bool) {
		for _, channel := range c.cfg.Channels {
			for node := range c.cfg.Nodes {
				if node == c.without {
					continue
				}
				if w := c.present(ctx, channel, node); w != "" {
					return fmt.Sprintf("presence of %s, asked at %s: %s", channel, c.cfg.Nodes[node].Name, w), false
				}
			}
		}
		return "", true
	})
	if err != nil {
		return err.Error()
	}
	return ""
}

// present asks a node who is in a channel, over HTTP and by a client that is connected to it, and returns what is wrong.
func (c *Crowd) present(ctx context.Context, name string, node int) (wrong string) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	there := map[string]bool{}
	var asks *client
	for _, x := range c.clients {
		id, at := x.there(name)
		if id == "" {
			continue
		}
		there[id] = true
		if at == node {
			asks = x
		}
	}
	var all struct {
		presentResult
		Missing []string
	}
	if err := c.call(ctx, node, "presence", channel{name}, &all); err != nil {
		return err.Error()
	}
	if len(all.Missing) > 0 {
		return fmt.Sprintf("no answer from %v", all.Missing)
	}
	if w := check.Present(there, keys(all.Presence)); w != "" {
		return w
	}
	var stats struct {
		Clients int `json:"num_clients"`
	}
	if err := c.call(ctx, node, "presence_stats", channel{name}, &stats); err != nil {
		return err.Error()
	}
	if stats.Clients != len(there) {
		return fmt.Sprintf("%d are counted, and %d are there", stats.Clients, len(there))
	}
	if asks == nil {
		return ""
	}
	r, err := asks.ask(ctx, command{Presence: &channel{name}})
	switch {
	case err != nil:
		return "asked by a client: " + err.Error()
	case r.Presence == nil:
		return "asked by a client: an answer without a result"
	}
	return check.Present(there, keys(r.Presence.Presence))
}

func keys(m map[string]json.RawMessage) map[string]bool {
	all := map[string]bool{}
	for k := range maps.Keys(m) {
		all[k] = true
	}
	return all
}

// until calls f again and again until it reports true, or fails with what f has said last. Each 2 s it says what is waited for. What f
// reports once the time is over does not count.
func (c *Crowd) until(ctx context.Context, within time.Duration, f func() (waiting string, ok bool)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	again, tell := time.NewTicker(100*time.Millisecond), time.NewTicker(2*time.Second)
	defer again.Stop()
	defer tell.Stop()
	for {
		waiting, ok := f()
		if ok && ctx.Err() == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %s", within.Round(time.Millisecond), waiting)
		case <-tell.C:
			c.cfg.Progress("%s", waiting)
		case <-again.C:
		}
	}
}

// Ready waits until all clients have all of their channels.
func (c *Crowd) Ready(ctx context.Context, within time.Duration) error {
	return c.until(ctx, within, func() (string, bool) {
		n := c.on()
		return fmt.Sprintf("%d of %d clients have their channels", n, len(c.clients)), n == len(c.clients)
	})
}

// Names are the names of the channels with numbers from 0 to n-1.
func Names(n int) []string {
	return slices.Collect(func(yield func(string) bool) {
		for i := range n {
			if !yield(fmt.Sprintf("room-%d", i)) {
				return
			}
		}
	})
}

// Acked waits until so many messages more were acknowledged.
func (c *Crowd) Acked(ctx context.Context, n int64, within time.Duration) error {
	from := c.acked.Load()
	return c.until(ctx, within, func() (string, bool) {
		now := c.acked.Load() - from
		return fmt.Sprintf("%d of %d messages are acknowledged", now, n), now >= n
	})
}

// Lost is how many connections have ended since Tally was called.
func (c *Crowd) Lost() int64 { return c.lost.Load() }

// Back waits until so many connections have ended and all clients have all of their channels again. It fails if that is not so by then.
func (c *Crowd) Back(ctx context.Context, lost int64, by time.Time) error {
	return c.until(ctx, time.Until(by), func() (string, bool) {
		ended, n := c.lost.Load(), c.on()
		return fmt.Sprintf("%d connections have ended, of %d; %d of %d clients have their channels", ended, lost, n, len(c.clients)), ended >= lost && n == len(c.clients)
	})
}

// At is how many clients are connected to a node.
func (c *Crowd) At(node int) (n int) {
	for _, x := range c.clients {
		x.mu.Lock()
		if x.node == node && x.id != "" {
			n++
		}
		x.mu.Unlock()
	}
	return n
}
