package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sockmill/sockmill/hub/broker"
)

// world is a history, what is on its way from it to one node, that node's stream, and a client that
// comes and goes. Each of its steps is one that happens at once in a Hub. It knows everything that was ever appended.
type world struct {
	s       stream
	all     []broker.Publication // the truth, of all epochs
	kept    int                  // of all, the first that is still there
	epoch   int
	top     broker.Position
	way     []broker.Publication // to the node
	page    *answer              // of the node's read, on its way
	fanned  []broker.Publication // to all members
	failing bool                 // the next fan fails
	lost    bool                 // a publication was lost, and nothing has told the node

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
	got     broker.Position // the last that it has got
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
	w.s = stream{fan: w.fan, tracks: true, ringMax: ring, waitMax: wait}
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

// take is how a client gets a publication: it must be the one that follows in truth.
func (c *peer) take(w *world, p broker.Publication) {
	i := slices.IndexFunc(w.all, func(x broker.Publication) bool { return x.Position == p.Position })
	if i < 0 || string(w.all[i].Data) != string(p.Data) || !w.all[i].Follows(c.got) {
		panic(fmt.Sprintf("after %v it got %v", c.got, p))
	}
	c.got = p.Position
}

func (w *world) append() {
	p := broker.Publication{Position: broker.Position{Offset: w.top.Offset + 1, Epoch: w.top.Epoch}, Prev: w.top.Offset}
	p.Data = []byte(fmt.Sprint(p.Position))
	w.all, w.top = append(w.all, p), p.Position
	w.way = append(w.way, p)
}

func (w *world) read(q broker.Query) *answer {
	page := broker.Page{Top: w.top}
	if q.Since == nil {
		return &answer{page: page}
	}
	i := len(w.all)
	if *q.Since != w.top {
		i = slices.IndexFunc(w.all, func(p broker.Publication) bool { return p.Follows(*q.Since) })
		if i < w.kept || w.top.Epoch != q.Since.Epoch {
			return &answer{page, broker.ErrUnrecoverable}
		}
	}
	page.Publications = w.all[i:min(len(w.all), i+q.Limit)]
	return &answer{page: page}
}

// steps are all that can happen now.
func (w *world) steps(appends, cuts, ends int) (all []string) {
	add := func(ok bool, name string) {
		if ok {
			all = append(all, name)
		}
	}
	add(appends > 0, "append")
	add(len(w.way) > 0, "deliver")
	add(cuts > 0 && len(w.way) > 0, "cut")
	add(ends > 0 && w.kept < len(w.all), "expire")
	add(w.s.reading && w.page == nil, "ask")
	add(w.page != nil, "answer")
	add(!w.c.member && !w.c.joining && w.s.known, "join")
	add(w.c.joining && w.c.page == nil, "read")
	add(w.c.joining, "try")
	add(w.c.member, "leave")
	add(cuts > 0 && !w.c.member && !w.c.joining && w.c.got != w.top, "elsewhere")
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
		w.c.got = w.top
	case "expire":
		w.kept++
	case "epoch":
		w.epoch++
		w.lost = true
		w.top, w.kept = broker.Position{Epoch: fmt.Sprint("e", w.epoch)}, len(w.all)
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
		w.c.page = w.read(broker.Query{Since: &w.c.since, Limit: 1 << 20})
	case "try":
		w.try()
	case "leave":
		w.c.member = false
	}
	if w.c.member && w.c.got != w.s.last {
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
		w.fresh(w.s.ringMax, w.s.waitMax)
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
	switch v {
	case enter:
		for _, x := range missed {
			w.c.take(w, x.p)
		}
		w.joined(true)
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
	w.c.joining, w.c.page, w.c.member = false, nil, true
}

// settle lets everything that is under way end. Then the member has got everything.
func (w *world) settle() {
	for range 1000 {
		switch next := w.steps(0, 0, 0); {
		case w.s.known && !w.s.reading && len(w.way) == 0 && w.s.last != w.top && w.lost:
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
			if w.c.got != w.top {
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

// TestEveryInterleaving does all that can happen with some publications, a client that joins, comes and goes, a cut
// and an expiry, in every order of up to so many steps.
func TestEveryInterleaving(t *testing.T) {
	depth := 9
	if testing.Short() {
		depth = 7
	}
	for _, c := range []struct {
		ring int
		new  bool // the node has not read yet where the stream is
	}{{0, false}, {1, false}, {2, false}, {1, true}} {
		ring, runs, proven, refused := c.ring, 0, 0, 0
		var walk func(path []string)
		walk = func(path []string) {
			w := newWorld(ring, 2)
			w.append() // the client has missed one
			appends, cuts, ends := 2, 1, 1
			w.guarded(t, func() {
				if !c.new {
					w.step("ask")
					w.step("answer")
				}
				for _, name := range path {
					w.step(name)
					switch name {
					case "append":
						appends--
					case "cut", "elsewhere":
						cuts--
					case "expire":
						ends--
					}
				}
			})
			if len(path) < depth {
				for _, next := range w.steps(appends, cuts, ends) {
					walk(append(path, next))
				}
				return
			}
			w.guarded(t, w.settle)
			runs, proven, refused = runs+1, proven+w.proven, refused+w.refused
		}
		walk(nil)
		t.Logf("ring of %d: %d orders, %d joins recovered, %d not", ring, runs, proven, refused)
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
		w.guarded(t, func() {
			for range 300 {
				next := w.steps(1, random.IntN(3)/2, random.IntN(4)/3)
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
		"nothing up to the newest":   func(s *stream) { s.took(broker.Page{Top: at(2)}, nil) },
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
