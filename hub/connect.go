package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/sockmill/sockmill/engine"
)

// Connect says who a connection is, and what it gets from the beginning.
type Connect struct {
	User string // at most 253 bytes; empty: nobody in particular
	Info []byte // of the program: others see it as broker.Info.Conn

	// Data is what the client said. Hooks.Connect may replace it by what the client is to be told. The hub does not use it.
	Data []byte

	Format   int      // that the client speaks, from 0 to Config.Formats less one
	Channels []string // that the hub joins for the client after Begin

	// Begin, if set, is called when the client is known (Hub.Client and Hub.Users find it), before the hub sends anything to it. It sends
	// what the client has to be told first, and may call the Hub. What is published to the client meanwhile
	// follows when it has returned. If it fails, so does Hub.Connect. It runs on the goroutine of Hub.Connect.
	Begin func(c *Client) error
}

// Connect makes a client of a connection, which is one until its end, and has it get what is
// published to its user and to all. It fails with ErrConnected, ErrGone, ErrName, ErrLimit, ErrClosed, with errors of the hook,
// of Begin and of the brokers, and as Hub.Join does for one of Connect.Channels. Then the connection is no
// client, but it may have been sent something: best close it.
func (h *Hub) Connect(ctx context.Context, conn *engine.Conn, as Connect) (*Client, error) {
	if err := h.ask(ctx); err != nil {
		return nil, err
	}
	if h.ClientOf(conn) != nil {
		return nil, ErrConnected
	}
	if hook := h.cfg.Hooks.Connect; hook != nil {
		if err := hook(ctx, conn, &as); err != nil {
			return nil, err
		}
	}
	if err := h.check(&as); err != nil {
		return nil, err
	}
	c := &Client{h: h, id: rand.Text(), user: strings.Clone(as.User), conn: conn, format: uint8(as.Format)}
	if info := as.Info; info != nil {
		c.info = &info
	}
	h.all.opens(c)
	if err := h.add(c); err != nil {
		h.all.leave(c)
		return nil, err
	}
	if err := c.begin(ctx, &as); err != nil {
		c.finish()
		return nil, err
	}
	return c, nil
}

func (h *Hub) check(as *Connect) error {
	if as.User != "" {
		if err := checkUser(as.User); err != nil {
			return err
		}
	}
	if as.Format < 0 || as.Format >= h.cfg.Formats {
		return fmt.Errorf("hub: Connect.Format is %d: it must be from 0 to %d", as.Format, h.cfg.Formats-1)
	}
	if len(as.Channels) > h.cfg.ChannelsPerClientMax {
		return ErrLimit
	}
	for _, name := range as.Channels {
		if _, err := h.Options(name); err != nil {
			return err
		}
	}
	return nil
}

// begin does what has to be done for a client that is known.
func (c *Client) begin(ctx context.Context, as *Connect) error {
	if err := c.follow(ctx); err != nil {
		return err
	}
	if err := c.h.all.ask(ctx); err != nil {
		return err
	}
	if err := c.followUser(ctx); err != nil {
		return err
	}
	if as.Begin != nil {
		if err := as.Begin(c); err != nil {
			return err
		}
	}
	if err := c.h.all.enter(c); err != nil {
		return sendError(err)
	}
	for _, name := range as.Channels {
		if err := c.joinFor(ctx, name, Join{}, new(bool)); err != nil {
			return err
		}
	}
	return nil
}

// joinFor joins for the program, unless the client is in the channel already.
func (c *Client) joinFor(ctx context.Context, channel string, j Join, told *bool) error {
	if c.room(channel) == ErrJoined { //nolint:errorlint // it is not wrapped
		return nil
	}
	if f := c.h.cfg.Joining; f != nil {
		f(c, channel, &j)
	}
	if begin := j.Begin; begin != nil {
		j.Begin = func(joined Joined) error {
			*told = true
			return begin(joined)
		}
	}
	_, err := c.h.Join(ctx, c, channel, j)
	if errors.Is(err, ErrJoined) { // it has joined meanwhile
		return nil
	}
	return err
}

// follow has the engine tell when the connection is over.
func (c *Client) follow(ctx context.Context) error {
	done := make(chan error, 1)
	if err := c.conn.Loop().Post(func() { done <- c.conn.AfterClose((*follower)(c)) }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return sendError(err)
	case <-ctx.Done():
		return ctx.Err()
	case <-c.h.ctx.Done():
		return ErrClosed
	}
}

// sendError is the error of what is done to a connection.
func sendError(err error) error {
	if errors.Is(err, engine.ErrClosed) {
		return ErrGone
	}
	return err
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
	if c.user != "" {
		c.next = h.users[c.user]
		h.users[c.user] = c
	}
	return nil
}

// remove has nobody find the client any more.
func (h *Hub) remove(c *Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(c)
}

func (h *Hub) removeLocked(c *Client) {
	if h.clients[c.id] != c {
		return
	}
	delete(h.conns, c.conn)
	delete(h.clients, c.id)
	if c.user != "" {
		h.unlink(c)
	}
}

// unlink takes a client out of those of its user.
func (h *Hub) unlink(c *Client) {
	first := h.users[c.user]
	switch {
	case first != c:
		for first.next != c {
			first = first.next
		}
		first.next = c.next
	case c.next != nil:
		h.users[c.user] = c.next
	default:
		delete(h.users, c.user)
	}
	c.next = nil
}

// follower is a Client as its connection knows it.
type follower Client

// Closed implements engine.Follower.
func (f *follower) Closed(*engine.Conn) {
	c, h := (*Client)(f), f.h
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(c)
	h.ends.doLocked(c.finish)
}

// finish takes the client out of everything. It may be called twice.
func (c *Client) finish() {
	c.h.remove(c)
	c.mu.Lock()
	first := !c.gone
	c.gone = true
	follows := c.follows
	c.follows = false
	c.mu.Unlock()
	ctx, cancel := c.h.upkeep()
	defer cancel()
	for _, m := range c.memberships() { // nothing is added to them any more
		_ = m.end(ctx) // what the brokers refuse expires
	}
	if first {
		c.h.all.leave(c)
	}
	if follows {
		c.h.unfollowUser(c.user)
	}
}
