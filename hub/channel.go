package hub

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// channel is a channel that clients of this node are in, or are joining. When the last one has left, or the
// stream is dead, it is removed from Hub.channels; who comes then makes another one. It is the
// receiver of the broker for its channel.
type channel struct {
	h     *Hub
	name  string
	opts  Options
	uses  int     // members and who is joining; guarded by Hub.mu
	asked *result // of asking the broker; good when that has succeeded; guarded by Hub.mu

	mu      sync.Mutex // guards what follows: deliveries and joins have one order. No broker is asked while it is held
	s       stream
	rosters []roster      // of the formats that members speak
	idle    chan struct{} // closed when the stream has read, or could not; nil: nobody waits for that
}

// roster is the members of a channel that speak one format.
type roster struct {
	topic   string        // of the engine; those of each channel value are its own
	events  string        // the topic of those who get KindJoin and KindLeave; empty without Options.JoinLeave
	members []*membership // each knows its place
	hearing int32         // how many get KindJoin and KindLeave
	format  uint8
}

// channel returns the channel of a name, which is used until release.
func (h *Hub) channel(ctx context.Context, name string) (*channel, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	ch := h.channels[name]
	if ch == nil {
		ch = &channel{h: h, name: strings.Clone(name), asked: newResult()} // it may be a piece of something large
		h.channels[ch.name] = ch
		h.work.Add(1)
		go ch.begin()
	}
	ch.uses++
	asked := ch.asked
	h.mu.Unlock()
	if err := asked.wait(ctx); err != nil {
		ch.release()
		return nil, err
	}
	return ch, nil
}

// begin subscribes this node to the channel and finds where the stream is.
func (ch *channel) begin() {
	h := ch.h
	defer h.work.Done()
	asked := ch.asked // which nobody else changes
	if asked.err = ch.subscribe(); asked.err != nil {
		ch.forget()
	} else {
		h.mu.Lock()
		ch.asked = good
		h.mu.Unlock()
	}
	close(asked.done)
}

func (ch *channel) subscribe() (err error) {
	if ch.opts, err = ch.h.Options(ch.name); err != nil {
		return err
	}
	ch.mu.Lock()
	tracks := ch.opts.History > 0
	ch.s = stream{fan: ch.fan, tracks: tracks, ringMax: int32(min(ch.opts.History, ch.h.cfg.RingMax, math.MaxInt32)), waitMax: ch.h.cfg.WaitMax}
	reads := ch.s.interrupted()
	ch.mu.Unlock()
	ctx, cancel := context.WithTimeout(ch.h.ctx, ch.h.patience)
	defer cancel()
	if err = ch.h.cfg.Broker.Subscribe(ctx, ch.name, ch); err == nil && reads {
		err = ch.read(false)
	}
	return err
}

// release is called by each user of the channel once. The last one ends it.
func (ch *channel) release() {
	h := ch.h
	h.mu.Lock()
	ch.uses--
	last := ch.uses == 0
	if last && h.channels[ch.name] == ch {
		delete(h.channels, ch.name)
	}
	asked := ch.asked
	h.mu.Unlock()
	if !last {
		return
	}
	select {
	case <-asked.done:
		ch.end()
	default:
		go func() { // begin ends
			<-asked.done
			ch.end()
		}()
	}
}

func (ch *channel) end() {
	ch.mu.Lock()
	ch.s.dead = true
	ch.mu.Unlock()
	ch.h.unsubscribe(ch.name, ch)
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
	ch.h.counts.delivered.Add(1)
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
	ch.h.reads.do(func() { _ = ch.read(true) })
}

