package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// topical follows what clients ask: "+name" subscribes, "-name" unsubscribes,
// "name:text" publishes, each answered by itself.
func topical(c *Conn, m Message) {
	text := m.Text()
	switch text[0] {
	case '+':
		if err := c.Subscribe(text[1:]); err != nil {
			text = err.Error()
		}
	case '-':
		_ = c.Unsubscribe(text[1:])
	default:
		name, rest, _ := strings.Cut(text, ":")
		_ = c.ep.e.Publish(name, Message{Type: Text, Data: []byte(rest)})
	}
	_ = c.SendText(text)
}

func TestTopicsReachTheirSubscribers(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n}, Handler{OnMessage: topical})
		a, b, none := s.dial("/", nil), s.dial("/", nil), s.dial("/", nil)
		ask := func(c *client, what string, want ...string) {
			t.Helper()
			c.send(protocol.OpText, what)
			for _, w := range append(want, what) {
				c.expect(w)
			}
		}
		ask(a, "+news")
		ask(a, "+news") // once
		ask(a, "+sport")
		ask(b, "+news")
		ask(a, "news:one", "one") // to oneself in its place, before the answer
		b.expect("one")
		ask(b, "sport:two")
		a.expect("two")
		big := strings.Repeat("large ", 20_000)
		ask(b, "news:"+big, big)
		a.expect(big)
		ask(a, "-news")
		ask(a, "-news")
		ask(a, "-never")
		ask(b, "news:three", "three")
		ask(a, "sport:four", "four")
		if err := s.Publish("news", Message{Type: Text, Data: []byte("from elsewhere")}); err != nil {
			t.Fatal(err)
		}
		b.expect("from elsewhere")
		ask(none, "nobody:hears")
		for _, bad := range []string{"", strings.Repeat("x", topicBytesMax+1)} {
			for c := range s.Conns() {
				if err := c.Subscribe(bad); err == nil || !strings.Contains(err.Error(), "1 to 255 bytes") {
					t.Errorf("Subscribe to %d bytes: %v", len(bad), err)
				}
			}
		}
		if s.Publish("", Message{}) == nil {
			t.Error("published to no topic")
		}
		a.close(protocol.CloseNormal, "")
		_ = a.closed()
		s.await("its leaving", func() bool { return s.Stats().Connections == 2 })
		for _, w := range s.running() {
			left := make(chan *topic)
			_ = w.post(post{do: func() { left <- w.topics["sport"] }})
			if topic := <-left; topic != nil {
				t.Errorf("%d members are left of a topic that all have left", len(topic.members))
			}
		}
		ask(b, "sport:five")
		ask(b, "news:six", "six")
	})
}

// TestTopicsExcept: everybody but one, also off the loop, and how many there are.
func TestTopicsExcept(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n, CloseTimeout: time.Hour}, Handler{OnMessage: func(c *Conn, m Message) {
			if err := errors.Join(c.ep.e.PublishExcept("room", m, c), c.ep.e.BroadcastExcept(m, c)); err != nil {
				t.Error(err)
			}
			_ = c.SendText(fmt.Sprint("done ", c.ep.e.Subscribers("room")))
		}})
		var clients []*client
		var conns []*Conn
		for i := range 4 {
			clients = append(clients, s.dial("/", nil))
			s.await("it", func() bool { return s.Stats().Open == i+1 })
			for c := range s.Conns() {
				if !slices.Contains(conns, c) {
					conns = append(conns, c)
				}
			}
			if i < 3 {
				if err := conns[i].Subscribe("room"); err != nil {
					t.Fatal(err)
				}
				s.await("the subscription", func() bool { return s.Subscribers("room") == i+1 })
			}
		}
		clients[0].send(protocol.OpText, "hello")
		clients[0].expect("done 3")
		for _, c := range clients[1:3] {
			c.expect("hello")
		}
		for _, c := range clients[1:] {
			c.expect("hello")
		}
		m := Message{Type: Text, Data: []byte("from elsewhere")}
		if err := errors.Join(s.PublishExcept("room", m, conns[1]), s.PublishExcept("room", m, nil)); err != nil {
			t.Fatal(err)
		}
		clients[0].expect("from elsewhere")
		for _, c := range clients[:3] {
			c.expect("from elsewhere")
		}
		if s.PublishExcept("", m, nil) == nil {
			t.Error("published to no topic")
		}
		if s.Subscribers("nobody") != 0 {
			t.Error("somebody is in an empty room")
		}
		_ = conns[2].Close(protocol.CloseNormal, "") // and its client does not answer
		s.await("two subscribers", func() bool { return s.Subscribers("room") == 2 })
		allocatesNothing(t, 1, func() { _ = s.Subscribers("room") })
	})
}

