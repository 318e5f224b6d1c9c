package brokertest

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/sockmill/sockmill/hub/broker"
)

// testJoins: receivers come and go while others append. Each must get exactly what follows the
// position that it read, by Read and by Deliver together.
func testJoins(s *suite) {
	const publishers, each, joiners, joins = 3, 300, 3, 15
	begin := s.top("room")
	keep := broker.Keep{Publications: publishers*each + 1}
	var publishing sync.WaitGroup
	for i := range publishers {
		publishing.Add(1)
		go func() {
			defer publishing.Done()
			for j := range each {
				if _, err := s.Nodes[i%2].Append(ctx, "room", broker.Publication{Data: []byte(fmt.Sprint(i, " ", j))}, keep); err != nil {
					s.Error(err)
				}
			}
		}()
	}
	var mu sync.Mutex
	var joined []*joiner
	var fs []func()
	for i := range joiners {
		fs = append(fs, func() {
			at := begin // of the last publication that this one got: it goes on there when it comes back
			for range joins {
				j := s.join(s.Nodes[i%2], at)
				for range 5 + i*7 { // some of what comes, or less if it is over
					if !j.take() {
						break
					}
				}
				if i%2 == 0 {
					at = j.at
					j.r.end(j.node)
					continue
				}
				mu.Lock()
				joined = append(joined, j)
				mu.Unlock()
			}
		})
	}
	together(fs...)
	publishing.Wait()
	end, err := s.a.Append(ctx, "room", broker.Publication{Data: []byte("end")}, keep)
	s.must(err)
	all, refused := s.since("room", begin)
	want(s, "refused", refused, false)
	want(s, "kept", len(all), publishers*each+1)
	for _, j := range append(joined, s.join(s.b, begin)) {
		for j.at != end {
			j.accept(j.r.next())
		}
	}
}

// joiner is a receiver that has a position.
type joiner struct {
	s    *suite
	node Node
	r    *receiver
	read broker.Position // what is delivered up to there was read
	at   broker.Position // behind the last that it got
}

// join subscribes, and reads what follows a position.
func (s *suite) join(n Node, since broker.Position) *joiner {
	j := &joiner{s: s, node: n, r: s.receiver(n, "room")}
	page, err := n.Read(ctx, "room", broker.Query{Since: &since, Limit: broker.NoLimit})
	if err != nil {
		s.Errorf("since %+v: %v", since, err)
	}
	j.at = s.chain("read", since, page.Publications)
	want(s, "complete", page.Complete(since), true)
	j.read, j.at = page.Top, page.Top
	return j
}

// accept takes what was delivered, unless it was read before.
func (j *joiner) accept(p broker.Publication) {
	if p.Epoch == j.read.Epoch && p.Offset <= j.read.Offset {
		return
	}
	j.s.behind(j.node, "room", j.at, p)
	j.at = p.Position
}

// take accepts the next publication if one has been delivered.
func (j *joiner) take() bool {
	j.r.mu.Lock()
	has := j.r.read < len(j.r.got)
	j.r.mu.Unlock()
	if has {
		j.accept(j.r.next())
	}
	return has
}

// testSimulation does all that there is with random channels and positions, and compares with a
// list of everything that was ever appended: what is read since a position is all that follows
// it, or it is refused.
func testSimulation(s *suite) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	s.Logf("seed %d", seed)
	m := &model{s: s, channels: map[string]*stream{}}
	steps := 3000
	if s.Slow {
		steps = 800
	}
	for step := range steps {
		name := fmt.Sprint("c", random.IntN(4))
		c := m.channel(name)
		switch random.IntN(40) {
		case 0:
			s.Pass(s.Lifetime)
		case 1:
			s.must(s.a.Remove(ctx, name))
		case 2:
			s.Forget(name)
			m.given(name)
		default:
			keep := broker.Keep{Publications: 1 + random.IntN(8), Lifetime: 2 * s.Lifetime}
			text := fmt.Sprint(step)
			at, err := s.Nodes[step%2].Append(ctx, name, pub(text), keep)
			s.must(err)
			c.all = append(c.all, appended{at, text})
			c.positions = append(c.positions, at)
		}
		m.compare(name, c.positions[len(c.positions)-1-random.IntN(min(12, len(c.positions)))])
		if s.Failed() {
			return
		}
	}
	if m.proven < steps/10 || m.refused < steps/10 {
		s.Errorf("%d positions recovered, %d refused: this proves little", m.proven, m.refused)
	}
}

type appended struct {
	at   broker.Position
	text string
}

// stream is a channel of the model.
type stream struct {
	all       []appended
	positions []broker.Position // that were ever given
}

type model struct {
	s               *suite
	channels        map[string]*stream
	proven, refused int
}

func (m *model) channel(name string) *stream {
	if m.channels[name] == nil {
		m.channels[name] = &stream{}
		m.given(name)
	}
	return m.channels[name]
}

// given notes the position of a channel.
func (m *model) given(name string) {
	c := m.channels[name]
	c.positions = append(c.positions, m.s.top(name))
}

func (m *model) compare(name string, at broker.Position) {
	ps, refused := m.s.since(name, at)
	if refused {
		m.refused++
		return
	}
	m.proven++
	var follows []string
	for _, x := range m.channels[name].all {
		if x.at.Epoch == at.Epoch && x.at.Offset > at.Offset {
			follows = append(follows, x.text)
		}
	}
	m.s.same(fmt.Sprintf("%s since %+v", name, at), ps, follows...)
	for _, p := range ps {
		m.s.check(p, string(p.Data))
	}
}
