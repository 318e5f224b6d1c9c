package hub

import "github.com/sockmill/sockmill/engine"

// Bounds of what waits for a client; one more closes it with 3010.
const (
	earlyMax  = 256  // publications to one that has not begun
	ordersMax = 1024 // orders
)

// order has f called on a goroutine of the hub, in the order of the calls. It never blocks.
func (c *Client) order(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	m := c.needMore()
	if len(m.orders) == ordersMax {
		c.closeInsufficient()
		return
	}
	m.orders = append(m.orders, f)
	c.goWork()
}

// goWork has what was ordered carried out. It is called with the lock.
func (c *Client) goWork() {
	if c.begun && !c.working && c.more != nil && c.more.orders != nil {
		c.working = true
		c.h.orders.do(c.carryOut)
	}
}

func (c *Client) carryOut() {
	for {
		c.mu.Lock()
		m := c.more
		if c.gone || len(m.orders) == 0 {
			m.orders, c.working = nil, false
			c.trimMore()
			c.mu.Unlock()
			return
		}
		f := m.orders[0]
		m.orders[0] = nil
		m.orders = m.orders[1:]
		c.mu.Unlock()
		f()
	}
}

// sendNow sends to a client that has begun; otherwise it reports false.
func (c *Client) sendNow(m engine.Message) (begun bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun {
		err = c.conn.Send(m)
	}
	return c.begun, err
}

// receive sends what was published to a client, or keeps it until the client has begun.
func (c *Client) receive(p *engine.Prepared) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.begun:
		return p.Send(c.conn)
	case c.gone:
		return nil
	}
	m := c.needMore()
	if len(m.early) == earlyMax {
		c.closeInsufficient()
		return nil
	}
	m.early = append(m.early, p)
	return nil
}

// start sends what has come early, calls f, and lets the orders be carried out.
func (c *Client) start(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return ErrGone
	}
	if m := c.more; m != nil {
		for _, p := range m.early {
			if err := p.Send(c.conn); err != nil {
				return err
			}
		}
		m.early = nil
		c.trimMore()
	}
	if err := f(); err != nil {
		return err
	}
	c.begun = true
	c.goWork()
	return nil
}

// opening reports whether the client has not begun.
func (c *Client) opening() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.begun
}
