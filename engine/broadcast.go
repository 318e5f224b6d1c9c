package engine

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/outq"
	"github.com/sockmill/sockmill/internal/poison"
	"github.com/sockmill/sockmill/protocol"
)

// Broadcast sends a message to every open connection but dialled ones, which
// are reached through Conns or a topic. It is encoded once, and compressed once
// for all that can take it; each loop gets one task. A connection that cannot
// take it is treated as by Send. The error tells only that the message, or a
// loop's task, was not accepted. Any goroutine may call it; m.Data is the
// caller's again when it returns.
func (e *Engine) Broadcast(m Message) error { return e.shareExcept(m, "", nil) }

// BroadcastExcept is Broadcast to all but one, such as the connection that the
// message came from.
func (e *Engine) BroadcastExcept(m Message, but *Conn) error { return e.shareExcept(m, "", but) }

// Prepared is a message that is encoded, and compressed, once for any number of
// sends. It may be kept and used from any goroutine.
type Prepared struct{ b *broadcast }

// Prepare encodes a message, of which it keeps a copy.
func (e *Engine) Prepare(m Message) (*Prepared, error) {
	b, err := e.encode(m)
	if err != nil {
		return nil, err
	}
	return &Prepared{b}, nil // with the first reference, which is never given back
}

// Send is Conn.Send of the prepared message. A connection of another engine
// gets it encoded anew.
func (p *Prepared) Send(c *Conn) error {
	switch b := p.b; {
	case c.end.phase.Load() != phaseOpen:
		return ErrClosed
	case c.ep.e != b.e:
		return c.dispatch(b.m)
	case c.w.loop.On():
		c.catchUp()
		return c.sendShared(b, false)
	default:
		return c.dispatchShared(b)
	}
}

// Broadcast is Engine.Broadcast of the prepared message.
func (p *Prepared) Broadcast() error { return p.b.spread("") }

// Publish is Engine.Publish of the prepared message.
func (p *Prepared) Publish(topic string) error { return p.b.spread(topic) }

// broadcast is a message in the frames that many connections share. Nobody
// changes them while references exist. Tasks on their way to loops, queues and a
// Prepared hold references.
type broadcast struct {
	e     *Engine
	refs  atomic.Int64 // see queueRef
	bytes int          // of memory, as long as it has references
	m     outgoing     // its data is the engine's own
	but   *Conn        // does not get the message
	plain []byte

	// The same for queues. A released broadcast has none.
	sharedPlain, sharedPacked outq.Shared

	once   sync.Once
	packed []byte // after once: compressed, or empty if that does not pay

	packedPayload int // bytes of packed without the header
}

const (
	frameKeepMax       = 64 << 10 // the memory of larger frames is not used again
	spareBroadcastsMax = 64
)

// encode makes a broadcast with one reference, for the caller.
func (e *Engine) encode(m Message) (*broadcast, error) {
	op, err := m.opcode()
	if err != nil {
		return nil, err
	}
	encoder, env := e.broadcasts.encoder, (*codec.Env)(nil) // a server's session needs none for a plain message
	if e.main.codec != nil {
		if encoder, err = newCodec(e.main.codec); err != nil {
			return nil, err
		}
		env = &codec.Env{Random: rand.Uint64}
	}
	b := e.broadcasts.spare.get()
	if b == nil {
		b = &broadcast{e: e}
	}
	frame, err := encoder.Encode(env, slices.Grow(b.plain[:0], len(m.Data)+protocol.HeaderBytesMax), op, m.Data, true)
	if err != nil {
		return nil, err
	}
	b.plain = frame
	b.sharedPlain = outq.Shared{Frame: frame, Owner: b}
	b.m = outgoing{op: op, policy: m.Policy, plain: m.Plain, key: m.Key}
	// It may be compressed, or encoded again for a congested connection, when
	// m.Data is no longer ours.
	if e.main.codec == nil {
		b.m.data = frame[len(frame)-len(m.Data):]
	} else {
		b.m.data = slices.Clone(m.Data)
	}
	if b.bytes = cap(b.plain); e.main.codec != nil {
		b.bytes += len(b.m.data)
	} else if e.broadcasts.packs.Load() && !m.Plain {
		b.bytes += cap(b.plain) // what it is packed into is no larger
	}
	b.refs.Store(1)
	return b, nil
}

