package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Target is whom Hub.PublishTo, Kick, Subscribe, Unsubscribe and Command are for: all connections of User, or the one Client, or that
// only if it is the user's, or All; on all nodes. The ids in Except are left out. If there is nobody, nothing happens.
type Target struct {
	All    bool // then User and Client must be empty
	User   string
	Client string // Client.ID
	Except []string
}

// order is what a node is told to do for some clients.
type order struct {
	What    string             `json:"what"`
	Client  string             `json:"client,omitempty"` // empty: all that the channel of the broker is for
	Channel []byte             `json:"channel,omitempty"`
	Code    protocol.CloseCode `json:"code,omitempty"`
	Text    []byte             `json:"text,omitempty"` // the reason, or the name
	Data    []byte             `json:"data,omitempty"`
	Join    Join               `json:"join"`
}

// What an order says.
const (
	orderKick        = "kick"
	orderSubscribe   = "subscribe"
	orderUnsubscribe = "unsubscribe"
	orderCommand     = "command"
)

// Kick closes connections with a code and a reason as engine.Conn.Close takes them. Like the other orders, it is carried out
// for each client by its node, on a goroutine, one after the other: those that one goroutine gives to the same target, in their order. Nil means that
// the broker has taken the order. It fails with ErrName and ErrClosed, and as broker.Broker does.
func (h *Hub) Kick(ctx context.Context, to Target, code protocol.CloseCode, reason string) error {
	if !code.Valid() {
		return &protocol.Error{Code: code, Reason: "this close code may not be sent"}
	}
	return h.order(ctx, to, order{What: orderKick, Code: code, Text: []byte(reason)})
}

// Subscribe joins a channel for clients that are connected, as Hub.Join does, after Config.Joining. j.Begin must be
// nil. For those who are in the channel already nothing happens. It fails as Kick does.
func (h *Hub) Subscribe(ctx context.Context, to Target, channel string, j Join) error {
	if _, err := h.Options(channel); err != nil {
		return err
	}
	if j.Begin != nil {
		return errors.New("hub: Join.Begin does not go to other nodes: let Config.Joining set it")
	}
	return h.order(ctx, to, order{What: orderSubscribe, Channel: []byte(channel), Join: j})
}

// Unsubscribe takes clients out of a channel, or of all if it is empty; for each of them that was in it Config.OnLeft is called. It fails as
// Kick does.
func (h *Hub) Unsubscribe(ctx context.Context, to Target, channel string, code protocol.CloseCode, reason string) error {
	if channel != "" {
		if err := checkChannel(channel); err != nil {
			return err
		}
	}
	return h.order(ctx, to, order{What: orderUnsubscribe, Channel: []byte(channel), Code: code, Text: []byte(reason)})
}

// Command has Config.OnCommand called for clients, at their nodes. It fails as Kick does.
func (h *Hub) Command(ctx context.Context, to Target, name string, data []byte) error {
	return h.order(ctx, to, order{What: orderCommand, Text: []byte(name), Data: data})
}

// PublishTo publishes to connections. It is not kept, and Publication.Key and NoHistory mean nothing. The channel that Config.Encode gets is empty.
// What is excepted by the target and by the publication is left out. What nil means is said by the broker. It fails with ErrName and
// ErrClosed, and as broker.Broker does.
func (h *Hub) PublishTo(ctx context.Context, to Target, p Publication) error {
	channel, local, err := h.locate(ctx, &to)
	if err != nil {
		return err
	}
	b := p.forBroker()
	b.Except = slices.Concat(to.Except, p.Except)
	switch {
	case local != nil:
		h.give(&b, local)
		return nil
	case len(to.Client) > 255: // nobody
		return nil
	case to.Client != "":
		b.Kind, b.Data = kindDirect, slices.Concat([]byte{byte(len(to.Client))}, []byte(to.Client), b.Data)
	}
	return h.cfg.Broker.Publish(ctx, channel, b)
}

// giveOne is give of a kindDirect. of are as of obey.
func (h *Hub) giveOne(p *broker.Publication, of []*Client) {
	n := 0
	if len(p.Data) > 0 {
		n = 1 + int(p.Data[0])
	}
	if n == 0 || n > len(p.Data) {
		h.cfg.Logger.Error("a publication of another node cannot be read")
		return
	}
	x := *p
	x.Kind, x.Data = KindPublication, p.Data[n:]
	h.give(&x, h.one(string(p.Data[1:n]), of))
}

// one returns the client with an ID, if it is one of those; nil: of everybody.
func (h *Hub) one(id string, of []*Client) []*Client {
	c := h.Client(id)
	if c == nil || of != nil && !slices.Contains(of, c) {
		return nil
	}
	return []*Client{c}
}

// order gives an order to all nodes that may have the target.
func (h *Hub) order(ctx context.Context, to Target, o order) error {
	channel, local, err := h.locate(ctx, &to)
	if err != nil {
		return err
	}
	if o.Client = to.Client; local == nil {
		return h.send(ctx, channel, &o, to.Except)
	}
	for _, c := range local {
		if !slices.Contains(to.Except, c.id) {
			c.take(&o)
		}
	}
	return nil
}

// locate returns the channel of the broker that leads to the target; or local: it is a client of this node, or that is not
// the user's.
func (h *Hub) locate(ctx context.Context, to *Target) (channel string, local []*Client, err error) {
	if err := h.ask(ctx); err != nil {
		return "", nil, err
	}
	switch {
	case to.All == (to.User != "" || to.Client != ""):
		return "", nil, fmt.Errorf("%w: a Target needs a User, a Client or both, or All alone", ErrName)
	case to.User == "":
		channel = everybodyName
	default:
		if err := checkUser(to.User); err != nil {
			return "", nil, err
		}
		channel = userPrefix + to.User
	}
	if c := h.Client(to.Client); c != nil {
		if local = []*Client{c}; to.User != "" && to.User != c.user {
			local = local[:0]
		}
	}
	return channel, local, nil
}

func (h *Hub) send(ctx context.Context, channel string, o *order, except []string) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return h.cfg.Broker.Publish(ctx, channel, broker.Publication{Kind: kindOrder, Data: data, Except: except})
}

// obey gives an order that has come to the clients that it is for. of are those of the user; nil: of everybody.
func (h *Hub) obey(p *broker.Publication, of []*Client) {
	var o order
	if err := json.Unmarshal(p.Data, &o); err != nil {
		h.cfg.Logger.Error("an order of another node cannot be read", zap.Error(err))
		return
	}
	switch {
	case o.Client != "":
		of = h.one(o.Client, of)
	case of == nil:
		of = h.Clients()
	}
	for _, c := range of {
		if !slices.Contains(p.Except, c.id) {
			c.take(&o)
		}
	}
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
		name, told := string(o.Channel), false
		ctx, end := context.WithCancel(c.conn.Context()) // of the connection, and of the hub
		defer context.AfterFunc(c.h.ctx, end)()
		defer end()
		if err := c.joinFor(ctx, name, o.Join, &told); err != nil && told && c.h.cfg.OnLeft != nil { // what it was told is not so
			c.h.cfg.OnLeft(c, name, CodeInsufficient, reasonInsufficient)
		} else if err != nil && ctx.Err() == nil && c.h.ctx.Err() == nil && !errors.Is(err, ErrJoined) && !errors.Is(err, ErrGone) {
			c.h.cfg.Logger.Warn("Hub.Subscribe: a client cannot join", zap.String("client", c.id), zap.String("user", c.user), zap.String("channel", name), zap.Error(err))
		}
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
