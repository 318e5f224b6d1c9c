package hub

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Join says how a client joins a channel.
type Join struct {
	// Since is the position of the last publication that the client has got; nil: it has got none and misses none.
	Since *broker.Position

	Info []byte // of the program; others see it as broker.Info.Channel
	Data []byte // of the program, for Config.Joining; Hub.Subscribe takes it there. The hub does not use it

	// NoJoinLeave says that this client gets no KindJoin and KindLeave of the channel.
	NoJoinLeave bool

	// Begin, if set, is called in place of sending what was missed: before anything of the channel is sent to the
	// connection, and behind it comes whatever follows Joined.Position. It sends what
	// the client has to be told, such as an answer with Joined.Missed, by Conn.Send. It runs while the channel waits, so
	// it must not block nor call the Hub. If it fails, so does the join, and the client has not joined.
	Begin func(Joined) error `json:"-"`
}

// Joined is the result of joining.
type Joined struct {
	Position  broker.Position      // of the last publication before those that the client will get as a member; zero without a history
	Recovered bool                 // Missed is all that the client needs of what lies between Join.Since and Position; with Options.Latest, the newest publication
	Missed    []broker.Publication // the oldest first; none if not Recovered
	Options   Options              // of the channel
}

// membership is a client in a channel.
type membership struct {
	c    *Client
	name string
	next *membership // of the client; guarded by Client.mu
	info *[]byte     // Join.Info; nil: none

	// turn is held while the client joins and leaves, and while its presence is renewed. It guards ch and entered.
	turn    sync.Mutex
	ch      *channel // nil: not a member
	entered bool     // in Presence

	quiet  bool  // Join.NoJoinLeave
	joined bool  // guarded by Client.mu
	at     int32 // its place in the roster; guarded by channel.mu
}

// joinAttempts is how often a join tries to catch up with publishers that are faster than it
// before it is not recovered.
const joinAttempts = 16

// Join joins a channel for a client as Client.Join does, but asks no hook and no options.
func (h *Hub) Join(ctx context.Context, c *Client, channel string, j Join) (Joined, error) {
	if _, err := h.askOf(ctx, channel); err != nil {
		return Joined{}, err
	}
	return c.join(ctx, channel, j)
}

