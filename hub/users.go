package hub

import (
	"context"
	"slices"

	"github.com/sockmill/sockmill/hub/broker"
)

// user is one who has clients on this node. It is the receiver of the broker for what is published to him. When the last
// client has gone, or the broker has refused, it is removed from Hub.users; who comes then makes another one.
type user struct {
	h       *Hub
	name    string    // of his channel at the broker
	clients []*Client // guarded by Hub.mu, as what follows is; replaced, never changed
	uses    int       // clients that have not finished
	asked   *result   // of asking the broker; nil: it has accepted
}

// userOf returns the user of a name. It is called with the lock of the hub.
func (h *Hub) userOf(name string) *user {
	u := h.users[name]
	if u == nil {
		u = &user{h: h, name: userPrefix + name, asked: newResult()}
		h.users[u.name[len(userPrefix):]] = u
		h.work.Add(1)
		go u.begin(u.asked)
	}
	return u
}

// begin subscribes this node.
func (u *user) begin(asked *result) {
	h := u.h
	defer h.work.Done()
	asked.err = h.cfg.Broker.Subscribe(h.ctx, u.name, u)
	h.mu.Lock()
	if asked.err == nil {
		u.asked = nil
	} else {
		u.forget()
	}
	h.mu.Unlock()
	close(asked.done)
}

// ask waits for the broker.
func (u *user) ask(ctx context.Context) error {
	u.h.mu.Lock()
	asked := u.asked
	u.h.mu.Unlock()
	if asked == nil {
		return nil
	}
	return asked.wait(ctx)
}

// forget has who comes next make another user. It is called with the lock of the hub.
func (u *user) forget() {
	if name := u.name[len(userPrefix):]; u.h.users[name] == u {
		delete(u.h.users, name)
	}
}

// add is called with the lock of the hub, as remove is.
func (u *user) add(c *Client) {
	u.uses++
	u.clients = append(u.clients[:len(u.clients):len(u.clients)], c)
}

func (u *user) remove(c *Client) {
	u.clients = slices.DeleteFunc(slices.Clone(u.clients), func(x *Client) bool { return x == c })
}

// release is called once for each client, when it has been removed.
func (u *user) release(ctx context.Context) {
	u.h.mu.Lock()
	u.uses--
	last, asked := u.uses == 0, u.asked
	if last {
		u.forget()
	}
	u.h.mu.Unlock()
	if !last {
		return
	}
	if asked != nil {
		<-asked.done // at the latest with the hub
	}
	_ = u.h.cfg.Broker.Unsubscribe(ctx, u.name, u) // it may be closed
}

// of returns the clients of the user.
func (u *user) of() []*Client {
	u.h.mu.Lock()
	defer u.h.mu.Unlock()
	return u.clients
}

// Deliver implements broker.Receiver.
func (u *user) Deliver(_ string, p broker.Publication) {
	clients := u.of()
	if p.Kind == kindOrder {
		u.h.obey(&p, clients)
		return
	}
	x, out := &sent{p: p}, outlet{h: u.h}
	for _, c := range clients {
		if slices.Contains(p.Except, c.id) {
			continue
		}
		if err := out.give(x, c); err != nil {
			c.closeInsufficient()
		}
	}
}

// Interrupted implements broker.Receiver.
func (u *user) Interrupted(string) {}
