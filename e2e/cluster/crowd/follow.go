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
	conn, s, id := c.conn, c.subs[channel], c.id
	c.mu.Unlock()
	c.asks(visit{channel, id})
	m := &subscribe{Channel: channel, Positioned: true, Recoverable: true, JoinLeave: c.cfg.Events}
	since := s.position
	if since != nil {
		m.Recover, m.Offset, m.Epoch = true, since.Offset, since.Epoch
	}
	c.send(command{Subscribe: m}, func(r *reply) {
		switch {
		case r == nil:
		case r.Error != nil:
			c.because("subscribe: " + r.Error.Error())
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
	case p.Join != nil:
		c.told(event{visit{p.Channel, p.Join.Info.Client}, "join"})
	case p.Leave != nil:
		c.told(event{visit{p.Channel, p.Leave.Info.Client}, "leave"})
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

// visit is a connection in a channel, by its ID.
type visit struct{ channel, id string }

// event is what a client may be told of a visit.
type event struct {
	visit
	kind string
}

// asks notes that a connection asks for a channel.
func (c *Crowd) asks(v visit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[v]++
}

// told notes a join or a leave, and finds those that come more often than they can have happened. They may be lost where nodes are cut off.
func (c *client) told(e event) {
	c.events[e]++
	c.Crowd.mu.Lock()
	asked := c.asked[e.visit]
	c.Crowd.mu.Unlock()
	if n := c.events[e]; n > asked {
		c.surprise(fmt.Sprintf("%s: %s: the %s of %s came %d times, which has asked for the channel %d times", c.name, e.channel, e.kind, e.id, n, asked))
	}
}
