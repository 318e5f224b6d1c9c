package check

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// Check returns what is wrong, each in a sentence. It must be called when nothing is under way: all that was sent was answered or given
// up, and each client that follows a channel has what was published last (Has).
func (b *Book) Check() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	wrong := slices.Clone(b.wrong)
	for _, channel := range slices.Sorted(maps.Keys(b.channels)) {
		l := b.channels[channel]
		for _, client := range slices.Sorted(maps.Keys(l.followers)) {
			for _, w := range l.check(l.followers[client]) {
				wrong = append(wrong, fmt.Sprintf("%s: %s %s", channel, client, w))
			}
		}
	}
	return wrong
}

// check returns what is wrong with what a client was told of the channel.
func (l *ledger) check(f *following) (wrong []string) {
	all := map[*sent]bool{}
	for i, s := range f.segments {
		for _, g := range s.got {
			if all[g.sent] {
				wrong = append(wrong, fmt.Sprintf("got %v twice", g.Message))
			}
			all[g.sent] = true
		}
		wrong = append(wrong, s.order()...)
		wrong = append(wrong, l.complete(s, i == len(f.segments)-1)...)
	}
	return wrong
}

// order finds what came before something that had been acknowledged before it was sent.
func (s *segment) order() (wrong []string) {
	var first *sent // of those behind, the one that was acknowledged first
	for _, g := range slices.Backward(s.got) {
		if first != nil && first.acked < g.begun {
			wrong = append(wrong, fmt.Sprintf("got %v before %v, which had been acknowledged before the other was sent", g.Message, first.Message))
		}
		if g.acked > 0 && (first == nil || g.acked < first.acked) {
			first = g.sent
		}
	}
	return wrong
}

// complete finds what is missing in a segment: of the one that still goes on, everything; of one that has ended, since the client was told
// that it has missed something, what lies before something that it has got.
func (l *ledger) complete(s *segment, goesOn bool) (wrong []string) {
	has, newest := map[*sent]bool{}, uint64(0)
	for _, g := range s.got {
		has[g.sent], newest = true, max(newest, g.begun)
	}
	if goesOn {
		newest = math.MaxUint64
	}
	for _, m := range l.messages {
		switch {
		case has[m]:
		case m.acked > 0 && m.begun > s.begun && m.acked < newest:
			wrong = append(wrong, fmt.Sprintf("has not got %v (at %v), which was acknowledged; it began at %v and is at %d", m.Message, m.at, s.from, s.at))
		case m.at.Epoch == s.from.Epoch && m.at.Offset > s.from.Offset && (goesOn || m.at.Offset < s.at):
			wrong = append(wrong, fmt.Sprintf("has not got %v, which is at %v; it began at %v and is at %d", m.Message, m.at, s.from, s.at))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// Settle forgets what was checked, so that a Book stays small. What comes again of it is wrong. Only what nobody has got and nobody
// was told about may still come.
func (b *Book) Settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = nil
	for _, l := range b.channels {
		for m, s := range l.messages {
			l.settled[m.By] = max(l.settled[m.By], m.N)
			if s.acked > 0 || s.at != (Position{}) {
				delete(l.messages, m)
			}
		}
		clear(l.positions)
		for _, f := range l.followers {
			if s := f.last(); s != nil {
				f.segments = []*segment{{begun: b.tick(), from: Position{s.at, s.from.Epoch}, at: s.at}}
			}
		}
	}
}
