package engine

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// disagreement says which sums of m do not hold; all loops are at rest.
func (m *Metrics) disagreement() string {
	var closed, connections uint64
	for _, x := range m.ClosedBy {
		closed += x.N
	}
	for _, x := range m.Loops {
		connections += uint64(x.Connections)
	}
	var of ListenerMetrics
	for _, x := range m.Listeners {
		of.Opening += x.Opening
		of.Open += x.Open
		of.Closing += x.Closing
		of.Arrived += x.Arrived
		of.Left += x.Left
		of.BytesIn += x.BytesIn
		of.BytesOut += x.BytesOut
		of.MessagesIn += x.MessagesIn
		of.MessagesOut += x.MessagesOut
	}
	switch {
	case sumOf(m.RefusedBy) != m.Refused:
		return "RefusedBy is not Refused"
	case closed != m.Closed:
		return "ClosedBy is not Closed"
	case of.Arrived != m.Accepted+m.Dialled || of.Left != m.Closed || of.Open != m.Open:
		return "the connections of Listeners are not those of Stats"
	case of.BytesIn != m.BytesIn || of.BytesOut != m.BytesOut || of.MessagesIn != m.MessagesIn || of.MessagesOut != m.MessagesOut:
		return "the traffic of Listeners is not that of Stats"
	case of.Arrived-of.Left != connections || of.Opening+of.Open+of.Closing != int(connections):
		return "the connections of Loops are not those of Listeners"
	case m.Dialled == 0 && sumOf(m.Handshakes) != m.Accepted-uint64(of.Opening):
		return "Handshakes is not Accepted without those that are opening"
	}
	return ""
}

func sumOf(all []Count) (n uint64) {
	for _, x := range all {
		n += x.N
	}
	return n
}

// balancedMetrics returns the numbers of a server whose loops are at rest.
func (s *server) balancedMetrics() Metrics {
	s.t.Helper()
	m := s.Metrics()
	if err := m.disagreement(); err != "" {
		s.t.Errorf("%s: %+v", err, m)
	}
	return m
}

// atRest waits until no loop is in a turn.
func (s *server) atRest() {
	for _, w := range s.loops {
		s.await("the end of the turn", func() bool { return !w.inTurn() })
	}
}

// events lists what m counts of the ends of handshakes and connections.
func (m *Metrics) events() map[string]uint64 {
	all := map[string]uint64{}
	for _, x := range m.Handshakes {
		all["handshake "+x.Reason] = x.N
	}
	for _, x := range m.ClosedBy {
		all[x.Code+" by "+x.By] = x.N
	}
	maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
	return all
}

