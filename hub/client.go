package hub

import (
	"maps"
	"slices"
	"sync"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// CodeInsufficient is the code of Config.OnLeft for a client that would have missed a publication.
const CodeInsufficient protocol.CloseCode = 2500

// codeInsufficient closes a connection that would have missed something.
const codeInsufficient protocol.CloseCode = 3010

const reasonInsufficient = "insufficient state"

// Client is a connection that the hub knows. A user may have several.
type Client struct {
	h    *Hub
	id   string
	user string
	next *Client // of the same user; guarded by Hub.mu
	info *[]byte // nil: none
	conn *engine.Conn

	format uint8
	seated bool // guarded by everybody.mu

	// What follows is guarded by mu.
	gone    bool
	begun   bool // it has been told what it has to be told first
	working bool // what was ordered is being carried out, or waits for its turn
	follows bool // its user, by followUser
	mu      sync.Mutex
	in      *membership // the first, in no order
	more    *more       // nil: nothing
}

// more is what few clients have.
type more struct {
	data   map[string]any
	early  []*engine.Prepared // was published before the client had begun
	orders []func()           // are carried out one after the other, when it has begun

	leaving map[*membership]chan struct{} // those that are taken out, which is ordered: closed when OnLeft has returned
}

// needMore is called with the lock.
func (c *Client) needMore() *more {
	if c.more == nil {
		c.more = &more{}
	}
	return c.more
}

// trimMore is called with the lock when something has become nil.
func (c *Client) trimMore() {
	if m := c.more; m.data == nil && m.early == nil && m.orders == nil {
		c.more = nil
	}
}

// ID is the client's name, which no other has on any node. It says nothing of the machine.
func (c *Client) ID() string { return c.id }

// User is whose connection it is; empty: nobody's in particular.
func (c *Client) User() string { return c.user }

// Info is what Connect.Info said. It must not be changed.
func (c *Client) Info() []byte {
	if c.info == nil {
		return nil
	}
	return *c.info
}

// Conn is the connection.
func (c *Client) Conn() *engine.Conn { return c.conn }

// Format is the wire format that the client speaks.
func (c *Client) Format() int { return int(c.format) }

// Get returns what Set has kept under a key, or nil. Any goroutine may call it, on a loop too, as it may Set, Merge and Data.
func (c *Client) Get(key string) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more == nil {
		return nil
	}
	return c.more.data[key]
}

// Set keeps a value with the client, as long as that is connected; nil removes it.
func (c *Client) Set(key string, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(key, value)
	c.trimMore()
}

// Merge is Set for several keys at once.
func (c *Client) Merge(values map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, value := range values {
		c.set(key, value)
	}
	if c.more != nil {
		c.trimMore()
	}
}

// Data returns a copy of all that is kept with the client.
func (c *Client) Data() map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more == nil {
		return nil
	}
	return maps.Clone(c.more.data)
}

func (c *Client) set(key string, value any) {
	m := c.needMore()
	if value != nil {
		if m.data == nil {
			m.data = map[string]any{}
		}
		m.data[key] = value
	} else if delete(m.data, key); len(m.data) == 0 {
		m.data = nil
	}
}

// Channels returns the channels that the client is in, or is joining, sorted. Any goroutine may call it, on a loop
// too.
func (c *Client) Channels() []string {
	var names []string
	c.mu.Lock()
	for m := c.in; m != nil; m = m.next {
		names = append(names, m.name) // which a join that succeeds replaces
	}
	c.mu.Unlock()
	slices.Sort(names)
	return names
}

// find returns the membership of a channel, or nil. It is called with the lock.
func (c *Client) find(channel string) *membership {
	m := c.in
	for m != nil && m.name != channel {
		m = m.next
	}
	return m
}

// memberships are those of channels that the client is in, or is joining.
func (c *Client) memberships() (all []*membership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for m := c.in; m != nil; m = m.next {
		all = append(all, m)
	}
	return all
}

// listed returns the membership of a channel that the client is in, or is joining, or nil.
func (c *Client) listed(channel string) *membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(channel)
}

// member returns the membership of a channel that the client is in, or nil.
func (c *Client) member(channel string) *membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.find(channel); m != nil && m.joined {
		return m
	}
	return nil
}

// seen is what others see of the client, in a channel.
func (c *Client) seen(channel []byte) *broker.Info {
	return &broker.Info{Client: c.id, User: c.user, Conn: c.Info(), Channel: channel}
}

func (c *Client) closeInsufficient() {
	if c.conn.CloseNow(&engine.CloseError{Code: codeInsufficient, Reason: reasonInsufficient}) == nil { // it was not closed for this before
		c.h.counts.cut.Add(1)
	}
}
