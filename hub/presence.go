package hub

import (
	"context"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// announce tells others that the client is in the channel. It is called with the turn.
func (m *membership) announce(ctx context.Context) error {
	h, o := m.c.h, &m.ch.opts
	if o.Presence {
		m.entered = true // perhaps, if it fails
		if err := h.cfg.Presence.Enter(ctx, m.ch.name, *m.seen(), h.cfg.PresenceLifetime); err != nil {
			return err
		}
	}
	if o.JoinLeave {
		return h.cfg.Broker.Publish(ctx, m.ch.name, m.event(KindJoin))
	}
	return nil
}

// denounce tells others that it is not any more.
func (m *membership) denounce(ctx context.Context) (err error) {
	h := m.c.h
	if m.entered {
		m.entered = false
		err = h.cfg.Presence.Leave(ctx, m.ch.name, m.c.id)
	}
	if m.ch.opts.JoinLeave {
		if e := h.cfg.Broker.Publish(ctx, m.ch.name, m.event(KindLeave)); err == nil {
			err = e
		}
	}
	return err
}

// event is KindJoin, which the client itself gets too, or KindLeave, which it does not, even if it is there again.
func (m *membership) event(kind uint8) broker.Publication {
	p := broker.Publication{Kind: kind, Info: m.seen()}
	if kind == KindLeave {
		p.Except = []string{m.c.id}
	}
	return p
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
		for _, m := range c.memberships() {
			if !m.turn.TryLock() { // it is coming or going
				continue
			}
			if m.entered {
				_ = h.cfg.Presence.Enter(h.ctx, m.ch.name, *m.seen(), h.cfg.PresenceLifetime) // the next one may succeed
			}
			m.turn.Unlock()
		}
	}
}

// Present returns who is in a channel with Options.Presence, on all nodes, in no order. It fails with ErrName, ErrClosed
// and the errors of Config.Channel and broker.Presence; with broker.ErrUnavailable if the channel has no presence.
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
	o, err := h.askOf(ctx, channel)
	if err == nil && !o.Presence {
		err = broker.ErrUnavailable
	}
	return err
}