// TestMetricsOfEnds: each way in which a connection can end is counted once, by the
// result of its handshake, and by its code and who closed it.
func TestMetricsOfEnds(t *testing.T) {
	request := func(s *server, head string) {
		_, _ = s.exchange(head)
		s.hangUp()
	}
	told := func(text string) func(*server) {
		return func(s *server) {
			c := s.dial("/", nil)
			c.send(protocol.OpText, text)
			_, _ = io.Copy(io.Discard, c)
			s.hangUp()
		}
	}
	const plain = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
	for _, c := range []struct {
		name  string
		cfg   Config
		peer  func(s *server)
		wants string
	}{
		{"the peer closes", Config{}, func(s *server) {
			c := s.dial("/", nil)
			c.close(protocol.CloseNormal, "")
			_ = c.closed()
		}, "handshake open, 1000 by peer"},
		{"the peer closes with a code of its own", Config{}, func(s *server) {
			c := s.dial("/", nil)
			c.close(3999, "")
			_ = c.closed()
		}, "handshake open, 3xxx by peer"},
		{"the server closes", Config{}, func(s *server) {
			c := s.dial("/", nil)
			c.send(protocol.OpText, "close")
			_ = c.closed()
		}, "handshake open, 4xxx by server"},
		{"the server does not wait for the answer", Config{}, told("close now"), "handshake open, 1012 by server"},
		{"the peer does not answer a close", Config{CloseTimeout: 20 * time.Millisecond}, told("close"), "handshake open, 4xxx by cut"},
		{"a callback panics", Config{CloseTimeout: 20 * time.Millisecond}, told("panic"), "handshake open, 1011 by cut"},
		{"the server aborts", Config{}, told("abort"), "handshake open, 1006 by cut"},
		{"the peer leaves", Config{}, func(s *server) { _ = s.dial("/", nil).Conn.Close() }, "handshake open, 1006 by peer"},
		{"the peer breaks the protocol", Config{}, func(s *server) {
			c := s.dial("/", nil)
			_, _ = c.Write([]byte{0x83, 0x80, 0, 0, 0, 0})
			_ = c.closed()
		}, "handshake open, 1002 by server"},
		{"no handshake", Config{}, func(s *server) { _ = s.connect().Close() }, "handshake gone, none by peer"},
		{"not in time", Config{HandshakeTimeout: 20 * time.Millisecond}, func(s *server) { _, _ = s.response(s.connect()); s.hangUp() }, "handshake 408, none by server"},
		{"malformed", Config{}, func(s *server) { request(s, "what\r\n\r\n") }, "handshake 400, none by server"},
		{"no WebSocket", Config{}, func(s *server) { request(s, plain) }, "handshake 426, none by server"},
		{"a foreign origin", Config{}, func(s *server) { request(s, upgradeHead("Origin: http://evil.example")) }, "handshake origin, none by server"},
		{"refused by OnUpgrade", Config{}, func(s *server) { request(s, upgradeHead("Authorization: none")) }, "handshake 401, none by server"},
		{"refused with a rare status", Config{}, func(s *server) { request(s, upgradeHead("Authorization: teapot")) }, "handshake other, none by server"},
		{"plain HTTP", Config{HTTP: http.NotFoundHandler()}, func(s *server) { request(s, plain) }, "handshake http, none by server"},
		{"a protocol without a handshake", Config{Addr: "tcp://127.0.0.1:0"}, func(s *server) { _ = s.connect().Close() }, "handshake open, 1000 by peer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Loops = 1
			s := serve(t, c.cfg, Handler{
				OnUpgrade: func(u *Upgrade) error {
					switch u.Request.Fields.Get("Authorization") {
					case "none":
						return Refuse(401, "who are you?")
					case "teapot":
						return Refuse(418, "no coffee")
					}
					return nil
				},
				OnMessage: func(c *Conn, m Message) {
					switch m.Text() {
					case "close":
						_ = c.Close(4001, "")
					case "close now":
						_ = c.CloseNow(&CloseError{Code: 1012})
					case "abort":
						_ = c.Abort()
					case "panic":
						panic("on purpose")
					}
				},
			})
			c.peer(s)
			s.await("the end", func() bool { st := s.Stats(); return st.Accepted == 1 && st.Closed == 1 })
			_ = s.end()
			m := s.balancedMetrics()
			want := map[string]uint64{}
			for _, what := range strings.Split(c.wants, ", ") {
				want[what] = 1
			}
			if got := m.events(); !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
		})
	}
}

