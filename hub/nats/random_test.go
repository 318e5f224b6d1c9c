package nats

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sockmill/sockmill/hub/broker"
)

// truth is all that was ever appended to a channel, and what became of it.
type truth struct {
	all   []fact
	given []broker.Position
}

type fact struct {
	at   broker.Position
	text string
	dead bool // removed, or expired
}

// TestTruth does all that can happen to a stream, at random, and compares each Read with a list of all that was ever appended: what is
// recovered is all that follows the position, or it is refused. The stream is small, so publications are removed by size and by number.
func TestTruth(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := startJS(t)
	js, ages := admin(t, s), &ages{}
	var nodes []*Broker
	for i := range 2 {
		b := open(t, Config{Server: s, Node: fmt.Sprint("n", i), Publications: 8, BytesMax: mib, Shards: 4, InMemory: seed%2 == 0})
		b.history.older = ages.older
		nodes = append(nodes, b)
	}
	x := &truths{t: t, nodes: nodes, random: random, channels: map[string]*truth{}}
	names := []string{"a", "b", "a.b", "*"}
	for step := range 2000 {
		name := names[random.IntN(len(names))]
		b, c := nodes[random.IntN(2)], x.of(name)
		switch random.IntN(60) {
		case 0:
			must(t, b.Remove(ctx, name))
			for i := range c.all {
				c.all[i].dead = true
			}
		case 1:
			ages.pass(t, b, 40*time.Second) // what has a lifetime has one of a minute
		case 2:
			stream, err := js.Stream(ctx, b.history.parts[0].stream())
			if err == nil && (stream.Purge(ctx, jetstream.WithPurgeSubject(b.storedSubject(name))) == nil || stream.DeleteMsg(ctx, 1+random.Uint64N(1000)) == nil) {
				t.Fatal("the server removes what it is told to")
			}
		case 3:
			if random.IntN(3) == 0 {
				if name, err := js.StreamNameBySubject(ctx, b.storedSubject("a")); err == nil {
					must(t, js.DeleteStream(ctx, name))
				}
				_ = topOf(t, b, name) // makes it again
			}
		case 4, 5, 6:
			page, err := b.Read(ctx, name, broker.Query{Limit: random.IntN(3), Reverse: random.IntN(2) == 0})
			must(t, err)
			c.given = append(c.given, page.Top)
		default:
			text, size := fmt.Sprint(name, " ", step, " "), 10
			if random.IntN(4) == 0 {
				size = random.IntN(60 * kib)
			}
			text += strings.Repeat("x", size)
			keep := broker.Keep{Publications: 8}
			if random.IntN(2) == 0 {
				keep.Lifetime = time.Minute
			}
			at, err := b.Append(ctx, name, broker.Publication{Data: []byte(text)}, keep)
			must(t, err)
			c.all, c.given = append(c.all, fact{at: at, text: text}), append(c.given, at)
		}
		if len(c.given) > 0 {
			x.compare(name, c.given[len(c.given)-1-random.IntN(min(len(c.given), 15))])
		}
		if t.Failed() {
			t.Fatalf("in step %d", step)
		}
	}
	t.Logf("%d proven, with %d publications, %d not", x.proven, x.read, x.refused)
	if x.proven < 300 || x.read < 300 || x.refused < 100 {
		t.Errorf("%d proven, with %d publications, %d not: this says little", x.proven, x.read, x.refused)
	}
}

type truths struct {
	t                     *testing.T
	nodes                 []*Broker
	random                *rand.Rand
	channels              map[string]*truth
	proven, read, refused int
}

func (x *truths) of(name string) *truth {
	if x.channels[name] == nil {
		x.channels[name] = &truth{}
	}
	return x.channels[name]
}

func (x *truths) compare(name string, at broker.Position) {
	q := broker.Query{Since: &at, Limit: broker.NoLimit}
	if x.random.IntN(3) == 0 {
		q.Limit = 1 + x.random.IntN(4)
	}
	page, err := x.nodes[x.random.IntN(2)].Read(ctx, name, q)
	if errors.Is(err, broker.ErrUnrecoverable) {
		x.refused++
		return
	}
	must(x.t, err)
	x.proven++
	x.read += len(page.Publications)
	var follows []fact
	for _, f := range x.channels[name].all {
		if f.at.Epoch == at.Epoch && f.at.Offset > at.Offset {
			follows = append(follows, f)
		}
	}
	if q.Limit > 0 && len(follows) > q.Limit {
		follows = follows[:q.Limit]
	} else if !page.Complete(at) {
		x.t.Errorf("%s since %+v: Top is %+v, and the last one is not there", name, at, page.Top)
	}
	if len(page.Publications) != len(follows) {
		x.t.Fatalf("%s since %+v with limit %d came %d publications, want %d", name, at, q.Limit, len(page.Publications), len(follows))
	}
	before := at
	for i, p := range page.Publications {
		if p.Position != follows[i].at || string(p.Data) != follows[i].text || !p.Follows(before) || follows[i].dead {
			x.t.Errorf("%s since %+v: %+v with Prev %d, %.20q, want %+v, removed: %v", name, at, p.Position, p.Prev, p.Data, follows[i].at, follows[i].dead)
		}
		before = p.Position
	}
}
