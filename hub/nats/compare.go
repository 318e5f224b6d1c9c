package nats

import (
	"context"
	"time"
	"unique"

	"github.com/sockmill/sockmill/hub/broker"
)

// compareBatch is how many channels are compared with one question.
const compareBatch = 500

// compareSettle is how long a publication may be on its way to this node before comparing takes it for lost.
const compareSettle = 500 * time.Millisecond

// comparePause follows each question, so that comparing takes a small part of a processor only: 100,000 channels take a second at least.
const comparePause = 5 * time.Millisecond

// renewals is how often, in the lifetime of a stream, a channel where nothing happens gets a new position: it must not become older than
// what the stream keeps.
const renewals = 4

// renewMost is how many of them are renewed each time.
const renewMost = 5000

// mark is what the last sequence of a stream was.
type mark struct {
	at   time.Time
	last uint64
}

// compare finds the channels that are followed here of which a publication was lost on its way, and has their receivers read. It asks for what is
// new since it was done the last time.
func (p *part) compare(ctx context.Context) error {
	s, err := p.look(ctx)
	if err != nil {
		return err
	}
	if s.name != p.comparing { // sequences of another stream say nothing of this one
		p.comparing, p.compared, p.marks = s.name, 0, nil
	}
	if s.last == p.compared { // nothing is new
		p.renew(s)
		return nil
	}
	upTo := s.last
	var missing []at
	var subjects []string
	channels := map[string]string{}
	flush := func() error {
		if len(subjects) == 0 {
			return nil
		}
		e, err := p.b.direct(ctx, s.name, getRequest{LastOfEach: subjects, Sequence: p.compared + 1}, func(subject string, m stored) {
			missing = append(missing, at{channels[subject], s.name, m.sequence})
		})
		if err != nil {
			return err
		}
		if e.none { // that server may not know anything yet
			e.upTo = p.compared
		}
		upTo = min(upTo, e.upTo)
		p.b.history.compared.Add(uint64(len(subjects)))
		subjects = subjects[:0]
		clear(channels)
		return p.b.pause(ctx, comparePause)
	}
	for lane := range lanes {
		for _, x := range p.b.followedIn(lane) {
			if p.b.partOf(x.channel) != p.n {
				continue
			}
			subject := p.b.storedSubject(x.channel)
			channels[subject] = x.channel
			if subjects = append(subjects, subject); len(subjects) == compareBatch {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if missing = p.behind(missing); len(missing) > 0 {
		if err := p.b.pause(ctx, compareSettle); err != nil {
			return err
		}
		for _, x := range p.behind(missing) {
			p.b.history.missed.Add(1)
			p.b.tellOf(x)
		}
	}
	p.compared = max(p.compared, upTo)
	p.renew(s)
	return nil
}

// behind returns those of which this node has not got the message yet.
func (p *part) behind(all []at) (some []at) {
	for _, x := range all {
		if here, ok := p.b.where(x.channel); ok && (here.stream != x.stream || here.last < x.last) {
			some = append(some, x)
		}
	}
	return some
}

// renew has the receivers of channels read whose position is soon older than the stream.
func (p *part) renew(s state) {
	every := s.maxAge / renewals
	for len(p.marks) > 1 && s.now.Sub(p.marks[1].at) >= every {
		p.marks = p.marks[1:]
	}
	if n := len(p.marks); n == 0 || s.now.Sub(p.marks[n-1].at) >= every/renewals {
		p.marks = append(p.marks, mark{s.now, s.last})
	}
	old := s.first + (s.last-min(s.first, s.last))/renewals
	if m := p.marks[0]; s.now.Sub(m.at) >= every {
		old = max(old, m.last)
	}
	old = min(old, s.last)
	renewed := 0
	for lane := range lanes {
		for _, x := range p.b.followedIn(lane) {
			if x.stream == s.name && x.last < old && p.b.partOf(x.channel) == p.n && renewed < renewMost {
				renewed++
				p.b.tellOf(at{x.channel, s.name, s.last})
			}
		}
	}
}

// where is where a channel is, if it is followed here.
func (b *Broker) where(channel string) (x at, ok bool) {
	b.change(channel, func(_ *shard, f *followed) {
		x, ok = at{channel: f.name, last: max(f.last, f.compared)}, true
		if f.stream != (unique.Handle[string]{}) {
			x.stream = f.stream.Value()
		}
	})
	return x, ok
}

// tellOf has the receivers of a channel read, and notes that they know of everything up to there: they read it, or are told that they cannot.
func (b *Broker) tellOf(x at) {
	b.change(x.channel, func(_ *shard, f *followed) {
		if f.stream == (unique.Handle[string]{}) || f.stream.Value() == x.stream {
			f.in(x.stream)
			f.compared = max(f.compared, x.last)
		}
		b.tell(f)
	})
}

// notedFirst notes the position that is read first of a channel that is followed here. Positions that are read later are not those of all receivers.
func (b *Broker) notedFirst(channel string, top broker.Position) {
	b.change(channel, func(_ *shard, f *followed) {
		if f.stream == (unique.Handle[string]{}) {
			f.in(top.Epoch)
			f.compared = top.Offset
		}
	})
}
