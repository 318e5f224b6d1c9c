package centrifugal

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/protocol"
)

// session is a connection of the protocol. There is one for each, so it is small: its times are in nanoseconds since 1970, 0 is none.
type session struct {
	s      *Server
	conn   *engine.Conn
	start  *start // for the connect command, whose goroutine alone changes it; nil afterwards, which mu guards
	format format

	// Commands are carried out one after the other, off the loop. These two are theirs.
	failed bool // the connect command was answered with an error
	rate   rate // of commands

	index int32 // its place in a slot of the ring; -1: it is in none. It is the loop's

	mu     sync.Mutex     // guards what follows
	pinged bool           // a ping is not answered
	asked  bool           // due is the time by which it has to be
	slot   uint32         // of the ring
	client *hub.Client    // nil: not connected yet
	due    int64          // of the next ping, of the answer to this one, or of the connect command
	busy   int64          // since when commands have been carried out, and the client is not read; or, negative, when that has ended, if it took long
	expire int64          // of the connection
	subs   map[string]sub // those of which something has to be known
}

// sub is a subscription that the program made, or that expires.
type sub struct {
	server bool
	lapsed bool  // it has expired, and is about to be ended
	expire int64 // 0: never
}

// open is called when the connection is open.
func (x *session) open(c *engine.Conn) {
	x.s.open.Add(1)
	x.mu.Lock()
	now := x.s.time()
	x.conn, x.due = c, now+int64(x.s.cfg.ConnectTimeout)
	x.ring().put(x, now)
	x.mu.Unlock()
	if x.s.draining.Load() { // since its handshake
		x.close(DisconnectShutdown)
	}
}

func (x *session) ring() *ring { return x.s.rings[x.conn.Loop().Index()] }

// over is called as the last callback of the connection.
func (x *session) over() {
	x.s.open.Add(-1)
	x.ring().take(x)
}

// receive takes a message from the client, on the loop.
func (x *session) receive(m engine.Message) {
	switch {
	case m.Type != x.format.messageType():
		x.close(DisconnectBadRequest)
	case len(m.Data) > x.s.cfg.FrameBytesMax:
		x.close(disconnectFrameBytes)
	case x.format.isPong(m.Data):
		if !x.pong() {
			x.close(DisconnectBadRequest)
		}
	default:
		if err := x.conn.Go(m, x.work); err != nil {
			x.close(DisconnectTooManyRequests) // where reading cannot be paused; else the connection has ended
		}
	}
}

// pong takes the answer to a ping. It reports false if none was due.
func (x *session) pong() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	ok := x.pinged
	x.pinged = false
	return ok
}

// close closes the connection. Any goroutine may call it.
func (x *session) close(d Disconnect) {
	var bad *protocol.Error
	if err := x.conn.Close(d.Code, d.Reason); errors.As(err, &bad) { // a hook has made it up
		x.s.log.Error("a hook returned a Disconnect with a code that may not be sent", zap.Error(d))
		_ = x.conn.Close(DisconnectServerError.Code, DisconnectServerError.Reason)
	} // else it fails if the connection is closed
}

// send sends a frame.
func (x *session) send(frame []byte) error {
	err := x.conn.Send(x.format.message(frame))
	if err != nil {
		x.close(DisconnectSlow) // it would miss something, if it has not ended
	}
	return err
}

// begin and end are around the commands of a frame.
func (x *session) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy = x.s.time()
}

func (x *session) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now := x.s.time(); now-x.busy > int64(x.s.cfg.PongTimeout)/4 {
		x.busy = -now
	} else {
		x.busy = 0
	}
}

// connected is called when the client of the connection is known.
func (x *session) connected(c *hub.Client, expire int64) {
	cfg := &x.s.cfg
	x.mu.Lock()
	x.client, x.expire = c, expire
	if cfg.PingInterval > 0 { // those who came at once are not pinged at once
		x.due = x.s.time() + int64(cfg.PingInterval)/2 + rand.Int64N(int64(cfg.PingInterval)/2)
	}
	x.mu.Unlock()
	x.sooner()
}

// sooner has the loop look at the session in time, when something may be due earlier than it was.
func (x *session) sooner() {
	now := x.s.time()
	x.mu.Lock()
	earlier := int32(x.s.slotAfter(now, x.next(now))-x.slot) < 0 //nolint:gosec // the numbers may wrap
	x.mu.Unlock()
	if earlier {
		_ = x.conn.Loop().Post(x.move) // if there is no room, it is looked at when the ring is over
	}
}