// What one goroutine subscribes, publishes and sends arrives in that order, on
// the loop or off it.
func TestTopicsKeepTheOrderOfOneSender(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns := make(chan *Conn, 1)
		s := serve(t, Config{Loops: n}, Handler{OnOpen: func(c *Conn) { conns <- c }})
		cl := s.dial("/", nil)
		c := <-conns
		prepared, err := s.Prepare(Message{Type: Text, Data: []byte("prepared")})
		if err != nil {
			t.Fatal(err)
		}
		for round := range 50 {
			steps := []func() error{
				func() error { return s.Publish("topic", Message{Type: Text, Data: []byte("too early")}) },
				func() error { return c.Subscribe("topic") },
				func() error { return s.Publish("topic", Message{Type: Text, Data: fmt.Appendf(nil, "one %d", round)}) },
				func() error { return c.SendText(fmt.Sprint("two ", round)) },
				func() error { return prepared.Publish("topic") },
				func() error { return prepared.Send(c) },
				func() error { return prepared.Broadcast() },
				func() error { return s.Broadcast(Message{Type: Text, Data: fmt.Appendf(nil, "three %d", round)}) },
				func() error { return c.Unsubscribe("topic") },
				func() error { return s.Publish("topic", Message{Type: Text, Data: []byte("too late")}) },
			}
			for _, step := range steps {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range []string{fmt.Sprint("one ", round), fmt.Sprint("two ", round), "prepared", "prepared", "prepared", fmt.Sprint("three ", round)} {
				cl.expect(want)
			}
		}
	})
}

func TestTopicsPerConnection(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1, TopicsPerConnectionMax: 2}, Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: topical})
	cl := s.dial("/", nil)
	c := <-conns
	for _, what := range []string{"+a", "+b", "+a"} {
		cl.send(protocol.OpText, what)
		cl.expect(what)
	}
	cl.send(protocol.OpText, "+c")
	cl.expect(ErrTopics.Error())
	if err := c.Subscribe("c"); !errors.Is(err, ErrTopics) {
		t.Errorf("from elsewhere: %v", err)
	}
	if err := errors.Join(c.Unsubscribe("a"), c.Unsubscribe("a")); err != nil {
		t.Fatal(err)
	}
	s.await("a place", func() bool { return c.lists.topics.Load() == 1 })
	if err := c.Subscribe("c"); err != nil {
		t.Errorf("with a place: %v", err)
	}
	cl.close(protocol.CloseNormal, "")
	_ = cl.closed()
	if err := c.Subscribe("a"); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestTopicsModel subscribes, unsubscribes and ends at random, and holds the
// members of each topic against a plain set.
func TestTopicsModel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	s := serve(t, Config{Loops: 1}, Handler{})
	w := s.running()[0]
	model := map[string]map[*Conn]bool{}
	var conns []*Conn
	steps := func() {
		for range 5000 {
			name := fmt.Sprint("topic ", r.IntN(12))
			switch c := conns[r.IntN(len(conns))]; {
			case r.IntN(200) == 0:
				c.leaveTopics()
				for _, members := range model {
					delete(members, c)
				}
			case r.IntN(2) == 0:
				_ = c.Subscribe(name)
				if model[name] == nil {
					model[name] = map[*Conn]bool{}
				}
				model[name][c] = true
			default:
				_ = c.Unsubscribe(name)
				delete(model[name], c)
			}
			for name, members := range model {
				var got []*Conn
				if topic := w.topics[name]; topic != nil {
					got = topic.members
				}
				if n := s.Subscribers(name); len(got) != len(members) || n != len(members) {
					t.Fatalf("%s has %d members and %d subscribers, not %d", name, len(got), n, len(members))
				}
				for i, c := range got {
					if at := c.member(name); !members[c] || at < 0 || int(c.extra.topics[at].at) != i {
						t.Fatalf("%s: member %d is wrong", name, i)
					}
				}
			}
		}
		for _, c := range conns {
			n := 0
			for _, members := range model {
				if members[c] {
					n++
				}
			}
			if int(c.lists.topics.Load()) != n {
				t.Errorf("a connection counts %d subscriptions, not %d", c.lists.topics.Load(), n)
			}
			c.leaveTopics()
		}
		if len(w.topics) != 0 {
			t.Errorf("%d topics are left", len(w.topics))
		}
	}
	for range 7 {
		_ = s.dial("/", nil)
	}
	s.await("all to be open", func() bool { return s.Stats().Open == 7 })
	for c := range s.Conns() {
		conns = append(conns, c)
	}
	done := make(chan struct{})
	if err := w.post(post{do: func() { defer close(done); steps() }}); err != nil {
		t.Fatal(err)
	}
	<-done
}

