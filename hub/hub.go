// Package hub knows who is connected, what they follow, and what they missed: users with any number of
// connections, channels with history and presence, on the connections of an engine.Engine.
//
//	h, err := hub.New(e, hub.Config{
//		Encode:  func(channel string, p *broker.Publication) engine.Message { … },
//		Channel: func(name string) hub.Options { return hub.Options{History: 100, Presence: true} },
//	})
//
//	anna, err := h.Connect(ctx, c, hub.Identity{User: "anna"}) // in a function of c.Go
//	joined, err := anna.Join(ctx, "news", hub.Join{Since: position})
//	position, err := h.Publish(ctx, "news", hub.Publication{Data: data})
//
// It has no wire format: Config.Encode makes a message of a publication, once for each publication and
// node, and the hub sends it through a topic of the engine.
//
// # Goroutines
//
// All methods may be called from any goroutine, with one exception: those that take a context ask a
// broker, which may block, so they fail with ErrOnLoop on the loops of the engine. A callback
// calls them in a function of engine.Conn.Go. So must whoever calls the brokers of the Config beside the hub.
//
// # Positions
//
// A channel with Options.History is a stream. A client that comes back says the position of the last publication that it
// has got (Join.Since). Joined.Recovered is true only if it is proven that it is sent all that it missed,
// and it gets what follows without a gap. Otherwise it begins anew at Joined.Position.
//
// If a publication is lost between the broker and this node, the hub reads it from the history before it goes on. If
// that cannot be done, the clients are taken out of the channel and Config.OnInsufficient is called
// for each: they may join again with their position.
package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// Errors of the methods, for errors.Is. Errors of the brokers (package broker) come as they are.
var (
	ErrOnLoop    = errors.New("hub: called on a loop of the engine, where nothing may block: use Conn.Go")
	ErrClosed    = errors.New("hub: closed")
	ErrGone      = errors.New("hub: the client has disconnected")
	ErrConnected = errors.New("hub: the connection is a client already")
	ErrJoined    = errors.New("hub: the client is in the channel already")
	ErrNotJoined = errors.New("hub: the client is not in the channel")
	ErrLimit     = errors.New("hub: the client is in Config.ChannelsPerClientMax channels")
	ErrName      = errors.New("hub: not a name of a channel or a user")
)

// Config says how a Hub works. New refuses a value outside its range.
type Config struct {
	// The brokers. If all three are nil, they are one memory.Broker that the Hub closes. Otherwise Broker must be
	// set. Without History, no channel has a history; without Presence, none has a presence.
	Broker   broker.Broker
	History  broker.History
	Presence broker.Presence

	// Encode makes the message that is sent for a publication; it must be set. It is called once for
	// each publication and node, and once more for each that has to be read from the history.
	// It runs on any goroutine, while the channel waits, so it must not block nor call the Hub. The
	// message's Data is not changed nor kept by the Hub after it was sent. p must not be changed.
	Encode func(channel string, p *broker.Publication) engine.Message

	// Channel returns the options of a channel; nil: the zero Options for all. It may be called on any
	// goroutine, often, and must return the same on all nodes. For what is published to a user and
	// to all, which have no history, it is not called.
	Channel func(name string) Options

	// OnInsufficient is called when a client was taken out of a channel because it would have missed
	// a publication. It runs on a goroutine of its own, where it may block. nil: such a
	// connection is closed with 3010.
	OnInsufficient func(c *Client, channel string)

	ChannelsPerClientMax int           // 128; at most engine.Config.TopicsPerConnectionMax less two
	RecoverMax           int           // publications that a join recovers at most; more is not recovered: 1,000
	RingMax              int           // publications of a channel that are kept encoded, for those who come back: 64
	WaitMax              int           // publications of a channel that wait while a gap is filled; of more, the rest is read too. Of the gap, as many are read at once: 4,096
	PresenceLifetime     time.Duration // how long the presence of a crashed node lasts: 1 minute, at least 1 second
}

// Options are what a channel has. The zero value has nothing: publications are delivered to who is there.
type Options struct {
	History  int           // publications that are kept; 0: none, and no positions
	Lifetime time.Duration // of each publication in the history; 0: it does not end

	Presence  bool // Hub.Present and Hub.Count know who is in the channel
	JoinLeave bool // KindJoin and KindLeave are published when a client joins and leaves

	// Policy is for readers that are too slow; 0: that of the message that Config.Encode returns. In a channel with a history
	// it is always engine.PolicyClose: the client comes back and recovers.
	Policy engine.Policy
}

// Kinds of publications, in broker.Publication.Kind.
const (
	KindPublication uint8 = iota
	KindJoin              // Publication.Info has joined
	KindLeave             // Publication.Info has left
	kindKick              // of the hub itself; never encoded
)