// TestMetricsByListener: each listener has its own traffic, and what it had counts on
// when it is no more.
func TestMetricsByListener(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n}, Handler{OnMessage: echo})
		second := s.listen(Config{}, nil)
		third := s.listen(Config{Addr: "tcp://127.0.0.1:0", ConnectionsMax: 1}, nil)
		say := func(nc net.Conn) {
			if _, err := io.WriteString(nc, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(nc, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
		}
		first := s.dial("/", nil)
		first.send(protocol.OpText, "hello")
		first.expect("hello")
		other := s.dialTo(second)
		for range 3 {
			other.send(protocol.OpText, "hello")
			other.expect("hello")
		}
		raw := s.connectTo(third)
		say(raw)
		_, _ = io.Copy(io.Discard, s.connectTo(third)) // refused
		s.atRest()
		m := s.balancedMetrics()
		names := []string{s.Addr().String(), second.Addr().String(), third.Addr().String(), mountedName, dialledName, pastName}
		for i, want := range []ListenerMetrics{{Open: 1, Arrived: 1, MessagesIn: 1}, {Open: 1, Arrived: 1, MessagesIn: 3}, {Open: 1, Arrived: 1, MessagesIn: 1}, {}, {}, {}} {
			got := m.Listeners[i]
			if !strings.HasSuffix(got.Name, names[i]) || got.Open != want.Open || got.Arrived != want.Arrived || got.MessagesIn != want.MessagesIn || got.MessagesOut != want.MessagesIn {
				t.Errorf("listener %d of %v: %+v", i, names, got)
			}
		}
		if l := m.Listeners[2]; l.BytesIn != 5 || l.BytesOut != 5 || l.Refused != 1 || sumOf(l.RefusedBy) != 1 || m.RefusedBy[4] != (Count{"connections", 1}) {
			t.Errorf("%+v, refused %v", l, m.RefusedBy)
		}
		answered := make(chan *CloseError, 1)
		go func() { answered <- other.closed() }()
		if err := second.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		_ = one(t, answered, "the end")
		s.await("all loops to forget it", func() bool {
			now := s.Metrics()
			return len(now.Listeners) == 5 && now.Listeners[4].MessagesIn == 3 && now.Closed == 1 && now.events()["1001 by server"] == 1
		})
		now := s.balancedMetrics()
		if len(now.Listeners) != 5 || now.Accepted != m.Accepted || now.MessagesIn != m.MessagesIn || now.Closed != 1 || now.events()["1001 by server"] != 1 {
			t.Errorf("after the end of a listener: %+v, %v", now.Listeners, now.events())
		}
		for _, w := range s.loops {
			if len(w.stats.lanes) != 5 {
				t.Errorf("a loop keeps %d lanes for 2 listeners", len(w.stats.lanes))
			}
		}
	})
}

// TestMetricsOfWhatWaits: the gauges show what waits, and fall again.
func TestMetricsOfWhatWaits(t *testing.T) {
	conns := make(chan *Conn, 3)
	release := make(chan struct{})
	s := serve(t, Config{Loops: 1, SendBytesHigh: 1000, SendBytesMax: 1 << 30, OffloadMax: 1}, Handler{
		OnOpen: func(c *Conn) { conns <- c },
		OnMessage: func(c *Conn, m Message) {
			for range 2 {
				_ = c.Go(m, func(context.Context, Message) { <-release })
			}
		},
	})
	for range 2 {
		s.dial("/", nil).send(protocol.OpText, "go")
		<-conns
	}
	s.await("four functions", func() bool { m := s.Metrics(); return m.GoRunning == 1 && m.GoWaiting == 3 })
	m := s.Metrics()
	if got, want := fmt.Sprint(m.Pools), "[{go 1 1 1} {upgrade 0 0 256} {tls 0 0 8192} {dial 0 0 64}]"; got != want {
		t.Errorf("the pools are %s, want %s", got, want)
	}
	close(release)
	s.await("the functions to return", func() bool { m := s.Metrics(); return m.GoRunning == 0 && m.GoWaiting == 0 && m.Pools[0].Running == 0 })

	cl, c, _ := congest(t, s, conns)
	_ = c.SendText(strings.Repeat("x", 5000))
	s.await("the backlog", func() bool { return s.Metrics().Backpressure == 1 })
	if m = s.balancedMetrics(); m.QueuedBytes < 5000 || m.QueuedBytes != int64(c.QueuedBytes()) || m.BudgetUsed < m.QueuedBytes || m.BudgetMax != 1<<30 {
		t.Errorf("queued %d, of the connection %d, of the budget %d of %d", m.QueuedBytes, c.QueuedBytes(), m.BudgetUsed, m.BudgetMax)
	}
	go func(r io.Reader) { _, _ = io.Copy(io.Discard, r) }(cl)
	s.await("its end", func() bool { m := s.Metrics(); return m.Backpressure == 0 && m.QueuedBytes == 0 })
	cl, c, _ = congest(t, s, func() <-chan *Conn { return conns }())
	_ = c.SendText(strings.Repeat("x", 5000))
	s.await("the second backlog", func() bool { return s.Metrics().Backpressure == 1 })
	_ = cl.Conn.Close()
	s.await("the end of its connection", func() bool { m := s.Metrics(); return m.Backpressure == 0 && m.QueuedBytes == 0 })

	held, goOn := make(chan struct{}), make(chan struct{})
	_ = s.Loops()[0].Post(func() { close(held); <-goOn })
	<-held
	for range 3 {
		_ = s.Broadcast(Message{Type: Text, Data: make([]byte, 98)}) // with its header 100 bytes
	}
	before := s.Metrics()
	if x := before.Loops[0]; x.Inbox != 3 || x.InboxBytes != 3*(postBytes+100) || before.QueuedBytes != 300 || x.Turns == 0 || x.Busy != 0 {
		t.Errorf("behind a loop that is held up: %+v, %d bytes", x, before.QueuedBytes)
	}
	close(goOn)
	s.await("the inbox to be empty", func() bool { return s.Metrics().Loops[0].Inbox == 0 })
	if x := s.Metrics().Loops[0]; x.InboxBytes != 0 || x.Turns <= before.Loops[0].Turns {
		t.Errorf("%+v", x)
	}
}

