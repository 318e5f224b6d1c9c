package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sockmill/sockmill/hub/broker"
)

var brokerTests = []test{
	{"Publish", testPublish},
	{"PublishOrder", testPublishOrder},
	{"Subscribe", testSubscribe},
	{"UnsubscribeWhilePublishing", testUnsubscribe},
	{"Names", testNames},
	{"Arguments", testArguments},
	{"Contexts", testContexts},
	{"Close", testClose},
}

func testPublish(s *suite) {
	a, b, other := s.receiver(s.a, "room"), s.receiver(s.b, "room"), s.receiver(s.b, "room2")
	for _, text := range count("", 1, 3) {
		p := pub(text)
		p.Position, p.Prev = broker.Position{Offset: 8, Epoch: "mine"}, 7
		s.must(s.a.Publish(ctx, "room", p))
	}
	s.must(s.b.Publish(ctx, "room2", pub("other")))
	s.must(s.a.Publish(ctx, "room", broker.Publication{}))
	for _, r := range []*receiver{a, b} {
		for _, text := range count("", 1, 3) {
			p := r.next()
			s.check(p, text)
			want(s, "the position", p.Position, broker.Position{})
			want(s, "Prev", p.Prev, 0)
		}
		if p := r.next(); p.Kind != 0 || len(p.Data) != 0 || p.Info != nil || len(p.Tags) != 0 || len(p.Except) != 0 {
			s.Errorf("an empty publication became %+v", p)
		}
	}
	s.check(other.next(), "other")
	if s.a.History != nil {
		page, err := s.a.Read(ctx, "room", broker.Query{Limit: broker.NoLimit})
		s.must(err)
		s.same("kept", page.Publications)
	}
}

// testPublishOrder: what one goroutine publishes comes in its order, and one at a time.
func testPublishOrder(s *suite) {
	const publishers, each = 4, 200
	rs := []*receiver{s.receiver(s.a, "room"), s.receiver(s.b, "room")}
	var fs []func()
	for i := range publishers {
		fs = append(fs, func() {
			n := s.Nodes[i%len(s.Nodes)]
			for j := range each {
				if err := n.Publish(ctx, "room", broker.Publication{Kind: uint8(i), Data: []byte(fmt.Sprint(j))}); err != nil {
					s.Error(err)
				}
			}
		})
	}
	together(fs...)
	for _, r := range rs {
		var next [publishers]int
		for range publishers * each {
			p := r.next()
			want(s, "the next of a publisher", string(p.Data), fmt.Sprint(next[p.Kind]))
			next[p.Kind]++
		}
	}
}

func testSubscribe(s *suite) {
	one, two := s.receiver(s.a, "room"), s.receiver(s.a, "room")
	s.must(s.a.Subscribe(ctx, "room", one))
	s.must(s.a.Publish(ctx, "room", pub("1")))
	s.must(s.b.Publish(ctx, "room2", pub("nobody's")))
	one.end(s.a)
	s.must(s.a.Unsubscribe(ctx, "room", one))
	s.must(s.a.Unsubscribe(ctx, "nobody's", one))
	s.must(s.a.Publish(ctx, "room", pub("2")))
	s.must(s.a.Publish(ctx, "room", pub("end")))
	s.same("to the one that stays", two.until("end"), "1", "2")
	one.mu.Lock()
	if n := len(one.got); n > 1 {
		s.Errorf("subscribed twice, delivered %d times", n)
	}
	one.over = false
	one.mu.Unlock()
	s.must(s.a.Subscribe(ctx, "room", one))
	s.must(s.a.Publish(ctx, "room", pub("again")))
	s.must(s.a.Publish(ctx, "room", pub("end")))
	s.same("to the one that came again", two.until("end"), "again")
	if got := one.until("end"); len(got) == 0 || string(got[len(got)-1].Data) != "again" {
		s.Errorf("subscribed again: %q", texts(got))
	}
}

// testUnsubscribe: after Unsubscribe nothing comes, whatever is under way. receiver looks.
func testUnsubscribe(s *suite) {
	stop := s.publishing("room", nil)
	for range 200 {
		r := s.receiver(s.a, "room")
		r.next()
		r.end(s.a)
	}
	stop()
}

