package hub

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// channel is a channel that clients of this node are in, or are joining. When the last one has left, or the
// stream is dead, it is removed from Hub.channels; who comes then makes another one. It is the
// receiver of the broker for its channel.
type channel struct {
	h     *Hub
	name  string
	topic string // of the engine; each channel value has its own
	opts  Options
	users int // members and who is joining; guarded by Hub.mu

	ready chan struct{} // closed when the broker was asked; then err tells the result
	err   error

	mu      sync.Mutex // guards what follows: deliveries and joins have one order. No broker is asked while it is held
	s       stream
	members map[*Client]*membership
	idle    chan struct{} // closed when the stream does not read; nil: it does not
}

// topics counts the channel values of all hubs, which may share an engine.
var topics atomic.Uint64

// channel returns the channel of a name, which is used until release.
func (h *Hub) channel(ctx context.Context, name string) (*channel, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	ch := h.channels[name]
	if ch == nil {
		ch = &channel{h: h, name: name, topic: "\x00hub " + strconv.FormatUint(topics.Add(1), 36), ready: make(chan struct{}), members: map[*Client]*membership{}}
		h.channels[name] = ch
		h.work.Add(1)
		go ch.begin()
	}
	ch.users++
	h.mu.Unlock()
	select {
	case <-ch.ready:
		if ch.err == nil {
			return ch, nil
		}
		ch.release()
		return nil, ch.err
	case <-ctx.Done():
		ch.release()
		return nil, ctx.Err()
	}
}

// begin subscribes this node to the channel and finds where the stream is.
func (ch *channel) begin() {
	defer ch.h.work.Done()
	ch.opts = ch.h.options(ch.name)
	ch.mu.Lock()
	ch.s = stream{fan: ch.fan, tracks: ch.opts.History > 0, ringMax: min(ch.opts.History, ch.h.cfg.RingMax), waitMax: ch.h.cfg.WaitMax}
	reads := ch.s.interrupted()
	ch.mu.Unlock()
	ch.err = ch.h.cfg.Broker.Subscribe(ch.h.ctx, ch.name, ch)
	if ch.err == nil && reads {
		ch.err = ch.read()
	}
	if ch.err != nil {
		ch.forget()
	}
	close(ch.ready)
}

// release is called by each user of the channel once. The last one ends it.
func (ch *channel) release() {
	h := ch.h
	h.mu.Lock()
	ch.users--
	last := ch.users == 0
	if last && h.channels[ch.name] == ch {
		delete(h.channels, ch.name)
	}
	h.mu.Unlock()
	if !last {
		return
	}
	select {
	case <-ch.ready:
		ch.end()
	default:
		go func() { // begin ends, at the latest with the hub
			<-ch.ready
			ch.end()
		}()
	}
}

func (ch *channel) end() {
	ch.mu.Lock()
	ch.s.dead = true
	ch.mu.Unlock()
	_ = ch.h.cfg.Broker.Unsubscribe(context.WithoutCancel(ch.h.ctx), ch.name, ch) // it may be closed
}

// forget has who comes next make another channel.
func (ch *channel) forget() {
	ch.h.mu.Lock()
	defer ch.h.mu.Unlock()
	if ch.h.channels[ch.name] == ch {
		delete(ch.h.channels, ch.name)
	}
}

// Deliver implements broker.Receiver.
func (ch *channel) Deliver(_ string, p broker.Publication) {
	if p.Kind == kindKick {
		ch.kick(&p)
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	dead := ch.s.dead
	reads := ch.s.deliver(p)
	if ch.s.dead && !dead {
		ch.lose()
	}
	if reads {
		ch.goRead()
	}
}

// Interrupted implements broker.Receiver.
func (ch *channel) Interrupted(string) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.s.interrupted() {
		ch.goRead()
	}
}

func (ch *channel) goRead() {
	ch.h.run(func() { _ = ch.read() })
}

