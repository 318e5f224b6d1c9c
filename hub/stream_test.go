package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sockmill/sockmill/hub/broker"
)

// world is a history to which two publishers append, what is on its way from it to one node, that node's stream, and a client that
// comes and goes. Each of its steps is one that happens at once in a Hub. It knows everything that was ever appended.
type world struct {
	s       stream
	all     []broker.Publication // the truth, of all epochs
	kept    int                  // of all, the first that is still there
	epoch   int
	top     broker.Position      // of the last publication, or where the channel was when it began
	high    uint64               // the next publication has a larger offset
	rises   bool                 // a Top may be one behind which nothing has come yet
	way     []broker.Publication // to the node
	page    *answer              // of the node's read, on its way
	fanned  []broker.Publication // to all members
	failing bool                 // the next fan fails
	lost    bool                 // a publication was lost, and nothing has told the node

	latest bool // Options.Latest

	c       peer
	log     []string
	joins   int // that ended, of which some
	proven  int
	refused int
}

type answer struct {
	page broker.Page
	err  error
}

// peer is a client. What it has got must follow since, without a gap, as long as nobody tells it otherwise.
type peer struct {
	got     broker.Position // the last that it was sent
	had     broker.Position // what got was before that: it may be slow, and not have read the last
	since   broker.Position
	member  bool
	joining bool
	page    *answer // of its own read
	tries   int
}

func newWorld(ring, wait int) *world {
	w := &world{top: broker.Position{Epoch: "e0"}}
	w.c.got = w.top
	w.fresh(ring, wait)
	return w
}

// fresh makes a stream of the node, which has to read.
func (w *world) fresh(ring, wait int) {
	w.s = stream{fan: w.fan, tracks: true, ringMax: int32(ring), waitMax: wait}
	w.way, w.page = nil, nil
	w.s.interrupted()
}

func (w *world) fan(x *sent) error {
	if w.failing {
		w.failing = false
		return errors.New("no room")
	}
	w.fanned = append(w.fanned, x.p)
	if w.c.member {
		w.c.take(w, x.p)
	}
	return nil
}

// next is the place in all of the first publication behind a position; the length if there is none.
func (w *world) next(at broker.Position) int {
	if i := slices.IndexFunc(w.all, func(p broker.Publication) bool { return p.Epoch == at.Epoch && p.Offset > at.Offset }); i >= 0 {
		return i
	}
	return len(w.all)
}

// same reports whether nothing lies between two positions.
func (w *world) same(a, b broker.Position) bool { return a.Epoch == b.Epoch && w.next(a) == w.next(b) }

// take is how a client gets a publication: it must be the one that follows in truth.
func (c *peer) take(w *world, p broker.Publication) {
	i := slices.IndexFunc(w.all, func(x broker.Publication) bool { return x.Position == p.Position })
	if i < 0 || string(w.all[i].Data) != string(p.Data) || i != w.next(c.got) && (!w.latest || c.member || p.Position == c.got) {
		panic(fmt.Sprintf("after %v it got %v", c.got, p))
	}
	c.had, c.got = c.got, p.Position
}

// append is of the two publishers in turn: which of them is which is no matter.
func (w *world) append() {
	w.high++
	p := broker.Publication{Position: broker.Position{Offset: w.high, Epoch: w.top.Epoch}, Prev: w.top.Offset}
	if w.rises && w.kept == len(w.all) {
		p.Prev = p.Offset // it is not known
	}
	p.Data = fmt.Append(nil, []string{"anna ", "bob "}[len(w.all)%2], p.Position)
	w.all, w.top = append(w.all, p), p.Position
	w.way = append(w.way, p)
}

