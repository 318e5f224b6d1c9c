package memory

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// presence is who is in which channel. Whoever has expired is not seen any more, and removed
// by and by.
type presence struct {
	cfg *Config

	mu       sync.Mutex                    // guards what follows
	channels map[string]map[string]*member // by channel and client
	members  order                         // of *member
	bytes    int
}

type member struct {
	channel string
	info    broker.Info
	until   time.Duration
	element *list.Element
}

const memberBytes = 320 // itself, its element, its place in a map

func (m *member) size() int { return memberBytes + infoSize(&m.info) }

func (s *presence) init(cfg *Config) { s.cfg, s.channels = cfg, map[string]map[string]*member{} }

func (s *presence) remove(m *member) {
	s.bytes -= m.size()
	s.members.drop(m.element)
	delete(s.channels[m.channel], m.info.Client)
	if len(s.channels[m.channel]) == 0 {
		s.bytes -= memberBytes + len(m.channel)
		delete(s.channels, m.channel)
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
	in := s.channels[m.channel]
	old := in[m.info.Client]
	more := m.size()
	if in == nil {
		more += memberBytes + len(m.channel)
	}
	if old != nil {
		more -= old.size()
	}
	if s.bytes+more > s.cfg.PresenceBytesMax {
		return broker.ErrFull
	}
	s.bytes += more
	if old != nil {
		old.info, old.until = m.info, m.until
		s.members.use(old.element)
		return nil
	}
	if in == nil {
		in = map[string]*member{}
		s.channels[m.channel] = in
	}
	in[m.info.Client] = m
	m.element = s.members.PushFront(m)
	return nil
}

// each calls f for all who are in a channel.
func (s *presence) each(channel string, now time.Duration, f func(*broker.Info)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	for _, m := range s.channels[channel] {
		if now < m.until {
			f(&m.info)
		}
	}
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
	if m := b.presence.channels[channel][client]; m != nil {
		b.presence.remove(m)
	}
	return nil
}

// Present implements broker.Presence.
func (b *Broker) Present(ctx context.Context, channel string) (all []broker.Info, err error) {
	if err := b.check(ctx, channel); err != nil {
		return nil, err
	}
	b.presence.each(channel, b.now(), func(i *broker.Info) { all = append(all, *i) })
	return all, nil
}

// Count implements broker.Presence.
func (b *Broker) Count(ctx context.Context, channel string) (broker.Counts, error) {
	if err := b.check(ctx, channel); err != nil {
		return broker.Counts{}, err
	}
	var n broker.Counts
	users := map[string]struct{}{}
	b.presence.each(channel, b.now(), func(i *broker.Info) {
		n.Clients++
		users[i.User] = struct{}{}
	})
	n.Users = len(users)
	return n, nil
}
