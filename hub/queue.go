package hub

import "github.com/sockmill/sockmill/engine"

// waiting is what waits for a client.
type waiting struct {
	early  []*engine.Prepared // was published before the client had begun
	orders []func()           // are carried out one after the other, when it has begun
}

const (
	earlyMax  = 256  // publications to a client that has not begun; one more closes it with 3010
	ordersMax = 1024 // orders of one client; one more closes it with 3010
)

// backlog returns what waits. It is called with the lock.
func (c *Client) backlog() *waiting {
	if c.waiting == nil {
		c.waiting = &waiting{}
	}
	return c.waiting
}

// order has f called on a goroutine of the hub, in the order of the calls. It never blocks.
func (c *Client) order(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	w := c.backlog()
	if len(w.orders) == ordersMax {
		c.closeInsufficient()
		return
	}
	w.orders = append(w.orders, f)
	c.goWork()
}

// goWork has what was ordered carried out. It is called with the lock.
func (c *Client) goWork() {
	if c.begun && !c.working && c.waiting != nil {
		c.working = true
		c.h.tasks.do(c.carryOut)
	}
}

func (c *Client) carryOut() {
	for {
		c.mu.Lock()
		if c.gone || len(c.waiting.orders) == 0 {
			c.working, c.waiting = false, nil
			c.mu.Unlock()
			return
		}
		f := c.waiting.orders[0]
		c.waiting.orders[0] = nil
		c.waiting.orders = c.waiting.orders[1:]
		c.mu.Unlock()
		f()
	}
}

// receive sends what was published to a client, or keeps it until the client has begun.
func (c *Client) receive(p *engine.Prepared) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun {
		return p.Send(c.conn)
	}
	if c.gone {
		return nil
	}
	w := c.backlog()
	if len(w.early) == earlyMax {
		c.closeInsufficient()
		return nil
	}
	w.early = append(w.early, p)
	return nil
}

// start sends what has come early, calls f, and lets the orders be carried out.
func (c *Client) start(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return ErrGone
	}
	if w := c.waiting; w != nil {
		for _, p := range w.early {
			if err := p.Send(c.conn); err != nil {
				return err
			}
		}
		if w.early = nil; len(w.orders) == 0 {
			c.waiting = nil
		}
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