func (w *world) read(q broker.Query) *answer {
	page := broker.Page{Top: w.top}
	if w.rises && w.kept == len(w.all) {
		page.Top.Offset = w.high
	}
	if q.Reverse && len(w.all) > w.kept {
		page.Publications = w.all[len(w.all)-1:]
	}
	if q.Since == nil {
		return &answer{page: page}
	}
	i := w.next(*q.Since)
	if i < w.kept || w.top.Epoch != q.Since.Epoch {
		return &answer{page, broker.ErrUnrecoverable}
	}
	page.Publications = slices.Clone(w.all[i:min(len(w.all), i+q.Limit)])
	if len(page.Publications) > 0 {
		page.Publications[0].Prev = q.Since.Offset
	} else if w.rises {
		page.Top.Offset = w.high
	}
	return &answer{page: page}
}

// budget is how often something may still happen.
type budget struct{ appends, cuts, ends, slows, rises int }

// less is what is left after a step.
func (b budget) less(step string) budget {
	switch step {
	case "append":
		b.appends--
	case "cut", "elsewhere":
		b.cuts--
	case "expire":
		b.ends--
	case "slow":
		b.slows--
	case "rise":
		b.rises--
	}
	return b
}

// clone returns a copy, for which other steps may follow.
func (w *world) clone() *world {
	x := *w
	x.all, x.way, x.fanned, x.log = slices.Clip(w.all), slices.Clip(w.way), slices.Clip(w.fanned), slices.Clip(w.log)
	x.s.ring, x.s.fan = slices.Clone(w.s.ring), x.fan
	if b := w.s.backlog; b != nil {
		x.s.backlog = &backlog{slices.Clip(b.waiting), b.overflow, b.ahead}
	}
	return &x
}

// steps are all that can happen now.
func (w *world) steps(left budget) (all []string) {
	add := func(ok bool, name string) {
		if ok {
			all = append(all, name)
		}
	}
	add(left.appends > 0, "append")
	add(len(w.way) > 0, "deliver")
	add(left.cuts > 0 && len(w.way) > 0, "cut")
	add(left.ends > 0 && w.kept < len(w.all), "expire")
	add(w.s.reading && w.page == nil, "ask")
	add(w.page != nil, "answer")
	add(!w.c.member && !w.c.joining && w.s.known, "join")
	add(w.c.joining && w.c.page == nil, "read")
	add(w.c.joining, "try")
	add(w.c.member, "leave")
	add(left.slows > 0 && w.c.member && w.c.had != w.c.got, "slow")
	add(left.cuts > 0 && !w.c.member && !w.c.joining && w.c.got != w.top, "elsewhere")
	add(left.rises > 0, "rise")
	return all
}

func (w *world) step(name string) {
	w.log = append(w.log, name)
	switch name {
	case "append":
		w.append()
	case "deliver":
		p := w.way[0]
		w.way = w.way[1:]
		w.deliver(p)
	case "cut":
		w.way, w.lost = w.way[1:], true
	case "elsewhere": // at another node, it got all
		w.c.got = w.read(broker.Query{}).page.Top
	case "rise": // somebody appends to another channel
		w.high++
	case "expire":
		w.kept++
	case "epoch":
		w.epoch++
		w.lost = true
		w.top, w.kept, w.high = broker.Position{Epoch: fmt.Sprint("e", w.epoch)}, len(w.all), 0
	case "fail":
		w.failing = true
	case "interrupt":
		w.s.interrupted()
	case "ask":
		w.page = w.read(w.s.query())
	case "answer":
		p := w.page
		w.page = nil
		w.s.took(p.page, p.err)
		w.mourn()
	case "join":
		w.c.joining, w.c.since, w.c.page, w.c.tries = true, w.c.got, nil, 0
		w.try()
	case "read":
		if w.c.page = w.read(broker.Query{Since: &w.c.since, Limit: 1 << 20}); w.latest {
			w.c.page = w.read(broker.Query{Reverse: true, Limit: 1})
		}
	case "try":
		w.try()
	case "leave":
		w.c.member = false
	case "slow": // it is closed with what it has not read
		w.c.member, w.c.got = false, w.c.had
	}
	if w.c.member && !w.same(w.c.got, w.s.last) {
		panic(fmt.Sprintf("the member has got %v, the stream %v", w.c.got, w.s.last))
	}
}

func (w *world) deliver(p broker.Publication) {
	w.s.deliver(p)
	w.mourn()
}

