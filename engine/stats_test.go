package engine

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine/internal/loop"
)

// crowd puts so many open connections on a simulated loop.
func crowd(tb testing.TB, n int) (*Engine, *worker, loop.Simulated) {
	e, err := New(Config{Loops: 1, HalfOpenMax: 1 << 20}, Handler{})
	if err != nil {
		tb.Fatal(err)
	}
	w := e.loops[0]
	l := loop.Simulate(nowhere{}, io.Discard, func(l *loop.Loop) loop.Driver { w.loop = l; return w })
	l.SetOn(true)
	e.life.run()
	for range n {
		c, err := newConn(e.main, simNetConn{}, nil)
		if err != nil {
			tb.Fatal(err)
		}
		l.Opened(&c.sock, (*owner)(c), 1)
		l.Readable(&c.sock, []byte(upgradeHead()))
	}
	l.SetOn(false)
	return e, w, l
}

// Stats visits no connection: it does not even wait for whoever has their list.
func TestStatsVisitsNobody(t *testing.T) {
	e, w, _ := crowd(t, 100)
	w.mu.Lock()
	defer w.mu.Unlock()
	done := make(chan Stats)
	go func() { done <- e.Stats() }()
	select {
	case st := <-done:
		if st.Open != 100 || st.Accepted != 100 || st.Closed != 0 || st.BytesIn != uint64(100*len(upgradeHead())) {
			t.Errorf("%+v", st)
		}
	case <-time.After(patience):
		t.Error("Stats waits for the list of connections")
	}
	if n := testing.AllocsPerRun(100, func() { _ = e.Stats() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// A connection is counted when OnOpen is called, whoever looks, and what its
// callback sends when the turn is over, or at once on the loop itself.
func TestStatsDoNotLag(t *testing.T) {
	for _, dialled := range []bool{false, true} {
		type look struct{ mine, others Stats }
		looks := make(chan look, 2)
		var s *server
		var cl *client
		served := make(chan struct{}) // s is set
		onOpen := func(c *Conn) {
			if c.Dialled() != dialled {
				return
			}
			<-served
			_ = c.SendText("hello")
			elsewhere := make(chan Stats)
			go func() { elsewhere <- s.Stats() }()
			looks <- look{s.Stats(), <-elsewhere}
		}
		s = serve(t, Config{Loops: 1}, Handler{OnOpen: onOpen})
		close(served)
		if dialled {
			s.mustDial(Dial{URL: s.url("/"), Handler: &Handler{OnOpen: onOpen}})
		} else {
			cl = s.dial("/", nil)
		}
		l := <-looks
		for _, st := range []Stats{l.mine, l.others} {
			if st.Accepted < 1 || dialled && st.Dialled != 1 || st.Open < 1 || st.Closed != 0 {
				t.Errorf("dialled %v: in OnOpen: %+v", dialled, st)
			}
		}
		if cl != nil {
			_ = cl.Conn.Close()
		}
		_ = s.end()
		if st := s.Stats(); st.Open != 0 || st.Accepted+st.Dialled != st.Closed || st.MessagesSent != 1 || st.MessagesOut+st.Dropped != 1 {
			t.Errorf("dialled %v: at the end: %+v", dialled, st)
		}
	}
}

// What waits when the peer goes away is counted as dropped, and as discarded.
func TestStatsDiscarded(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	cl, c, filler := congest(t, s, conns)
	const more = 100
	s.onLoop(c, func() {
		for i := range more {
			_ = c.Send(Message{Type: Text, Data: []byte(strings.Repeat("x", 100)), Policy: []Policy{PolicyClose, PolicyDropOldest}[i%2]})
		}
	})
	s.await("the end of that turn", func() bool { return s.Stats().MessagesSent >= uint64(filler+more) })
	before := s.Stats()
	if before.MessagesSent != uint64(filler+more) || before.Dropped != 0 || before.Discarded != 0 || before.MessagesOut >= before.MessagesSent-more {
		t.Errorf("%d waiting behind %d: %+v", more, filler, before)
	}
	_ = cl.Conn.Close()
	s.await("it to be gone", func() bool { return s.Stats().Closed == 1 })
	_ = s.end()
	st := s.Stats()
	if st.MessagesOut+st.Dropped != st.MessagesSent || st.Discarded != st.Dropped || st.Dropped < more || st.ConnStats != c.Stats() {
		t.Errorf("at the end %+v, of the connection %+v", st, c.Stats())
	}
}

// BenchmarkStats shows that a snapshot costs the same however many there are.
func BenchmarkStats(b *testing.B) {
	for _, n := range []int{0, 10_000, 100_000} {
		b.Run(showCount(int64(n)), func(b *testing.B) {
			e, _, _ := crowd(b, n)
			b.ReportAllocs()
			for b.Loop() {
				_ = e.Stats()
			}
		})
	}
}