// publishing has two goroutines publish to a channel, one on each node, until stop is called, or until a call fails with an error
// that is ended. Each waits when many of its publications have not come to both nodes: what is done with more than
// can be carried is no part of the contract.
func (s *suite) publishing(channel string, ended error) (stop func()) {
	s.Helper()
	const each = 64
	over := make(chan struct{})
	var all sync.WaitGroup
	for i := range 2 {
		under := []*underway{{kind: uint8(i), room: make(chan struct{}, each)}, {kind: uint8(i), room: make(chan struct{}, each)}}
		s.must(s.a.Subscribe(ctx, channel, under[0]))
		s.must(s.b.Subscribe(ctx, channel, under[1]))
		all.Go(func() {
			for {
				for _, u := range under {
					select {
					case u.room <- struct{}{}:
					case <-over:
						if ended == nil {
							return
						}
					}
				}
				err := s.Nodes[i].Publish(ctx, channel, broker.Publication{Kind: uint8(i), Data: []byte("x")})
				if ended != nil && errors.Is(err, ended) {
					return
				}
				if err != nil {
					s.Errorf("Publish: %v", err)
					return
				}
			}
		})
	}
	return func() {
		close(over)
		all.Wait()
	}
}

// underway is the publications of one kind that have not come to a node.
type underway struct {
	kind uint8
	room chan struct{}
}

func (u *underway) Deliver(_ string, p broker.Publication) {
	if p.Kind == u.kind {
		select {
		case <-u.room:
		default: // one that did not wait any more
		}
	}
}

func (u *underway) Interrupted(string) {}

// odd are names that are close to each other or mean something elsewhere.
var odd = []string{
	"a", "A", "a.b", "a.*", "a.>", "*", ">", ".", "..", " ", "a ", "a%20", "a+", "a/b", "$a", "_INBOX.a", "\x00", "a\x00", "\n", "\xff", "\u00e9", "e\u0301", "=", "==", "-",
	strings.Repeat("n", broker.ChannelBytesMax), strings.Repeat("n", broker.ChannelBytesMax-1), strings.Repeat("\x00", broker.ChannelBytesMax),
}

// testNames: each name is a channel of its own. What was published before Subscribe may come too.
func testNames(s *suite) {
	for round, name := range odd {
		r := s.receiver(s.b, name)
		mark := fmt.Sprintf("round %d: ", round)
		for _, to := range odd {
			s.must(s.a.Publish(ctx, to, pub(mark+to)))
		}
		s.must(s.a.Publish(ctx, name, pub("end of "+mark)))
		got := slices.DeleteFunc(r.until("end of "+mark), func(p broker.Publication) bool { return !strings.HasPrefix(string(p.Data), mark) })
		s.same(fmt.Sprintf("delivered to %q", name), got, mark+name)
		r.end(s.b)
	}
}

// calls are all methods of a node, with a channel of the caller.
func (s *suite) calls(n Node) map[string]func(ctx context.Context, channel string) error {
	r := &receiver{s: s, over: true}
	all := map[string]func(ctx context.Context, channel string) error{
		"Publish":     func(ctx context.Context, c string) error { return n.Publish(ctx, c, pub("none")) },
		"Subscribe":   func(ctx context.Context, c string) error { return n.Subscribe(ctx, c, r) },
		"Unsubscribe": func(ctx context.Context, c string) error { return n.Unsubscribe(ctx, c, r) },
	}
	if n.History != nil {
		all["Append"] = func(ctx context.Context, c string) error {
			_, err := n.Append(ctx, c, pub("none"), broker.Keep{Publications: 10, Key: "none"})
			return err
		}
		all["Read"] = func(ctx context.Context, c string) error {
			_, err := n.Read(ctx, c, broker.Query{Limit: 1})
			return err
		}
		all["Remove"] = n.Remove
	}
	if n.Presence != nil {
		all["Enter"] = func(ctx context.Context, c string) error {
			return n.Enter(ctx, c, broker.Info{Client: "none"}, s.Lifetime)
		}
		all["Leave"] = func(ctx context.Context, c string) error { return n.Leave(ctx, c, "client") }
		all["Present"] = func(ctx context.Context, c string) error {
			_, err := n.Present(ctx, c)
			return err
		}
		all["Count"] = func(ctx context.Context, c string) error {
			_, err := n.Count(ctx, c)
			return err
		}
	}
	if _, ok := n.Broker.(broker.Nodes); ok {
		all["Ask"] = func(ctx context.Context, subject string) error {
			_, err := s.nodes(n).Ask(ctx, subject, nil)
			return err
		}
	}
	return all
}

