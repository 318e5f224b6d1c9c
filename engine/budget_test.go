package engine

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// What is published to peers that do not read is in the budget, although queues
// only refer to it: a frame counts once, however many refer to it, and who refers
// to most is closed.
func TestBudgetCountsSharedFrames(t *testing.T) {
	const peers, size = 20, 256 << 10
	conns, closed := make(chan *Conn, peers), make(chan *CloseError, peers)
	s := serve(t, Config{Loops: 2, BufferBytesMax: 8 << 20, SendBytesMax: 4 << 20, CloseTimeout: 50 * time.Millisecond, DrainTimeout: 200 * time.Millisecond}, Handler{
		OnOpen:  func(c *Conn) { conns <- c },
		OnClose: func(_ *Conn, e *CloseError) { closed <- e },
	})
	topics := make([]string, peers)
	for i := range topics {
		_, c, _ := congest(t, s, conns)
		topics[i] = fmt.Sprint("the topic of peer ", i)
		s.onLoop(c, func() { c.subscribe("all"); c.subscribe(topics[i]) })
	}
	settle := func() (counted int64) { // every loop has ended the turn in which it delivered the last
		for range 2 {
			for _, w := range s.loops {
				for over := make(chan bool, 1); ; {
					if err := w.post(post{do: func() { over <- w.fans.len() == 0 && w.turn.later.len() == 0 }}); err != nil {
						t.Fatal(err)
					}
					if <-over {
						break
					}
				}
			}
		}
		return s.memory.buffered.Load()
	}
	before := settle()
	if err := s.Publish("all", Message{Data: make([]byte, size)}); err != nil {
		t.Fatal(err)
	}
	if n := settle() - before; n < size || n > size+size/4 {
		t.Errorf("one frame of %d bytes in %d queues counts for %d bytes", size, peers, n)
	}
	var start, end runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&start)
	for range 12 {
		for _, topic := range topics {
			_ = s.Publish(topic, Message{Data: make([]byte, size)})
		}
		if n := settle(); n > 8<<20+2*size {
			t.Fatalf("%d bytes are counted, above the budget", n)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&end)
	if n := int64(end.HeapAlloc) - int64(start.HeapAlloc); n > 12<<20 {
		t.Errorf("the heap has grown by %d bytes", n)
	}
	open := 0
	for range s.Conns() {
		open++
	}
	if open == 0 || open > peers/2 {
		t.Errorf("of %d peers %d are open", peers, open)
	}
	_ = s.end()
	for len(closed) > 0 {
		if e := <-closed; e.Code != protocol.CloseTryAgainLater && e.Code != protocol.CloseGoingAway {
			t.Errorf("closed with %v", e)
		}
	}
	if n := s.memory.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are counted at the end", n)
	}
}

// Messages from elsewhere are in the budget until the loop has carried them out,
// also those that it has taken and that wait for its next turn; and so is what
// keeps them in order.
func TestBudgetCountsInbox(t *testing.T) {
	e, w, l := crowd(t, 1)
	const size, perTurn, left = 10, 4000, 100
	done := 0
	e.test.tired = func() bool { done++; return done >= perTurn }
	for range 2*perTurn + left {
		if err := w.conns[0].SendBinary(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for _, waiting := range []int{perTurn + left, left, 0} {
		done = 0
		l.SetOn(true)
		l.Woken()
		l.SetOn(false)
		n, least := e.memory.buffered.Load(), int64(waiting*(size+100))
		if n < least || waiting == 0 && n != 0 {
			t.Errorf("%d messages wait for the loop, and %d bytes are counted", waiting, n)
		}
	}
}

// What finds no room in the inbox of a loop, and what the loop has not come to
// when it ends, is counted as sent and dropped.
func TestStatsOfAnInbox(t *testing.T) {
	e, w, l := crowd(t, 1)
	c := w.conns[0]
	p, err := e.Prepare(Message{Type: Text, Data: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func() error{
		"Send":          func() error { return c.SendText("hello") },
		"Send, large":   func() error { return c.SendBinary(make([]byte, copyBytesMax+1)) },
		"Send, empty":   func() error { return c.SendText("") },
		"Prepared.Send": func() error { return p.Send(c) },
		"Ping":          func() error { return c.Ping(nil) }, // which is no message
	}
	send := func(want error) {
		for name, f := range ways {
			if err := f(); !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	messages := uint64(len(ways) - 1)
	check := func(when string, sent, discarded uint64) {
		t.Helper()
		if st := e.Stats(); st.MessagesSent != sent || st.Dropped != sent || st.Discarded != discarded || c.Stats().Dropped != sent {
			t.Errorf("%s: %+v, of the connection %+v", when, st, c.Stats())
		}
	}
	send(nil)
	for len(w.inbox.posts) < inboxPostsMax {
		if err := w.post(post{kind: programPost, do: func() {}}); err != nil {
			t.Fatal(err)
		}
	}
	send(ErrBackpressure)
	check("the inbox is full", messages, 0)
	l.SetOn(true)
	l.Closed(&c.sock, nil)
	l.SetOn(false)
	w.end()
	check("the loop has ended", 2*messages, messages)
	if n := c.QueuedBytes(); n != 0 {
		t.Errorf("%d bytes are still queued", n)
	}
	if n := p.b.refs.Load(); n != 1 {
		t.Errorf("%d references to the prepared message", n)
	}
}
