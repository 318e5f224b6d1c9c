package crowd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// Node is where clients connect.
type Node struct {
	Name string
	URL  string // of the WebSocket
	HTTP string // http://host:port of the API and of /readyz
}

// Config says how many there are and what they do.
type Config struct {
	Nodes    []Node
	Key      string     // of the HTTP API
	From     []net.Addr // addresses that clients connect from, by turns; empty: any
	Clients  int
	Channels []string
	Follow   int           // channels of each client
	Publish  int           // of the clients publish
	Every    time.Duration // time between two messages of a publisher
	Silence  time.Duration // after which a client goes to another node
	Events   bool          // they ask for joins and leaves too
	Seed     uint64
	Book     *check.Book
	Progress func(format string, args ...any) // is told at least every 2 s what is waited for
}

// Crowd is the clients.
type Crowd struct {
	cfg     Config
	ctx     context.Context
	engine  *engine.Engine
	handler engine.Handler
	http    *http.Client
	clients []*client
	moved   chan struct{} // has something if a client has got something
	gate    sync.RWMutex  // held for reading while something is published
	group   sync.WaitGroup
	end     context.CancelFunc
	marker  atomic.Uint64
	without int // a node that is gone; -1: none. The gate guards it

	Counts
	away times

	mu    sync.Mutex
	wrong []string
	asked map[visit]int  // how often a connection has asked for a channel
	why   map[string]int // refusals, and ends of connections
}

// Counts is what has happened.
type Counts struct {
	acked, failed, lost, recovered, missed, insufficient atomic.Int64
}

// times is a maximum.
type times struct {
	mu  sync.Mutex
	max time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	t.max = max(t.max, d)
	t.mu.Unlock()
}

// take returns the maximum and begins anew.
func (t *times) take() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.max
	t.max = 0
	return d
}

// Start makes the crowd, which connects and publishes until End.
func Start(cfg Config) (*Crowd, error) {
	ctx, end := context.WithCancel(context.Background())
	c := &Crowd{
		cfg: cfg, ctx: ctx, end: end, moved: make(chan struct{}, 1), asked: map[visit]int{}, why: map[string]int{}, without: -1,
		http: &http.Client{Timeout: 5 * time.Second},
	}
	c.handler = engine.Handler{
		OnOpen:    func(conn *engine.Conn) { conn.State().(*client).opened(conn) },
		OnMessage: func(conn *engine.Conn, m engine.Message) { conn.State().(*client).message(conn, m) },
		OnClose:   func(conn *engine.Conn, e *engine.CloseError) { conn.State().(*client).closed(conn, e) },
	}
	var err error
	if c.engine, err = engine.New(engine.Config{MessageBytesMax: 8 << 20, DialsMax: 64, DrainTimeout: time.Second}, c.handler); err != nil {
		end()
		return nil, err
	}
	c.group.Go(func() { _ = c.engine.Run(ctx) })
	for i := range cfg.Clients {
		c.add(i)
	}
	for _, x := range c.clients[:min(cfg.Publish, len(c.clients))] {
		c.group.Go(x.publishAll)
	}
	if cfg.Publish > 0 {
		for i := range cfg.Nodes {
			c.group.Go(func() { c.publishOver(i) })
		}
	}
	return c, nil
}

// add makes the client with a number, which follows the channels that lie behind each other from there on.
func (c *Crowd) add(i int) {
	x := &client{
		Crowd: c, name: fmt.Sprintf("c%d", i), node: -1, rand: rand.New(rand.NewPCG(c.cfg.Seed, uint64(i))),
		subs: map[string]*sub{}, events: map[event]int{}, since: time.Now(),
	}
	for n := range c.cfg.Follow {
		channel := c.cfg.Channels[(i*c.cfg.Follow+n)%len(c.cfg.Channels)]
		if !slices.Contains(x.channels, channel) {
			x.channels, x.subs[channel] = append(x.channels, channel), &sub{}
		}
	}
	c.clients = append(c.clients, x)
	x.dial()
}

// End ends all clients.
func (c *Crowd) End() {
	c.end()
	c.group.Wait()
}

// Drop ends connections without a word, each one with a probability of one in n.
func (c *Crowd) Drop(n int) {
	for i, x := range c.clients {
		if i%n != 0 {
			continue
		}
		x.mu.Lock()
		conn := x.conn
		x.mu.Unlock()
		if conn != nil {
			_ = conn.CloseNow(&engine.CloseError{Code: protocol.CloseGoingAway})
		}
	}
}

// Without says that a node is gone: Settle does not ask it.
func (c *Crowd) Without(node int) {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.without = node
}

// poke says that something has moved.
func (c *Crowd) poke() {
	select {
	case c.moved <- struct{}{}:
	default:
	}
}

// surprise notes what must not be, and is no matter of a message.
func (c *Crowd) surprise(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, what)
}

// because counts why a subscription was refused, or a connection has ended.
func (c *Crowd) because(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why[why]++
}

// Tally is what has happened since the last one.
type Tally struct {
	Acked, Failed, Lost, Recovered, Missed, Insufficient int64
	Away                                                 time.Duration  // the longest time in which a client was without one of its channels
	Why                                                  map[string]int // subscriptions were refused and connections have ended
}

// Tally counts.
func (c *Crowd) Tally() Tally {
	t := Tally{
		Acked: c.acked.Swap(0), Failed: c.failed.Swap(0), Lost: c.lost.Swap(0),
		Recovered: c.recovered.Swap(0), Missed: c.missed.Swap(0), Insufficient: c.insufficient.Swap(0), Away: c.away.take(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Why, c.why = c.why, map[string]int{}
	return t
}

// on returns how many clients have all of their channels.
func (c *Crowd) on() (n int) {
	for _, x := range c.clients {
		x.mu.Lock()
		if x.since.IsZero() {
			n++
		}
		x.mu.Unlock()
	}
	return n
}
