package crowd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
	"github.com/sockmill/sockmill/engine"
)

// client follows channels. It is connected to one node, or about to be.
type client struct {
	*Crowd
	name     string
	channels []string

	mu      sync.Mutex
	rand    *rand.Rand
	node    int          // to which it is connected, or tries to be
	conn    *engine.Conn // nil: none
	id      string       // that the node has given to the connection; empty: none yet
	pong    bool         // pings are answered
	heard   time.Time    // when something came last
	last    uint32       // ID of a command
	waiting map[uint32]func(*reply)
	subs    map[string]*sub
	events  map[event]int // how often it was told of each
	since   time.Time     // it has been without all of its channels; zero: it has not
}

// sub is what a client knows of a channel.
type sub struct {
	on       bool
	position *check.Position // nil: it has never been subscribed
}

var (
	errLost    = errors.New("the connection was lost") // what a command fails with then
	errRefused = errors.New("the connect command was refused")
	errSilent  = errors.New("nothing came")
)

const (
	askAfter    = time.Second            // of silence it sends something that is answered
	againAfter  = 200 * time.Millisecond // a subscription that was refused is tried again
	goElsewhere = 300 * time.Millisecond // at most before another connection
)

// dial connects to a node, not to the one that was lost if there are others.
func (c *client) dial() {
	c.mu.Lock()
	n := len(c.cfg.Nodes)
	if c.node < 0 {
		c.node = c.rand.IntN(n)
	} else if n > 1 {
		c.node = (c.node + 1 + c.rand.IntN(n-1)) % n
	}
	d := engine.Dial{
		URL: c.cfg.Nodes[c.node].URL, Handler: &c.handler, State: c, Timeout: 2 * time.Second,
		OnFailure: func(*engine.DialError) { c.again() },
	}
	if from := c.cfg.From; len(from) > 0 {
		d.LocalAddr = from[c.rand.IntN(len(from))]
	}
	c.mu.Unlock()
	if err := c.engine.Dial(c.ctx, d); err != nil && c.ctx.Err() == nil {
		c.again()
	}
}

// again dials after a while.
func (c *client) again() {
	if c.ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	wait := time.Duration(c.rand.Int64N(int64(goElsewhere)))
	c.mu.Unlock()
	time.AfterFunc(wait, c.dial)
}

func (c *client) opened(conn *engine.Conn) {
	c.mu.Lock()
	c.conn, c.id, c.heard = conn, "", time.Now()
	c.waiting = map[uint32]func(*reply){}
	c.mu.Unlock()
	conn.Every(askAfter/2, func(engine.Tick) { c.look(conn) })
	c.send(command{Connect: &struct{}{}}, func(r *reply) {
		if r == nil || r.Connect == nil {
			_ = conn.CloseNow(&engine.CloseError{Code: 4000, Err: errRefused})
			return
		}
		c.mu.Lock()
		c.id, c.pong = r.Connect.Client, r.Connect.Pong
		c.mu.Unlock()
		for _, channel := range c.channels {
			c.subscribe(channel)
		}
	})
}

// look ends a connection on which nothing comes.
func (c *client) look(conn *engine.Conn) {
	c.mu.Lock()
	quiet := time.Since(c.heard)
	c.mu.Unlock()
	switch {
	case quiet > c.cfg.Silence:
		_ = conn.CloseNow(&engine.CloseError{Code: 4000, Err: errSilent})
	case quiet > askAfter:
		c.send(command{RPC: &rpc{"ping"}}, func(*reply) {}) // an error is an answer too
	}
}

func (c *client) closed(conn *engine.Conn, e *engine.CloseError) {
	c.because(e.Error())
	c.mu.Lock()
	if c.conn != conn {
		c.mu.Unlock()
		return
	}
	waiting := c.waiting
	c.conn, c.id, c.waiting = nil, "", nil
	for _, s := range c.subs {
		s.on = false
	}
	c.note()
	c.mu.Unlock()
	c.lost.Add(1)
	for _, f := range waiting {
		f(nil)
	}
	c.again()
}

// send sends a command; f gets the answer, or nil if the connection ends before. f must not block.
func (c *client) send(m command, f func(*reply)) {
	c.mu.Lock()
	if c.conn == nil {
		c.mu.Unlock()
		f(nil)
		return
	}
	c.last++
	m.ID = c.last
	c.waiting[m.ID] = f
	conn := c.conn
	c.mu.Unlock()
	_ = conn.Send(engine.Message{Type: engine.Text, Data: encode(m)}) // if it fails, the end of the connection is told
}

// ask sends a command and waits for the answer.
func (c *client) ask(ctx context.Context, m command) (*reply, error) {
	answer := make(chan *reply, 1)
	c.send(m, func(r *reply) { answer <- r })
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-answer:
		switch {
		case r == nil:
			return nil, errLost
		case r.Error != nil:
			return nil, r.Error
		}
		return r, nil
	}
}

func (c *client) message(conn *engine.Conn, m engine.Message) {
	all, err := replies(m.Data)
	if err != nil {
		c.surprise(fmt.Sprintf("%s: %v", c.name, err))
		return
	}
	c.mu.Lock()
	c.heard = time.Now()
	pong := c.pong
	c.mu.Unlock()
	for i := range all {
		switch r := &all[i]; {
		case r.ID != 0:
			c.mu.Lock()
			f := c.waiting[r.ID]
			delete(c.waiting, r.ID)
			c.mu.Unlock()
			if f != nil {
				f(r)
			}
		case r.Push != nil:
			c.pushed(conn, r.Push)
		case pong:
			_ = conn.SendText("{}")
		}
	}
}
