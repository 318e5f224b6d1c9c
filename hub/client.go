package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Close codes of the Centrifugal client protocol.
const codeInsufficient = 3010

// Identity says who a connection is.
type Identity struct {
	User string // at most 253 bytes; empty: nobody in particular
	Info []byte // of the program: others see it as broker.Info.Conn
}

// Client is a connection that the hub knows. A user may have several.
type Client struct {
	h    *Hub
	id   string
	who  Identity
	conn *engine.Conn

	mu       sync.Mutex // guards what follows
	gone     bool
	data     map[string]any
	channels map[string]*membership
}

// Connect makes a client of a connection, which is one until its end, and has it get what is
// published to its user and to all. It fails with ErrConnected, ErrGone, ErrName, ErrClosed.
func (h *Hub) Connect(ctx context.Context, conn *engine.Conn, who Identity) (*Client, error) {
	if err := h.ask(ctx); err != nil {
		return nil, err
	}
	if who.User != "" {
		if err := checkUser(who.User); err != nil {
			return nil, err
		}
	}
	c := &Client{h: h, id: rand.Text(), who: who, conn: conn, channels: map[string]*membership{}}
	if err := h.add(c); err != nil {
		return nil, err
	}
	err := c.follow(ctx)
	if err == nil {
		if _, err = c.join(ctx, everybody, Join{}); err == nil && who.User != "" {
			_, err = c.join(ctx, userPrefix+who.User, Join{})
		}
	}
	if err != nil {
		c.finish()
		return nil, err
	}
	return c, nil
}

// follow has the engine tell when the connection is over.
func (c *Client) follow(ctx context.Context) error {
	done := make(chan error, 1)
	if err := c.conn.Loop().Post(func() { done <- c.conn.AfterClose((*follower)(c)) }); err != nil {
		return err
	}
	select {
	case err := <-done:
		if errors.Is(err, engine.ErrClosed) {
			return ErrGone
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.h.ctx.Done():
		return ErrClosed
	}
}

func (h *Hub) add(c *Client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return ErrClosed
	case h.conns[c.conn] != nil:
		return ErrConnected
	}
	h.conns[c.conn], h.clients[c.id] = c, c
	if u := c.who.User; u != "" {
		if h.users[u] == nil {
			h.users[u] = map[*Client]struct{}{}
		}
		h.users[u][c] = struct{}{}
	}
	return nil
}

func (h *Hub) remove(c *Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clients[c.id] != c {
		return
	}
	delete(h.conns, c.conn)
	delete(h.clients, c.id)
	if of := h.users[c.who.User]; of != nil {
		if delete(of, c); len(of) == 0 {
			delete(h.users, c.who.User)
		}
	}
}

// follower is a Client as its connection knows it.
type follower Client

// Closed implements engine.Follower.
func (f *follower) Closed(*engine.Conn) {
	c, h := (*Client)(f), f.h
	h.remove(c)
	h.mu.Lock()
	first := len(h.leaving) == 0
	h.leaving = append(h.leaving, c)
	h.mu.Unlock()
	if first {
		h.run(h.takeOut)
	}
}

// takeOut takes those who have disconnected out of their channels.
func (h *Hub) takeOut() {
	for n := 0; ; n++ {
		h.mu.Lock()
		if n == len(h.leaving) {
			h.leaving = nil
			h.mu.Unlock()
			return
		}
		c := h.leaving[n]
		h.leaving[n] = nil
		h.mu.Unlock()
		c.finish()
	}
}

// finish takes the client out of everything. It may be called twice.
func (c *Client) finish() {
	c.h.remove(c)
	c.mu.Lock()
	c.gone = true
	var of []*membership
	for _, m := range c.channels {
		of = append(of, m)
	}
	c.mu.Unlock()
	for _, m := range of {
		_ = m.end(context.WithoutCancel(c.h.ctx), true) // what the brokers refuse expires
	}
}

// ID is the client's name, which no other has on any node. It says nothing of the machine.
func (c *Client) ID() string { return c.id }

// User is whose connection it is; empty: nobody's in particular.
func (c *Client) User() string { return c.who.User }

// Conn is the connection.
func (c *Client) Conn() *engine.Conn { return c.conn }

// Get returns what Set has kept under a key, or nil. Any goroutine may call it, on a loop too.
func (c *Client) Get(key string) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data[key]
}

// Set keeps a value with the client, as long as that is connected; nil removes it. Any goroutine may call it, on a
// loop too.
func (c *Client) Set(key string, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value == nil {
		delete(c.data, key)
		return
	}
	if c.data == nil {
		c.data = map[string]any{}
	}
	c.data[key] = value
}

// Channels returns the channels that the client is in, or is joining, sorted. Any goroutine may call it, on a loop
// too.
func (c *Client) Channels() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.channels {
		if name[0] != reserved {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// info is what others see of the client.
func (c *Client) info(channel []byte) *broker.Info {
	return &broker.Info{Client: c.id, User: c.who.User, Conn: c.who.Info, Channel: channel}
}

func (c *Client) closeNow(code protocol.CloseCode, reason string) {
	_ = c.conn.CloseNow(&engine.CloseError{Code: code, Reason: reason})
}