// mourn makes another stream when one is dead, and the client is told.
func (w *world) mourn() {
	if w.s.dead {
		w.c.member, w.c.joining = false, false
		w.fresh(int(w.s.ringMax), w.s.waitMax)
	}
}

// try is a client's attempt to join, as in membership.attempt.
func (w *world) try() {
	var page *broker.Page
	if r := w.c.page; r != nil {
		if r.err != nil {
			w.joined(false)
			return
		}
		page = &r.page
	}
	w.c.page = nil
	missed, v := w.s.join(w.c.since, page)
	proven := true
	if w.latest {
		missed, proven, v = w.s.newest(w.c.since, page)
	}
	switch v {
	case enter:
		for _, x := range missed {
			w.c.take(w, x.p)
		}
		if proven && !w.same(w.c.got, w.s.last) {
			panic(fmt.Sprintf("the join is proven, but it has got %v of %v", w.c.got, w.s.last))
		}
		w.joined(proven)
	case behind:
		w.s.interrupted()
		if w.c.tries++; w.c.tries > 3 {
			w.joined(false)
		}
	}
}

func (w *world) joined(recovered bool) {
	w.joins++
	if recovered {
		w.proven++
	} else {
		w.refused++
		w.c.got = w.s.last
	}
	w.c.had = w.c.got
	w.c.joining, w.c.page, w.c.member = false, nil, true
}

// settle lets everything that is under way end. Then the member has got everything.
func (w *world) settle() {
	for range 1000 {
		switch next := w.steps(budget{}); {
		case w.s.known && !w.s.reading && len(w.way) == 0 && !w.same(w.s.last, w.top) && w.lost:
			w.lost = false
			w.step("interrupt") // nothing else tells that the last ones were cut
		case slices.Contains(next, "answer"):
			w.step("answer")
		case slices.Contains(next, "ask"):
			w.step("ask")
		case slices.Contains(next, "deliver"):
			w.step("deliver")
		case slices.Contains(next, "read"):
			w.step("read")
		case slices.Contains(next, "join"):
			w.step("join")
		case slices.Contains(next, "try"):
			w.step("try")
		default:
			if !w.same(w.c.got, w.top) {
				panic(fmt.Sprintf("at the end the member has got %v of %v", w.c.got, w.top))
			}
			return
		}
	}
	panic("it does not settle")
}

// guarded calls f, and fails with the steps that led to a panic.
func (w *world) guarded(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if v := recover(); v != nil {
			t.Fatalf("%v\nafter %v", v, w.log)
		}
	}()
	f()
}

// TestEveryInterleaving does all that can happen with publications of two publishers, a client that joins, comes and goes, and is
// slow once, a cut and an expiry, in every order of up to so many steps.
func TestEveryInterleaving(t *testing.T) {
	for _, c := range []struct {
		ring   int
		new    bool // the node has not read yet where the stream is
		latest bool
		rises  int
		depth  int
	}{
		{0, false, false, 0, 9}, {1, false, false, 0, 9}, {2, false, false, 0, 9}, {1, true, false, 0, 9}, {1, false, true, 0, 8}, {1, true, true, 0, 8},
		{0, true, false, 1, 7}, {1, true, false, 1, 7}, {1, true, true, 1, 7},
	} {
		depth := c.depth
		if testing.Short() {
			depth = 7
		}
		ring, runs, proven, refused := c.ring, 0, 0, 0
		var walk func(w *world, depth int, left budget)
		walk = func(w *world, depth int, left budget) {
			if depth > 0 {
				for _, next := range w.steps(left) {
					x := w.clone()
					x.guarded(t, func() { x.step(next) })
					walk(x, depth-1, left.less(next))
				}
				return
			}
			w.guarded(t, w.settle)
			runs, proven, refused = runs+1, proven+w.proven, refused+w.refused
		}
		w := newWorld(ring, 2)
		w.latest, w.rises = c.latest, c.rises > 0
		w.append() // the client has missed one
		if !c.new {
			w.step("ask")
			w.step("answer")
		}
		walk(w, depth, budget{appends: 2, cuts: 1, ends: 1, slows: 1, rises: c.rises})
		t.Logf("%+v: %d orders, %d joins recovered, %d not", c, runs, proven, refused)
		if runs < 1000 || proven < 1000 || refused < 100 {
			t.Errorf("ring of %d: %d orders, %d joins recovered, %d not: this proves little", ring, runs, proven, refused)
		}
	}
}

