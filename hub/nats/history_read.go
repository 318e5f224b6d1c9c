package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sockmill/sockmill/hub/broker"
)

// readAgain is how long Read waits before it asks again a server that does not have all messages yet.
const readAgain = 5 * time.Millisecond

// futurePatience is how long a position that lies behind the end of a stream with replicas is taken for one that its leader does not know yet.
const futurePatience = 500 * time.Millisecond

// Read implements broker.History. Offsets are the sequences of the stream, its name is the epoch. A channel of which nothing is stored, or
// nothing behind Query.Since, has as Top the last sequence of its stream.
func (b *Broker) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	p, err := b.of(ctx, channel)
	if err != nil {
		return broker.Page{}, err
	}
	b.history.reads.Add(1)
	if here, ok := b.where(channel); ok {
		p.heard(broker.Position{Offset: here.last, Epoch: here.stream})
	}
	timer, began := time.NewTimer(b.cfg.PublishTimeout), time.Now()
	defer timer.Stop()
	for {
		page, err := p.read(ctx, channel, q)
		if errors.Is(err, errFuture) && time.Since(began) >= futurePatience {
			b.history.unrecoverable.Add(1)
			err = broker.ErrUnrecoverable
		}
		switch {
		case err == nil || errors.Is(err, broker.ErrUnrecoverable):
			b.notedFirst(channel, page.Top)
			return page, err
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if err = p.again(ctx); err != nil {
				return broker.Page{}, err
			}
		case errors.Is(err, errFuture), errors.Is(err, errBehind), errors.Is(err, errNobody) && p.fresh():
			select {
			case <-timer.C:
				return broker.Page{}, err
			default:
			}
			if err := b.pause(ctx, readAgain); err != nil {
				return broker.Page{}, err
			}
		default:
			return broker.Page{}, err
		}
	}
}

var errFuture = fmt.Errorf("%w: the leader of the stream does not know the position", broker.ErrUnavailable)

// again makes the stream again, or finds the one that another node has made.
func (p *part) again(ctx context.Context) error {
	c, cancel := context.WithTimeout(ctx, p.b.cfg.PublishTimeout)
	defer cancel()
	if err := p.ensure(c); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errors.Join(broker.ErrUnavailable, err)
	}
	return nil
}

// read is one attempt.
func (p *part) read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	if q.Since == nil && q.Limit == 0 {
		top, err := p.top(ctx, channel)
		return broker.Page{Top: top}, err
	}
	s, err := p.look(ctx)
	if err != nil {
		return broker.Page{}, err
	}
	t, err := p.tip(ctx, channel, s)
	if err != nil {
		return broker.Page{}, err
	}
	r := reading{p: p, tip: t, subject: p.b.storedSubject(channel), limit: q.Limit}
	if q.Limit < 0 {
		r.limit = unlimited
	}
	r.page.Top = broker.Position{Offset: s.last, Epoch: s.name}
	if t.newest != nil {
		var newest record
		if newest.decode(t.newest.data) == nil && newest.Lifetime > 0 {
			r.since = t.now.Add(-newest.Lifetime)
		}
		r.page.Top.Offset = t.newest.sequence
	}
	switch {
	case q.Since == nil:
		err = r.all(ctx, q.Reverse, r.page.Top.Offset)
	case q.Since.Epoch != s.name:
		err = broker.ErrUnrecoverable
	case q.Since.Offset > max(s.last, r.page.Top.Offset):
		if err = broker.ErrUnrecoverable; s.replicas > 1 {
			return r.page, errFuture
		}
	case q.Reverse:
		err = r.all(ctx, true, q.Since.Offset-min(1, q.Since.Offset))
	default:
		if err = r.follow(ctx, q.Since.Offset); err == nil {
			p.b.history.recovered.Add(1)
		}
	}
	if errors.Is(err, broker.ErrUnrecoverable) {
		p.b.history.unrecoverable.Add(1)
		r.page.Publications = nil
	}
	return r.page, err
}

const unlimited = int(^uint(0) >> 1)

// reading is one call of Read.
type reading struct {
	p       *part
	tip     tip
	subject string
	since   time.Time // what is not younger has expired
	limit   int
	page    broker.Page
}

// kept decodes a message. It reports false if it is not ours.
func (r *reading) kept(m stored, prev uint64) (p broker.Publication, lifetime time.Duration, ok bool) {
	var x record
	if err := x.decode(m.data); err != nil {
		r.p.b.foreign(&natsgo.Msg{Subject: r.subject, Data: m.data})
		return p, 0, false
	}
	x.Position, x.Prev = broker.Position{Offset: m.sequence, Epoch: r.tip.name}, prev
	return x.Publication, x.Lifetime, true
}

func (r *reading) expired(m stored) bool { return !r.since.IsZero() && !m.time.After(r.since) }

// lifetimes are the times of publications that were read and had not expired when the one behind them was appended. Each Append
// says how long all that is kept lives, until the next one.
type lifetimes struct {
	times    []time.Time
	lifetime time.Duration // that the newest one of them said
}

