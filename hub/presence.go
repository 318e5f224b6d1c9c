package hub

import (
	"context"
	"errors"

	"github.com/sockmill/sockmill/hub/broker"
)

// enterPresence has others see that the client is in a channel that it is joining. It is called with the turn, once or more.
func (m *membership) enterPresence(ctx context.Context, ch *channel) error {
	if !ch.opts.Presence || m.entered {
		return nil
	}
	m.entered = true // perhaps, if it fails
	m.c.h.counts.present.Add(1)
	return m.c.h.cfg.Presence.Enter(ctx, ch.name, *m.seen(), m.c.h.cfg.PresenceLifetime)
}

// leavePresence is called with the turn.
func (m *membership) leavePresence(ctx context.Context) error {
	if !m.entered {
		return nil
	}
	m.entered = false
	m.c.h.counts.present.Add(-1)
	return m.c.h.cfg.Presence.Leave(ctx, m.name, m.c.id)
}

// announce tells the members that the client has joined, if the broker can be reached: what was joined is joined. It is called with
// the turn.
func (m *membership) announce(ctx context.Context) error {
	if !m.ch.opts.JoinLeave {
		return nil
	}
	err := m.c.h.cfg.Broker.Publish(ctx, m.ch.name, m.event(KindJoin))
	if temporary(err) {
		return nil
	}
	return err
}

// denounce tells others that it is not there any more. It is called with the turn.
func (m *membership) denounce(ctx context.Context) error {
	err := m.leavePresence(ctx)
	if m.ch.opts.JoinLeave {
		err = errors.Join(err, m.c.h.cfg.Broker.Publish(ctx, m.ch.name, m.event(KindLeave)))
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

// Present returns who is in a channel with Options.Presence, on all nodes, in no order. It fails with ErrName, ErrClosed
// and the errors of Config.Channel and broker.Presence; with broker.ErrUnavailable if the channel has no presence. With a
// broker.MissingError, what is returned is right for all nodes but those.
func (h *Hub) Present(ctx context.Context, channel string) ([]broker.Info, error) {
	if err := h.checkPresence(ctx, channel); err != nil {
		return nil, err
	}
	return h.cfg.Presence.Present(ctx, channel)
}

// Count counts who is in a channel. It fails as Present does, and returns as much.
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
