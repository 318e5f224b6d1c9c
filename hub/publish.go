package hub

import (
	"context"
	"errors"
	"slices"

	"github.com/sockmill/sockmill/hub/broker"
)

// Publication is what a program publishes. Nobody may change what it refers to afterwards.
type Publication struct {
	Data []byte
	Info *broker.Info      // of who publishes; nil: nobody in particular
	Tags map[string]string // of the program

	Except []string // clients, by their ID, that do not get it, now and by recovery. Who reads the history sees it
	Key    string   // tells repeated calls from new ones in a channel with a history, as broker.Keep.Key

	NoHistory bool // it is not kept in a channel with a history, has no position, and may overtake what is kept
}

func (p *Publication) forBroker() broker.Publication {
	return broker.Publication{Data: p.Data, Info: p.Info, Tags: p.Tags, Except: p.Except}
}

// Publish publishes to a channel. With a history it returns the position. What nil means is said by the broker: with
// package memory, that the publication is queued on the loops of all members. It fails with ErrName, ErrClosed and the
// errors of Config.Channel, broker.Broker and broker.History.
func (h *Hub) Publish(ctx context.Context, channel string, p Publication) (broker.Position, error) {
	o, err := h.askOf(ctx, channel)
	if err != nil {
		return broker.Position{}, err
	}
	return h.publishTo(ctx, channel, &o, &p)
}

func (h *Hub) publishTo(ctx context.Context, channel string, o *Options, p *Publication) (broker.Position, error) {
	if o.History > 0 && !p.NoHistory {
		at, err := h.cfg.History.Append(ctx, channel, p.forBroker(), broker.Keep{Publications: o.History, Lifetime: o.Lifetime, Key: p.Key})
		return at, h.published(err)
	}
	return broker.Position{}, h.published(h.cfg.Broker.Publish(ctx, channel, p.forBroker()))
}

// published counts a publication that the brokers have taken.
func (h *Hub) published(err error) error {
	if err == nil {
		h.counts.published.Add(1)
	}
	return err
}

// PublishUsers is PublishTo for several users: each gets it once, whether named twice or not. If it fails for some, the others get it.
func (h *Hub) PublishUsers(ctx context.Context, users []string, p Publication) (err error) {
	if err := h.ask(ctx); err != nil {
		return err
	}
	for _, user := range users {
		if err := checkUser(user); err != nil {
			return err
		}
	}
	users = slices.Clone(users)
	slices.Sort(users)
	for _, user := range slices.Compact(users) {
		if e := h.published(h.cfg.Broker.Publish(ctx, userPrefix+user, p.forBroker())); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

// History reads publications of a channel, as broker.History does. It fails with ErrName, ErrClosed and the
// errors of Config.Channel and broker.History; with broker.ErrUnavailable if the channel has none.
func (h *Hub) History(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	if err := h.checkHistory(ctx, channel); err != nil {
		return broker.Page{}, err
	}
	return h.cfg.History.Read(ctx, channel, q)
}

// RemoveHistory removes what is kept of a channel. Who comes back to another node after a short time may still recover from what that keeps
// for it (Config.RingMax). It fails as History does.
func (h *Hub) RemoveHistory(ctx context.Context, channel string) error {
	if err := h.checkHistory(ctx, channel); err != nil {
		return err
	}
	if err := h.cfg.History.Remove(ctx, channel); err != nil {
		return err
	}
	h.mu.Lock()
	ch := h.channels[channel]
	h.mu.Unlock()
	if ch != nil {
		ch.mu.Lock()
		ch.s.forget()
		ch.mu.Unlock()
	}
	return nil
}

func (h *Hub) checkHistory(ctx context.Context, channel string) error {
	o, err := h.askOf(ctx, channel)
	if err == nil && o.History == 0 {
		err = broker.ErrUnavailable
	}
	return err
}