// read does what the stream has to read. If the history cannot be reached, the stream waits, if it may, and is read again later.
func (ch *channel) read(mayWait bool) error {
	for again := true; again; {
		ch.mu.Lock()
		q, over := ch.s.query(), ch.s.dead
		if over {
			ch.goOn()
		}
		ch.mu.Unlock()
		if over {
			return nil
		}
		page, err := ch.readOnce(q)
		ch.mu.Lock()
		if mayWait && temporary(err) && !ch.s.dead {
			ch.goOn()
			ch.mu.Unlock()
			ch.h.readLater(ch, err)
			return err
		}
		dead := ch.s.dead
		again = ch.s.took(page, err)
		if ch.s.dead && !dead {
			ch.lose()
		}
		if !again {
			ch.goOn()
		}
		ch.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (ch *channel) readOnce(q broker.Query) (broker.Page, error) {
	ctx, cancel := context.WithTimeout(ch.h.ctx, ch.h.patience)
	defer cancel()
	page, err := ch.h.cfg.History.Read(ctx, ch.name, q)
	if err == nil {
		ch.h.readable.Store(true)
	}
	return page, err
}

// goOn has those go on who wait for the stream to read. It is called with the lock.
func (ch *channel) goOn() {
	if ch.idle != nil {
		close(ch.idle)
		ch.idle = nil
	}
}

// settle has the node read, and waits until it has, or could not.
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
	event := x.p.Kind == KindJoin || x.p.Kind == KindLeave
	out := ch.outlet()
	for i := range ch.rosters {
		r := &ch.rosters[i]
		f, topic, n := int(r.format), r.topic, len(r.members)
		if event {
			topic, n = r.events, int(r.hearing)
		}
		if n == 0 {
			continue
		}
		but := ch.h.excluded(&x.p, f, func(c *Client) bool { return ch.gets(c.listed(ch.name), event) })
		if n == len(but) {
			continue
		}
		if ch.s.ringMax > 0 && x.p.Offset > 0 && len(but) != 1 { // it is needed again
			if _, err := out.prepare(x, f); err != nil {
				return err
			}
		}
		if err := out.spread(x, f, topic, but, r.others(but)); err != nil {
			return err
		}
		ch.h.counts.sent.Add(uint64(n - len(but)))
	}
	return nil
}

// outlet is how publications of the channel are sent.
func (ch *channel) outlet() outlet {
	return outlet{h: ch.h, channel: ch.name, policy: ch.opts.Policy, tracks: ch.s.tracks}
}

// roster returns that of a format, or nil if no member has spoken it. It is called with the lock.
func (ch *channel) roster(format uint8) *roster {
	for i := range ch.rosters {
		if r := &ch.rosters[i]; r.format == format {
			return r
		}
	}
	return nil
}

// gets reports whether m is a member, who gets a publication, or an event. It is called with the lock.
func (ch *channel) gets(m *membership, event bool) bool {
	return ch.has(m) && (!event || !m.quiet)
}

// has reports whether m is a member. It is called with the lock.
func (ch *channel) has(m *membership) bool {
	if m == nil {
		return false
	}
	r := ch.roster(m.c.format)
	return r != nil && int(m.at) < len(r.members) && r.members[m.at] == m
}

// others are the members but some. An event has at most one exception, so that nobody asks for those who get it.
func (r *roster) others(but []*Client) iter.Seq[*Client] {
	return func(yield func(*Client) bool) {
		for _, m := range r.members {
			if !slices.Contains(but, m.c) && !yield(m.c) {
				return
			}
		}
	}
}

// enter makes m a member. It is called with the lock.
func (ch *channel) enter(m *membership) error {
	r := ch.roster(m.c.format)
	if r == nil {
		ch.rosters = append(ch.rosters, roster{format: m.c.format, topic: newTopic()})
		if r = &ch.rosters[len(ch.rosters)-1]; ch.opts.JoinLeave {
			r.events = newTopic()
		}
	}
	if err := m.c.conn.Subscribe(r.topic); err != nil {
		return err
	}
	m.at = int32(len(r.members))
	r.members = append(r.members, m)
	ch.h.counts.subscriptions.Add(1)
	if m.quiet = m.quiet || r.events == ""; m.quiet {
		return nil
	}
	r.hearing++
	err := m.c.conn.Subscribe(r.events)
	if err != nil {
		ch.leave(m)
	}
	return err
}

// leave takes a member out. It is called with the lock. A connection that cannot be told apart from a member any
// more is closed.
func (ch *channel) leave(m *membership) {
	r := ch.roster(m.c.format)
	last := len(r.members) - 1
	moved := r.members[last]
	r.members[m.at], moved.at = moved, m.at
	r.members[last] = nil
	r.members = r.members[:last]
	ch.h.counts.subscriptions.Add(-1)
	err := m.c.conn.Unsubscribe(r.topic)
	if !m.quiet {
		r.hearing--
		err = errors.Join(err, m.c.conn.Unsubscribe(r.events))
	}
	if errors.Is(err, engine.ErrBackpressure) {
		m.c.closeInsufficient()
	}
}

// lose takes all members out: the stream is dead. It is called with the lock.
func (ch *channel) lose() {
	var lost []*membership
	for _, r := range ch.rosters {
		lost = append(lost, r.members...)
	}
	ch.forget()
	ch.h.counts.lost.Add(uint64(len(lost)))
	for _, m := range lost {
		ch.leave(m)
		m.c.order(func() { m.takeOut(CodeInsufficient, reasonInsufficient, true) })
	}
}