func (c *Client) join(ctx context.Context, channel string, j Join) (Joined, error) {
	m := &membership{c: c, name: channel, quiet: j.NoJoinLeave}
	if info := j.Info; info != nil {
		m.info = &info
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	if err := c.list(ctx, m); err != nil {
		return Joined{}, err
	}
	joined, err := m.attempts(ctx, j)
	if err == nil {
		err = m.announce(ctx)
	}
	if err != nil {
		m.giveUp()
		c.unlist(m)
		return Joined{}, err
	}
	c.mu.Lock()
	m.joined, m.name = true, m.ch.name // the name that others have too
	c.mu.Unlock()
	c.h.counts.noteJoin(&j, &joined)
	return joined, nil
}

// giveUp undoes what was done of a join that has failed. It is called with the turn.
func (m *membership) giveUp() {
	ctx, cancel := m.c.h.upkeep()
	defer cancel()
	if m.ch != nil {
		_ = m.quit(ctx) // what the brokers refuse expires, as in what follows
	} else {
		_ = m.leavePresence(ctx)
	}
}

// list notes that the client is joining. If it is being taken out of the channel, it waits for that.
func (c *Client) list(ctx context.Context, m *membership) error {
	for {
		c.mu.Lock()
		old, err := c.find(m.name), c.roomLocked(m.name)
		over := c.over(old)
		if err == nil && old == nil {
			c.in, m.next = m, c.in
		}
		c.mu.Unlock()
		if err != nil || old == nil {
			return err
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// room fails if the client cannot join the channel, whatever is allowed.
func (c *Client) room(channel string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roomLocked(channel)
}

func (c *Client) roomLocked(channel string) error {
	switch old := c.find(channel); {
	case c.gone:
		return ErrGone
	case old != nil && c.over(old) == nil:
		return ErrJoined
	case old == nil && c.in.count() >= c.h.cfg.ChannelsPerClientMax:
		return ErrLimit
	}
	return nil
}

// count is how many memberships there are from m on.
func (m *membership) count() (n int) {
	for ; m != nil; m = m.next {
		n++
	}
	return n
}

// seen is what others see of the client in the channel.
func (m *membership) seen() *broker.Info {
	if m.info == nil {
		return m.c.seen(nil)
	}
	return m.c.seen(*m.info)
}

func (c *Client) unlist(m *membership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := &c.in; *at != nil; at = &(*at).next {
		if *at == m {
			*at, m.next = m.next, nil
			break
		}
	}
	if over := c.over(m); over != nil {
		close(over)
		delete(c.more.leaving, m)
	}
}

// over is closed when a membership from which the client was taken out has ended; nil: it was not. It is called with the lock.
func (c *Client) over(m *membership) chan struct{} {
	if c.more == nil {
		return nil
	}
	return c.more.leaving[m]
}

// attempts joins, on a channel value that is not dead.
func (m *membership) attempts(ctx context.Context, j Join) (Joined, error) {
	for {
		ch, err := m.c.h.channel(ctx, m.name)
		if err != nil {
			return Joined{}, err
		}
		var joined Joined
		v := gone
		if err = m.enterPresence(ctx, ch); err == nil {
			joined, v, err = m.attempt(ctx, ch, j)
		}
		if err == nil && v == enter {
			m.ch = ch
			return joined, nil
		}
		ch.release()
		if err != nil {
			return Joined{}, err
		}
	}
}

// attempt returns the verdict enter or gone, or an error.
func (m *membership) attempt(ctx context.Context, ch *channel, j Join) (Joined, verdict, error) {
	w := wish{since: j.Since, newest: ch.opts.Latest}
	if !ch.s.tracks {
		w.since = nil
	}
	for n := 0; ; n++ {
		if n == joinAttempts {
			w.since = nil // not proven
		}
		ch.mu.Lock()
		joined, v, err := m.try(ch, j, &w)
		ch.mu.Unlock()
		switch {
		case err != nil || v == enter || v == gone:
			return joined, v, err
		case v == behind:
			if err := ch.settle(ctx); err != nil {
				return Joined{}, v, err
			}
		}
		if err := w.read(ctx, m.c.h, m.name); err != nil {
			return Joined{}, v, err
		}
	}
}

// wish is what a client that joins has got, and what was read for it.
type wish struct {
	since  *broker.Position // nil: nothing is to be recovered
	newest bool             // only the newest publication is asked for
	page   *broker.Page     // nil: nothing was read
}

// read reads what the stream needs to fulfil the wish.
func (w *wish) read(ctx context.Context, h *Hub, channel string) error {
	q := broker.Query{Since: w.since, Limit: h.cfg.RecoverMax}
	if w.newest {
		q = broker.Query{Limit: 1, Reverse: true}
	}
	p, err := h.cfg.History.Read(ctx, channel, q)
	switch w.page = &p; {
	case errors.Is(err, broker.ErrUnrecoverable), err == nil && !w.newest && !p.Complete(*w.since):
		w.since, w.page = nil, nil
	case err != nil:
		return err
	}
	return nil
}

// try is called with the lock of the channel.
func (m *membership) try(ch *channel, j Join, w *wish) (joined Joined, v verdict, err error) {
	if ch.s.dead {
		return joined, gone, nil
	}
	var missed []*sent
	if w.since != nil {
		if missed, joined.Recovered, v = m.missed(ch, w); v != enter {
			return Joined{}, v, nil
		}
	}
	joined.Position, joined.Options = ch.s.last, ch.opts
	for _, x := range missed {
		joined.Missed = append(joined.Missed, x.p)
	}
	if err := ch.enter(m); err != nil {
		return Joined{}, v, sendError(err)
	}
	if err := m.begin(ch, j, joined, missed); err != nil {
		ch.leave(m)
		return Joined{}, v, sendError(err)
	}
	return joined, enter, nil
}

// missed returns what the client has to be sent, and whether that is proven to be all that it needs. It is called with the lock of the channel.
func (m *membership) missed(ch *channel, w *wish) (missed []*sent, proven bool, v verdict) {
	if w.newest {
		if missed, proven, v = ch.s.newest(*w.since, w.page); v != enter || !proven || len(m.without(slices.Clone(missed))) == len(missed) {
			return missed, proven, v
		}
		w.newest, w.page = false, nil // it does not get that one, but perhaps one before
	}
	if missed, v = ch.s.join(*w.since, w.page); v != enter || len(missed) > ch.h.cfg.RecoverMax {
		return nil, false, v
	}
	if missed = m.without(missed); ch.opts.Latest && len(missed) > 1 {
		missed = missed[len(missed)-1:]
	}
	return missed, true, enter
}

// without returns all but those that the client does not get.
func (m *membership) without(missed []*sent) []*sent {
	return slices.DeleteFunc(missed, func(x *sent) bool { return slices.Contains(x.p.Except, m.c.id) })
}

// begin sends what comes before the publications that follow.
func (m *membership) begin(ch *channel, j Join, joined Joined, missed []*sent) error {
	if j.Begin != nil {
		return j.Begin(joined)
	}
	out := ch.outlet()
	for _, x := range missed {
		f, err := out.prepare(x, int(m.c.format))
		if err != nil {
			return err
		}
		if err := f.prepared.Send(m.c.conn); err != nil {
			return err
		}
	}
	return nil
}

// Leave ends a membership. It fails with ErrNotJoined. With another error, the client has left nevertheless; what
// the brokers know of it expires.
func (c *Client) Leave(ctx context.Context, channel string) error {
	if err := c.h.ask(ctx); err != nil {
		return err
	}
	if err := checkChannel(channel); err != nil {
		return err
	}
	m := c.listed(channel)
	if m == nil {
		return ErrNotJoined
	}
	return m.end(ctx)
}

// end takes the client out of the channel, or fails with ErrNotJoined.
func (m *membership) end(ctx context.Context) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.ch == nil {
		return ErrNotJoined
	}
	err := m.quit(ctx)
	m.c.unlist(m)
	return err
}

// quit is called with the turn.
func (m *membership) quit(ctx context.Context) error {
	m.ch.mu.Lock()
	if m.ch.has(m) {
		m.ch.leave(m)
	}
	m.ch.mu.Unlock()
	err := m.denounce(ctx)
	m.ch.release()
	m.ch = nil
	return err
}

// takeOut takes the client out for the program, or because it would have missed something, and tells.
func (m *membership) takeOut(code protocol.CloseCode, reason string, lost bool) {
	c := m.c
	m.turn.Lock()
	if m.ch == nil {
		m.turn.Unlock()
		return
	}
	c.mu.Lock()
	m.joined = false
	more := c.needMore()
	if more.leaving == nil {
		more.leaving = map[*membership]chan struct{}{}
	}
	more.leaving[m] = make(chan struct{})
	c.mu.Unlock()
	name := m.ch.name
	ctx, cancel := c.h.upkeep()
	_ = m.quit(ctx) // what the brokers refuse expires
	cancel()
	m.turn.Unlock()
	switch f := c.h.cfg.OnLeft; {
	case f != nil:
		f(c, name, code, reason)
	case lost:
		c.closeInsufficient()
	}
	c.unlist(m)
}
