package hub

import (
	"context"
	"slices"

	"github.com/sockmill/sockmill/hub/broker"
)

// users is a Hub as the receiver of what is published to users, if the broker has broker.Prefixes: then they are one subscription.
type users Hub

// Deliver implements broker.Receiver.
func (u *users) Deliver(channel string, p broker.Publication) {
	(*Hub)(u).deliverUser(channel[len(userPrefix):], p)
}

// Interrupted implements broker.Receiver.
func (u *users) Interrupted(string) {}

// user is the subscription of a user, if the broker has no broker.Prefixes. When the last client has gone, or the broker has
// refused, it is removed from Hub.followed; who comes then makes another one.
type user struct {
	h     *Hub
	name  string
	uses  int     // clients that follow it; guarded by Hub.mu
	asked *result // of asking the broker; good when that has succeeded; guarded by Hub.mu
}

// Deliver implements broker.Receiver.
func (u *user) Deliver(_ string, p broker.Publication) { u.h.deliverUser(u.name, p) }

// Interrupted implements broker.Receiver.
func (u *user) Interrupted(string) {}

// deliverUser delivers what is for the clients of a user.
func (h *Hub) deliverUser(name string, p broker.Publication) {
	h.counts.delivered.Add(1)
	clients := h.Clients(name)
	switch {
	case len(clients) == 0: // also so that nil means everybody
	case p.Kind == kindDirect:
		h.giveOne(&p, clients)
	default:
		h.give(&p, clients)
	}
}

// give sends a publication to clients, but those that it excepts, and returns to how many.
func (h *Hub) give(p *broker.Publication, to []*Client) (given int) {
	x, out := &sent{p: *p}, outlet{h: h}
	for _, c := range to {
		if !slices.Contains(p.Except, c.id) {
			out.give(x, c, len(to) == 1)
			given++
		}
	}
	h.counts.sent.Add(uint64(given))
	return given
}

// followUser has this node get what is published to the client's user.
func (c *Client) followUser(ctx context.Context) error {
	h := c.h
	if h.prefixes != nil || c.user == "" {
		return nil // everybody.ask has
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return ErrClosed
	}
	u := h.followed[c.user]
	if u == nil {
		u = &user{h: h, name: c.user, asked: newResult()}
		h.followed[c.user] = u
		h.work.Add(1)
		go u.begin()
	}
	u.uses++
	asked := u.asked
	h.mu.Unlock()
	if err := asked.wait(ctx); err != nil {
		u.release()
		return err
	}
	c.mu.Lock()
	c.follows = !c.gone
	gone := c.gone
	c.mu.Unlock()
	if gone { // it has finished, and did not know
		u.release()
		return ErrGone
	}
	return nil
}

func (u *user) begin() {
	defer u.h.work.Done()
	ctx, cancel := context.WithTimeout(u.h.ctx, u.h.patience)
	defer cancel()
	asked := u.asked // which nobody else changes
	asked.err = u.h.cfg.Broker.Subscribe(ctx, userPrefix+u.name, u)
	u.h.mu.Lock()
	if asked.err != nil {
		u.forget()
	} else {
		u.asked = good
	}
	u.h.mu.Unlock()
	close(asked.done)
}

// forget has who comes next make another one. It is called with the lock of the hub.
func (u *user) forget() {
	if u.h.followed[u.name] == u {
		delete(u.h.followed, u.name)
	}
}

// unfollowUser ends what followUser began, if that has succeeded: then it is in Hub.followed still.
func (h *Hub) unfollowUser(name string) {
	h.mu.Lock()
	u := h.followed[name]
	h.mu.Unlock()
	u.release()
}

func (u *user) release() {
	u.h.mu.Lock()
	u.uses--
	last := u.uses == 0
	if last {
		u.forget()
	}
	asked := u.asked
	u.h.mu.Unlock()
	if last {
		<-asked.done // after Hub.patience at the latest
		u.h.unsubscribe(userPrefix+u.name, u)
	}
}
