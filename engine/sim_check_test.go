package engine

import (
	"errors"
	"net/netip"
	"reflect"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// check asserts what must hold of a loop after each event.
func (s *sim) check(l *simLoop) {
	w := l.w
	s.writes = 0
	if w.batch.conn != nil || len(w.env.Out) != 0 || len(w.turn.dirty) != 0 || w.batch.received != 0 || w.batch.sent != 0 || w.batch.head != 0 {
		s.failf("something is left at the end of a turn: cork %d, dirty %d, got %d, sent %d, head %d", len(w.env.Out), len(w.turn.dirty), w.batch.received, w.batch.sent, w.batch.head)
	}
	if due, ok := w.time.wheel.Next(); ok && (w.time.alarmAt == 0 || w.time.alarmAt > due) {
		s.failf("the alarm is set to %d, a timer is due at %d", w.time.alarmAt, due)
	}
	if w.fans.len() > 0 && !l.awake {
		s.failf("%d fan-outs wait for a turn that does not come", w.fans.len())
	}
	waiting := map[*Conn]int64{} // in the inbox; only looked up
	for _, list := range [][]post{w.inbox.taken[w.inbox.next:], w.inbox.posts} {
		for _, p := range list {
			if p.c != nil && p.message.op != 0 {
				waiting[p.c] += int64(max(int(p.n), len(p.message.data)))
			}
		}
	}
	for _, c := range s.conns {
		if c.l == l {
			c.check(waiting[c.c])
		}
	}
	s.checkStats(l)
	s.checkGate()
	if s.steps%64 == 0 {
		s.checkMetrics()
	}
}

// checkStats asserts that the counters of a loop add up after each turn, that
// others are told, and that none falls.
func (s *sim) checkStats(l *simLoop) {
	var waiting uint64
	open, queued, backlogged := 0, int64(0), 0
	opening, shaking := 0, 0
	for _, c := range s.conns {
		if c.l == l {
			queued += int64(c.c.out.queue.Bytes())
			switch phase := c.c.end.phase.Load(); {
			case phase == phaseOpen && c.c.flow.backlogged:
				backlogged++
			case phase == phaseOpening && c.c.origin == dialled:
				opening++
			case phase == phaseOpening:
				opening++
				shaking++
			}
			waiting += uint64(c.c.out.queue.Messages())
			if c.c.end.phase.Load() == phaseOpen {
				open++
			}
		}
	}
	x := &l.w.stats
	var t, told traffic
	for _, lane := range x.lanes {
		t.add(lane.current)
		told.add(lane.told)
	}
	if t.sent != t.MessagesOut+t.Dropped+t.Replaced+waiting || t.discarded > t.Dropped || t != told {
		s.failf("the counters of a loop do not add up, %d messages wait: %+v, told %+v", waiting, t, told)
	}
	if x.current.queued != queued || x.current != x.told {
		s.failf("%d bytes are in queues: %+v, told %+v", queued, x.current, x.told)
	}
	var st Stats
	l.w.addTo(&st)
	if st.Accepted+st.Dialled != st.Closed+uint64(len(l.w.conns)) || st.Open != open {
		s.failf("of %d connections on a loop, %d of them open, the counters say %+v", len(l.w.conns), open, st)
	}
	if n := total(x.closes[:]); n != st.Closed {
		s.failf("%d connections have left a loop, by code %d", st.Closed, n)
	}
	if n := total(x.handshakes[:]); n != st.Accepted-uint64(shaking) {
		s.failf("of %d accepted connections %d are in their handshake; %d are over", st.Accepted, shaking, n)
	}
	if n := x.backlogs.n.Load() - x.backlogsEnded.n.Load(); n != uint64(backlogged) {
		s.failf("%d connections have a backlog, counted are %d", backlogged, n)
	}
	r := reading{m: new(Metrics)}
	for _, lane := range x.lanes {
		r.lane(lane, true)
	}
	var phases [3]int
	for _, of := range r.m.Listeners {
		for i, n := range [...]int{of.Opening, of.Open, of.Closing} {
			phases[i] += n
		}
	}
	if want := [...]int{opening, open, len(l.w.conns) - opening - open}; phases != want {
		s.failf("connections of a loop by phase: %v, counted are %v", want, phases)
	}
	rising := [...]uint64{st.Accepted, st.Dialled, st.Closed, st.MessagesSent, st.Discarded, st.BytesIn, st.BytesOut,
		st.MessagesIn, st.MessagesOut, st.Dropped, st.Replaced, st.RateLimited}
	for i, n := range rising {
		if n < l.rising[i] {
			s.failf("a counter has fallen: %v, before %v", rising, l.rising)
		}
	}
	l.rising = rising
}

func total(counters []counter) (n uint64) {
	for i := range counters {
		n += counters[i].n.Load()
	}
	return n
}

// checkMetrics asserts that the numbers of the engine agree with each other, and with
// what waits.
func (s *sim) checkMetrics() {
	m := s.e.Metrics()
	waiting := int64(0)
	for _, c := range s.conns {
		waiting += c.c.out.queued.Load()
	}
	for _, l := range s.loops {
		for _, list := range [][]post{l.w.inbox.taken[l.w.inbox.next:], l.w.inbox.posts} {
			for _, p := range list {
				if p.kind == fanOutPost {
					waiting += p.payload()
				}
			}
		}
	}
	if m.QueuedBytes != waiting {
		s.failf("%d bytes are queued, counted are %d", waiting, m.QueuedBytes)
	}
	if err := m.disagreement(); err != "" {
		s.failf("%s: %+v", err, m)
	}
}

// checkGate asserts that who is inside is counted, for the right client, and
// nobody else.
func (s *sim) checkGate() {
	half, came, of := 0, 0, map[netip.Addr]int{simNetConn{}.client(): 0} // only looked up
	for _, c := range s.conns {
		if c.d != nil {
			continue
		}
		aborted := c.c.end.phase.Load() == phaseClosing && !c.c.flow.framed && c.c.flow.marked == markedLater
		if c.c.end.phase.Load() == phaseOpening || c.c.deciding() || aborted {
			half++
		}
		if c.c.end.phase.Load() != phaseGone || c.c.working() || c.c.deciding() {
			came++
			of[c.c.ClientAddr()]++
		}
	}
	n := s.e.gate.Counts()
	if n.Half != half || n.Inside < came {
		s.failf("%+v; there are %d half open, %v", n, half, of)
	}
	for client, want := range of {
		if got := s.e.gate.Of(client); got != want && !s.e.main.proxies.exempt(client) || got > 0 && s.e.main.proxies.exempt(client) {
			s.failf("%d of %v are counted, there are %d", got, client, want)
		}
	}
}

func (c *simConn) check(inInbox int64) {
	s, k, cc := c.s, c.sock, c.c
	phase := cc.end.phase.Load()
	if phase >= phaseClosing && c.closingAt < 0 {
		c.closingAt = s.now
		c.checkDrained()
	}
	if phase < phaseEnding {
		c.closingAt = max(c.closingAt, -1)
	}
	later := cc.flow.marked == markedLater // the loop has yet to attend to it
	if later && !c.l.awake {
		s.failf("%v: waits for a turn that does not come", c)
	}
	if cc.end.stream == streamCut {
		c.checkTimeout()
	}
	if c.closedNow && phase < phaseEnding && !later {
		s.failf("%v: in phase %d after CloseNow", c, phase)
	}
	st := cc.Stats()
	if cc.tls != nil {
		c.checkSealed()
	} else if st.BytesIn != k.received+uint64(c.head) || st.BytesOut != k.sent || st.MessagesIn != c.messages {
		s.failf("%v: %+v, but read %d and %d, written %d, delivered %d", c, st, k.received, c.head, k.sent, c.messages)
	}
	queued := c.checkQueue()
	if got := cc.out.queued.Load(); got != int64(queued)+inInbox {
		s.failf("%v: %d bytes count as queued; the queue has %d, the inbox %d", c, got, queued, inInbox)
	}
	if k.closed != (phase == phaseGone) {
		s.failf("%v: in phase %d, closed %v", c, phase, k.closed)
	}
	if cc.end.opened != (c.opens > c.closes && phase < phaseEnding) {
		s.failf("%v: opened %v in phase %d; OnOpen %d, OnClose %d", c, cc.end.opened, phase, c.opens, c.closes)
	}
	if phase == phaseGone {
		return
	}
	if k.reading == cc.in.halted {
		s.failf("%v: the kernel reads %v, halted %v", c, k.reading, cc.in.halted)
	}
	wanted := cc.in.paused != 0
	if phase >= phaseClosing {
		wanted = phase == phaseEnding && cc.end.stream == streamOpen && cc.input().eof
	}
	if phase == phaseOpening && cc.deciding() && !cc.in.halted && !s.cfg.noPause {
		s.failf("%v: reads on while its handshake is decided", c)
	}
	if cc.in.halted != wanted && !later {
		s.failf("%v: halted %v in phase %d, for the reasons %b", c, cc.in.halted, phase, cc.in.paused)
	}
	if phase == phaseOpen && !later && cc.flow.backlogged != (queued > s.e.set.SendBytesLow && (cc.flow.backlogged || queued > s.e.set.SendBytesHigh)) {
		s.failf("%v: OnBackpressure or OnDrain is missing: above %v with %d", c, cc.flow.backlogged, queued)
	}
	if phase == phaseOpen && cc.flow.congested && queued > s.e.set.SendBytesHigh && !cc.in.halted && !s.cfg.noPause && !later {
		s.failf("%v: reads on with %d bytes waiting", c, queued)
	}
	if again := cc.live.timer.Again(); again != k.looks {
		k.looks, k.lookAt = again, s.now
	}
	if !cc.live.timer.Armed() && !later {
		s.failf("%v: no timer runs in phase %d", c, phase)
	}
	if r := cc.extra; r != nil {
		if stallRuns(cc) != cc.flow.congested && !later {
			s.failf("%v: congested %v, but the stall timer %v", c, cc.flow.congested, stallRuns(cc))
		}
		if n := c.parked(); n > 2*loop.ReadBytesMax || cc.deciding() && n > earlyBytesMax {
			s.failf("%v: %d bytes are parked", c, n)
		}
	}
}

// parked is how many bytes wait for reading to resume.
func (c *simConn) parked() int { return len(c.c.input().parked) }

// checkQueue asserts that a queue is what its accounts say, is watched, and has
// its bound, and returns its bytes.
func (c *simConn) checkQueue() int {
	s, k, cc := c.s, c.sock, c.c
	bytes := cc.out.queue.Bytes()
	if !cc.unsent() {
		if k.progressAt = s.now; cc.flow.congested {
			s.failf("%v: congested without a queue", c)
		}
		return 0
	}
	if err := cc.out.queue.Audit(); err != nil {
		s.failf("%v: %v", c, err)
	}
	if write, _ := k.l.Awaited(&cc.sock); (!cc.flow.congested || !write) && cc.flow.marked != markedLater {
		s.failf("%v: %d bytes wait, congested %v, watched %v", c, bytes, cc.flow.congested, write)
	}
	if bytes > s.e.set.SendBytesMax+corkBytesMax+2*(s.cfg.bytesMax+200) { // one above the bound, one above the cork's
		s.failf("%v: the queue holds %d bytes, its bound is %d", c, bytes, s.e.set.SendBytesMax)
	}
	return bytes
}

// checkTimeout asserts that a connection that is closed for its silence had
// the time that Config grants.
func (c *simConn) checkTimeout() {
	s, k, cfg := c.s, c.sock, c.s.e.set
	if !errors.Is(c.c.ending().cause, ErrTimeout) || c.judged {
		return
	}
	c.judged = true
	quiet := s.now-k.quietAt >= cfg.PongTimeout.Milliseconds() && (k.reading || k.pausedAt == s.now)
	stalled := s.now-k.progressAt >= cfg.WriteStallTimeout.Milliseconds()
	unanswered := c.closingAt >= 0 && s.now-max(c.closingAt, k.tookAt) >= cfg.CloseTimeout.Milliseconds()
	unanswered = unanswered || c.d != nil && c.opens == 0 && s.now >= c.d.x.deadline
	if k.outFin { // a peer in the midst of sending has its time
		quiet, stalled = false, false
		unanswered = s.now-k.finAt >= lingerTimeout.Milliseconds()
		if s.now-k.finAt < cfg.DiscardTimeout.Milliseconds() && k.lately(lingerTimeout.Milliseconds()) >= lingerBytesMin {
			unanswered = false
		}
	}
	if waits := len(k.in) > 0 || k.inFin; waits && k.reading && !stalled && (!k.looks || k.inAt < k.lookAt) {
		s.failf("%v: cut, though something waits to be read since %d; the first look was at %d, %v", c, k.inAt, k.lookAt, k.looks)
	}
	if !quiet && !stalled && !unanswered {
		s.failf("%v: cut after %d ms of silence, reading %v, %d ms without progress, closing since %d", c, s.now-k.quietAt, k.reading, s.now-k.progressAt, c.closingAt)
	}
}

// checkEnd is called when the peer has read the end of the stream: if nothing
// broke, then every message and the last words are there.
func (c *simConn) checkEnd() {
	p, k := c.peer, c.sock
	last := k.outFin // the server's last words went before it
	if p.server {
		last = p.closed != nil
	}
	if p.lossy || !p.decode || !last {
		return
	}
	if p.session.State() != codec.StateClosed {
		c.s.failf("%v: the stream ended without a close frame", c)
	}
	if st := c.c.Stats(); st.MessagesOut != p.delivered {
		c.s.failf("%v: %d messages arrived of %d", c, p.delivered, st.MessagesOut)
	}
}

// checkOpen asserts, when everything has come to rest, that nothing is left of
// what was under way.
func (c *simConn) checkOpen() {
	s, p, cc := c.s, c.peer, c.c
	st := cc.Stats()
	switch {
	case p.deaf || p.lossy || !p.honest || cc.end.phase.Load() != phaseOpen || p.closing:
	case p.seen != len(p.sent) || p.pinged != len(p.pings) || p.heard != len(p.pongs) || p.ponged != len(p.pings):
		s.failf("%v: of %d messages, %d pings, %d pongs the server saw %d, %d, %d; %d pings were answered",
			c, len(p.sent), len(p.pings), len(p.pongs), p.seen, p.pinged, p.heard, p.ponged)
	case p.delivered != st.MessagesOut:
		s.failf("%v: %d messages arrived of %d", c, p.delivered, st.MessagesOut)
	case cc.unsent() || cc.in.halted || cc.flow.backlogged || cc.out.queued.Load() != 0 || cc.working() || cc.deciding() || cc.input().parked != nil:
		s.failf("%v: something is left at rest", c)
	}
	c.checkCounts()
}

// checkCounts asserts that each message sent is found in one of the counters, or
// waits.
func (c *simConn) checkCounts() {
	waiting := uint64(c.c.out.queue.Messages())
	if st := c.c.Stats(); st.MessagesOut+st.Dropped+st.Replaced+waiting != c.counted {
		c.s.failf("%v: %d messages were sent, %d wait, %+v", c, c.counted, waiting, st)
	}
}

// checkGone asserts that nothing is left of a connection.
func (c *simConn) checkGone() {
	s, cc := c.s, c.c
	switch {
	case cc.end.phase.Load() != phaseGone || !c.sock.closed:
		s.failf("%v: still there in phase %d", c, cc.end.phase.Load())
	case c.accepted != c.returned || cc.working():
		s.failf("%v: of %d functions of Go %d ran", c, c.accepted, c.returned)
	case c.opens != c.closes:
		s.failf("%v: OnOpen %d, OnClose %d", c, c.opens, c.closes)
	case cc.unsent() || cc.live.timer.Armed() || cc.input().parked != nil || stallRuns(cc):
		s.failf("%v: something is left of it", c)
	case !reflect.ValueOf(&cc.ws).Elem().FieldByName("part").IsNil():
		s.failf("%v: its codec keeps something", c)
	case cc.out.queued.Load() != 0:
		s.failf("%v: %d bytes count as queued", c, cc.out.queued.Load())
	case c.sock.broken && c.told != nil && c.told.Code == protocol.CloseAbnormal && !brokenTLS(c.told.Err):
		s.failf("%v: the peer broke TLS, but OnClose was told %v", c, c.told)
	}
	c.checkCounts()
}

// stallRuns reports whether WriteStallTimeout runs.
func stallRuns(c *Conn) bool {
	return c.extra != nil && c.extra.watch != nil && c.extra.watch.stall.Armed()
}
