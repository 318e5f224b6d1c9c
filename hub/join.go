package hub

import (
	"context"
	"errors"
	"sync"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// Join says how a client joins a channel.
type Join struct {
	// Since is the position of the last publication that the client has got; nil: it has got none and misses none.
	Since *broker.Position

	Info []byte // of the program; others see it as broker.Info.Channel

	// Begin, if set, is called in place of sending what was missed: before anything of the channel is sent to the
	// connection, and behind it comes whatever follows Joined.Position. It sends what
	// the client has to be told, such as an answer with Joined.Missed, by Conn.Send. It runs while the channel waits, so
	// it must not block nor call the Hub. If it fails, so does Client.Join, and the client has not joined.
	Begin func(Joined) error
}

// Joined is the result of joining.
type Joined struct {
	Position  broker.Position      // of the last publication before those that the client will get as a member; zero without a history
	Recovered bool                 // Missed is all that lies between Join.Since and Position: nothing is missing
	Missed    []broker.Publication // the oldest first; none if not Recovered
}

// membership is a client in a channel.
type membership struct {
	c    *Client
	name string

	// turn is held while the client joins and leaves, and while its presence is renewed. It guards what follows.
	turn    sync.Mutex
	ch      *channel // nil: not a member
	info    *broker.Info
	skip    bool // guarded by channel.mu: used in channel.fan
	entered bool // in Presence
}

// joinAttempts is how often a join tries to catch up with publishers that are faster than it
// before it is not recovered.
const joinAttempts = 16

// Join has the client get what is published to a channel. With Join.Since it is sent what it has missed, if that can be
// proven to be all. It fails with ErrJoined, ErrLimit, ErrName, ErrGone, ErrClosed, with errors of the brokers and of
// sending, and with that of Join.Begin; then the client has not joined.
func (c *Client) Join(ctx context.Context, channel string, j Join) (Joined, error) {
	if err := checkChannel(channel); err != nil {
		return Joined{}, err
	}
	return c.join(ctx, channel, j)
}

func (c *Client) join(ctx context.Context, channel string, j Join) (Joined, error) {
	if err := c.h.ask(ctx); err != nil {
		return Joined{}, err
	}
	m := &membership{c: c, name: channel, info: c.info(j.Info)}
	m.turn.Lock()
	defer m.turn.Unlock()
	if err := c.list(m); err != nil {
		return Joined{}, err
	}
	joined, err := m.attempts(ctx, j)
	if err == nil {
		err = m.announce(ctx)
		if err != nil {
			_ = m.quit(ctx, true)
		}
	}
	if err != nil {
		c.unlist(m)
		return Joined{}, err
	}
	return joined, nil
}

func (c *Client) list(m *membership) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.h.cfg.ChannelsPerClientMax + 1 // that of all
	if c.who.User != "" {
		limit++
	}
	switch {
	case c.gone:
		return ErrGone
	case c.channels[m.name] != nil:
		return ErrJoined
	case len(c.channels) >= limit:
		return ErrLimit
	}
	c.channels[m.name] = m
	return nil
}

func (c *Client) unlist(m *membership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.channels[m.name] == m {
		delete(c.channels, m.name)
	}
}

