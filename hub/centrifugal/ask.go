package centrifugal

import (
	"errors"

	cf "github.com/centrifugal/protocol"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

func (b *batch) publish(c *cf.Command) error {
	r := c.Publish
	if err := b.s.checkChannel(r.Channel); err != nil {
		return err
	}
	switch {
	case r.Type != 0: // to a map
		return ErrNotAvailable
	case len(r.Data) == 0:
		return ErrBadRequest
	}
	if _, err := b.x.known().Publish(b.ctx, r.Channel, hub.Publication{Data: r.Data}); err != nil {
		return err
	}
	b.reply(&cf.Reply{Id: c.Id, Publish: &cf.PublishResult{}})
	return nil
}

// options returns those of a channel that a client asks about.
func (b *batch) options(channel string) (hub.Options, error) {
	if err := b.s.checkChannel(channel); err != nil {
		return hub.Options{}, err
	}
	return b.s.hub.Options(channel)
}

func (b *batch) presence(c *cf.Command) error {
	o, err := b.options(c.Presence.Channel)
	switch {
	case err != nil:
		return err
	case !o.Presence:
		return ErrNotAvailable
	}
	all, err := b.x.known().Present(b.ctx, c.Presence.Channel)
	if _, err = missed(err); err != nil { // clients get what there is
		return err
	}
	bytes, infos := 0, make(map[string]*cf.ClientInfo, len(all))
	for i := range all {
		if bytes += infoBytes(&all[i]); bytes > b.s.cfg.ReplyBytesMax {
			return ErrLimit
		}
		infos[all[i].Client] = b.x.format.info(&all[i])
	}
	b.reply(&cf.Reply{Id: c.Id, Presence: &cf.PresenceResult{Presence: infos}})
	return nil
}

func (b *batch) presenceStats(c *cf.Command) error {
	o, err := b.options(c.PresenceStats.Channel)
	switch {
	case err != nil:
		return err
	case !o.Presence:
		return ErrNotAvailable
	}
	n, err := b.x.known().Count(b.ctx, c.PresenceStats.Channel)
	if _, err = missed(err); err != nil {
		return err
	}
	b.reply(&cf.Reply{Id: c.Id, PresenceStats: &cf.PresenceStatsResult{NumClients: uint32(n.Clients), NumUsers: uint32(n.Users)}}) //nolint:gosec // they are counts
	return nil
}

func (b *batch) history(c *cf.Command) error {
	r := c.History
	o, err := b.options(r.Channel)
	switch {
	case err != nil:
		return err
	case o.History == 0:
		return ErrNotAvailable
	}
	p := &historyParams{Channel: r.Channel, Limit: int(r.Limit), Reverse: r.Reverse}
	if r.Since != nil {
		p.Since = &broker.Position{Offset: r.Since.Offset, Epoch: r.Since.Epoch}
	}
	page, err := b.s.read(b.ctx, b.x.known().History, p)
	if err != nil {
		return err
	}
	b.reply(&cf.Reply{Id: c.Id, History: &cf.HistoryResult{
		Publications: b.x.format.publications(page.Publications), Epoch: page.Top.Epoch, Offset: page.Top.Offset}})
	return nil
}

func (b *batch) rpc(c *cf.Command) error {
	data, err := b.x.known().Call(b.ctx, c.Rpc.Method, c.Rpc.Data)
	if err != nil {
		return err
	}
	b.reply(&cf.Reply{Id: c.Id, Rpc: &cf.RPCResult{Data: b.x.format.raw(data)}})
	return nil
}

// send has no answer.
func (b *batch) send(c *cf.Command) error {
	f := b.s.cfg.OnSend
	if f == nil {
		return DisconnectNotAvailable
	}
	err := f(b.ctx, b.x.known(), c.Send.Data)
	var d Disconnect
	switch {
	case err == nil:
		return nil
	case errors.As(err, &d):
		return d
	}
	b.s.log.Warn("Config.OnSend failed", zap.Error(err))
	return nil
}
