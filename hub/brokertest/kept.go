package brokertest

import (
	"fmt"
	"sync"

	"github.com/sockmill/sockmill/hub/broker"
)

// testKeep: the newest are kept, as many as the last Append says.
func testKeep(s *suite) {
	kept := func(at []broker.Position, keep, last int) {
		s.Helper()
		for missed := range keep + 1 {
			ps, refused := s.since("room", at[last-missed])
			want(s, fmt.Sprint("refused with missed ", missed), refused, false)
			s.same(fmt.Sprint("missed ", missed), ps, count("", last-missed+1, last)...)
		}
		if s.KeepsMore {
			return
		}
		s.refused("too many missed", "room", at[last-keep-3])
		ps := s.read("room", broker.Query{Limit: broker.NoLimit}).Publications
		if len(ps) < keep || len(ps) > keep+2 {
			s.Errorf("%d are kept, want %d, at most two more", len(ps), keep)
		}
	}
	at := []broker.Position{s.top("room")}
	at = append(at, s.append("room", broker.Keep{Publications: 5}, count("", 1, 20)...)...)
	kept(at, 5, 20)
	at = append(at, s.append("room", broker.Keep{Publications: 8}, count("", 21, 23)...)...)
	kept(at, 8, 23)
	at = append(at, s.append("room", broker.Keep{Publications: 1}, "24")...)
	kept(at, 1, 24)
}

// testLifetime: what has expired is not read, and nobody is told that he missed nothing.
func testLifetime(s *suite) {
	keep := broker.Keep{Publications: 100, Lifetime: 2 * s.Lifetime}
	begin := s.top("room")
	at := s.append("room", keep, count("", 1, 20)...)
	s.Pass(s.Lifetime)
	s.same("within the lifetime", s.read("room", broker.Query{Limit: broker.NoLimit}).Publications, count("", 1, 20)...)
	at = append(at, s.append("room", keep, count("", 21, 40)...)...)
	s.Pass(s.Lifetime)
	s.same("the younger", s.read("room", broker.Query{Limit: broker.NoLimit}).Publications, count("", 21, 40)...)
	s.refused("missed an expired one", "room", at[18])
	ps, refused := s.since("room", at[20])
	want(s, "refused", refused, false)
	s.same("the younger", ps, count("", 22, 40)...)
	s.Pass(2 * s.Lifetime)
	s.same("all expired", s.read("room", broker.Query{Limit: broker.NoLimit}).Publications)
	for _, missed := range []broker.Position{begin, at[0], at[38]} {
		s.refused("missed expired ones", "room", missed)
	}
	s.missedNothing("room", at[39], "41", begin, at[0], at[38])
}

// missedNothing: whoever was at top and was sent nothing is told the truth when text is appended; the others are refused.
func (s *suite) missedNothing(channel string, top broker.Position, text string, missed ...broker.Position) {
	s.Helper()
	if ps, refused := s.since(channel, top); !refused {
		s.same("since the newest", ps)
	}
	p := s.appendOne(channel, text)
	if ps, refused := s.since(channel, top); !refused {
		s.same("since what was the newest", ps, text)
	}
	for _, at := range missed {
		s.refused("missed what is gone", channel, at)
		if p.Follows(at) {
			s.Errorf("%+v with Prev %d follows %+v: what lay between is gone", p.Position, p.Prev, at)
		}
	}
}

func testRemove(s *suite) {
	s.must(s.a.Remove(ctx, "room"))
	at := append([]broker.Position{s.top("room")}, s.append("room", plenty, count("", 1, 3)...)...)
	s.append("room2", plenty, "stays")
	s.must(s.a.Remove(ctx, "room"))
	s.same("removed", s.read("room", broker.Query{Limit: broker.NoLimit}).Publications)
	s.refused("missed a removed one", "room", at[2])
	s.missedNothing("room", at[3], "4", at[:3]...)
	s.same("another channel", s.read("room2", broker.Query{Limit: broker.NoLimit}).Publications, "stays")
}

// testForget: a history that was lost never passes for its successor.
func testForget(s *suite) {
	at := append([]broker.Position{s.top("room")}, s.append("room", plenty, count("", 1, 3)...)...)
	s.Forget("room")
	if top := s.top("room"); top.Epoch == at[0].Epoch {
		s.Errorf("the epoch is still %q", top.Epoch)
	}
	for range 2 {
		for _, before := range at {
			s.refused("another stream", "room", before)
		}
		p := s.appendOne("room", "new")
		for _, before := range at {
			if p.Follows(before) {
				s.Errorf("%+v with Prev %d follows %+v of another stream", p.Position, p.Prev, before)
			}
		}
	}
}

func testKeys(s *suite) {
	keyed := func(key string) broker.Keep { return broker.Keep{Publications: 100, Key: key} }
	r := s.receiver(s.b, "room")
	first := s.append("room", keyed("k"), "1", "not again", "nor now")
	want(s, "the position of the second", first[1], first[0])
	want(s, "the position of the third", first[2], first[0])
	s.append("room", keyed("K"), "2")
	s.append("room", keyed(""), "3", "4")
	s.append("room2", keyed("k"), "elsewhere")
	want(s, "the position after others", s.append("room", keyed("k"), "still not")[0], first[0])
	s.append("room", plenty, "end")
	s.same("delivered", r.until("end"), count("", 1, 4)...)
	s.same("kept", s.read("room", broker.Query{Limit: 4}).Publications, count("", 1, 4)...)
	s.same("kept elsewhere", s.read("room2", broker.Query{Limit: 4}).Publications, "elsewhere")
}

// testKeysTogether: of those who append with one key at once, one succeeds, and all get its position.
func testKeysTogether(s *suite) {
	r := s.receiver(s.b, "room")
	for i := range 50 {
		var mu sync.Mutex
		got := map[broker.Position]int{}
		var fs []func()
		for j := range 4 {
			fs = append(fs, func() {
				at, err := s.Nodes[j%2].Append(ctx, "room", pub("x"), broker.Keep{Publications: 100, Key: fmt.Sprint(i)})
				if err != nil {
					s.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[at]++
			})
		}
		together(fs...)
		want(s, "calls with the position delivered", got[r.next().Position], 4)
	}
	want(s, "kept", len(s.read("room", broker.Query{Limit: broker.NoLimit}).Publications), 50)
}
