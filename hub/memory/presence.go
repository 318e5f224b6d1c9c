package memory

import (
	"container/list"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// presence is who is in which channel. Whoever has expired is not seen any more, and removed
// by and by.
type presence struct {
	cfg *Config

	mu       sync.Mutex // guards what follows
	channels map[string]*room
	members  order // of *member
	bytes    int
}

// room is a channel with at least one member.
type room struct {
	members map[string]*member // by client
	users   map[string]int     // how many members each has
	soonest time.Duration      // until then, none expires
}

type member struct {
	channel string
	info    broker.Info
	until   time.Duration
	element *list.Element
}

const (
	memberBytes = 320 // itself, its element, its place in two maps
	roomBytes   = 576 // itself, its maps, its place in a map
)

func (m *member) size() int { return memberBytes + infoSize(&m.info) }

func (s *presence) init(cfg *Config) { s.cfg, s.channels = cfg, map[string]*room{} }

func (s *presence) remove(m *member) {
	s.bytes -= m.size()
	s.members.drop(m.element)
	in := s.channels[m.channel]
	in.leave(m)
	if len(in.members) == 0 {
		s.bytes -= roomBytes + len(m.channel)
		delete(s.channels, m.channel)
	}
}

func (r *room) enter(m *member) {
	r.members[m.info.Client] = m
	r.users[m.info.User]++
	r.soonest = min(r.soonest, m.until)
}

func (r *room) leave(m *member) {
	delete(r.members, m.info.Client)
	if r.users[m.info.User]--; r.users[m.info.User] == 0 {
		delete(r.users, m.info.User)
	}
}

// expire removes some members that have expired.
func (s *presence) expire(now time.Duration) {
	s.members.sweep(func(value any) bool {
		m := value.(*member)
		if now < m.until {
			return false
		}
		s.remove(m)
		return true
	})
}

func (s *presence) enter(m *member, now time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	more := m.size()
	in := s.channels[m.channel]
	if in == nil {
		more += roomBytes + len(m.channel)
		in = &room{map[string]*member{}, map[string]int{}, never}
	}
	old := in.members[m.info.Client]
	if old != nil {
		more -= old.size()
	}
	if s.bytes+more > s.cfg.PresenceBytesMax {
		return broker.ErrFull
	}
	s.bytes += more
	s.channels[m.channel] = in
	if old != nil {
		in.leave(old)
		s.members.drop(old.element)
	}
	in.enter(m)
	m.element = s.members.PushFront(m)
	return nil
}

// look calls f with a channel, without those who have expired, unless it is empty.
func (s *presence) look(channel string, now time.Duration, f func(*room)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	in := s.channels[channel]
	if in == nil {
		return
	}
	if now >= in.soonest {
		in.soonest = never
		for _, m := range in.members {
			if now >= m.until {
				s.remove(m)
			} else {
				in.soonest = min(in.soonest, m.until)
			}
		}
	}
	f(in)
}

// Enter implements broker.Presence.
func (b *Broker) Enter(ctx context.Context, channel string, info broker.Info, lifetime time.Duration) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	if err := broker.CheckEnter(&info, lifetime); err != nil {
		return err
	}
	now := b.now()
	return b.presence.enter(&member{channel: channel, info: info, until: now + min(lifetime, never-now)}, now)
}

// Leave implements broker.Presence.
func (b *Broker) Leave(ctx context.Context, channel, client string) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	b.presence.mu.Lock()
	defer b.presence.mu.Unlock()
	if in := b.presence.channels[channel]; in != nil && in.members[client] != nil {
		b.presence.remove(in.members[client])
	}
	return nil
}

// Present implements broker.Presence.
func (b *Broker) Present(ctx context.Context, channel string) (all []broker.Info, err error) {
	if err := b.check(ctx, channel); err != nil {
		return nil, err
	}
	b.presence.look(channel, b.now(), func(in *room) {
		all = make([]broker.Info, 0, len(in.members))
		for _, m := range in.members {
			all = append(all, m.info)
		}
	})
	return all, nil
}

// Count implements broker.Presence.
func (b *Broker) Count(ctx context.Context, channel string) (n broker.Counts, err error) {
	if err := b.check(ctx, channel); err != nil {
		return n, err
	}
	b.presence.look(channel, b.now(), func(in *room) { n = broker.Counts{Clients: len(in.members), Users: len(in.users)} })
	return n, nil
}

// Users returns how many connections of a channel there are, and the different values of broker.Info.User that they have, in no order. It fails
// as Count does. It is for brokers that have a Broker for the presence of one of several nodes.
func (b *Broker) Users(ctx context.Context, channel string) (clients int, users []string, err error) {
	if err := b.check(ctx, channel); err != nil {
		return 0, nil, err
	}
	b.presence.look(channel, b.now(), func(in *room) { clients, users = len(in.members), slices.Collect(maps.Keys(in.users)) })
	return clients, users, nil
}