// TestMetricsOfCompression: what is compressed is counted in both directions, of a
// broadcast for each connection.
func TestMetricsOfCompression(t *testing.T) {
	s := serve(t, Config{Loops: 1, Deflate: DeflateNoTakeover}, Handler{OnMessage: echo})
	text := strings.Repeat("abcdefgh", 100)
	a, b := s.dialDeflate(deflating()), s.dialDeflate(deflating())
	a.send(protocol.OpText, text)
	a.expect(text)
	s.atRest()
	m := s.Metrics()
	if m.Compressed != m.Inflated || m.Compressed.Messages != 1 || m.Compressed.Plain != 800 || m.Compressed.Packed == 0 || m.Compressed.Packed > 50 {
		t.Errorf("one message each way: %+v, %+v", m.Compressed, m.Inflated)
	}
	before := m
	_ = s.Broadcast(Message{Type: Text, Data: []byte(text)})
	a.expect(text)
	b.expect(text)
	s.atRest()
	m = s.Metrics()
	if c := m.Compressed; c.Messages != 3 || c.Plain != 2400 || c.Packed <= before.Compressed.Packed || c.Packed > 150 || m.Inflated != before.Inflated {
		t.Errorf("after a broadcast to two: %+v, %+v", c, m.Inflated)
	}
}

// TestMetricsOfPings: a peer that answers no ping is counted.
func TestMetricsOfPings(t *testing.T) {
	x := newPinged(t, Config{})
	for x.step(time.Second, false) {
	}
	if m := x.balancedMetrics(); m.Pings == 0 || m.Pings != uint64(len(x.pings)) || m.PingsUnanswered != 1 || m.events()["1006 by cut"] != 1 {
		t.Errorf("%d pings at %v, %d unanswered, %v", m.Pings, x.pings, m.PingsUnanswered, m.events())
	}
}

// TestMetricsOfCertificates: the expiry of the certificate is there.
func TestMetricsOfCertificates(t *testing.T) {
	x := serveTLS(t, Config{Loops: 1}, Handler{})
	if at := x.Metrics().Listeners[0].CertificateExpires; at.Before(time.Now()) {
		t.Errorf("it expires at %v", at)
	}
}

// count is how many durations a histogram has, and those from a bucket whose upper bound is at.
func (h *Histogram) count(at time.Duration) (all, there uint64) {
	for i, n := range h.Counts {
		if all += n; i < len(h.Bounds) && h.Bounds[i] == at.Seconds() {
			there = n
		}
	}
	return all, there
}