// attempts joins, on a channel value that is not dead.
func (m *membership) attempts(ctx context.Context, j Join) (Joined, error) {
	for {
		ch, err := m.c.h.channel(ctx, m.name)
		if err != nil {
			return Joined{}, err
		}
		joined, v, err := m.attempt(ctx, ch, j)
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
	since := j.Since
	if !ch.s.tracks {
		since = nil
	}
	var page *broker.Page
	for n := 0; ; n++ {
		if n == joinAttempts {
			since = nil // not proven
		}
		ch.mu.Lock()
		joined, v, err := m.try(ch, j, since, page)
		ch.mu.Unlock()
		switch {
		case err != nil || v == enter || v == gone:
			return joined, v, err
		case v == behind:
			if err := ch.settle(ctx); err != nil {
				return Joined{}, v, err
			}
		}
		p, err := m.c.h.cfg.History.Read(ctx, m.name, broker.Query{Since: since, Limit: m.c.h.cfg.RecoverMax})
		switch page = &p; {
		case errors.Is(err, broker.ErrUnrecoverable), err == nil && !complete(*since, &p):
			since, page = nil, nil
		case err != nil:
			return Joined{}, v, err
		}
	}
}

// complete reports whether a page has all that follows a position.
func complete(since broker.Position, p *broker.Page) bool {
	if n := len(p.Publications); n > 0 {
		since = p.Publications[n-1].Position
	}
	return since == p.Top
}

// try is called with the lock of the channel.
func (m *membership) try(ch *channel, j Join, since *broker.Position, page *broker.Page) (joined Joined, v verdict, err error) {
	if ch.s.dead {
		return joined, gone, nil
	}
	var missed []*sent
	if since != nil {
		if missed, v = ch.s.join(*since, page); v != enter {
			return joined, v, nil
		}
		if joined.Recovered = len(missed) <= ch.h.cfg.RecoverMax; !joined.Recovered {
			missed = nil
		}
	}
	if joined.Position = ch.s.last; j.Begin != nil || len(missed) > 0 {
		k := 0
		for _, x := range missed {
			if !m.excluded(&x.p) {
				missed[k] = x
				k++
				joined.Missed = append(joined.Missed, strip(x.p))
			}
		}
		missed = missed[:k]
	}
	if err := m.c.conn.Subscribe(ch.topic); err != nil {
		return Joined{}, v, m.sendError(err)
	}
	ch.members[m.c] = m
	if err := m.begin(ch, j, joined, missed); err != nil {
		ch.leave(m)
		return Joined{}, v, m.sendError(err)
	}
	return joined, enter, nil
}

// begin sends what comes before the publications that follow.
func (m *membership) begin(ch *channel, j Join, joined Joined, missed []*sent) error {
	if j.Begin != nil {
		return j.Begin(joined)
	}
	for _, x := range missed {
		if err := ch.prepare(x); err != nil {
			return err
		}
		if err := x.prepared.Send(m.c.conn); err != nil {
			return err
		}
	}
	return nil
}

func (m *membership) sendError(err error) error {
	if errors.Is(err, engine.ErrClosed) {
		return ErrGone
	}
	return err
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
	c.mu.Lock()
	m := c.channels[channel]
	c.mu.Unlock()
	if m == nil {
		return ErrNotJoined
	}
	return m.end(ctx, false)
}

// end takes the client out of the channel, if it is a member.
func (m *membership) end(ctx context.Context, gone bool) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.ch == nil {
		if gone {
			return nil
		}
		return ErrNotJoined
	}
	err := m.quit(ctx, true)
	m.c.unlist(m)
	return err
}

// quit is called with the turn.
func (m *membership) quit(ctx context.Context, leave bool) error {
	if leave {
		m.ch.mu.Lock()
		if m.ch.members[m.c] == m {
			m.ch.leave(m)
		}
		m.ch.mu.Unlock()
	}
	err := m.denounce(ctx)
	m.ch.release()
	m.ch = nil
	return err
}

// insufficient is called when the channel has taken the client out.
func (m *membership) insufficient() {
	m.turn.Lock()
	if m.ch == nil {
		m.turn.Unlock()
		return
	}
	_ = m.quit(m.c.h.ctx, false)
	m.turn.Unlock()
	m.c.unlist(m)
	if m.c.h.cfg.OnInsufficient == nil {
		m.c.closeNow(codeInsufficient, "insufficient state")
		return
	}
	if m.name[0] != reserved {
		m.c.h.cfg.OnInsufficient(m.c, m.name)
	} else {
		m.c.closeNow(codeInsufficient, "insufficient state")
	}
}