// read does what the stream has to read.
func (ch *channel) read() error {
	for again := true; again; {
		ch.mu.Lock()
		q := ch.s.query()
		ch.mu.Unlock()
		page, err := ch.h.cfg.History.Read(ch.h.ctx, ch.name, q)
		ch.mu.Lock()
		dead := ch.s.dead
		again = ch.s.took(page, err)
		if ch.s.dead && !dead {
			ch.lose()
		}
		if !again && ch.idle != nil {
			close(ch.idle)
			ch.idle = nil
		}
		ch.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// settle has the node read, and waits until it has.
func (ch *channel) settle(ctx context.Context) error {
	ch.mu.Lock()
	if ch.s.interrupted() {
		ch.goRead()
	}
	if ch.idle == nil && ch.s.reading {
		ch.idle = make(chan struct{})
	}
	idle := ch.idle
	ch.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-ch.h.ctx.Done():
		return ErrClosed
	}
}

// fan sends a publication to the members. It is called with the lock. A failure means that some member
// does not get it.
func (ch *channel) fan(x *sent) error {
	if len(ch.members) == 0 {
		return nil
	}
	var but []*Client
	for _, id := range except(&x.p) {
		if c := ch.h.Client(id); c != nil && ch.members[c] != nil {
			but = append(but, c)
		}
	}
	var err error
	switch {
	case len(but) == 0 && ch.s.ringMax == 0:
		err = ch.h.e.Publish(ch.topic, ch.encode(x))
	case len(but) == 1:
		err = ch.h.e.PublishExcept(ch.topic, ch.encode(x), but[0].conn)
	default:
		if err = ch.prepare(x); err == nil && len(but) == 0 {
			err = x.prepared.Publish(ch.topic)
		} else if err == nil {
			ch.sendOthers(x, but)
		}
	}
	if errors.Is(err, engine.ErrStopped) || ch.lossy() && errors.Is(err, engine.ErrBackpressure) {
		return nil
	}
	return err
}

// lossy reports whether the members of the channel may miss something.
func (ch *channel) lossy() bool {
	return !ch.s.tracks && ch.opts.Policy != 0 && ch.opts.Policy != engine.PolicyClose
}

// sendOthers sends to all members but some, one by one.
func (ch *channel) sendOthers(x *sent, but []*Client) {
	for _, c := range but {
		ch.members[c].skip = true
	}
	for c, m := range ch.members {
		if !m.skip {
			if err := x.prepared.Send(c.conn); errors.Is(err, engine.ErrBackpressure) && !ch.lossy() {
				c.closeNow(codeInsufficient, "insufficient state") // unless it is closed for being slow
			}
		}
		m.skip = false
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, engine.ErrClosed) {
		return nil
	}
	return err
}

// encode calls Config.Encode once for x.
func (ch *channel) encode(x *sent) engine.Message {
	if x.message != nil {
		return *x.message
	}
	p := strip(x.p)
	name := ch.name
	if name[0] == reserved {
		name = ""
	}
	m := ch.h.cfg.Encode(name, &p)
	if ch.opts.Policy != 0 {
		m.Policy = ch.opts.Policy
	}
	if ch.s.tracks && x.p.Offset > 0 {
		m.Policy = engine.PolicyClose // nothing else loses nothing
	}
	x.message = &m
	return m
}

func (ch *channel) prepare(x *sent) (err error) {
	if x.prepared == nil {
		x.prepared, err = ch.h.e.Prepare(ch.encode(x))
		x.message = nil
	}
	return err
}

// lose takes all members out: the stream is dead. It is called with the lock.
func (ch *channel) lose() {
	var lost []*membership
	for _, m := range ch.members {
		ch.leave(m)
		lost = append(lost, m)
	}
	ch.forget()
	if len(lost) == 0 {
		return
	}
	ch.h.run(func() {
		for _, m := range lost {
			m.insufficient()
		}
	})
}

// leave takes a member out. It is called with the lock. A connection that cannot be told apart from a member any
// more is closed.
func (ch *channel) leave(m *membership) {
	delete(ch.members, m.c)
	if err := m.c.conn.Unsubscribe(ch.topic); errors.Is(err, engine.ErrBackpressure) {
		m.c.closeNow(codeInsufficient, "insufficient state")
	}
}