// move puts the session into the slot where it belongs.
func (x *session) move() {
	if x.index < 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.ring()
	r.take(x)
	r.put(x, x.s.time())
}

// tick does what is due, on the loop.
func (x *session) tick() {
	now := x.s.time()
	x.mu.Lock()
	end, ping := x.look(now)
	expired := x.takeExpired(now)
	r := x.ring()
	if r.take(x); end == nil {
		r.put(x, now)
	}
	x.mu.Unlock()
	if end != nil {
		x.close(*end)
		return
	}
	if ping {
		_ = x.send(x.s.pings[x.format])
	}
	if expired != nil {
		err := x.conn.Go(engine.Message{}, func(ctx context.Context, _ engine.Message) { x.endExpired(ctx, expired) })
		if errors.Is(err, engine.ErrBackpressure) { // behind a large frame there is no room for it
			x.close(DisconnectSubExpired)
		}
	}
}

// look says whether the connection is to end, or a ping to be sent.
func (x *session) look(now int64) (end *Disconnect, ping bool) {
	cfg := &x.s.cfg
	switch {
	case x.client == nil && now >= x.due:
		return &DisconnectStale, false
	case x.client == nil:
		return nil, false
	case x.expire > 0 && now >= x.expire+int64(cfg.ExpiryGrace):
		return &DisconnectExpired, false
	case cfg.PingInterval < 0 || now < x.due:
		return nil, false
	case !x.asked:
		x.due = now + int64(cfg.PingInterval)
		if cfg.PongTimeout > 0 {
			x.pinged, x.asked, x.due = true, true, now+int64(cfg.PongTimeout)
		}
		return nil, true
	case !x.pinged:
		x.asked, x.due = false, x.due+int64(cfg.PingInterval-cfg.PongTimeout)
		return nil, false
	case x.busy > 0: // the answer may be there, and is not read
		x.due = now + int64(cfg.PongTimeout)
		return nil, false
	case x.busy < 0 && now < -x.busy+int64(cfg.PongTimeout):
		x.due = -x.busy + int64(cfg.PongTimeout)
		return nil, false
	}
	return &DisconnectNoPong, false
}

// takeExpired returns the channels whose subscription is to end, once.
func (x *session) takeExpired(now int64) (expired []string) {
	for name, u := range x.subs {
		if u.expire > 0 && now >= u.expire+int64(x.s.cfg.ExpiryGrace) {
			expired = append(expired, name)
			u.expire, u.lapsed = 0, true
			x.subs[name] = u
		}
	}
	return expired
}

// next is how long nothing is due.
func (x *session) next(now int64) time.Duration {
	at, grace := int64(math.MaxInt64), int64(x.s.cfg.ExpiryGrace)
	if x.client == nil || x.s.cfg.PingInterval > 0 {
		at = x.due
	}
	if x.expire > 0 {
		at = min(at, x.expire+grace)
	}
	for _, u := range x.subs {
		if u.expire > 0 {
			at = min(at, u.expire+grace)
		}
	}
	return time.Duration(max(at-now, 0))
}

// time is the time now, in nanoseconds since 1970. It goes on evenly, whatever is done to the clock of the machine.
func (s *Server) time() int64 { return s.began + int64(s.now().Sub(s.made)) }

// setSub notes what has to be known of a subscription.
func (x *session) setSub(channel string, u sub) {
	x.mu.Lock()
	switch {
	case u == sub{}:
		delete(x.subs, channel)
	case x.subs == nil:
		x.subs = map[string]sub{channel: u}
	default:
		x.subs[channel] = u
	}
	x.mu.Unlock()
	if u.expire > 0 {
		x.sooner()
	}
}

// lapsed removes what is known of a subscription that has expired. It reports false if that was refreshed meanwhile, or
// is another one.
func (x *session) lapsed(channel string) (u sub, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if u = x.subs[channel]; u.lapsed {
		delete(x.subs, channel)
	}
	return u, u.lapsed
}

// forget removes what is known of a subscription that has ended.
func (x *session) forget(channel string) sub {
	x.mu.Lock()
	defer x.mu.Unlock()
	u := x.subs[channel]
	delete(x.subs, channel)
	return u
}

// rate counts commands in a second.
type rate struct{ second, n uint32 }

// add counts one more command, at a time, and returns how many there were in its second.
func (r *rate) add(now int64) int {
	if second := uint32(now / int64(time.Second)); second != r.second { //nolint:gosec // it may wrap
		r.second, r.n = second, 0
	}
	r.n++
	return int(r.n)
}
