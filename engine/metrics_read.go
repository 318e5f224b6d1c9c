package engine

import "github.com/sockmill/sockmill/engine/internal/admit"

// Metrics returns the numbers of the engine. It costs the same however many
// connections there are, and waits for no loop. Any goroutine may call it.
func (e *Engine) Metrics() Metrics {
	admitted := e.gate.Counts()
	m := Metrics{
		Stats:      e.Stats(),
		RefusedBy:  refusedBy(admitted),
		BudgetUsed: e.memory.buffered.Load(),
		BudgetMax:  int64(e.set.BufferBytesMax),
		Pools:      []PoolMetrics{e.offload.numbers("go"), e.upgrades.numbers("upgrade"), e.handshakes.numbers("tls"), e.dialer.pool.numbers("dial")},
	}
	m.Stats.Refused = admitted.Refused // as it was when RefusedBy was read
	m.GoRunning = m.Pools[0].Running
	m.GoWaiting = max(int(e.life.functions.Load())-m.GoRunning, 0)
	m.beginTimes()
	r := reading{m: &m}
	for _, l := range e.Listeners() {
		r.find(l, l.String())
	}
	for _, name := range [...]string{mountedName, dialledName, pastName} {
		r.find(nil, name)
	}
	for _, w := range e.running() {
		r.loop(w)
	}
	for i, n := range r.handshakes {
		m.Handshakes = append(m.Handshakes, Count{handshakeResults[i], n})
	}
	for i, n := range r.closes {
		m.ClosedBy = append(m.ClosedBy, CloseCount{codeName(i / closers), closerNames[i%closers], n})
	}
	return m
}

func refusedBy(n admit.Counts) (all []Count) {
	for why := admit.Admitted + 1; int(why) < len(n.By); why++ {
		all = append(all, Count{why.Name(), n.By[why]})
	}
	return all
}

// reading gathers the numbers of all loops.
type reading struct {
	m          *Metrics
	of         []*Listener // of m.Listeners; nil: it has none
	handshakes [len(handshakeResults)]uint64
	closes     [closeKinds]uint64
}

// find returns the place of a listener in m.Listeners.
func (r *reading) find(l *Listener, name string) *ListenerMetrics {
	for i := range r.of {
		if r.of[i] == l && (l != nil || r.m.Listeners[i].Name == name) {
			return &r.m.Listeners[i]
		}
	}
	x := ListenerMetrics{Name: name}
	if l != nil {
		x.Name, x.ListenerStats, x.RefusedBy = l.String(), l.Stats(), refusedBy(l.ep.gate.Counts())
	} else {
		x.RefusedBy = refusedBy(admit.Counts{})
	}
	r.of = append(r.of, l)
	r.m.Listeners = append(r.m.Listeners, x)
	return &r.m.Listeners[len(r.of)-1]
}

func (r *reading) loop(w *worker) {
	s, m := &w.stats, r.m
	for i := range s.closes {
		r.closes[i] += s.closes[i].n.Load()
	}
	for i := range s.handshakes {
		r.handshakes[i] += s.handshakes[i].n.Load()
	}
	m.Pings += s.pings.n.Load()
	m.PingsUnanswered += s.pingsUnanswered.n.Load()
	m.Backpressure -= int(s.backlogsEnded.n.Load())
	m.Backpressure += int(s.backlogs.n.Load())
	x := LoopMetrics{Turns: (w.watch.turn.Load() + 1) / 2}
	if w.timings != nil {
		x.Busy = m.addTimes(w.timings)
	}
	posts, bytes := w.inbox.waiting()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		x.Connections += r.lane(l, w.on())
	}
	t := &s.told
	x.Inbox, x.InboxBytes = posts+t.posts, bytes+t.postBytes+postBytes*int64(t.posts)
	m.QueuedBytes += t.queued + x.InboxBytes - postBytes*int64(x.Inbox)
	addCompression(&m.Compressed, t.compressed)
	addCompression(&m.Inflated, t.inflated)
	m.Loops = append(m.Loops, x)
}

// lane adds the counters of a lane, and returns how many of its connections are on the
// loop. Parts are read before their sums.
func (r *reading) lane(l *lane, on bool) (here int) {
	x := r.find(l.listener, l.name)
	closed, ended, opened, answered := l.closed.n.Load(), l.ended.n.Load(), l.opened.n.Load(), l.answered.n.Load()
	arrived := l.accepted.n.Load() + l.dialled.n.Load()
	x.Arrived += arrived
	x.Left += closed
	x.Opening += int(arrived - answered)
	x.Open += int(opened - ended)
	x.Closing += int(answered - opened + ended - closed)
	t := l.traffic(on)
	x.BytesIn += t.BytesIn
	x.BytesOut += t.BytesOut
	x.MessagesIn += t.MessagesIn
	x.MessagesOut += t.MessagesOut
	return int(arrived - closed)
}

func addCompression(c *Compression, o Compression) {
	c.Messages += o.Messages
	c.Plain += o.Plain
	c.Packed += o.Packed
}

// waiting is what other goroutines have posted and the loop has not taken.
func (b *inbox) waiting() (posts int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.posts), b.bytes.Load()
}
