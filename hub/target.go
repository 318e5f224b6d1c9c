package hub

import (
	"context"
	"fmt"
	"slices"

	"github.com/sockmill/sockmill/hub/broker"
)

// Target is whom Hub.PublishTo, the orders (Send, Kick, Subscribe, Unsubscribe, Command), Reach and ListClients are for: all
// connections of User, or the one Client, or that only if it is the user's, or All; on all nodes. The ids in Except are left
// out. If there is nobody, nothing happens.
type Target struct {
	All    bool // then User and Client must be empty
	User   string
	Client string // Client.ID
	Except []string
}

// check fails with ErrName if it is not clear whom it is for.
func (t *Target) check() error {
	switch {
	case t.All == (t.User != "" || t.Client != ""):
		return fmt.Errorf("%w: a Target needs a User, a Client or both, or All alone", ErrName)
	case t.User != "":
		return checkUser(t.User)
	}
	return nil
}

// PublishTo publishes to connections. It is not kept, and Publication.Key and NoHistory mean nothing. The channel that Config.Encode gets is empty.
// What is excepted by the target and by the publication is left out. It waits for no other node: what nil means is said by the
// broker; Send tells how many connections there were. It fails with ErrName and ErrClosed, and as broker.Broker does.
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
	return h.published(h.cfg.Broker.Publish(ctx, channel, b))
}

// giveOne is give of a kindDirect, to one of some clients; nil: of everybody.
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
	if c := h.Client(string(p.Data[1:n])); c != nil && (of == nil || slices.Contains(of, c)) {
		h.give(&x, []*Client{c})
	}
}

// locate returns the channel of the broker that leads to the target; or local: it is a client of this node, or that is not
// the user's.
func (h *Hub) locate(ctx context.Context, to *Target) (channel string, local []*Client, err error) {
	if err = h.ask(ctx); err == nil {
		err = to.check()
	}
	if err != nil {
		return "", nil, err
	}
	if channel = everybodyName; to.User != "" {
		channel = userPrefix + to.User
	}
	if c := h.Client(to.Client); c != nil {
		if local = []*Client{c}; to.User != "" && to.User != c.user {
			local = local[:0]
		}
	}
	return channel, local, nil
}