// Hub is the hub of one engine.
type Hub struct {
	e     *engine.Engine
	cfg   Config
	loops []*engine.Loop
	own   *memory.Broker // nil: the brokers are the program's

	ctx  context.Context // ends with the Hub
	end  context.CancelFunc
	work sync.WaitGroup // goroutines of the Hub

	mu       sync.Mutex // guards what follows; nothing else is locked while it is held
	closed   bool
	clients  map[string]*Client
	conns    map[*engine.Conn]*Client
	users    map[string]map[*Client]struct{}
	channels map[string]*channel
	leaving  []*Client // have disconnected; a goroutine takes them out of their channels
}

// New makes a Hub. It ends with the engine, or by Close.
func New(e *engine.Engine, cfg Config) (*Hub, error) {
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	h := &Hub{e: e, loops: e.Loops(), clients: map[string]*Client{}, conns: map[*engine.Conn]*Client{}, users: map[string]map[*Client]struct{}{}, channels: map[string]*channel{}}
	if cfg.Broker == nil && cfg.History == nil && cfg.Presence == nil {
		own, err := memory.New(memory.Config{})
		if err != nil {
			return nil, err
		}
		h.own, cfg.Broker, cfg.History, cfg.Presence = own, own, own, own
	}
	h.cfg = cfg
	h.ctx, h.end = context.WithCancel(context.Background())
	if err := e.AtEnd(h.end); err != nil {
		h.end()
		return nil, err
	}
	h.work.Add(1)
	go h.renew(time.NewTicker(cfg.PresenceLifetime / 3))
	return h, nil
}

// settle checks the fields and fills in the defaults.
func (c *Config) settle() error {
	if c.Encode == nil {
		return errors.New("hub: Config.Encode is not set")
	}
	if c.Broker == nil && (c.History != nil || c.Presence != nil) {
		return errors.New("hub: Config.Broker is not set, but others are")
	}
	for _, r := range []struct {
		name     string
		field    *int
		def, min int
	}{
		{"ChannelsPerClientMax", &c.ChannelsPerClientMax, 128, 1},
		{"RecoverMax", &c.RecoverMax, 1000, 1},
		{"RingMax", &c.RingMax, 64, 1},
		{"WaitMax", &c.WaitMax, 4096, 1},
	} {
		if *r.field == 0 {
			*r.field = r.def
		}
		if *r.field < r.min {
			return fmt.Errorf("hub: Config.%s is %d: it must be at least %d, or 0 for the default", r.name, *r.field, r.min)
		}
	}
	if c.PresenceLifetime == 0 {
		c.PresenceLifetime = time.Minute
	}
	if c.PresenceLifetime < time.Second {
		return fmt.Errorf("hub: Config.PresenceLifetime is %v: it must be at least 1s, or 0 for the default", c.PresenceLifetime)
	}
	return nil
}

// Close ends the Hub: clients are taken out of their channels, the brokers are told, the
// goroutines end. Connections stay open. What is called afterwards fails with ErrClosed. Close fails with the error of
// ctx if that ends first.
func (h *Hub) Close(ctx context.Context) error {
	if h.onLoop() {
		return ErrOnLoop
	}
	h.mu.Lock()
	h.closed = true
	var clients []*Client
	for _, c := range h.clients {
		clients = append(clients, c)
	}
	h.mu.Unlock()
	h.end()
	done := make(chan struct{})
	go func() {
		for _, c := range clients {
			c.finish()
		}
		h.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if h.own != nil {
		return h.own.Close()
	}
	return nil
}

func (h *Hub) onLoop() bool {
	for _, l := range h.loops {
		if l.On() {
			return true
		}
	}
	return false
}

// ask is the beginning of every method that asks a broker.
func (h *Hub) ask(ctx context.Context) error {
	if h.onLoop() {
		return ErrOnLoop
	}
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	return ctx.Err()
}

// run calls f on a goroutine that Close waits for. It reports false after Close.
func (h *Hub) run(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.work.Add(1)
	go func() {
		defer h.work.Done()
		f()
	}()
	return true
}

// options are those of a channel of the program.
func (h *Hub) options(channel string) Options {
	if h.cfg.Channel == nil || channel[0] == reserved {
		return Options{}
	}
	o := h.cfg.Channel(channel)
	if h.cfg.History == nil {
		o.History = 0
	}
	if h.cfg.Presence == nil {
		o.Presence = false
	}
	return o
}

// reserved begins the names of channels that the hub itself uses.
const reserved = 0

const (
	everybody  = "\x00a" // all clients are in it
	userPrefix = "\x00u" // then comes the user; all of his clients are in it
)

// userMax is how many bytes a user may have.
const userMax = broker.ChannelBytesMax - len(userPrefix)

func checkChannel(name string) error {
	if len(name) == 0 || len(name) > broker.ChannelBytesMax || name[0] == reserved {
		return fmt.Errorf("%w: a channel has from 1 to %d bytes, of which the first is not 0", ErrName, broker.ChannelBytesMax)
	}
	return nil
}

func checkUser(name string) error {
	if len(name) == 0 || len(name) > userMax {
		return fmt.Errorf("%w: a user has from 1 to %d bytes", ErrName, userMax)
	}
	return nil
}
