package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
	"github.com/sockmill/sockmill/protocol"
)

// TestSimulation does at random, with real connections of two formats, all that can happen: two who publish at once, joins at
// positions by the client and by the program, leaving, cuts, slow readers, expiry, publications and reads that are lost, other epochs. A
// plain model, the list of all that was ever published, says what each client must get: that, and nothing else.
func TestSimulation(t *testing.T) {
	steps := 3000
	if testing.Short() {
		steps = 500
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := newSimulation(t, rand.New(rand.NewPCG(seed, 0)))
	for range steps {
		if s.step(); t.Failed() {
			t.Fatalf("seed %d, after %q", seed, s.log[max(0, len(s.log)-30):])
		}
	}
	s.complete()
	t.Logf("%v", s.counts)
	for what, least := range map[string]int{"recovered": steps / 40, "refused": steps / 60, "latest": steps / 50, "insufficient": steps / 120, "slow": steps / 600, "got": steps} {
		if s.counts[what] < least && !testing.Short() {
			t.Errorf("%d times %q: this proves little", s.counts[what], what)
		}
	}
}

type simulation struct {
	*node
	b      *lossy
	random *rand.Rand
	passed atomic.Int64
	all    map[string][]broker.Publication // the model: all that was ever published
	people []*person
	number int // of publications
	luck   struct {
		sync.Mutex
		*rand.Rand
	}
	log    []string
	counts map[string]int
}

// person is a client, and after its end another one, which has its positions.
type person struct {
	*peerConn
	s      *simulation
	near   *engine.Conn // of the client itself
	marked bool         // the mark has come
	format int
	at     map[string]broker.Position // of the last that it has got; none: it was in no such channel
	in     map[string]bool
}

const (
	simLifetime = time.Minute
	simFailure  = 5 // one of so many deliveries and reads is bad, while that is on
	simBytesMax = 256 << 10
)

var errSim = errors.New("the read fails on purpose")

func newSimulation(t *testing.T, random *rand.Rand) *simulation {
	s := &simulation{random: random, all: map[string][]broker.Publication{}, counts: map[string]int{}}
	s.luck.Rand = rand.New(rand.NewPCG(random.Uint64(), 0))
	began := time.Now()
	m, err := memory.New(memory.Config{ChannelsMax: 4, Clock: func() time.Time { return began.Add(time.Duration(s.passed.Load())) }})
	must(t, err)
	s.b = newLossyOf(m)
	cfg := s.b.config()
	cfg.Formats, cfg.RingMax, cfg.RecoverMax, cfg.WaitMax = 2, 1+random.IntN(8), 12, 1+random.IntN(4)
	cfg.Channel = func(name string) (Options, error) {
		return Options{History: 16, Lifetime: simLifetime, Latest: strings.HasPrefix(name, "latest"), Presence: true}, nil
	}
	cfg.Encode = func(format int, channel string, p *broker.Publication) engine.Message {
		return engine.Message{Type: engine.Text, Data: fmt.Appendf(nil, "%d pub %s %d %s %s", format, channel, p.Offset, p.Epoch, p.Data)}
	}
	cfg.Joining = func(c *Client, channel string, j *Join) { j.Begin = s.begin(c, channel, j.Since) }
	cfg.OnLeft = func(c *Client, channel string, code protocol.CloseCode, _ string) {
		_ = c.Conn().SendText(fmt.Sprintf("- left %s %d", channel, code))
	}
	cfg.Hooks.Join = joins
	s.node = startWith(t, engine.Config{SendBytesMax: simBytesMax, SlowCode: 3008}, cfg)
	for i := range 6 {
		p := &person{s: s, format: i % 2, at: map[string]broker.Position{}, in: map[string]bool{}}
		s.people = append(s.people, p)
		p.connect()
	}
	return s
}

// begin tells the client how it has joined, with all that it missed.
func (s *simulation) begin(c *Client, channel string, since *broker.Position) func(Joined) error {
	if since == nil {
		since = &broker.Position{Epoch: "none"}
	}
	return func(j Joined) error {
		var missed []string
		for _, p := range j.Missed {
			missed = append(missed, fmt.Sprint(p.Offset))
		}
		return c.Conn().SendText(fmt.Sprintf("- joined %s %d %s %v %d %s %s", channel, j.Position.Offset, j.Position.Epoch, j.Recovered, since.Offset, since.Epoch, strings.Join(missed, ",")))
	}
}

func (p *person) connect() {
	p.peerConn = p.s.connect(Connect{User: fmt.Sprint("user ", p.format), Format: p.format})
	p.near, p.in = <-p.far, map[string]bool{}
}

func (s *simulation) note(what string, args ...any) {
	s.log = append(s.log, strings.TrimSpace(fmt.Sprintln(append([]any{what}, args...)...)))
	s.counts[what]++
}

func (s *simulation) step() {
	p := s.people[s.random.IntN(len(s.people))]
	channel := []string{"stream", "latest"}[s.random.IntN(2)]
	switch n := s.random.IntN(100); {
	case n < 25:
		s.publish(channel, 1+s.random.IntN(2), "x")
	case n < 62:
		if p.in[channel] {
			p.leave(channel)
		} else {
			p.join(channel)
		}
	case n < 67:
		p.order(channel)
	case n < 72:
		p.cut()
	case n < 73:
		p.slow(channel)
	case n < 74:
		s.note("expiry")
		s.passed.Add(int64(simLifetime) / 2)
	case n < 76:
		s.note("lossy")
		if s.random.IntN(3) == 0 {
			s.b.set(func(broker.Publication) bool { return s.bad() }, func(string) error {
				if s.bad() {
					return errSim
				}
				return nil
			})
		} else {
			s.b.set(nil, nil)
		}
	case n < 77:
		s.note("epoch")
		for i := range 4 { // there is room for no other histories
			_, err := s.b.Append(ctx, fmt.Sprint("filler ", i), broker.Publication{}, broker.Keep{Publications: 1})
			must(s.t, err)
		}
	case n < 80:
		s.b.interrupt()
	case n < 82:
		s.complete()
	default:
		p.drain()
	}
}

// bad says of a delivery or a read, on any goroutine, that it fails.
func (s *simulation) bad() bool {
	s.luck.Lock()
	defer s.luck.Unlock()
	return s.luck.IntN(simFailure) == 0
}

// publish has two publish at once, so many each.
func (s *simulation) publish(channel string, each int, data string) {
	s.note("publish", channel, each)
	var both sync.WaitGroup
	var published [2][]broker.Publication
	for i := range published {
		var all []Publication
		for range each {
			s.number++
			x := Publication{Data: fmt.Append(nil, s.number, " ", data)}
			for _, p := range s.people {
				if s.random.IntN(12) == 0 {
					x.Except = append(x.Except, p.ID())
				}
			}
			all = append(all, x)
		}
		both.Go(func() {
			for _, x := range all {
				at, err := s.Publish(ctx, channel, x)
				if err != nil {
					s.t.Error(err)
				}
				published[i] = append(published[i], broker.Publication{Position: at, Data: x.Data, Except: x.Except})
			}
		})
	}
	both.Wait()
	all := slices.Concat(published[0], published[1])
	slices.SortFunc(all, func(a, b broker.Publication) int { return int(a.Offset) - int(b.Offset) })
	s.all[channel] = append(s.all[channel], all...)
}

// follows returns what the model says that a client has to get behind a position, up to another one, if that is given.
func (p *person) follows(channel string, at broker.Position, to *broker.Position) (all []broker.Publication) {
	for _, x := range p.s.all[channel] {
		if x.Epoch == at.Epoch && x.Offset > at.Offset && (to == nil || x.Offset <= to.Offset) && !slices.Contains(x.Except, p.ID()) {
			all = append(all, x)
		}
	}
	return all
}

// take checks a message.
func (p *person) take(message string) {
	p.t.Helper()
	if p.marked = message == "mark"; p.marked {
		return
	}
	f := strings.Fields(message)
	channel := f[2]
	var number int
	at := func(i int) (x broker.Position) {
		_, err := fmt.Sscan(f[i], &x.Offset)
		must(p.t, err)
		x.Epoch = f[i+1]
		return x
	}
	switch f[1] {
	case "left":
		if !p.in[channel] {
			p.t.Errorf("%q, and it was not in", message)
		}
		p.in[channel] = false
		if f[3] == fmt.Sprint(int(CodeInsufficient)) {
			p.s.counts["insufficient"]++
		}
	case "joined":
		p.joined(channel, at(3), f[5] == "true", at(6), strings.Split(strings.Join(f[8:], ""), ","))
	case "pub":
		p.s.counts["got"]++
		got := at(3)
		_, err := fmt.Sscan(f[5], &number)
		must(p.t, err)
		want := p.follows(channel, p.at[channel], nil)
		if f[0] != fmt.Sprint(p.format) || !p.in[channel] || len(want) == 0 || got != want[0].Position || !strings.HasPrefix(string(want[0].Data), f[5]+" ") {
			p.t.Errorf("in format %d, in the channel %v, after %v it got %.60q, want the first of %d", p.format, p.in[channel], p.at[channel], message, len(want))
		}
		p.at[channel] = got
	}
}

// joined checks the answer to a join.
func (p *person) joined(channel string, at broker.Position, recovered bool, since broker.Position, missed []string) {
	p.t.Helper()
	if p.in[channel] {
		p.t.Errorf("joined %s, in which it was", channel)
	}
	p.in[channel] = true
	p.at[channel] = at
	var want []string
	switch {
	case since.Epoch == "none": // it did not ask
		if recovered {
			p.t.Error("recovered, and it did not ask")
		}
	case !recovered:
		p.s.counts["refused"]++
	case strings.HasPrefix(channel, "latest") && since != at:
		p.s.counts["latest"]++
		i := slices.IndexFunc(p.s.all[channel], func(x broker.Publication) bool { return x.Position == at })
		if i < 0 {
			p.t.Errorf("recovered the latest of %s at %v, where nothing was published", channel, at)
			return
		}
		if x := p.s.all[channel][i]; !slices.Contains(x.Except, p.ID()) {
			want = append(want, fmt.Sprint(x.Offset))
			break
		}
		if since.Epoch != at.Epoch {
			p.t.Errorf("recovered %s since %v at %v, which is not for it: what was before is not known", channel, since, at)
		}
		if all := p.follows(channel, since, &at); len(all) > 0 {
			want = append(want, fmt.Sprint(all[len(all)-1].Offset))
		}
	default:
		p.s.counts["recovered"]++
		if since.Epoch != at.Epoch {
			p.t.Errorf("recovered %s since %v at %v", channel, since, at)
		}
		for _, x := range p.follows(channel, since, &at) {
			want = append(want, fmt.Sprint(x.Offset))
		}
	}
	if got := strings.Join(missed, ","); got != strings.Join(want, ",") {
		p.t.Errorf("%s since %v at %v, recovered %v: missed %q, want %q", channel, since, at, recovered, got, want)
	}
}

// drain takes all that was sent until now.
func (p *person) drain() {
	p.t.Helper()
	p.marked = p.Conn().SendText("mark") != nil // then it has ended
	p.until(func() bool { return p.marked && len(p.over) == 0 })
}

// until takes messages until enough reports true. If the connection ends, there is another one, and until returns.
func (p *person) until(enough func() bool) {
	p.t.Helper()
	give := time.After(patience)
	for !enough() {
		select {
		case message := <-p.got:
			p.take(message)
		case e := <-p.over:
			if e.Code == 3008 {
				p.s.counts["slow"]++
			}
			p.reconnect()
			return
		case <-give:
			p.t.Fatalf("gave up waiting, after %q", p.s.log[max(0, len(p.s.log)-30):])
		}
	}
}

// reconnect is called when the connection has ended.
func (p *person) reconnect() {
	for len(p.got) > 0 {
		p.take(<-p.got)
	}
	p.connect()
}

func (p *person) join(channel string) {
	p.t.Helper()
	p.s.note("join", channel)
	var j Join
	if at, ok := p.at[channel]; ok && p.s.random.IntN(10) > 0 {
		j.Since = &at
	}
	j.Begin = p.s.begin(p.Client, channel, j.Since)
	if _, err := p.Join(ctx, channel, j); err != nil && !errors.Is(err, errSim) && !errors.Is(err, ErrGone) {
		p.t.Errorf("join: %v", err)
	}
	p.drain()
}

func (p *person) leave(channel string) {
	p.t.Helper()
	p.s.note("leave", channel)
	switch err := p.Leave(ctx, channel); {
	case err == nil:
		p.drain()
		p.in[channel] = false
	case errors.Is(err, ErrNotJoined): // it was taken out, and is told, unless the connection has ended
		p.until(func() bool { return !p.in[channel] })
	default:
		p.t.Errorf("leave: %v", err)
	}
}

// order has the program join or leave for one, or for all of a user.
func (p *person) order(channel string) {
	p.t.Helper()
	for _, x := range p.s.people {
		x.drain()
	}
	to, j := Target{User: p.User()}, Join{}
	if p.s.random.IntN(2) == 0 {
		to = Target{Client: p.ID()}
		if at, ok := p.at[channel]; ok {
			j.Since = &at
		}
	}
	if p.s.random.IntN(2) == 0 {
		p.s.note("subscribe", channel)
		must(p.t, only(p.s.Subscribe(ctx, to, channel, j)))
	} else {
		p.s.note("unsubscribe", channel)
		must(p.t, only(p.s.Unsubscribe(ctx, to, channel, 2000, "")))
	}
	for _, x := range p.s.people {
		x.settled()
		x.drain()
	}
}

func (p *person) cut() {
	p.s.note("cut")
	must(p.t, p.near.Abort())
	p.until(func() bool { return false })
}

// slow does not read, and is closed.
func (p *person) slow(channel string) {
	p.t.Helper()
	p.drain()
	if !p.in[channel] {
		p.join(channel)
	}
	must(p.t, p.near.PauseReading())
	dropped := func() bool { return p.Conn().Stats().Dropped > 0 }
	for i := 0; p.in[channel] && !dropped() && i < 100; i++ {
		p.s.publish(channel, 1, strings.Repeat("x", simBytesMax/4))
		for _, x := range p.s.people {
			if x != p {
				x.drain()
			}
		}
	}
	must(p.t, p.near.ResumeReading())
	if dropped() {
		p.until(func() bool { return false })
	}
}

// complete has everything come that was lost, and all members get it to the end, or be told.
func (s *simulation) complete() {
	s.note("complete")
	s.b.set(nil, nil)
	s.b.interrupt()
	for _, channel := range []string{"stream", "latest"} {
		s.number++
		at, err := s.Publish(ctx, channel, Publication{Data: fmt.Append(nil, s.number, " end")})
		must(s.t, err)
		s.all[channel] = append(s.all[channel], broker.Publication{Position: at, Data: fmt.Append(nil, s.number, " end")})
		for _, p := range s.people {
			id := p.ID()
			p.until(func() bool { return !p.in[channel] || p.at[channel] == at })
			if p.ID() == id && p.in[channel] && len(p.follows(channel, p.at[channel], nil)) > 0 {
				s.t.Errorf("at the end it has got %v of %v", p.at[channel], at)
			}
		}
	}
}
