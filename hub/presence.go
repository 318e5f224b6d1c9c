package hub

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// announce tells others that the client is in the channel. It is called with the turn.
func (m *membership) announce(ctx context.Context) error {
	h, o := m.c.h, &m.ch.opts
	if o.Presence {
		m.entered = true // perhaps, if it fails
		if err := h.cfg.Presence.Enter(ctx, m.name, *m.info, h.cfg.PresenceLifetime); err != nil {
			return err
		}
	}
	if o.JoinLeave {
		return h.cfg.Broker.Publish(ctx, m.name, m.event(KindJoin))
	}
	return nil
}

// denounce tells others that it is not any more.
func (m *membership) denounce(ctx context.Context) (err error) {
	h := m.c.h
	if m.entered {
		m.entered = false
		err = h.cfg.Presence.Leave(ctx, m.name, m.c.id)
	}
	if m.ch.opts.JoinLeave {
		if e := h.cfg.Broker.Publish(ctx, m.name, m.event(KindLeave)); err == nil {
			err = e
		}
	}
	return err
}

// event is not sent to the client itself.
func (m *membership) event(kind uint8) broker.Publication {
	return broker.Publication{Kind: kind, Info: m.info, Tags: map[string]string{tagExcept: m.c.id}}
}

// renew renews the presence of all clients of this node, until the hub ends.
func (h *Hub) renew(every *time.Ticker) {
	defer h.work.Done()
	defer every.Stop()
	for {
		select {
		case <-every.C:
			h.renewAll()
		case <-h.ctx.Done():
			return
		}
	}
}

func (h *Hub) renewAll() {
	for _, c := range h.Clients() {
		c.mu.Lock()
		of := slices.Collect(maps.Values(c.channels))
		c.mu.Unlock()
		for _, m := range of {
			if !m.turn.TryLock() { // it is coming or going
				continue
			}
			if m.entered {
				_ = h.cfg.Presence.Enter(h.ctx, m.name, *m.info, h.cfg.PresenceLifetime) // the next one may succeed
			}
			m.turn.Unlock()
		}
	}
}

// Present returns who is in a channel with Options.Presence, on all nodes, in no order. It fails with ErrName, ErrClosed
// and the errors of broker.Presence; with broker.ErrUnavailable if the channel has no presence.
func (h *Hub) Present(ctx context.Context, channel string) ([]broker.Info, error) {
	if err := h.checkPresence(ctx, channel); err != nil {
		return nil, err
	}
	return h.cfg.Presence.Present(ctx, channel)
}

// Count counts who is in a channel. It fails as Present does.
func (h *Hub) Count(ctx context.Context, channel string) (broker.Counts, error) {
	if err := h.checkPresence(ctx, channel); err != nil {
		return broker.Counts{}, err
	}
	return h.cfg.Presence.Count(ctx, channel)
}

func (h *Hub) checkPresence(ctx context.Context, channel string) error {
	if err := h.ask(ctx); err != nil {
		return err
	}
	if err := checkChannel(channel); err != nil {
		return err
	}
	if !h.options(channel).Presence {
		return broker.ErrUnavailable
	}
	return nil
}

// Client returns the client of this node that has an ID, or nil. Any goroutine may call it, and the three that
// follow, on a loop too.
func (h *Hub) Client(id string) *Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients[id]
}

// ClientOf returns the client of a connection, or nil.
func (h *Hub) ClientOf(c *engine.Conn) *Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[c]
}

// Clients returns the clients of this node, or those of some users, in no order.
func (h *Hub) Clients(users ...string) (all []*Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(users) == 0 {
		return slices.Collect(maps.Values(h.clients))
	}
	for _, u := range users {
		all = slices.AppendSeq(all, maps.Keys(h.users[u]))
	}
	return all
}

// Users returns the users that have clients on this node, sorted.
func (h *Hub) Users() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.users))
}

// Channels returns the channels that clients of this node are in, with the number of these clients; those
// who are joining count too.
func (h *Hub) Channels() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]int{}
	for name, ch := range h.channels {
		if !strings.HasPrefix(name, string(rune(reserved))) {
			all[name] = ch.users
		}
	}
	return all
}
