// Package hub knows who is connected, what they follow, and what they missed: users with any number of
// connections, channels with history and presence, on the connections of an engine.Engine.
//
//	h, err := hub.New(e, hub.Config{
//		Encode:  func(format int, channel string, p *broker.Publication) engine.Message { … },
//		Channel: hub.ByPattern(hub.Pattern{Match: "*", Options: hub.Options{History: 100, Join: hub.Everybody}}),
//	})
//
//	anna, err := h.Connect(ctx, c, hub.Connect{User: "anna"}) // in a function of c.Go
//	joined, err := anna.Join(ctx, "news", hub.Join{Since: position})
//	position, err := h.Publish(ctx, "news", hub.Publication{Data: data})
//
// It has no wire format: Config.Encode makes a message of a publication, once for each publication, node and format
// in use, and the hub sends it through topics of the engine.
//
// # Who may do what
//
// The methods of Client do what the client asks for, if Options or Hooks allow it; they fail with
// ErrDenied otherwise. The methods of Hub do what the program wants.
//
// Hub.Send, Kick, Subscribe, Unsubscribe and Command are orders: each node carries them out for its clients of a Target, on goroutines of the
// hub, for one client one after the other: see Reach.
//
// # Nodes
//
// Orders and lists (Hub.Reach, ListClients, ListUsers, ListChannels, ListNodes) hold for all nodes if Config.Broker is a
// broker.Nodes; without it, for this node. Methods without a context know only this node.
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
// that cannot be done, the clients are taken out of the channel and Config.OnLeft is called
// for each: they may join again with their position.
package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
	"github.com/sockmill/sockmill/internal/logs"
)

// Errors of the methods, for errors.Is. Errors of the brokers (package broker) and of the program's hooks come as they are.
var (
	ErrOnLoop         = errors.New("hub: called on a loop of the engine, where nothing may block: use Conn.Go")
	ErrClosed         = errors.New("hub: closed")
	ErrGone           = errors.New("hub: the client has disconnected")
	ErrConnected      = errors.New("hub: the connection is a client already")
	ErrJoined         = errors.New("hub: the client is in the channel already")
	ErrNotJoined      = errors.New("hub: the client is not in the channel")
	ErrLimit          = errors.New("hub: the client is in Config.ChannelsPerClientMax channels")
	ErrName           = errors.New("hub: not a name of a channel or a user")
	ErrDenied         = errors.New("hub: neither the options of the channel nor a hook allow it")
	ErrMethod         = errors.New("hub: there is no such method")
	ErrUnknownChannel = errors.New("hub: there is no such channel")
)

// Kinds of publications, in broker.Publication.Kind.
const (
	KindPublication uint8 = iota
	KindJoin              // Publication.Info has joined
	KindLeave             // Publication.Info has left
	kindDirect            // of the hub itself: a KindPublication for one client, whose ID stands in front of Data
)

// Hub is the hub of one engine.
type Hub struct {
	e        *engine.Engine
	cfg      Config
	loops    []*engine.Loop
	own      *memory.Broker  // nil: the brokers are the program's
	nodes    broker.Nodes    // nil: the broker knows no others
	prefixes broker.Prefixes // nil: the broker has none
	health   func() error    // of the broker; nil: it does not tell
	quit     func()          // ends answering them
	id       string          // another one after each start
	began    time.Time

	patience time.Duration // upkeepTimeout, but in tests
	readable atomic.Bool   // a history could be read since readAgain
	counts   counts
	trips    trips
	all      everybody

	ctx  context.Context // ends with the Hub
	end  context.CancelFunc
	work sync.WaitGroup // goroutines of the Hub

	mu       sync.Mutex // guards what follows; nothing else is locked while it is held
	closed   bool
	clients  map[string]*Client
	conns    map[*engine.Conn]*Client
	users    map[string]*Client // one of each user; the others follow by Client.next
	followed map[string]*user   // if the broker has no broker.Prefixes
	channels map[string]*channel
	orders   pool
	ends     pool
	reads    pool
	later    later
}

// New makes a Hub. It ends with the engine, or by Close.
func New(e *engine.Engine, cfg Config) (*Hub, error) {
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	cfg.Logger = logs.Bounded(cmp.Or(cfg.Logger, e.Logger()))
	h := &Hub{e: e, loops: e.Loops(), id: rand.Text(), patience: upkeepTimeout, began: time.Now(), quit: func() {}, clients: map[string]*Client{}, conns: map[*engine.Conn]*Client{}, users: map[string]*Client{}, followed: map[string]*user{}, channels: map[string]*channel{}}
	if cfg.Broker == nil && cfg.History == nil && cfg.Presence == nil {
		own, err := memory.New(memory.Config{})
		if err != nil {
			return nil, err
		}
		h.own, cfg.Broker, cfg.History, cfg.Presence = own, own, own, own
	}
	h.observe(&cfg)
	h.cfg = cfg
	h.all.init(h)
	h.orders, h.ends, h.reads = pool{h: h, max: ordersAtOnce}, pool{h: h, max: endsAtOnce}, pool{h: h, max: readsAtOnce}
	h.ctx, h.end = context.WithCancel(context.Background())
	if err := e.AtEnd(h.end); err != nil {
		h.end()
		return nil, err
	}
	if h.nodes != nil {
		h.quit = h.nodes.Answer(subject, h.answer)
	}
	h.work.Add(1)
	go h.keep(cfg.PresenceLifetime / 3)
	return h, nil
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
	h.quit()
	done := make(chan struct{})
	go func() {
		finishAll(clients)
		h.work.Wait() // also for the ends of those that were disconnected before
		h.all.end()
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

// finishAll has several clients finish at once, since each may have to ask a broker.
func finishAll(clients []*Client) {
	var all sync.WaitGroup
	next := make(chan *Client)
	for range endsAtOnce {
		all.Go(func() {
			for c := range next {
				c.finish()
			}
		})
	}
	for _, c := range clients {
		next <- c
	}
	close(next)
	all.Wait()
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

// askOf is ask for what is about a channel of the program, whose options it returns.
func (h *Hub) askOf(ctx context.Context, channel string) (Options, error) {
	if err := h.ask(ctx); err != nil {
		return Options{}, err
	}
	return h.Options(channel)
}

// result is what becomes of a call that several wait for.
type result struct {
	done chan struct{} // closed when err is known
	err  error
}

func newResult() *result { return &result{done: make(chan struct{})} }

// good is the result of all that has succeeded, so that nothing is kept of each.
var good = func() *result {
	r := newResult()
	close(r.done)
	return r
}()

func (r *result) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reserved begins the names of channels that the hub itself uses.
const reserved = 0

const (
	everybodyName = "\x00a" // for all clients
	userPrefix    = "\x00u" // then comes the user; for all of his clients
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
