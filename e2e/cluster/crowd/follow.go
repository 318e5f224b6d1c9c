package crowd

import (
	"fmt"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
	"github.com/sockmill/sockmill/engine"
)

// subscribe asks for a channel, from the client's position if it has one. It runs on the loop, as what follows does.
func (c *client) subscribe(channel string) {
	c.mu.Lock()
	conn, s := c.conn, c.subs[channel]
	c.mu.Unlock()
	m := &subscribe{Channel: channel, Positioned: true, Recoverable: true, JoinLeave: true}
	since := s.position
	if since != nil {
		m.Recover, m.Offset, m.Epoch = true, since.Offset, since.Epoch
	}
	c.send(command{Subscribe: m}, func(r *reply) {
		switch {
		case r == nil:
		case r.Error != nil:
			c.refused(channel, r.Error)
			conn.After(againAfter, func() { c.subscribe(channel) })
		case r.Subscribe != nil:
			c.subscribed(channel, s, since, r.Subscribe)
		}
	})
}

func (c *client) subscribed(channel string, s *sub, since *check.Position, r *subscribed) {
	at := check.Position{Offset: r.Offset, Epoch: r.Epoch}
	told := check.Subscribed{Since: since, Recovered: r.Recovered, At: at}
	for i := range r.Publications {
		told.Publications = append(told.Publications, r.Publications[i].of())
		at.Offset = r.Publications[i].Offset
	}
	if c.cfg.Book.Subscribed(c.name, channel, told) {
		c.missed.Add(1)
	} else if since != nil {
		c.recovered.Add(1)
	}
	c.mu.Lock()
	s.on, s.position = true, &at
	c.note()
	c.mu.Unlock()
	c.poke()
}

func (c *client) pushed(conn *engine.Conn, p *push) {
	s := c.subs[p.Channel]
	switch {
	case s == nil:
		c.surprise(fmt.Sprintf("%s: a push for %q, which it does not follow", c.name, p.Channel))
	case p.Pub != nil:
		c.cfg.Book.Got(c.name, p.Channel, p.Pub.of())
		c.mu.Lock()
		on := s.on
		if s.position != nil {
			s.position = &check.Position{Offset: p.Pub.Offset, Epoch: s.position.Epoch}
		}
		c.mu.Unlock()
		if !on {
			c.surprise(fmt.Sprintf("%s: %s: %v came without a subscription", c.name, p.Channel, p.Pub.Data))
		}
		c.poke()
	case p.Unsubscribe != nil:
		c.mu.Lock()
		s.on = false
		c.note()
		c.mu.Unlock()
		c.insufficient.Add(1)
		if code := p.Unsubscribe.Code; code < 2500 {
			c.surprise(fmt.Sprintf("%s: %s: taken out with %d", c.name, p.Channel, code))
		}
		conn.After(time.Millisecond, func() { c.subscribe(p.Channel) })
	}
}

// note notes since when the client has been without all of its channels. mu is held.
func (c *client) note() {
	for _, s := range c.subs {
		if !s.on {
			if c.since.IsZero() {
				c.since = time.Now()
			}
			return
		}
	}
	if !c.since.IsZero() {
		c.away.add(time.Since(c.since))
		c.since = time.Time{}
	}
}

// there returns the ID of the client's connection and the node if it follows the channel now.
func (c *client) there(channel string) (id string, node int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.subs[channel]; s == nil || !s.on {
		return "", c.node
	}
	return c.id, c.node
}
