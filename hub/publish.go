package hub

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Publication is what a program publishes. Nobody may change what it refers to afterwards.
type Publication struct {
	Data []byte
	Info *broker.Info      // of who publishes; nil: nobody in particular
	Tags map[string]string // of the program

	Except []string // clients, by their ID, that do not get it, now and by recovery
	Key    string   // tells repeated calls from new ones in a channel with a history, as broker.Keep.Key
}

// Names of tags that only the hub uses. No program has them: they begin with 0.
const (
	tagExcept = "\x00except" // clients, separated by 0
	tagClient = "\x00client" // of kindKick: only this one
)

func (p *Publication) forBroker() broker.Publication {
	b := broker.Publication{Data: p.Data, Info: p.Info, Tags: p.Tags}
	if len(p.Except) > 0 {
		b.Tags = maps.Clone(p.Tags)
		if b.Tags == nil {
			b.Tags = map[string]string{}
		}
		b.Tags[tagExcept] = strings.Join(p.Except, "\x00")
	}
	return b
}

// except returns the clients that do not get a publication.
func except(p *broker.Publication) []string {
	if s := p.Tags[tagExcept]; s != "" {
		return strings.Split(s, "\x00")
	}
	return nil
}

func (m *membership) excluded(p *broker.Publication) bool {
	return slices.Contains(except(p), m.c.id)
}

// strip removes what only the hub uses.
func strip(p broker.Publication) broker.Publication {
	if p.Tags[tagExcept] != "" {
		p.Tags = maps.Clone(p.Tags)
		delete(p.Tags, tagExcept)
	}
	return p
}

// Publish publishes to a channel. With a history it returns the position. What nil means is said by the broker: with
// package memory, that the publication is queued on the loops of all members. It fails with ErrName, ErrClosed and the
// errors of broker.Broker and broker.History.
func (h *Hub) Publish(ctx context.Context, channel string, p Publication) (broker.Position, error) {
	if err := h.ask(ctx); err != nil {
		return broker.Position{}, err
	}
	if err := checkChannel(channel); err != nil {
		return broker.Position{}, err
	}
	if o := h.options(channel); o.History > 0 {
		return h.cfg.History.Append(ctx, channel, p.forBroker(), broker.Keep{Publications: o.History, Lifetime: o.Lifetime, Key: p.Key})
	}
	return broker.Position{}, h.cfg.Broker.Publish(ctx, channel, p.forBroker())
}

// PublishUser publishes to all connections of a user. It is not kept, and Publication.Key means nothing.
// The channel that Config.Encode gets is empty.
func (h *Hub) PublishUser(ctx context.Context, user string, p Publication) error {
	if err := checkUser(user); err != nil {
		return err
	}
	return h.publish(ctx, userPrefix+user, p.forBroker())
}

// PublishAll publishes to all clients, as PublishUser does to those of a user.
func (h *Hub) PublishAll(ctx context.Context, p Publication) error {
	return h.publish(ctx, everybody, p.forBroker())
}

func (h *Hub) publish(ctx context.Context, channel string, p broker.Publication) error {
	if err := h.ask(ctx); err != nil {
		return err
	}
	return h.cfg.Broker.Publish(ctx, channel, p)
}

// Kick closes one connection, on whatever node, with a code and a reason as engine.Conn.Close takes them.
// If there is no such client, nothing happens.
func (h *Hub) Kick(ctx context.Context, client string, code protocol.CloseCode, reason string) error {
	if err := h.ask(ctx); err != nil {
		return err
	}
	if c := h.Client(client); c != nil {
		return ignoreClosed(c.conn.Close(code, reason))
	}
	return h.kick(ctx, everybody, code, reason, map[string]string{tagClient: client})
}

// KickUser closes all connections of a user as Kick does.
func (h *Hub) KickUser(ctx context.Context, user string, code protocol.CloseCode, reason string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	return h.kick(ctx, userPrefix+user, code, reason, nil)
}

func (h *Hub) kick(ctx context.Context, channel string, code protocol.CloseCode, reason string, tags map[string]string) error {
	if !code.Valid() {
		return &protocol.Error{Code: code, Reason: "this close code may not be sent"}
	}
	data := append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
	return h.publish(ctx, channel, broker.Publication{Kind: kindKick, Data: data, Tags: tags})
}

// kick closes connections of this node.
func (ch *channel) kick(p *broker.Publication) {
	if len(p.Data) < 2 || ch.name[0] != reserved {
		return
	}
	code, reason := protocol.CloseCode(binary.BigEndian.Uint16(p.Data)), string(p.Data[2:])
	if id := p.Tags[tagClient]; id != "" {
		if c := ch.h.Client(id); c != nil {
			_ = c.conn.Close(code, reason)
		}
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for c := range ch.members {
		_ = c.conn.Close(code, reason)
	}
}

// History reads publications of a channel, as broker.History does. It fails with ErrName, ErrClosed and the
// errors of that; with broker.ErrUnavailable if the channel has none.
func (h *Hub) History(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	if err := h.checkHistory(ctx, channel); err != nil {
		return broker.Page{}, err
	}
	page, err := h.cfg.History.Read(ctx, channel, q)
	page.Publications = slices.Clone(page.Publications)
	for i, p := range page.Publications {
		page.Publications[i] = strip(p)
	}
	return page, err
}

// RemoveHistory removes what is kept of a channel. Who comes back to this node after a short time may still recover from what it keeps
// for that (Config.RingMax). It fails as History does.
func (h *Hub) RemoveHistory(ctx context.Context, channel string) error {
	if err := h.checkHistory(ctx, channel); err != nil {
		return err
	}
	return h.cfg.History.Remove(ctx, channel)
}

func (h *Hub) checkHistory(ctx context.Context, channel string) error {
	if err := h.ask(ctx); err != nil {
		return err
	}
	if err := checkChannel(channel); err != nil {
		return err
	}
	if h.options(channel).History == 0 {
		return broker.ErrUnavailable
	}
	return nil
}