// TestTimings: each histogram gets what took so long.
func TestTimings(t *testing.T) {
	const took = 2 * time.Millisecond // in the bucket up to 2.5 ms
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			clock, conns := new(testClock), make(chan *Conn, 1)
			pass := func() { clock.now.Add(int64(took)) }
			s := serveAt(t, clock, Config{Loops: 1, Timings: on, SendBytesHigh: 1 << 30, CallbackWarnAfter: NoLimit}, Handler{
				OnUpgrade: func(*Upgrade) error { pass(); return nil },
				OnOpen:    func(c *Conn) { conns <- c },
				OnMessage: func(*Conn, Message) { pass() },
				OnClose:   func(*Conn, *CloseError) { pass() },
			})
			check := func(what string, of func(*Metrics) *Histogram, least uint64) {
				t.Helper()
				m := s.Metrics()
				h := of(&m)
				all, there := h.count(2500 * time.Microsecond)
				switch {
				case !on && (all != 0 || h.Sum != 0):
					t.Errorf("%s: %d are measured without Timings", what, all)
				case on && there < least:
					t.Errorf("%s: %d of %d take 2 ms, want %d: %v", what, there, all, least, h)
				}
			}
			callback := func(kind string) func(*Metrics) *Histogram {
				return func(m *Metrics) *Histogram {
					for i := range m.Callbacks {
						if m.Callbacks[i].Kind == kind {
							return &m.Callbacks[i].Histogram
						}
					}
					t.Fatalf("there is no %s", kind)
					return nil
				}
			}
			cl, c, _ := congest(t, s, conns)
			check("handshake", func(m *Metrics) *Histogram { return &m.Handshake }, 1)
			check("OnUpgrade", callback("OnUpgrade"), 1)

			pass() // while the kernel takes nothing
			go func() { _, _ = io.Copy(io.Discard, cl) }()
			s.await("the kernel to take all", func() bool { return c.QueuedBytes() == 0 })
			s.await("the end of the turn", func() bool { return !c.w.inTurn() })
			check("write stall", func(m *Metrics) *Histogram { return &m.WriteStall }, 1)

			held, goOn := make(chan struct{}), make(chan struct{})
			_ = s.Loops()[0].Post(func() { close(held); <-goOn })
			<-held
			_ = c.SendText("late")
			_ = c.SendText("with the one before")
			pass()
			close(goOn)
			s.await("it to be sent", func() bool { return s.Metrics().Loops[0].Inbox == 0 && !c.w.inTurn() })
			check("send", func(m *Metrics) *Histogram { return &m.SendDelay }, 1)

			for n := uint64(1); n < 2*callsEvery; n++ { // each in a turn of its own
				cl.send(protocol.OpText, "x")
				s.await("the message", func() bool { return s.Stats().MessagesIn == n })
			}
			check("turn", func(m *Metrics) *Histogram { return &m.Turn }, callsEvery/turnsEvery)
			check("OnMessage", callback("OnMessage"), 1)
			if all, _ := callback("OnMessage")(ptr(s.Metrics())).count(0); all > callsEvery/2 {
				t.Errorf("%d of %d messages are measured", all, 2*callsEvery)
			}
			_ = cl.Conn.Close()
			s.await("its end", func() bool { return s.Stats().Closed == 1 })
			s.await("the end of that turn", func() bool { return !c.w.inTurn() })
			check("OnClose", callback("OnClose"), 1)
			m := s.Metrics()
			if busy := m.Loops[0].Busy; on != (busy > 0) || math.Abs(busy.Seconds()-turnsEvery*m.Turn.Sum) > 1e-6 {
				t.Errorf("busy for %v, turns together %v s", busy, m.Turn.Sum)
			}
			if all, _ := m.SendDelay.count(0); on && all != 1 {
				t.Errorf("%d of two messages are measured", all)
			}
		})
	}
}

func ptr[T any](x T) *T { return &x }

// Metrics visit no connection: they do not even wait for whoever has their list.
func TestMetricsVisitNobody(t *testing.T) {
	e, w, _ := crowd(t, 100)
	w.mu.Lock()
	defer w.mu.Unlock()
	done := make(chan Metrics, 1)
	go func() { done <- e.Metrics() }()
	if m := one(t, done, "Metrics"); m.Loops[0].Connections != 100 || m.Listeners[0].Name != mountedName || m.Listeners[0].Open != 100 || m.disagreement() != "" {
		t.Errorf("%s: %+v", m.disagreement(), m.Listeners)
	}
}