// All that a connection is sent in a turn leaves in one write: alone a shared
// frame is not even copied.
func TestFanOutIsOneWriteForEach(t *testing.T) {
	var other *Conn
	s := serve(t, Config{Loops: 1}, Handler{
		OnOpen: func(c *Conn) { other = c },
		OnMessage: func(c *Conn, m Message) {
			before := other.Stats().BytesOut
			check := func(what string, alone bool, chunks int) {
				n := len(other.out.queue.Pieces(nil, loop.PiecesMax))
				if other.out.queue.Alone() != alone || n != chunks || other.Stats().BytesOut != before {
					t.Errorf("%s: alone %v, %d chunks, %d bytes written", what, other.out.queue.Alone(), n, other.Stats().BytesOut-before)
				}
			}
			_ = c.ep.e.Broadcast(m)
			check("one broadcast", true, 1)
			_ = c.ep.e.Broadcast(m)
			check("two", false, 1)
			_ = other.SendText("mine")
			_ = c.ep.e.Broadcast(m)
			check("more", false, 1)
		},
	})
	first := s.dial("/", nil)
	second := s.dial("/", nil)
	first.send(protocol.OpText, "news")
	for _, c := range []*client{first, second} {
		c.expect("news")
		c.expect("news")
		if c == second {
			c.expect("mine")
		}
		c.expect("news")
	}
}

// Sharing allocates nothing for a message, on the loop and off it, whether one
// waits alone or many do.
func TestFanOutAllocatesNothing(t *testing.T) {
	const people = 40
	for name, size := range map[string]int{"small": 128, "shared": 8 << 10} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Config{Loops: 1}, Handler{OnMessage: func(c *Conn, m Message) {
				_ = c.ep.e.Publish("topic", m)
				_ = c.ep.e.Broadcast(m)
			}, OnOpen: func(c *Conn) { _ = c.Subscribe("topic") }})
			var clients []*client
			for range people {
				clients = append(clients, s.dial("/", nil))
			}
			m := Message{Type: Text, Data: make([]byte, size)}
			one, _ := clients[0].session.Encode(&clients[0].env, nil, protocol.OpText, m.Data, false)
			read := make([]byte, 4*(len(one)-4))
			round := func() {
				if _, err := clients[0].Write(one); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(s.Publish("topic", m), s.Broadcast(m)); err != nil {
					t.Fatal(err)
				}
				for _, c := range clients {
					for got := 0; got < len(read); {
						n, err := c.Read(read[got:])
						if got += n; err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			allocatesNothing(t, 4*people, round)
		})
	}
}

// A prepared message is compressed once, stays valid whatever is sent between,
// and another engine's connection gets it too.
func TestPrepared(t *testing.T) {
	conns := make(chan *Conn, 1)
	other := serve(t, Config{}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	s := serve(t, Config{Loops: 1, Deflate: DeflateTakeover}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	data := []byte(news(1))
	p, err := s.Prepare(Message{Type: Text, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	clear(data) // is the caller's again
	plain := s.dial("/", nil)
	toPlain := <-conns
	packed := s.dialDeflate(deflating())
	toPacked := <-conns
	stranger := other.dial("/", nil)
	toStranger := <-conns
	for i := range 100 {
		for c, cl := range map[*Conn]*client{toPlain: plain, toPacked: packed, toStranger: stranger} {
			if err := p.Send(c); err != nil {
				t.Fatal(err)
			}
			cl.expect(news(1))
		}
		if err := s.Broadcast(Message{Type: Text, Data: []byte(news(i))}); err != nil {
			t.Fatal(err)
		}
		plain.expect(news(i))
		packed.expect(news(i))
	}
	if b := toPacked.Stats().BytesOut; b > uint64(100*len(news(1))) {
		t.Errorf("%d bytes to who takes compressed frames", b)
	}
	if _, err := s.Prepare(Message{Type: 9}); err == nil {
		t.Error("a type that is none")
	}
	plain.close(protocol.CloseNormal, "")
	_ = plain.closed()
	if err := p.Send(toPlain); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
