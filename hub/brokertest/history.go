package brokertest

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sockmill/sockmill/hub/broker"
)

var historyTests = []test{
	{"Append", testAppend},
	{"AppendOrder", testAppendOrder},
	{"HistoryNames", testHistoryNames},
	{"Read", testRead},
	{"ReadSince", testReadSince},
	{"ReadReverseSince", testReadReverseSince},
	{"Unrecoverable", testUnrecoverable},
	{"Keep", testKeep},
	{"Lifetime", testLifetime},
	{"Remove", testRemove},
	{"Forget", testForget},
	{"Keys", testKeys},
	{"KeysTogether", testKeysTogether},
	{"Joins", testJoins},
	{"Simulation", testSimulation},
}

var plenty = broker.Keep{Publications: 1000}

// append appends pub(text) for each text and returns their positions.
func (s *suite) append(channel string, keep broker.Keep, texts ...string) (all []broker.Position) {
	s.Helper()
	for i, text := range texts {
		at, err := s.Nodes[i%len(s.Nodes)].Append(ctx, channel, pub(text), keep)
		s.must(err)
		all = append(all, at)
	}
	return all
}

func (s *suite) read(channel string, q broker.Query) broker.Page {
	s.Helper()
	page, err := s.b.Read(ctx, channel, q)
	s.must(err)
	return page
}

func (s *suite) top(channel string) broker.Position {
	s.Helper()
	page := s.read(channel, broker.Query{})
	s.same("read with Limit 0", page.Publications)
	return page.Top
}

// since reads what follows a position, or refused.
func (s *suite) since(channel string, at broker.Position) (ps []broker.Publication, refused bool) {
	s.Helper()
	page, err := s.b.Read(ctx, channel, broker.Query{Since: &at, Limit: broker.NoLimit})
	want(s, "the epoch of Top of a Read with Since", page.Top.Epoch, s.top(channel).Epoch)
	last, e := s.b.Read(ctx, channel, broker.Query{Since: &page.Top, Limit: broker.NoLimit})
	s.same("since Top of a Read with Since", last.Publications)
	if errors.Is(err, broker.ErrUnrecoverable) {
		s.same("read with ErrUnrecoverable", page.Publications)
		return nil, true
	}
	s.must(err)
	s.must(e)
	s.chain("since", at, page.Publications)
	want(s, "complete", page.Complete(at), true)
	return page.Publications, false
}

// behind fails the test unless p is the first publication behind a position: it says so, or the History does.
func (s *suite) behind(n Node, channel string, at broker.Position, p broker.Publication) {
	s.Helper()
	if p.Follows(at) {
		return
	}
	page, err := n.Read(ctx, channel, broker.Query{Since: &at, Limit: 1})
	if err != nil || len(page.Publications) != 1 || page.Publications[0].Position != p.Position {
		s.Errorf("%q with %+v and Prev %d was delivered, but since %+v there is %+v, error %v", p.Data, p.Position, p.Prev, at, page, err)
	}
}

// refused fails the test unless what follows a position cannot be read.
func (s *suite) refused(why, channel string, at broker.Position) {
	s.Helper()
	if ps, refused := s.since(channel, at); !refused {
		s.Errorf("%s: since %+v came %q, want ErrUnrecoverable", why, at, texts(ps))
	}
}

// chain fails the test unless each publication follows the one before, and returns the last position.
func (s *suite) chain(what string, at broker.Position, ps []broker.Publication) broker.Position {
	s.Helper()
	for _, p := range ps {
		if !p.Follows(at) {
			s.Errorf("%s: %q with %+v and Prev %d does not follow %+v", what, p.Data, p.Position, p.Prev, at)
		}
		at = p.Position
	}
	return at
}

func testAppend(s *suite) {
	before := s.top("room")
	rs := []*receiver{s.receiver(s.a, "room"), s.receiver(s.b, "room")}
	p := pub("1")
	p.Position, p.Prev = broker.Position{Offset: 1 << 40, Epoch: "mine"}, 77 // ignored
	first, err := s.a.Append(ctx, "room", p, plenty)
	s.must(err)
	at := append([]broker.Position{first}, s.append("room", plenty, count("", 2, 5)...)...)
	kept := s.read("room", broker.Query{Limit: broker.NoLimit})
	want(s, "Top", kept.Top, at[4])
	want(s, "the last position read", s.chain("read", at[0], kept.Publications[1:]), at[4])
	for i, text := range count("", 1, 5) {
		if at[i].Epoch == "" || at[i].Epoch != before.Epoch || at[i].Offset == 0 {
			s.Errorf("the position %+v in the epoch %q", at[i], before.Epoch)
		}
		s.check(kept.Publications[i], text)
		for _, r := range rs {
			p := r.next()
			s.check(p, text)
			want(s, "the position delivered", p.Position, at[i])
			if i > 0 {
				s.chain("delivered", before, []broker.Publication{p})
			}
		}
		before = at[i]
	}
}

// testAppendOrder: many append at once; all receivers get the same order, which is that of the offsets.
func testAppendOrder(s *suite) {
	const publishers, each = 4, 200
	rs := []*receiver{s.receiver(s.a, "room"), s.receiver(s.b, "room")}
	var fs []func()
	for i := range publishers {
		fs = append(fs, func() {
			var last broker.Position
			for j := range each {
				at, err := s.Nodes[i%2].Append(ctx, "room", broker.Publication{Kind: uint8(i), Data: []byte(fmt.Sprint(j))}, plenty)
				if err != nil || at.Offset <= last.Offset {
					s.Errorf("%+v after %+v: %v", at, last, err)
				}
				last = at
			}
		})
	}
	together(fs...)
	kept := s.read("room", broker.Query{Limit: broker.NoLimit})
	want(s, "kept", len(kept.Publications), publishers*each)
	s.chain("read", kept.Publications[0].Position, kept.Publications[1:])
	var next [publishers]int
	for _, k := range kept.Publications {
		want(s, "the next of a publisher", string(k.Data), fmt.Sprint(next[k.Kind]))
		next[k.Kind]++
		for _, r := range rs {
			want(s, "the position delivered", r.next().Position, k.Position)
		}
	}
}

