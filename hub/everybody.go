package hub

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/sockmill/sockmill/hub/broker"
)

// everybody are all clients of this node. It is the receiver of the broker for what is published to all. It subscribes with the first
// client, and to what is published to users too, if the broker has broker.Prefixes.
type everybody struct {
	h     *Hub
	asked *result // of asking the broker; nil: it was not asked, or has refused. Guarded by Hub.mu

	mu      sync.Mutex           // guards what follows, and Client.seated: deliveries and beginnings have one order
	topics  []string             // of the engine, by format
	seated  []int                // how many clients get what is published, by format
	opening map[*Client]struct{} // have not begun
}

func (a *everybody) init(h *Hub) {
	a.h, a.seated, a.opening = h, make([]int, h.cfg.Formats), map[*Client]struct{}{}
	for range h.cfg.Formats {
		a.topics = append(a.topics, newTopic())
	}
}

// ask subscribes this node, unless it has.
func (a *everybody) ask(ctx context.Context) error {
	h := a.h
	h.mu.Lock()
	asked := a.asked
	if asked == nil && !h.closed {
		asked = newResult()
		a.asked = asked
		h.work.Add(1)
		go a.begin(asked)
	}
	h.mu.Unlock()
	if asked == nil {
		return ErrClosed
	}
	return asked.wait(ctx)
}

func (a *everybody) begin(asked *result) {
	defer a.h.work.Done()
	if asked.err = a.subscribe(); asked.err != nil {
		a.h.mu.Lock()
		a.asked = nil
		a.h.mu.Unlock()
	}
	close(asked.done)
}

func (a *everybody) subscribe() error {
	h := a.h
	ctx, cancel := context.WithTimeout(h.ctx, h.patience)
	defer cancel()
	if b := h.prefixes; b != nil {
		if err := b.SubscribePrefix(ctx, userPrefix, (*users)(h)); err != nil {
			return err
		}
	}
	return h.cfg.Broker.Subscribe(ctx, everybodyName, a)
}

// end is called once, when all clients have finished. The broker may be closed.
func (a *everybody) end() {
	ctx, cancel := a.h.upkeep()
	defer cancel()
	if b := a.h.prefixes; b != nil {
		_ = b.UnsubscribePrefix(ctx, userPrefix, (*users)(a.h))
	}
	_ = a.h.cfg.Broker.Unsubscribe(ctx, everybodyName, a)
}

// opens is called with each client before it is known.
func (a *everybody) opens(c *Client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.opening[c] = struct{}{}
}

// enter is called when the client has been told what it has to be told first.
func (a *everybody) enter(c *Client) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := c.start(func() error { return c.conn.Subscribe(a.topics[c.format]) })
	if err == nil {
		delete(a.opening, c)
		c.seated = true
		a.seated[c.format]++
	}
	return err
}

// leave is called once for each client.
func (a *everybody) leave(c *Client) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !c.seated {
		delete(a.opening, c)
		return
	}
	c.seated = false
	a.seated[c.format]--
	_ = c.conn.Unsubscribe(a.topics[c.format]) // it may be closed
}

// Deliver implements broker.Receiver.
func (a *everybody) Deliver(_ string, p broker.Publication) {
	a.h.counts.delivered.Add(1)
	if p.Kind == kindDirect {
		a.h.giveOne(&p, nil)
		return
	}
	a.give(&p)
}

// give sends a publication to all clients, but those that it excepts, and returns to how many.
func (a *everybody) give(p *broker.Publication) (given int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, out := &sent{p: *p}, outlet{h: a.h}
	for f, n := range a.seated {
		but := a.h.excluded(p, f, func(c *Client) bool { return c.seated })
		if n == len(but) {
			continue
		}
		given += n - len(but)
		if err := out.spread(x, f, a.topics[f], but, a.others(f, but)); err != nil {
			for c := range a.others(f, but) {
				c.closeInsufficient()
			}
		}
	}
	for c := range a.opening {
		if !slices.Contains(p.Except, c.id) {
			out.give(x, c, false)
			given++
		}
	}
	a.h.counts.sent.Add(uint64(given))
	return given
}

// others are those who get what is published in a format, but some. It is called with the lock.
func (a *everybody) others(format int, but []*Client) iter.Seq[*Client] {
	return func(yield func(*Client) bool) {
		for _, c := range a.h.Clients() {
			if c.seated && int(c.format) == format && !slices.Contains(but, c) && !yield(c) {
				return
			}
		}
	}
}

// Interrupted implements broker.Receiver.
func (a *everybody) Interrupted(string) {}