// add is for the next publication. It returns how many of the oldest had expired.
func (l *lifetimes) add(at time.Time, lifetime time.Duration) (expired int) {
	if l.lifetime > 0 {
		for expired < len(l.times) && at.Sub(l.times[expired]) >= l.lifetime {
			expired++
		}
	}
	l.times, l.lifetime = append(l.times[expired:], at), lifetime
	return expired
}

// drop forgets the oldest, and returns how many.
func (l *lifetimes) drop(n int) int {
	l.times = l.times[n:]
	return n
}

// all reads what is kept up to a sequence, without a position to begin at.
func (r *reading) all(ctx context.Context, reverse bool, last uint64) error {
	if r.limit == 0 || r.tip.newest == nil || last <= r.tip.removed {
		return nil
	}
	if reverse && r.limit == 1 && last >= r.tip.newest.sequence {
		if p, _, ok := r.kept(*r.tip.newest, r.tip.newest.sequence); ok && !r.expired(*r.tip.newest) {
			r.page.Publications = []broker.Publication{p}
			return nil
		}
	}
	var ps []broker.Publication
	var prev uint64
	var times lifetimes
	err := r.p.messages(ctx, r.tip.name, r.subject, r.tip.removed+1, r.tip.newest.sequence, unlimited, func(m stored) bool {
		if m.sequence > last || !reverse && len(ps) == r.limit {
			return false
		}
		if prev == 0 {
			prev = m.sequence // it is not known
		}
		p, lifetime, ok := r.kept(m, prev)
		if !ok {
			return true
		}
		prev = m.sequence
		ps = append(ps, p)
		ps = ps[times.add(m.time, lifetime):]
		if r.expired(m) { // also if the clocks of leaders differed: what is read is always the newest
			ps = ps[times.drop(len(ps)):]
		}
		if reverse && len(ps) > 2*batchMax && len(ps)/2 > r.limit {
			ps = slices.Clone(ps[times.drop(len(ps)-r.limit):])
		}
		return true
	})
	if err != nil {
		return err
	}
	if reverse {
		slices.Reverse(ps)
	}
	r.page.Publications = ps[:min(len(ps), r.limit)]
	return nil
}

// follow reads what follows the sequence at.
func (r *reading) follow(ctx context.Context, at uint64) error {
	if r.tip.newest == nil || r.tip.newest.sequence <= at {
		return r.nothing(ctx, at)
	}
	var first *stored // behind at
	prev, here, expired, whole := at, false, false, true
	var times lifetimes
	err := r.p.messages(ctx, r.tip.name, r.subject, at, r.tip.newest.sequence, r.limit, func(m stored) bool {
		if m.sequence <= at {
			here = true
			return true
		}
		if first == nil {
			first = &m
		}
		if len(r.page.Publications) == r.limit {
			whole = false
			return false
		}
		if p, lifetime, ok := r.kept(m, prev); ok {
			expired = times.add(m.time, lifetime) > 0 || r.expired(m) || expired
			r.page.Publications = append(r.page.Publications, p)
			prev = m.sequence
		}
		return true
	})
	switch {
	case err != nil:
		return err
	case expired || first.sequence < r.tip.removed:
		return broker.ErrUnrecoverable
	case !here:
		if err := r.nothingBetween(ctx, at, first.sequence); err != nil {
			return err
		}
	}
	switch {
	case whole && len(r.page.Publications) > 0:
		r.page.Top.Offset = prev // what came behind it is none of ours
	case whole:
		r.page.Top.Offset = max(r.tip.newest.sequence, r.tip.last)
	}
	return nil
}

// nothing: nothing is stored behind at. That proves that nothing was published there if something of the channel is stored up to at, because the oldest go
// first, or if nothing of the stream behind at was removed.
func (r *reading) nothing(ctx context.Context, at uint64) error {
	if r.tip.newest == nil && at < r.tip.last {
		s, err := r.p.look(ctx)
		if err != nil {
			return err
		}
		if s.name != r.tip.name || s.leader != r.tip.leader || s.first > at+1 {
			return broker.ErrUnrecoverable
		}
	}
	r.page.Top.Offset = max(at, r.tip.last)
	return nil
}

// nothingBetween: nothing was published between at, which is not stored, and first. It is proven if something older of the channel is stored, because
// the oldest go first, or if the stream has lost nothing behind at by age or size, and the channel nothing by number.
func (r *reading) nothingBetween(ctx context.Context, at, first uint64) error {
	if r.tip.replicas > 1 { // the server that was asked may have removed more than the leader
		m, ok, err := r.p.message(ctx, r.tip.name, getRequest{Sequence: at + 1, NextOf: r.subject})
		switch {
		case err != nil:
			return err
		case !ok || m.sequence != first:
			return broker.ErrUnrecoverable
		}
	}
	oldest, ok, err := r.p.message(ctx, r.tip.name, getRequest{Sequence: 1, NextOf: r.subject})
	if err != nil {
		return err
	}
	s, err := r.p.state(ctx, r.subject)
	switch older := ok && oldest.sequence < at; {
	case err != nil:
		return err
	case s.name != r.tip.name || s.leader != r.tip.leader: // the answers may be of leaders whose clocks differ
		return broker.ErrUnrecoverable
	case !older && (s.first > at+1 || int64(s.stored) >= s.perSubject):
		return broker.ErrUnrecoverable
	}
	return nil
}
