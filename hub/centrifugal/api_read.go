package centrifugal

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

type channelParams struct {
	Channel string `json:"channel"`
}

// options returns those of a channel.
func (a *api) options(channel string) (hub.Options, error) {
	if err := a.channel(channel); err != nil {
		return hub.Options{}, err
	}
	return a.s.hub.Options(channel)
}

// clientInfo is a broker.Info in JSON.
type clientInfo struct {
	User    string          `json:"user"`
	Client  string          `json:"client"`
	Conn    json.RawMessage `json:"conn_info,omitempty"`
	Channel json.RawMessage `json:"chan_info,omitempty"`
}

func infoOf(i *broker.Info) *clientInfo {
	if i == nil {
		return nil
	}
	return &clientInfo{i.User, i.Client, json.RawMessage(formatJSON.raw(i.Conn)), json.RawMessage(formatJSON.raw(i.Channel))}
}

func (a *api) presence(ctx context.Context, p *channelParams) (any, error) {
	o, err := a.options(p.Channel)
	switch {
	case err != nil:
		return nil, err
	case !o.Presence:
		return nil, notAvailable("presence in this channel")
	}
	all, err := a.s.hub.Present(ctx, p.Channel)
	missing, err := missed(err)
	if err != nil {
		return nil, err
	}
	size, infos := 0, make(map[string]*clientInfo, len(all))
	for i := range all {
		if size += infoBytes(&all[i]); size > a.s.cfg.ReplyBytesMax {
			return nil, limitExceeded("the answer would be larger than %d bytes: ask for presence_stats", a.s.cfg.ReplyBytesMax)
		}
		infos[all[i].Client] = infoOf(&all[i])
	}
	return struct {
		Presence map[string]*clientInfo `json:"presence"`
		Missing  []string               `json:"missing,omitempty"`
	}{infos, missing}, nil
}

func (a *api) presenceStats(ctx context.Context, p *channelParams) (any, error) {
	o, err := a.options(p.Channel)
	switch {
	case err != nil:
		return nil, err
	case !o.Presence:
		return nil, notAvailable("presence in this channel")
	}
	n, err := a.s.hub.Count(ctx, p.Channel)
	missing, err := missed(err)
	return struct {
		Clients int      `json:"num_clients"`
		Users   int      `json:"num_users"`
		Missing []string `json:"missing,omitempty"`
	}{n.Clients, n.Users, missing}, err
}

// missed returns the nodes that a result lacks, if that is all that is wrong with it.
func missed(err error) (nodes []string, is error) {
	var m *broker.MissingError
	if errors.As(err, &m) {
		return m.Nodes, nil
	}
	return nil, err
}

type historyParams struct {
	Channel string           `json:"channel"`
	Limit   int              `json:"limit"` // below 0: as many as may be
	Since   *broker.Position `json:"since"`
	Reverse bool             `json:"reverse"`
}

type publication struct {
	Data   json.RawMessage   `json:"data"`
	Info   *clientInfo       `json:"info,omitempty"`
	Offset uint64            `json:"offset"`
	Tags   map[string]string `json:"tags,omitempty"`
}

type historyResult struct {
	Publications []publication `json:"publications"`
	Epoch        string        `json:"epoch"`
	Offset       uint64        `json:"offset"`
}

func (a *api) history(ctx context.Context, p *historyParams) (any, error) {
	o, err := a.options(p.Channel)
	switch {
	case err != nil:
		return nil, err
	case o.History == 0:
		return nil, notAvailable("history in this channel")
	}
	page, err := a.s.read(ctx, a.s.hub.History, p)
	if err != nil {
		return nil, err
	}
	r := historyResult{make([]publication, 0, len(page.Publications)), page.Top.Epoch, page.Top.Offset}
	for i := range page.Publications {
		x := &page.Publications[i]
		r.Publications = append(r.Publications, publication{json.RawMessage(formatJSON.raw(x.Data)), infoOf(x.Info), x.Offset, x.Tags})
	}
	return r, nil
}

// read reads a history within Config.HistoryMax and ReplyBytesMax, by the History of the hub or of a client.
func (s *Server) read(ctx context.Context, from func(context.Context, string, broker.Query) (broker.Page, error), p *historyParams) (broker.Page, error) {
	if p.Reverse && p.Since != nil && p.Since.Offset == 0 {
		return broker.Page{}, ErrBadRequest
	}
	q := broker.Query{Limit: p.Limit, Reverse: p.Reverse}
	if q.Limit < 0 || q.Limit > s.cfg.HistoryMax {
		q.Limit = s.cfg.HistoryMax
	}
	if p.Since != nil {
		since := *p.Since
		if since.Epoch == "" { // it is not known to who asks
			page, err := from(ctx, p.Channel, broker.Query{})
			if err != nil {
				return broker.Page{}, err
			}
			since.Epoch = page.Top.Epoch
		}
		q.Since = &since
	}
	page, err := from(ctx, p.Channel, q)
	switch {
	case err != nil:
		return broker.Page{}, err
	case q.Since != nil && q.Since.Epoch != page.Top.Epoch:
		return broker.Page{}, ErrUnrecoverable
	}
	for n := len(page.Publications); n > 1 && bytesOf(page.Publications) > s.cfg.ReplyBytesMax; {
		n = (n + 1) / 2
		page.Publications = page.Publications[:n]
	}
	return page, nil
}

func (a *api) historyRemove(ctx context.Context, p *channelParams) (any, error) {
	o, err := a.options(p.Channel)
	switch {
	case err != nil:
		return nil, err
	case o.History == 0:
		return nil, notAvailable("history in this channel")
	}
	return empty{}, a.s.hub.RemoveHistory(ctx, p.Channel)
}
