package brokertest

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/sockmill/sockmill/hub/broker"
)

// prefixesTests are for brokers that have broker.Prefixes.
var prefixesTests = []test{
	{"Prefixes", testPrefixes},
	{"PrefixesArguments", testPrefixesArguments},
	{"PrefixesWhilePublishing", testPrefixesWhilePublishing},
}

func (s *suite) prefixes(n Node) broker.Prefixes {
	s.Helper()
	return n.Broker.(broker.Prefixes)
}

// testPrefixes: channels that begin alike, also those that nobody else follows, and with a History.
func testPrefixes(s *suite) {
	for _, prefix := range []string{"a", "a.", "\x00", "a*", strings.Repeat("n", broker.ChannelBytesMax)} {
		all, other := &receiver{s: s, more: make(chan struct{}, 1)}, s.receiver(s.b, "b")
		s.must(s.prefixes(s.b).SubscribePrefix(ctx, prefix, all))
		s.must(s.prefixes(s.b).SubscribePrefix(ctx, prefix, all)) // once
		for _, name := range append([]string{"b", "ba", "a.b"}, odd...) {
			s.must(s.a.Publish(ctx, name, pub("to "+name)))
			if s.a.History != nil {
				s.append(name, plenty, "kept of "+name)
			}
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			s.check(all.next(), "to "+name)
			if s.a.History != nil {
				s.check(all.next(), "kept of "+name)
			}
			all.mu.Lock()
			want(s, "its channel", all.from[all.read-1], name)
			all.mu.Unlock()
		}
		s.must(s.prefixes(s.a).UnsubscribePrefix(ctx, prefix, all)) // of another node, or it is the same
		s.must(s.prefixes(s.b).UnsubscribePrefix(ctx, prefix, all))
		s.must(s.prefixes(s.b).UnsubscribePrefix(ctx, prefix, all))
		all.mu.Lock()
		all.over = true
		all.mu.Unlock()
		if len(prefix) < broker.ChannelBytesMax {
			s.must(s.a.Publish(ctx, prefix+"x", pub("too late")))
		}
		s.must(s.a.Publish(ctx, "b", pub("end")))
		other.until("end")
		other.end(s.b)
	}
}

func testPrefixesArguments(s *suite) {
	r := &receiver{s: s, over: true}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	p := s.prefixes(s.a)
	for name, f := range map[string]func(context.Context, string, broker.Receiver) error{"SubscribePrefix": p.SubscribePrefix, "UnsubscribePrefix": p.UnsubscribePrefix} {
		for _, prefix := range []string{"", strings.Repeat("x", broker.ChannelBytesMax+1)} {
			if err := f(ctx, prefix, r); !errors.Is(err, broker.ErrInvalid) {
				s.Errorf("%s of %d bytes: %v, want ErrInvalid", name, len(prefix), err)
			}
		}
		if err := f(ended, "room", r); !errors.Is(err, context.Canceled) {
			s.Errorf("%s: %v, want the error of the context", name, err)
		}
	}
	end := s.receiver(s.b, "room")
	s.must(s.a.Publish(ctx, "room", pub("end")))
	end.until("end")
	s.must(s.Close())
	for name, f := range map[string]func(context.Context, string, broker.Receiver) error{"SubscribePrefix": p.SubscribePrefix, "UnsubscribePrefix": p.UnsubscribePrefix} {
		if err := f(ctx, "room", r); !errors.Is(err, broker.ErrClosed) {
			s.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}

// testPrefixesWhilePublishing: what is published after SubscribePrefix comes, and nothing after UnsubscribePrefix. receiver looks.
func testPrefixesWhilePublishing(s *suite) {
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	for i := range 2 {
		publishing.Add(1)
		go func() {
			defer publishing.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.Nodes[i].Publish(ctx, "room", broker.Publication{Data: []byte("x")}); err != nil {
					s.Error(err)
					return
				}
			}
		}()
	}
	for range 100 {
		r := &receiver{s: s, channel: "room", more: make(chan struct{}, 1)}
		s.must(s.prefixes(s.a).SubscribePrefix(ctx, "ro", r))
		r.next()
		s.must(s.prefixes(s.a).UnsubscribePrefix(ctx, "ro", r))
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
	}
	close(stop)
	publishing.Wait()
}
