package hub

import (
	"slices"

	"github.com/sockmill/sockmill/hub/broker"
)

// stream is the order of one channel on this node: what was delivered last, and what has to
// be delivered next. It does no I/O and has no lock: whoever uses it sees to that. It never
// leaves its epoch: when that ends, or something is missing for good, the stream is dead.
type stream struct {
	fan     func(*sent) error // delivers to all members
	tracks  bool              // the publications have positions
	ringMax int32
	waitMax int

	known   bool            // last is known
	reading bool            // somebody reads by query and calls took
	dead    bool            // nothing is delivered any more
	last    broker.Position // L: the last that was delivered, or where the stream was when it began here

	ring []*sent         // all that was delivered from base on, up to last
	base broker.Position // what ring[0] follows

	backlog *backlog // what was delivered to this node while it reads; nil: nothing
}

// backlog waits until what lies before it was read.
type backlog struct {
	waiting  []broker.Publication
	overflow bool            // more were delivered, and were discarded: to read once more brings them
	ahead    broker.Position // of the publication for which it is read once more
}

// deliver takes a publication from the broker. If it returns true, the caller has to read.
func (s *stream) deliver(p broker.Publication) (read bool) {
	switch {
	case s.dead:
	case !s.tracks || p.Position == (broker.Position{}):
		s.dead = s.fan(&sent{p: p}) != nil
	case !s.reading && p.Follows(s.last):
		s.send(p)
	case s.had(p):
	default:
		if s.backlog == nil {
			s.backlog = &backlog{}
		}
		if b := s.backlog; len(b.waiting) >= s.waitMax {
			b.overflow = true
		} else {
			b.waiting = append(b.waiting, p)
		}
		return s.interrupted()
	}
	return false
}

// interrupted is told that something may be missing. If it returns true, the caller has to read.
func (s *stream) interrupted() (read bool) {
	read = s.tracks && !s.dead && !s.reading
	s.reading = s.reading || read
	return read
}

// had reports whether p was delivered, or lies before where the stream began here.
func (s *stream) had(p broker.Publication) bool {
	return p.Epoch == s.last.Epoch && p.Offset <= s.last.Offset
}

func (s *stream) send(p broker.Publication) {
	x := &sent{p: p}
	if s.last = p.Position; s.ringMax > 0 {
		if len(s.ring) == int(s.ringMax) {
			s.base = s.ring[0].p.Position
			s.ring[0] = nil
			s.ring = s.ring[1:]
		}
		s.ring = append(s.ring, x)
	} else {
		s.base = s.last
	}
	s.dead = s.fan(x) != nil
}

// forget leaves nothing to recover.
func (s *stream) forget() { s.ring, s.base = nil, s.last }

// query is what has to be read.
func (s *stream) query() broker.Query {
	if !s.known {
		return broker.Query{}
	}
	since := s.last
	return broker.Query{Since: &since, Limit: s.waitMax}
}

// took takes what was read by query. If it returns true, the caller has to read again.
func (s *stream) took(page broker.Page, err error) (again bool) {
	if !s.known {
		s.known, s.last, s.base = true, page.Top, page.Top
	}
	s.dead = s.dead || err != nil || len(page.Publications) == 0 && !s.moveOn(page.Top)
	for _, p := range page.Publications {
		if !s.dead {
			s.send(p)
		}
	}
	if !s.dead && (s.last != page.Top || s.catchUp()) {
		return true
	}
	s.reading, s.backlog = false, nil
	return false
}

// moveOn goes to a position behind which nothing lies that was not delivered. It reports false if that is not one of this stream.
func (s *stream) moveOn(top broker.Position) bool {
	if top.Epoch != s.last.Epoch || top.Offset < s.last.Offset {
		return false
	}
	s.last = top // base stays: what was delivered before is what clients have
	return true
}

// catchUp goes on with what was delivered meanwhile. If it returns true, something is still missing.
func (s *stream) catchUp() (again bool) {
	b := s.backlog
	if b == nil {
		return false
	}
	for i, p := range b.waiting {
		switch {
		case s.dead || s.had(p):
		case p.Follows(s.last):
			s.send(p)
		case p.Position == b.ahead: // it was read for this one, and it was not there
			s.dead = true
		default:
			b.waiting, b.ahead = slices.Clone(b.waiting[i:]), p.Position
			return true
		}
	}
	again = b.overflow && !s.dead
	b.waiting, b.overflow = nil, false
	return again
}

// verdict says what a join has to do.
type verdict uint8

const (
	enter  verdict = iota // it is in
	read                  // read what follows its position, and ask again
	behind                // this node has to read before, and then the join
	gone                  // the stream is dead
)

// join says what a connection that has got everything up to since has to be sent before it is a
// member. page is all that follows since, or nil if it was not read.
func (s *stream) join(since broker.Position, page *broker.Page) ([]*sent, verdict) {
	if s.dead {
		return nil, gone
	}
	if missed, ok := s.after(since); ok {
		return missed, enter
	}
	switch {
	case page == nil:
		return nil, read
	case page.Top.Epoch != s.last.Epoch || since.Offset > s.last.Offset:
		return nil, behind
	}
	var missed []*sent
	for _, p := range page.Publications {
		if p.Offset <= s.last.Offset {
			missed = append(missed, &sent{p: p})
		}
	}
	if s.last.Offset <= page.Top.Offset {
		return missed, enter
	}
	rest, ok := s.after(page.Top)
	if !ok {
		return nil, read
	}
	return append(missed, rest...), enter
}

// newest says what a connection that needs only the newest publication, and has got that at since, has to be sent
// before it is a member, and whether that is proven to be the newest. page is the newest publication, or nil if it
// was not read.
func (s *stream) newest(since broker.Position, page *broker.Page) (missed []*sent, proven bool, v verdict) {
	if s.dead {
		return nil, false, gone
	}
	if missed, ok := s.after(since); ok && len(missed) == 0 {
		return nil, true, enter
	}
	switch n := len(s.ring); {
	case n > 0:
		return s.ring[n-1 : n : n], true, enter
	case page == nil:
		return nil, false, read
	case len(page.Publications) == 0 && page.Top.Epoch == s.last.Epoch:
		return nil, false, enter // nothing is kept, wherever Top has risen to
	case page.Top.Epoch != s.last.Epoch || page.Top.Offset > s.last.Offset:
		return nil, false, behind
	case len(page.Publications) == 0 || page.Publications[0].Position != page.Top:
		return nil, false, enter // it is no longer kept
	case page.Top == since:
		return nil, true, enter
	}
	return []*sent{{p: page.Publications[0]}}, true, enter
}

// after returns what the ring has behind a position. It reports false if it does not have all.
func (s *stream) after(at broker.Position) ([]*sent, bool) {
	switch at {
	case s.last:
		return nil, true
	case s.base:
		return slices.Clone(s.ring), true
	}
	for i, x := range s.ring {
		if x.p.Position == at {
			return slices.Clone(s.ring[i+1:]), true
		}
	}
	return nil, false
}