func testHistoryNames(s *suite) {
	for _, name := range odd {
		s.append(name, broker.Keep{Publications: 9, Key: "the same"}, "to "+name)
	}
	for _, name := range odd {
		s.same(fmt.Sprintf("kept of %q", name), s.read(name, broker.Query{Limit: broker.NoLimit}).Publications, "to "+name)
	}
}

func testRead(s *suite) {
	if first, second := s.top("room"), s.top("room"); first.Epoch != second.Epoch || first.Offset > second.Offset {
		s.Errorf("an empty channel: %+v, then %+v", first, second)
	}
	s.append("room", plenty, count("", 1, 9)...)
	for _, x := range []struct {
		q      broker.Query
		wanted []string
	}{
		{broker.Query{}, nil},
		{broker.Query{Limit: 1}, count("", 1, 1)},
		{broker.Query{Limit: 4}, count("", 1, 4)},
		{broker.Query{Limit: 9}, count("", 1, 9)},
		{broker.Query{Limit: math.MaxInt}, count("", 1, 9)},
		{broker.Query{Limit: broker.NoLimit}, count("", 1, 9)},
		{broker.Query{Reverse: true}, nil},
		{broker.Query{Limit: 1, Reverse: true}, []string{"9"}},
		{broker.Query{Limit: 3, Reverse: true}, []string{"9", "8", "7"}},
		{broker.Query{Limit: 100, Reverse: true}, []string{"9", "8", "7", "6", "5", "4", "3", "2", "1"}},
	} {
		s.same(fmt.Sprintf("%+v", x.q), s.read("room", x.q).Publications, x.wanted...)
	}
}

// testReadSince: what follows a position, in pages too.
func testReadSince(s *suite) {
	at := append([]broker.Position{s.top("room")}, s.append("room", plenty, count("", 1, 9)...)...)
	for i, since := range at {
		ps, refused := s.since("room", since)
		want(s, "refused", refused, false)
		s.same(fmt.Sprint("since ", i), ps, count("", i+1, 9)...)
		page := s.read("room", broker.Query{Since: &since, Limit: 4})
		s.same(fmt.Sprint("four since ", i), page.Publications, count("", i+1, min(i+4, 9))...)
		s.chain("a page", since, page.Publications)
		want(s, "Top of a page", page.Top, at[9])
	}
}

func testReadReverseSince(s *suite) {
	at := append([]broker.Position{s.top("room")}, s.append("room", broker.Keep{Publications: 9}, count("", 1, 9)...)...)
	for i, since := range at {
		before := count("", 1, i-1)
		slices.Reverse(before)
		s.same(fmt.Sprint("before ", i), s.read("room", broker.Query{Since: &since, Limit: broker.NoLimit, Reverse: true}).Publications, before...)
		s.same(fmt.Sprint("two before ", i), s.read("room", broker.Query{Since: &since, Limit: 2, Reverse: true}).Publications, before[:min(2, len(before))]...)
	}
	for _, since := range []broker.Position{{Offset: at[3].Offset, Epoch: "another"}, {Offset: at[9].Offset + 1, Epoch: at[9].Epoch}} {
		if _, err := s.a.Read(ctx, "room", broker.Query{Since: &since, Limit: 1, Reverse: true}); !errors.Is(err, broker.ErrUnrecoverable) {
			s.Errorf("before %+v, which was never given: %v, want ErrUnrecoverable", since, err)
		}
	}
}

// testUnrecoverable: positions that were never given.
func testUnrecoverable(s *suite) {
	empty := s.top("empty")
	at := s.append("room", plenty, count("", 1, 3)...)
	top := at[2]
	for _, epoch := range []string{"", "another", top.Epoch + "x", top.Epoch[1:]} {
		for _, offset := range []uint64{0, 1, top.Offset, math.MaxUint64} {
			s.refused("another epoch", "room", broker.Position{Offset: offset, Epoch: epoch})
			s.refused("another epoch", "empty", broker.Position{Offset: offset, Epoch: epoch})
		}
	}
	for _, offset := range []uint64{top.Offset + 1, top.Offset + 1000, math.MaxUint64, math.MaxUint64 - 1, 1 << 63} {
		s.refused("the future", "room", broker.Position{Offset: offset, Epoch: top.Epoch})
	}
	later := s.top("empty")
	for _, offset := range []uint64{later.Offset + 1, math.MaxUint64} {
		s.refused("the future", "empty", broker.Position{Offset: offset, Epoch: empty.Epoch})
	}
	// What is asked for does not change what is there, and each Top is one behind which nothing is missed.
	if later.Epoch != empty.Epoch || later.Offset < empty.Offset {
		s.Errorf("Top of the empty channel is %+v after %+v", later, empty)
	}
	p := s.appendOne("empty", "1")
	for _, at := range []broker.Position{empty, later} {
		s.behind(s.b, "empty", at, p)
		ps, refused := s.since("empty", at)
		want(s, "refused", refused, false)
		s.same("since a Top of the empty channel", ps, "1")
	}
}

// appendOne appends a text and returns what a receiver gets.
func (s *suite) appendOne(channel, text string) broker.Publication {
	s.Helper()
	r := s.receiver(s.b, channel)
	at := s.append(channel, plenty, text)[0]
	p := r.next()
	s.check(p, text)
	want(s, "the position delivered", p.Position, at)
	r.end(s.b)
	return p
}
