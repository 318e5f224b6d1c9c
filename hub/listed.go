package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// ListMax is how many items a list has at most.
const ListMax = 10_000

// Page says which part of a list is asked for. Lists are sorted, by the bytes of their names.
type Page struct {
	After string // only what comes behind this name; empty: from the first on
	Limit int    // at most so many, from 1 to ListMax; 0: ListMax
}

// List is a part of what there is on all nodes, while it changes.
type List[T any] struct {
	Items   []T
	More    bool     // there are more: ask again with Page.After, the name of the last item
	Missing []string // nodes that did not answer, sorted: what they have is missing
}

// ListedClient is a connection.
type ListedClient struct {
	ID       string
	User     string
	Info     []byte // of Connect
	Node     string
	Channels int // that it is in, or is joining
}

// Listed is a user, or a channel, with the number of its connections.
type Listed struct {
	Name    string
	Clients int
}

// Node is what is on a node.
type Node struct {
	Name     string        `json:"name"` // as broker.Nodes has it; else ID
	ID       string        `json:"id"`   // of the hub: another one after each start
	Uptime   time.Duration `json:"uptime"`
	Clients  int           `json:"clients"`
	Users    int           `json:"users"` // those who are on other nodes too count there too
	Channels int           `json:"channels"`
	Members  int           `json:"members"` // clients in channels, each as often as it is in one
}

// ListClients lists the connections of a target, by their IDs. A node tells at most about 1 MiB at once, so that a list may be shorter than
// Page.Limit and still have More. Like the other lists it fails with ErrName and ErrClosed, and as broker.Nodes does.
func (h *Hub) ListClients(ctx context.Context, to Target, page Page) (List[ListedClient], error) {
	o := order{What: askClients}
	if err := to.check(); err != nil {
		return List[ListedClient]{}, err
	}
	o.to(&to)
	return list(ctx, h, &o, page, func(e *entry) ListedClient {
		return ListedClient{ID: string(e.Name), User: string(e.User), Info: e.Info, Node: e.node, Channels: e.N}
	})
}

// ListUsers lists the users that are connected, with the number of their connections, by name.
func (h *Hub) ListUsers(ctx context.Context, page Page) (List[Listed], error) {
	return list(ctx, h, &order{What: askUsers}, page, listed)
}

// ListChannels lists the channels that clients are in, or are joining, whose name matches a pattern (see Pattern), with the number of these
// clients, by name.
func (h *Hub) ListChannels(ctx context.Context, pattern string, page Page) (List[Listed], error) {
	return list(ctx, h, &order{What: askChannels, Channel: octets(pattern)}, page, listed)
}

func listed(e *entry) Listed { return Listed{string(e.Name), e.N} }

// ListNodes lists the hubs on all nodes, by name.
func (h *Hub) ListNodes(ctx context.Context) (List[Node], error) {
	if err := h.ask(ctx); err != nil {
		return List[Node]{}, err
	}
	answers, missing, err := h.askNodes(ctx, &order{What: askNode})
	l := List[Node]{Missing: missing}
	for _, a := range answers {
		if a.Self != nil {
			a.Self.Name = a.Node
			l.Items = append(l.Items, *a.Self)
		}
	}
	slices.SortFunc(l.Items, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return l, err
}

// self is what is on this node.
func (h *Hub) self() *Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &Node{ID: h.id, Uptime: time.Since(h.began), Clients: len(h.clients), Users: len(h.users), Channels: len(h.channels)}
	for _, ch := range h.channels {
		n.Members += ch.uses
	}
	return n
}

// entry is an item of a list, in JSON.
type entry struct {
	Name octets `json:"name"` // by which the list is sorted
	User octets `json:"user,omitempty"`
	Info []byte `json:"info,omitempty"`
	N    int    `json:"n,omitempty"`

	node string
	c    *Client // about whom more has to be found out
}

// entryBytesMax is about how much of a list a node tells at once.
const entryBytesMax = 1 << 20

func (h *Hub) clientEntries(o *order) (all []entry) {
	for _, c := range h.whom(o) {
		all = append(all, entry{Name: octets(c.id), c: c})
	}
	return all
}

func (h *Hub) userEntries() (all []entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, c := range h.users {
		e := entry{Name: octets(name)}
		for ; c != nil; c = c.next {
			e.N++
		}
		all = append(all, e)
	}
	return all
}

func (h *Hub) channelEntries(o *order) (all []entry) {
	for name, n := range h.Channels() {
		if matches(string(o.Channel), name) {
			all = append(all, entry{Name: octets(name), N: n})
		}
	}
	return all
}

// entries returns the part of a list that is asked for, and whether there is more.
func (h *Hub) entries(o *order, all []entry) (part []entry, more bool) {
	all = slices.DeleteFunc(all, func(e entry) bool { return e.Name <= o.After })
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.Name, b.Name) })
	size := 0
	for i := range all {
		e := &all[i]
		if c := e.c; c != nil {
			e.User, e.Info, e.N = octets(c.user), c.Info(), len(c.memberships())
		}
		size += 64 + len(e.Name) + len(e.User) + len(e.Info)
		if i > 0 && size > entryBytesMax || i == o.Limit {
			return all[:i], true
		}
	}
	return all, false
}

// list asks all nodes for their parts of a list.
func list[T any](ctx context.Context, h *Hub, o *order, page Page, item func(*entry) T) (l List[T], err error) {
	if o.After, o.Limit = octets(page.After), page.Limit; o.Limit == 0 {
		o.Limit = ListMax
	}
	if o.Limit < 0 || o.Limit > ListMax {
		return l, fmt.Errorf("hub: Page.Limit is %d: it must be from 1 to %d, or 0 for the latter", page.Limit, ListMax)
	}
	if err := h.ask(ctx); err != nil {
		return l, err
	}
	answers, missing, err := h.askNodes(ctx, o)
	if err != nil {
		return l, err
	}
	all, more := merge(answers, o.Limit)
	l.More, l.Missing = more, missing
	for i := range all {
		l.Items = append(l.Items, item(&all[i]))
	}
	return l, nil
}

// merge makes one list of those of all nodes, which ends where the first of them does that has more behind.
func merge(answers []nodeAnswer, limit int) (all []entry, more bool) {
	var end octets
	for _, a := range answers {
		for i := range a.List {
			a.List[i].node = a.Node
		}
		all = append(all, a.List...)
		if n := len(a.List); a.More && n > 0 && (!more || a.List[n-1].Name < end) {
			more, end = true, a.List[n-1].Name
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.Name, b.Name) })
	kept := all[:0]
	for _, e := range all {
		switch n := len(kept); {
		case more && e.Name > end:
			return kept, true
		case n > 0 && kept[n-1].Name == e.Name: // on several nodes
			kept[n-1].N += e.N
		case n == limit:
			return kept, true
		default:
			kept = append(kept, e)
		}
	}
	return kept, more
}
