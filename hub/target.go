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

// Target is whom Hub.Kick, Subscribe, Unsubscribe and Command are for: all connections of User, or the one Client, or that
// only if it is the user's; on all nodes. The ids in Except are left out. If there is nobody, nothing happens.
type Target struct {
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
	Since   *broker.Position   `json:"since,omitempty"`
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
	return h.order(ctx, to, order{What: orderSubscribe, Channel: []byte(channel), Data: j.Info, Since: j.Since})
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

// order gives an order to all nodes that may have the target.
func (h *Hub) order(ctx context.Context, to Target, o order) error {
	if err := h.ask(ctx); err != nil {
		return err
	}
	channel := everybodyName
	switch {
	case to.User == "" && to.Client == "":
		return fmt.Errorf("%w: a Target needs a User or a Client", ErrName)
	case to.User != "":
		if err := checkUser(to.User); err != nil {
			return err
		}
		channel = userPrefix + to.User
	}
	if o.Client = to.Client; o.Client != "" {
		if c := h.Client(o.Client); c != nil {
			if !slices.Contains(to.Except, c.id) && (to.User == "" || c.User() == to.User) {
				c.take(&o)
			}
			return nil
		}
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return h.cfg.Broker.Publish(ctx, channel, broker.Publication{Kind: kindOrder, Data: data, Except: to.Except})
}

// obey gives an order that has come to the clients that it is for. of are those of the user; nil: the order names the
// client.
func (h *Hub) obey(p *broker.Publication, of []*Client) {
	var o order
	if err := json.Unmarshal(p.Data, &o); err != nil {
		h.cfg.Logger.Error("an order of another node cannot be read", zap.Error(err))
		return
	}
	if of == nil && o.Client != "" {
		if c := h.Client(o.Client); c != nil {
			of = []*Client{c}
		}
	}
	for _, c := range of {
		if (o.Client == "" || o.Client == c.id) && !slices.Contains(p.Except, c.id) {
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
		name := string(o.Channel)
		ctx, end := context.WithCancel(c.conn.Context()) // of the connection, and of the hub
		defer context.AfterFunc(c.h.ctx, end)()
		defer end()
		if err := c.joinFor(ctx, name, Join{Info: o.Data, Since: o.Since}); err != nil && ctx.Err() == nil && c.h.ctx.Err() == nil && !errors.Is(err, ErrJoined) && !errors.Is(err, ErrGone) {
			c.h.cfg.Logger.Warn("Hub.Subscribe: a client cannot join", zap.String("client", c.id), zap.String("user", c.User()), zap.String("channel", name), zap.Error(err))
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
