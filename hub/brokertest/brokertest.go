// Package brokertest has the tests that every implementation of package broker must pass.
package brokertest

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// Backend is what is tested, new and empty.
type Backend struct {
	// Nodes are at least two that share everything: what one publishes is delivered to all. They may be the
	// same implementation twice.
	Nodes []Node

	// Pass returns when that much time has passed for the backend. Lifetime is the shortest one that it
	// keeps exactly.
	Pass     func(d time.Duration)
	Lifetime time.Duration

	// Forget makes the backend lose the history of a channel, with its epoch.
	Forget func(channel string)

	// KeepsMore says that bounds of the backend's own hold in place of broker.Keep.Publications.
	KeepsMore bool

	// Slow says that to lose a history takes long, so that the simulation is shorter.
	Slow bool

	// Close closes all nodes.
	Close func() error
}

// Node is one node of a Backend. What is nil is not tested. A Broker that has broker.Prefixes or broker.Nodes is tested for them too.
type Node struct {
	broker.Broker
	broker.History
	broker.Presence
}

// Run tests Backends that are made by the function, one for each test. If a test needs to clean up after a Backend, then the
// function registers that with the testing.T. The tests run at the same time, as far as the flag -parallel allows, so the function is called several times at
// once.
func Run(t *testing.T, backend func(t *testing.T) Backend) {
	first := backend(t).Nodes[0]
	_, prefixes := first.Broker.(broker.Prefixes)
	_, nodes := first.Broker.(broker.Nodes)
	for _, group := range []struct {
		has   bool
		tests []test
	}{
		{first.Broker != nil, brokerTests},
		{first.Broker != nil && first.History != nil, historyTests},
		{prefixes, prefixesTests},
		{nodes, nodesTests},
		{first.Presence != nil, presenceTests},
	} {
		for _, x := range group.tests {
			if group.has {
				t.Run(x.name, func(t *testing.T) {
					t.Parallel()
					s := &suite{T: t, Backend: backend(t)}
					s.a, s.b = s.Nodes[0], s.Nodes[1]
					x.run(s)
				})
			}
		}
	}
}

type test struct {
	name string
	run  func(s *suite)
}

// suite is one test and its Backend.
type suite struct {
	*testing.T
	Backend
	a, b Node
}

// patience is how long an event may take before a test gives up on it.
const patience = 20 * time.Second

var ctx = context.Background()

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// want fails the test unless got is wanted.
func want[T comparable](s *suite, what string, got, wanted T) {
	s.Helper()
	if got != wanted {
		s.Errorf("%s: %v, want %v", what, got, wanted)
	}
}

// pub is a publication with all fields, that a text tells from others.
func pub(text string) broker.Publication {
	return broker.Publication{
		Kind: 7, Data: []byte(text), Tags: map[string]string{"tag of": text, "": "none"}, Except: []string{"not " + text, "\x00\xff"},
		Info: &broker.Info{Client: "client of " + text, User: "user", Conn: []byte(`{"a":1}`), Channel: []byte("\x00\xff")},
	}
}

// check fails the test unless p is pub(text).
func (s *suite) check(p broker.Publication, text string) {
	s.Helper()
	w := pub(text)
	if p.Kind != w.Kind || string(p.Data) != text || !maps.Equal(p.Tags, w.Tags) || !slices.Equal(p.Except, w.Except) || p.Info == nil ||
		p.Info.Client != w.Info.Client || p.Info.User != w.Info.User || string(p.Info.Conn) != string(w.Info.Conn) || string(p.Info.Channel) != string(w.Info.Channel) {
		s.Errorf("got %+v with %+v, want that of %q", p, p.Info, text)
	}
}

func texts(ps []broker.Publication) []string {
	all := make([]string, 0, len(ps))
	for _, p := range ps {
		all = append(all, string(p.Data))
	}
	return all
}

// same fails the test unless ps have these texts.
func (s *suite) same(what string, ps []broker.Publication, wanted ...string) {
	s.Helper()
	if got := texts(ps); !slices.Equal(got, wanted) {
		s.Errorf("%s: %q, want %q", what, got, wanted)
	}
}

// count is the texts prefix+from to prefix+to.
func count(prefix string, from, to int) (all []string) {
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return all
}

// receiver keeps what is delivered of one channel.
type receiver struct {
	s       *suite
	channel string // empty: several

	serial sync.Mutex // held by Deliver
	mu     sync.Mutex // guards what follows
	got    []broker.Publication
	from   []string      // their channels
	more   chan struct{} // got has grown
	over   bool          // nothing may come any more
	read   int           // of got, by next
}

func (s *suite) receiver(n Node, channel string) *receiver {
	s.Helper()
	r := &receiver{s: s, channel: channel, more: make(chan struct{}, 1)}
	s.must(n.Subscribe(ctx, channel, r))
	return r
}

func (r *receiver) Deliver(channel string, p broker.Publication) {
	if !r.serial.TryLock() {
		r.s.Error("two calls of Deliver at once for one channel")
		return
	}
	defer r.serial.Unlock()
	runtime.Gosched() // whoever is not held back comes in between
	if r.channel != "" && channel != r.channel {
		r.s.Errorf("%q was delivered to channel %q, the receiver is that of %q", p.Data, channel, r.channel)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		r.s.Errorf("%q was delivered, but the subscription is over", p.Data)
	}
	r.got, r.from = append(r.got, p), append(r.from, channel)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *receiver) Interrupted(channel string) { r.s.Errorf("%q was interrupted by nobody", channel) }

// next waits for the next publication.
func (r *receiver) next() broker.Publication {
	r.s.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		r.mu.Lock()
		if r.read < len(r.got) {
			r.read++
			defer r.mu.Unlock()
			return r.got[r.read-1]
		}
		r.mu.Unlock()
		select {
		case <-r.more:
		case <-timer.C:
			r.s.Fatalf("gave up waiting for publication %d of %q", r.read+1, r.channel)
		}
	}
}

// until returns the publications up to the one with a text, without that.
func (r *receiver) until(text string) (all []broker.Publication) {
	r.s.Helper()
	for {
		p := r.next()
		if string(p.Data) == text {
			return all
		}
		all = append(all, p)
	}
}

// end unsubscribes. From then on nothing may come.
func (r *receiver) end(n Node) {
	r.s.Helper()
	r.s.must(n.Unsubscribe(ctx, r.channel, r))
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
}

// together runs functions at once, and returns when all have returned.
func together(fs ...func()) {
	var all sync.WaitGroup
	for _, f := range fs {
		all.Add(1)
		go func() {
			defer all.Done()
			f()
		}()
	}
	all.Wait()
}
