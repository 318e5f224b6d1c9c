package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// A fan-out is written in slices: what else the loop has to do comes between.
func TestFanOutLeavesTheLoopToOthers(t *testing.T) {
	const perTurn = 256
	const people = 2*perTurn + 90
	s := serve(t, Config{Loops: 1}, Handler{OnMessage: func(c *Conn, m Message) {
		done := -10 * people
		c.ep.e.test.tired = func() bool { done++; return done >= perTurn }
		_ = c.ep.e.Broadcast(m)
		_ = c.ep.e.Broadcast(m)
		c.w.attendDirty()
		for _, want := range []int{people - 1, people - 1 - perTurn} { // the sender's own leaves with its batch
			if n := c.w.turn.later.len(); n != want {
				t.Errorf("%d wait, not %d", n, want)
			}
			done = 0
			c.w.attendLater()
		}
		c.ep.e.test.tired = nil
	}})
	var clients []*client
	for range people {
		clients = append(clients, s.dial("/", nil))
	}
	clients[7].send(protocol.OpText, "to all")
	for _, c := range clients {
		c.expect("to all")
		c.expect("to all")
	}
}

// What is published is delivered in parts, between which other events of the
// loop come, however much it is, on the loop and from elsewhere.
func TestFanOutIsInterrupted(t *testing.T) {
	const members, messages, perTurn = 300, 50, 100
	for _, here := range []bool{true, false} {
		e, w, l := crowd(t, members)
		l.SetOn(true)
		for _, c := range w.conns {
			_ = c.Subscribe("news")
		}
		most, done := 0, 0
		e.test.tired = func() bool { done++; most = max(most, done); return done >= perTurn }
		publish := func() {
			for range messages {
				_ = e.Publish("news", Message{Type: Text, Data: []byte("hello")})
			}
		}
		if here {
			_ = w.post(post{do: publish})
		} else {
			l.SetOn(false)
			publish()
			l.SetOn(true)
		}
		turns := 0
		for ; e.Stats().MessagesOut < members*messages; turns++ {
			if turns > members*messages {
				t.Fatalf("after %d turns %d messages are delivered", turns, e.Stats().MessagesOut)
			}
			done = 0
			l.Woken()
		}
		if most > perTurn+10 {
			t.Errorf("%d things are done in one turn", most)
		}
		l.SetOn(false)
		w.end()
	}
}

// What is published and not delivered has a bound, and counts for the budget.
func TestFanOutsAreBounded(t *testing.T) {
	e, w, l := crowd(t, 2)
	e.test.tired = func() bool { return true }
	l.SetOn(true)
	for range fanOutsMax + 100 {
		_ = e.Broadcast(Message{Type: Text, Data: []byte("hello")})
	}
	if n := w.fans.len(); n != fanOutsMax {
		t.Errorf("%d wait", n)
	}
	w.beginTurn()
	w.endTurn()
	if n, least := e.memory.buffered.Load(), int64(fanOutsMax*len("hello")); n < least {
		t.Errorf("%d bytes are counted", n)
	}
	l.SetOn(false)
	_ = e.Broadcast(Message{Type: Text, Data: []byte("hello")})
	l.SetOn(true)
	w.takePosts()
	if len(w.inbox.posts) == 0 {
		t.Error("what is published elsewhere does not wait in the inbox")
	}
	l.SetOn(false)
	w.end()
	if n := w.fans.len(); n != 0 {
		t.Errorf("%d are left when the loop has ended", n)
	}
}

// What was published before a Close is delivered before it.
func TestFanOutBeforeClose(t *testing.T) {
	e, w, l := crowd(t, 3)
	e.test.tired = func() bool { return true }
	l.SetOn(true)
	for range 5 {
		_ = e.Broadcast(Message{Type: Text, Data: []byte("hello")})
	}
	c := w.conns[2]
	if err := c.Close(4000, "enough"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		l.Woken()
	}
	if st := c.Stats(); st.MessagesOut != 5 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	l.SetOn(false)
	w.end()
}

// BenchmarkFanOutWait publishes 4,096 messages to 2,000 members, in one event of
// their loop or from elsewhere, and shows the longest event of the loop: so long
// everybody else waits. The kernel takes everything at once.
func BenchmarkFanOutWait(b *testing.B) {
	const members, messages = 2000, 4096
	data := []byte("what is published to everybody")
	for _, here := range []bool{true, false} {
		b.Run(fmt.Sprintf("on the loop=%v", here), func(b *testing.B) {
			e, w, l := crowd(b, members)
			l.SetOn(true)
			for _, c := range w.conns {
				if err := c.Subscribe("news"); err != nil {
					b.Fatal(err)
				}
			}
			var longest time.Duration
			event := func(f func()) {
				began := time.Now()
				f()
				longest = max(longest, time.Since(began))
			}
			publish := func() {
				for range messages {
					if err := e.Publish("news", Message{Type: Text, Data: data}); err != nil {
						b.Error(err)
					}
				}
			}
			for i := range b.N {
				if here {
					_ = w.post(post{do: publish})
				} else {
					l.SetOn(false)
					publish()
					l.SetOn(true)
				}
				for e.Stats().MessagesOut < uint64((i+1)*members*messages) {
					event(l.Woken)
				}
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
		})
	}
}
