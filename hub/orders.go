package hub

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Reach is what became of an order. It counts for nodes that have answered: the order is queued there for each of these clients, behind
// those that were queued before. Orders that one goroutine gives to one client are carried out in their order, if none of them misses its node.
type Reach struct {
	Clients int // connections that it was for

	// Missing are the nodes that are known and did not answer before the context ended, or for as long as the broker waits, sorted: whether
	// their clients get the order is not known, not even later. A client that is known to this node misses nobody.
	Missing []string
}

// What nodes are asked. Orders go to clients, the others only ask.
const (
	orderSend        = "send"
	orderKick        = "kick"
	orderSubscribe   = "subscribe"
	orderUnsubscribe = "unsubscribe"
	orderCommand     = "command"
	askReach         = "reach"
	askClients       = "clients"
	askUsers         = "users"
	askChannels      = "channels"
	askNode          = "node"
)

// order is what nodes are asked, in JSON.
type order struct {
	What string `json:"what"`

	// The clients that it is for: all, or those of the users, or the one, or that if it is the user's; but some.
	All    bool     `json:"all,omitempty"`
	Users  []octets `json:"users,omitempty"`
	Client string   `json:"client,omitempty"`
	Except []string `json:"except,omitempty"`

	Channel octets             `json:"channel,omitempty"` // or a pattern
	Code    protocol.CloseCode `json:"code,omitempty"`
	Text    octets             `json:"text,omitempty"` // the reason, or the name
	Data    []byte             `json:"data,omitempty"`
	Join    *Join              `json:"join,omitempty"`
	Info    *sender            `json:"info,omitempty"`
	Tags    [][2]octets        `json:"tags,omitempty"`

	After octets `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// sender is a broker.Info in JSON.
type sender struct {
	Client  octets `json:"client,omitempty"`
	User    octets `json:"user,omitempty"`
	Conn    []byte `json:"conn,omitempty"`
	Channel []byte `json:"channel,omitempty"`
}

// Send is PublishTo that waits until all nodes have queued the publication for the connections, and counts those. It does not come between
// orders and what was published: what PublishTo or Publish sent before may come behind it on another node. It fails with
// ErrName and ErrClosed, and as broker.Nodes does.
func (h *Hub) Send(ctx context.Context, to Target, p Publication) (Reach, error) {
	return h.order(ctx, to, sending(&p))
}

// SendUsers is Send to several users.
func (h *Hub) SendUsers(ctx context.Context, users []string, p Publication) (Reach, error) {
	o := sending(&p)
	for _, user := range users {
		if err := checkUser(user); err != nil {
			return Reach{}, err
		}
		o.Users = append(o.Users, octets(user))
	}
	if slices.Sort(o.Users); len(o.Users) == 0 {
		return Reach{}, h.ask(ctx)
	}
	o.Users = slices.Compact(o.Users)
	return h.reach(ctx, &o)
}

func sending(p *Publication) order {
	o := order{What: orderSend, Data: p.Data, Except: p.Except}
	if i := p.Info; i != nil {
		o.Info = &sender{octets(i.Client), octets(i.User), i.Conn, i.Channel}
	}
	for k, v := range p.Tags {
		o.Tags = append(o.Tags, [2]octets{octets(k), octets(v)})
	}
	return o
}

// publication is what is to be sent.
func (o *order) publication() *broker.Publication {
	p := &broker.Publication{Data: o.Data, Except: o.Except}
	if i := o.Info; i != nil {
		p.Info = &broker.Info{Client: string(i.Client), User: string(i.User), Conn: i.Conn, Channel: i.Channel}
	}
	if o.Tags != nil {
		p.Tags = make(map[string]string, len(o.Tags))
		for _, tag := range o.Tags {
			p.Tags[string(tag[0])] = string(tag[1])
		}
	}
	return p
}

// Kick closes connections with a code and a reason as engine.Conn.Close takes them. It fails as Send does.
func (h *Hub) Kick(ctx context.Context, to Target, code protocol.CloseCode, reason string) (Reach, error) {
	if !code.Valid() {
		return Reach{}, &protocol.Error{Code: code, Reason: "this close code may not be sent"}
	}
	return h.order(ctx, to, order{What: orderKick, Code: code, Text: octets(reason)})
}

// Subscribe joins a channel for clients that are connected, as Hub.Join does, after Config.Joining. j.Begin must be
// nil. For those who are in the channel already nothing happens. It fails as Send does.
func (h *Hub) Subscribe(ctx context.Context, to Target, channel string, j Join) (Reach, error) {
	if _, err := h.Options(channel); err != nil {
		return Reach{}, err
	}
	if j.Begin != nil {
		return Reach{}, errors.New("hub: Join.Begin does not go to other nodes: let Config.Joining set it")
	}
	return h.order(ctx, to, order{What: orderSubscribe, Channel: octets(channel), Join: &j})
}

// Unsubscribe takes clients out of a channel, or of all if it is empty; for each of them that was in it Config.OnLeft is called. It fails as
// Send does.
func (h *Hub) Unsubscribe(ctx context.Context, to Target, channel string, code protocol.CloseCode, reason string) (Reach, error) {
	if channel != "" {
		if err := checkChannel(channel); err != nil {
			return Reach{}, err
		}
	}
	return h.order(ctx, to, order{What: orderUnsubscribe, Channel: octets(channel), Code: code, Text: octets(reason)})
}

// Command has Config.OnCommand called for clients, at their nodes. It fails as Send does.
func (h *Hub) Command(ctx context.Context, to Target, name string, data []byte) (Reach, error) {
	return h.order(ctx, to, order{What: orderCommand, Text: octets(name), Data: data})
}

// Reach counts the connections of a target. A user is online if there are any; if there are none and nodes are missing, it is not known.
// It fails as Send does.
func (h *Hub) Reach(ctx context.Context, to Target) (Reach, error) {
	return h.order(ctx, to, order{What: askReach})
}

// to sets whom it is for.
func (o *order) to(t *Target) {
	o.All, o.Client, o.Except = t.All, t.Client, slices.Concat(t.Except, o.Except)
	if t.User != "" {
		o.Users = []octets{octets(t.User)}
	}
}

// order gives an order to all nodes, or to this one if it is for a client that is here.
func (h *Hub) order(ctx context.Context, to Target, o order) (Reach, error) {
	if err := h.ask(ctx); err != nil {
		return Reach{}, err
	}
	if err := to.check(); err != nil {
		return Reach{}, err
	}
	o.to(&to)
	if h.Client(to.Client) != nil {
		return Reach{Clients: h.take(&o)}, nil
	}
	return h.reach(ctx, &o)
}

func (h *Hub) reach(ctx context.Context, o *order) (r Reach, err error) {
	answers, missing, err := h.askNodes(ctx, o)
	for _, a := range answers {
		r.Clients += a.Clients
	}
	r.Missing = missing
	return r, err
}

// whom returns the clients of this node that an order is for.
func (h *Hub) whom(o *order) (all []*Client) {
	switch {
	case o.Client != "":
		if c := h.Client(o.Client); c != nil && (len(o.Users) == 0 || slices.Contains(o.Users, octets(c.user))) {
			all = []*Client{c}
		}
	case o.All:
		all = h.Clients()
	default:
		for _, user := range o.Users {
			all = append(all, h.Clients(string(user))...)
		}
	}
	return slices.DeleteFunc(all, func(c *Client) bool { return slices.Contains(o.Except, c.id) })
}

// take has an order carried out by this node, and returns for how many clients.
func (h *Hub) take(o *order) int {
	if o.What == orderSend && o.All {
		return h.all.give(o.publication())
	}
	to := h.whom(o)
	switch o.What {
	case askReach:
	case orderSend:
		return h.give(o.publication(), to)
	default:
		for _, c := range to {
			c.take(o)
		}
	}
	return len(to)
}

// take has an order carried out.
func (c *Client) take(o *order) {
	if o.What == orderKick && c.opening() { // there is nothing that comes before
		c.obey(o)
		return
	}
	c.order(func() { c.obey(o) })
}

// obey carries out an order.
func (c *Client) obey(o *order) {
	switch o.What {
	case orderKick:
		_ = c.conn.Close(o.Code, string(o.Text)) // it may be closed
	case orderSubscribe:
		c.obeySubscribe(string(o.Channel), *o.Join)
	case orderUnsubscribe:
		for _, name := range c.Channels() {
			if m := c.listed(name); m != nil && (len(o.Channel) == 0 || name == string(o.Channel)) {
				m.takeOut(o.Code, string(o.Text), false)
			}
		}
	case orderCommand:
		if f := c.h.cfg.OnCommand; f != nil {
			f(c, string(o.Text), o.Data)
		}
	}
}

func (c *Client) obeySubscribe(channel string, j Join) {
	told := false
	ctx, end := context.WithCancel(c.conn.Context()) // of the connection, and of the hub
	defer context.AfterFunc(c.h.ctx, end)()
	defer end()
	bounded, cancel := context.WithTimeout(ctx, c.h.patience)
	defer cancel()
	if err := c.joinFor(bounded, channel, j, &told); err != nil && told && c.h.cfg.OnLeft != nil { // what it was told is not so
		c.h.cfg.OnLeft(c, channel, CodeInsufficient, reasonInsufficient)
	} else if err != nil && ctx.Err() == nil && c.h.ctx.Err() == nil && !errors.Is(err, ErrJoined) && !errors.Is(err, ErrGone) {
		c.h.cfg.Logger.Warn("Hub.Subscribe: a client cannot join", zap.String("client", c.id), zap.String("user", c.user), zap.String("channel", channel), zap.Error(err))
	}
}
