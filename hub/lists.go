package hub

import (
	"maps"
	"slices"

	"github.com/sockmill/sockmill/engine"
)

// Client returns the client of this node that has an ID, or nil. Any goroutine may call it, and those that
// follow, on a loop too.
func (h *Hub) Client(id string) *Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients[id]
}

// ClientOf returns the client of a connection, or nil.
func (h *Hub) ClientOf(c *engine.Conn) *Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[c]
}

// Clients returns the clients of this node, or those of some users, in no order. On all nodes, those of a channel with
// Options.Presence are known: see Present.
func (h *Hub) Clients(users ...string) (all []*Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(users) == 0 {
		return slices.Collect(maps.Values(h.clients))
	}
	for _, name := range users {
		for c := h.users[name]; c != nil; c = c.next {
			all = append(all, c)
		}
	}
	return all
}

// Users returns the users that have clients on this node, sorted.
func (h *Hub) Users() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.users))
}

// Channels returns the channels that clients of this node are in, with the number of these clients; those
// who are joining count too.
func (h *Hub) Channels() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]int{}
	for name, ch := range h.channels {
		all[name] = ch.uses
	}
	return all
}
