package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sockmill/sockmill/hub/broker"
)

// nodesTests are for brokers that have broker.Nodes.
var nodesTests = []test{
	{"Ask", testAsk},
	{"AskSubjects", testAskSubjects},
	{"AskSilent", testAskSilent},
	{"AskUntilContextEnds", testAskUntilContextEnds},
	{"AskLarge", testAskLarge},
	{"AskTogether", testAskTogether},
	{"AskClose", testAskClose},
}

func (s *suite) nodes(n Node) broker.Nodes {
	s.Helper()
	return n.Broker.(broker.Nodes)
}

// each are the nodes by their names: one, if all are the same implementation.
func (s *suite) each() map[string]broker.Nodes {
	s.Helper()
	all := map[string]broker.Nodes{}
	for _, n := range s.Nodes {
		x := s.nodes(n)
		if x.Node() == "" {
			s.Error("a node has no name")
		}
		all[x.Node()] = x
	}
	return all
}

func (s *suite) ask(n broker.Nodes, subject, request string) broker.Answers {
	s.Helper()
	all, err := n.Ask(ctx, subject, []byte(request))
	s.must(err)
	return all
}

// answered fails the test unless these are the answers.
func (s *suite) answered(what string, all broker.Answers, missing []string, wanted ...string) {
	s.Helper()
	got := make([]string, 0, len(all.Data))
	for _, x := range all.Data {
		got = append(got, x.Node+": "+string(x.Data))
	}
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		s.Errorf("%s: %.300q, want %.300q", what, got, wanted)
	}
	if !slices.Equal(all.Missing, missing) {
		s.Errorf("%s: missing %q, want %q", what, all.Missing, missing)
	}
}

// echo answers with the request and a mark.
func echo(mark string) func(context.Context, []byte) []byte {
	return func(_ context.Context, request []byte) []byte { return []byte(mark + string(request)) }
}

// testAsk: all nodes answer, also the one that asks, with all functions that they have.
func testAsk(s *suite) {
	each := s.each()
	s.answered("nobody answers", s.ask(s.nodes(s.a), "subject", "x"), nil)
	var one, two []string
	var remove []func()
	for name, n := range each {
		remove = append(remove, n.Answer("subject", echo("1")))
		n.Answer("subject", echo("2"))
		n.Answer("another", echo("3"))
		one = append(one, name+": 2x")
		two = append(two, name+": 1x", name+": 2x")
	}
	for name, n := range each {
		s.answered(name+" asks", s.ask(n, "subject", "x"), nil, two...)
	}
	for _, f := range remove {
		f()
		f()
	}
	for name, n := range each {
		s.answered(name+" asks again", s.ask(n, "subject", "x"), nil, one...)
	}
}

// testAskSubjects: each is one of its own, and requests and answers are carried as they are, also empty ones.
func testAskSubjects(s *suite) {
	a, b := s.nodes(s.a), s.nodes(s.b)
	for i, name := range odd {
		b.Answer(name, echo(fmt.Sprint(i, " ")))
	}
	for i, name := range odd {
		s.answered(fmt.Sprintf("subject %q", name), s.ask(a, name, "\x00\xff"), nil, fmt.Sprint(b.Node(), ": ", i, " \x00\xff"))
	}
	b.Answer("empty", func(_ context.Context, request []byte) []byte { return request })
	s.answered("an empty answer", s.ask(a, "empty", ""), nil, b.Node()+": ")
}

// testAskSilent: who does not answer is named, in time, and what others have answered is there.
func testAskSilent(s *suite) {
	a, b := s.nodes(s.a), s.nodes(s.b)
	a.Answer("subject", echo(""))
	remove := b.Answer("subject", func(ctx context.Context, _ []byte) []byte {
		<-ctx.Done()
		return []byte("too late")
	})
	all := s.ask(a, "subject", "x")
	s.answered("one is silent", broker.Answers{Data: all.Data}, nil, a.Node()+": x")
	if !slices.Equal(all.Missing, []string{b.Node()}) {
		s.Errorf("missing: %q, want %q", all.Missing, b.Node())
	}
	remove()
	s.answered("afterwards", s.ask(a, "subject", "x"), nil, a.Node()+": x")
}

// testAskUntilContextEnds: nobody waits longer.
func testAskUntilContextEnds(s *suite) {
	for subject, n := range map[string]broker.Nodes{"of a": s.nodes(s.a), "of b": s.nodes(s.b)} {
		called := make(chan struct{})
		remove := n.Answer(subject, func(ctx context.Context, _ []byte) []byte {
			close(called)
			<-ctx.Done()
			return nil
		})
		ends, cancel := context.WithCancel(ctx)
		go func() {
			<-called
			cancel()
		}()
		all, err := s.nodes(s.a).Ask(ends, subject, nil)
		s.must(err)
		if !slices.Contains(all.Missing, n.Node()) { // others may be too: nobody has waited for them
			s.Errorf("missing: %q, want %q", all.Missing, n.Node())
		}
		remove()
	}
}

// testAskLarge: an answer may be larger than what is carried at once.
func testAskLarge(s *suite) {
	each := s.each()
	large := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16)
	for _, n := range each {
		n.Answer("subject", func(context.Context, []byte) []byte { return large })
	}
	all := s.ask(s.nodes(s.a), "subject", strings.Repeat("x", 100<<10))
	if len(all.Data) != len(each) || len(all.Missing) != 0 {
		s.Errorf("%d answers, missing %q; want %d", len(all.Data), all.Missing, len(each))
	}
	for _, x := range all.Data {
		if !bytes.Equal(x.Data, large) {
			s.Errorf("%d bytes of %s, want %d", len(x.Data), x.Node, len(large))
		}
	}
}

// testAskTogether: many ask at once, and each gets its own answers.
func testAskTogether(s *suite) {
	each := s.each()
	for name, n := range each {
		n.Answer("subject", echo("of "+name+" to "))
	}
	var fs []func()
	for i := range 8 {
		fs = append(fs, func() {
			n := s.nodes(s.Nodes[i%len(s.Nodes)])
			for j := range 50 {
				text := fmt.Sprint(i, "-", j)
				all, err := n.Ask(ctx, "subject", []byte(text))
				if err != nil {
					s.Error(err)
				}
				var wanted []string
				for name := range each {
					wanted = append(wanted, name+": of "+name+" to "+text)
				}
				s.answered(text, all, nil, wanted...)
			}
		})
	}
	together(fs...)
}

// testAskClose: Close ends what runs and waits for it, and nobody is called afterwards.
func testAskClose(s *suite) {
	called := make(chan struct{})
	var done atomic.Bool
	b := s.nodes(s.b)
	b.Answer("subject", func(ctx context.Context, _ []byte) []byte {
		if done.Load() {
			s.Error("called after Close")
		}
		close(called)
		<-ctx.Done()
		done.Store(true)
		return nil
	})
	asked := make(chan error, 1)
	go func() {
		_, err := b.Ask(ctx, "subject", nil)
		asked <- err
	}()
	<-called
	s.must(s.Close())
	want(s, "the function has returned", done.Load(), true)
	if err := <-asked; err != nil && !errors.Is(err, broker.ErrClosed) {
		s.Errorf("Ask during Close: %v, want nil or ErrClosed", err)
	}
	remove := b.Answer("subject", echo(""))
	remove()
}