// TestStreamSimulation is the same at random, longer, with other epochs and failures.
func TestStreamSimulation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	proven, refused := 0, 0
	for range 300 {
		w := newWorld(random.IntN(6), 1+random.IntN(6))
		if w.latest = random.IntN(3) == 0; w.latest {
			w.s.ringMax = max(w.s.ringMax, 1) // as Options.History says
		}
		rises := random.IntN(2)
		w.rises = rises > 0
		w.guarded(t, func() {
			for range 300 {
				next := w.steps(budget{1, random.IntN(3) / 2, random.IntN(4) / 3, random.IntN(4) / 3, rises * random.IntN(2)})
				switch random.IntN(150) {
				case 0:
					next = []string{"epoch"}
				case 1:
					next = []string{"fail"}
				case 2, 3:
					next = []string{"interrupt"}
				}
				w.step(next[random.IntN(len(next))])
			}
			w.failing = false
			w.settle()
		})
		proven, refused = proven+w.proven, refused+w.refused
	}
	if proven < 500 || refused < 100 {
		t.Errorf("%d joins recovered, %d not: this proves little", proven, refused)
	}
}

// TestGapInPieces: a gap that is larger than what is read at once, and more that comes meanwhile than may wait.
func TestGapInPieces(t *testing.T) {
	w := newWorld(2, 2)
	w.guarded(t, func() {
		for _, name := range []string{"ask", "answer", "join", "append", "append", "append", "append", "append", "cut", "cut", "cut", "cut", "deliver"} {
			w.step(name)
		}
		for range 4 {
			w.step("append")
			w.step("deliver")
		}
		reads := 0
		for w.s.reading {
			w.step("ask")
			w.step("answer")
			reads++
		}
		if w.s.dead || w.c.got != w.top || reads < 5 {
			t.Errorf("after %d reads it has got %v of %v", reads, w.c.got, w.top)
		}
	})
}

// TestStreamDies: when nothing can be proven any more, nothing more is delivered.
func TestStreamDies(t *testing.T) {
	at := func(offset uint64) broker.Position { return broker.Position{Offset: offset, Epoch: "e"} }
	begun := func() (s *stream, fanned *int) {
		fanned = new(int)
		s = &stream{fan: func(*sent) error { *fanned++; return nil }, tracks: true, ringMax: 1, waitMax: 2}
		s.interrupted()
		s.took(broker.Page{Top: at(1)}, nil)
		return s, fanned
	}
	for name, f := range map[string]func(s *stream){
		"an error":                   func(s *stream) { s.took(broker.Page{Top: at(1)}, broker.ErrUnavailable) },
		"a Top that lies before":     func(s *stream) { s.took(broker.Page{Top: at(0)}, nil) },
		"not what it was read for":   func(s *stream) { s.took(broker.Page{Top: at(1)}, nil); s.took(broker.Page{Top: at(1)}, nil) },
		"another epoch, after a gap": func(s *stream) { s.took(broker.Page{Top: broker.Position{Offset: 1, Epoch: "f"}}, nil) },
	} {
		s, fanned := begun()
		if !s.deliver(broker.Publication{Position: at(3), Prev: 2}) {
			t.Errorf("%s: a gap is not read", name)
		}
		f(s)
		s.deliver(broker.Publication{Position: at(2), Prev: 1})
		s.deliver(broker.Publication{})
		if _, v := s.join(at(1), nil); !s.dead || s.reading || *fanned > 0 || v != gone || s.interrupted() {
			t.Errorf("%s: dead %v, reading %v, delivered %d, verdict %v", name, s.dead, s.reading, *fanned, v)
		}
	}
}