// testArguments: what is invalid is refused, and nothing happens.
func testArguments(s *suite) {
	for name, call := range s.calls(s.a) {
		for _, channel := range []string{"", strings.Repeat("x", broker.ChannelBytesMax+1)} {
			if err := call(ctx, channel); !errors.Is(err, broker.ErrInvalid) {
				s.Errorf("%s, a channel of %d bytes: %v, want ErrInvalid", name, len(channel), err)
			}
		}
	}
	if s.a.History != nil {
		for _, keep := range []broker.Keep{{}, {Publications: -1}, {Publications: 1, Lifetime: -1}, {Publications: 1, Key: strings.Repeat("k", broker.KeyBytesMax+1)}} {
			if _, err := s.a.Append(ctx, "room", pub("none"), keep); !errors.Is(err, broker.ErrInvalid) {
				s.Errorf("%+v: %v, want ErrInvalid", keep, err)
			}
		}
	}
	if s.a.Presence != nil {
		for _, err := range []error{
			s.a.Enter(ctx, "room", broker.Info{}, s.Lifetime), s.a.Enter(ctx, "room", broker.Info{Client: "c"}, 0), s.a.Enter(ctx, "room", broker.Info{Client: "c"}, -1),
		} {
			if !errors.Is(err, broker.ErrInvalid) {
				s.Errorf("Enter: %v, want ErrInvalid", err)
			}
		}
	}
	s.untouched()
}

// untouched fails the test if something is in the channel "room".
func (s *suite) untouched() {
	s.Helper()
	if s.a.History != nil {
		page, err := s.a.Read(ctx, "room", broker.Query{Limit: broker.NoLimit})
		s.must(err)
		s.same("kept", page.Publications)
	}
	if s.a.Presence != nil {
		n, err := s.a.Count(ctx, "room")
		s.must(err)
		want(s, "present", n, broker.Counts{})
	}
}

// testContexts: what is called with a context that has ended does nothing.
func testContexts(s *suite) {
	r := s.receiver(s.a, "room")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for name, call := range s.calls(s.a) {
		if err := call(ended, "room"); !errors.Is(err, context.Canceled) {
			s.Errorf("%s: %v, want the error of the context", name, err)
		}
	}
	if err := s.a.Unsubscribe(ended, "room", r); !errors.Is(err, context.Canceled) {
		s.Errorf("Unsubscribe: %v, want the error of the context", err)
	}
	s.must(s.a.Publish(ctx, "room", pub("end")))
	s.same("delivered", r.until("end"))
	s.untouched()
	if s.a.History != nil { // nor is the key of calls spent
		at, err := s.a.Append(ctx, "room", pub("first"), broker.Keep{Publications: 10, Key: "none"})
		s.must(err)
		want(s, "the position delivered", r.next().Position, at)
	}
}

// testClose: nothing is delivered after Close, and everything fails. receiver looks.
func testClose(s *suite) {
	r := s.receiver(s.b, "room")
	s.must(s.a.Publish(ctx, "room", pub("x")))
	r.next()
	stop := s.publishing("room", broker.ErrClosed)
	r.next()
	s.must(s.Close())
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	stop()
	for _, n := range s.Nodes {
		for name, call := range s.calls(n) {
			if err := call(ctx, "room"); !errors.Is(err, broker.ErrClosed) {
				s.Errorf("%s: %v, want ErrClosed", name, err)
			}
		}
	}
}