// shareExcept sends m to a topic, or to all if that is empty, but not to one.
func (e *Engine) shareExcept(m Message, topic string, but *Conn) error {
	b, err := e.encode(m)
	if err != nil {
		return err
	}
	defer b.release()
	b.but = but
	return b.spread(topic)
}

// spread has every loop deliver b. If the caller runs on a loop, that loop does so
// before spread returns.
func (b *broadcast) spread(topic string) (err error) {
	workers := b.e.running()
	if len(workers) == 0 {
		return ErrStopped
	}
	for _, w := range workers {
		if w.loop.On() {
			w.deliver(b, topic)
			continue
		}
		b.refs.Add(1)
		if e := w.post(post{kind: fanOutPost, shared: b, topic: topic}); e != nil {
			b.release()
			err = e
		}
	}
	return err
}

// release gives one reference back.
func (b *broadcast) release() { b.released(b.refs.Add(-1)) }

// released is called with the number of references that are left. If that is 0,
// the memory is kept for another broadcast.
func (b *broadcast) released(n int64) {
	switch {
	case n < 0:
		panic("engine: the references of a broadcast do not balance")
	case n > 0:
		return
	}
	poison.Fill(b.plain)
	poison.Fill(b.packed)
	if cap(b.plain) > frameKeepMax {
		b.plain = nil
	}
	if cap(b.packed) > frameKeepMax {
		b.packed = nil
	}
	b.sharedPlain, b.sharedPacked = outq.Shared{}, outq.Shared{}
	b.m, b.but, b.once, b.packed = outgoing{}, nil, sync.Once{}, b.packed[:0]
	b.e.broadcasts.spare.put(b)
}

// broadcasts is what all broadcasts of an engine share.
type broadcasts struct {
	encoder codec.Codec // a session that encodes for many, on any goroutine
	packs   atomic.Bool // some listener compresses
	spare   spareBroadcasts
}

// spareBroadcasts are broadcasts without references, kept to be used again.
type spareBroadcasts struct {
	mu   sync.Mutex
	list []*broadcast
}

func (s *spareBroadcasts) get() *broadcast {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.list) - 1
	if last < 0 {
		return nil
	}
	b := s.list[last]
	s.list[last] = nil
	s.list = s.list[:last]
	return b
}

func (s *spareBroadcasts) put(b *broadcast) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) < spareBroadcastsMax {
		s.list = append(s.list, b)
	}
}

// frame returns the frame for c, compressed or not. The compressed frame is made
// when the first connection needs it; another loop that needs it at that moment
// waits until it is made.
func (b *broadcast) frame(c *Conn) *outq.Shared {
	if b.m.plain || !c.ws.CanShare(len(b.m.data)) {
		return &b.sharedPlain
	}
	b.once.Do(func() { b.pack(c) })
	if len(b.packed) == 0 {
		return &b.sharedPlain
	}
	c.ws.Shared(&c.w.env, b.m.data)
	c.w.env.Compressed.Add(len(b.m.data), b.packedPayload)
	return &b.sharedPacked
}

func (b *broadcast) pack(c *Conn) {
	room := slices.Grow(b.packed[:0], len(b.m.data)/2+protocol.HeaderBytesMax)
	b.packed, _ = codec.EncodeShared(&c.w.env, &c.ep.options, room, b.m.op, b.m.data)
	b.packedPayload = codec.PayloadBytes(b.packed)
	b.sharedPacked = outq.Shared{Frame: b.packed, Owner: b}
}
