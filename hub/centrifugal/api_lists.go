package centrifugal

import (
	"context"
	"encoding/json"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// clients is how many connections there are of something.
type clients struct {
	N int `json:"num_clients"`
}

type channelsParams struct {
	Pattern string `json:"pattern"` // * stands for any bytes, also none; empty: all
}

type channelsResult struct {
	Channels map[string]clients `json:"channels"`
	Missing  []string           `json:"missing,omitempty"` // nodes that did not answer, as in what follows
}

// channels lists the channels of all nodes.
func (a *api) channels(ctx context.Context, p *channelsParams) (any, error) {
	if p.Pattern == "" {
		p.Pattern = "*"
	}
	if n := len(p.Pattern); n > broker.ChannelBytesMax {
		return nil, badRequest("a pattern has at most %d bytes, not %d", broker.ChannelBytesMax, n)
	}
	r, page, missing := channelsResult{Channels: map[string]clients{}}, hub.Page{}, map[string]bool{}
	for more := true; more; {
		l, err := a.s.hub.ListChannels(ctx, p.Pattern, page)
		if err != nil {
			return nil, err
		}
		for _, ch := range l.Items {
			r.Channels[ch.Name] = clients{ch.Clients}
			page.After = ch.Name
		}
		for _, node := range l.Missing {
			if !missing[node] {
				missing[node], r.Missing = true, append(r.Missing, node)
			}
		}
		if len(r.Channels) > a.cfg.ChannelsMax {
			return nil, limitExceeded("there are more than %d channels: ask for a narrower pattern", a.cfg.ChannelsMax)
		}
		more = l.More
	}
	return r, nil
}

type nodeResult struct {
	UID      string `json:"uid"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	Uptime   int    `json:"uptime"`
	Clients  int    `json:"num_clients"`
	Users    int    `json:"num_users"`
	Channels int    `json:"num_channels"`
	Subs     int    `json:"num_subs"`
}

// info lists the nodes.
func (a *api) info(ctx context.Context, _ *empty) (any, error) {
	l, err := a.s.hub.ListNodes(ctx)
	r := struct {
		Nodes   []nodeResult `json:"nodes"`
		Missing []string     `json:"missing,omitempty"`
	}{[]nodeResult{}, l.Missing}
	for _, n := range l.Items {
		r.Nodes = append(r.Nodes, nodeResult{n.ID, n.Name, version, int(n.Uptime.Seconds()), n.Clients, n.Users, n.Channels, n.Members})
	}
	return r, err
}

// pageParams say which part of a list is asked for.
type pageParams struct {
	After string `json:"after"`
	Limit int    `json:"limit"` // 0: pageDefault
}

// pageDefault is how many items of a list are told unless it is said.
const pageDefault = 1000

func (p *pageParams) page() (hub.Page, error) {
	if p.Limit < 0 || p.Limit > hub.ListMax {
		return hub.Page{}, badRequest("limit is %d: it must be from 1 to %d", p.Limit, hub.ListMax)
	}
	if p.Limit == 0 {
		p.Limit = pageDefault
	}
	return hub.Page{After: p.After, Limit: p.Limit}, nil
}

type connectionsParams struct {
	User   string `json:"user"`
	Client string `json:"client"`
	pageParams
}

type connection struct {
	Client   string          `json:"client"`
	User     string          `json:"user"`
	Node     string          `json:"node"`
	Info     json.RawMessage `json:"conn_info,omitempty"`
	Channels int             `json:"num_channels"`
}

// connections lists those of a user, or all. It is not of Centrifugo.
func (a *api) connections(ctx context.Context, p *connectionsParams) (any, error) {
	page, err := p.page()
	if err != nil {
		return nil, err
	}
	to := hub.Target{User: p.User, Client: p.Client}
	to.All = p.User == "" && p.Client == ""
	l, err := a.s.hub.ListClients(ctx, to, page)
	r := struct {
		Connections []connection `json:"connections"`
		More        bool         `json:"more"`
		Missing     []string     `json:"missing,omitempty"`
	}{[]connection{}, l.More, l.Missing}
	for _, c := range l.Items {
		r.Connections = append(r.Connections, connection{c.ID, c.User, c.Node, json.RawMessage(formatJSON.raw(c.Info)), c.Channels})
	}
	return r, err
}

type user struct {
	User string `json:"user"`
	clients
}

// users lists the users that are connected. It is not of Centrifugo.
func (a *api) users(ctx context.Context, p *pageParams) (any, error) {
	page, err := p.page()
	if err != nil {
		return nil, err
	}
	l, err := a.s.hub.ListUsers(ctx, page)
	r := struct {
		Users   []user   `json:"users"`
		More    bool     `json:"more"`
		Missing []string `json:"missing,omitempty"`
	}{[]user{}, l.More, l.Missing}
	for _, u := range l.Items {
		r.Users = append(r.Users, user{u.Name, clients{u.Clients}})
	}
	return r, err
}
