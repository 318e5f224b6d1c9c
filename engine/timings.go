package engine

import "time"

// timeBounds are those of every histogram. They reach from what a turn takes at least to
// what the timeouts of a Config allow.
var timeBounds = [...]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// timings are the durations that a loop measures with Config.Timings. Its goroutine
// alone changes them. Reading the clock takes 20 to 150 ns, by the machine, so that
// of what is frequent only a part is measured, chosen by chance.
type timings struct {
	turns  int           // until the next one that is measured
	timed  bool          // this one is
	began  time.Duration // when it did
	sent   time.Duration // when a message that is carried out in this turn was sent on another goroutine; 0: none that is measured
	calls  int           // callbacks until the next one of many that is measured
	kind   uint32        // the callback that is under way and measured; noCallback: none is
	called time.Duration // when it began

	turn, handshake, sendDelay, writeStall histogram
	callbacks                              [len(callbackNames)]histogram
}

// One in so many is measured.
const (
	turnsEvery = 8
	callsEvery = 256 // of callsOfMany
	sendsEvery = 16
)

// callsOfMany are the callbacks that come for each message, packet, post or timer.
const callsOfMany = 1<<onMessage | 1<<onPing | 1<<onPong | 1<<onPacket | 1<<onPost | 1<<onTimer

// draw says how many are to pass until one is measured, if one in so many is.
func (w *worker) draw(every int) int { return 1 + int(w.env.Random()%uint64(2*every-1)) }

// histogram counts durations.
type histogram struct {
	counts [len(timeBounds) + 1]counter
	sum    counter // in nanoseconds
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < len(timeBounds) && d > timeBounds[i] {
		i++
	}
	h.counts[i].add(1)
	h.sum.add(uint64(max(d, 0)))
}

// beginTiming is called at the beginning of a turn.
func (w *worker) beginTiming() {
	t := w.timings
	if t.turns--; t.turns > 0 {
		return
	}
	t.turns, t.timed, t.began = w.draw(turnsEvery), true, w.e.elapsed()
}

// endTiming is called at the end of a turn.
func (w *worker) endTiming() {
	t := w.timings
	if !t.timed && t.sent == 0 {
		return
	}
	now := w.e.elapsed()
	if t.timed {
		t.turn.add(now - t.began)
	}
	if t.sent != 0 {
		t.sendDelay.add(now - t.sent)
	}
	t.timed, t.sent = false, 0
}

// beginCall is called when a callback begins that is to be measured.
func (w *worker) beginCall(callback uint32) {
	t := w.timings
	if t.calls <= 0 {
		t.calls = w.draw(callsEvery)
	}
	t.kind, t.called = callback, w.e.elapsed()
}

// returned is called when a callback has returned.
func (w *worker) returned() {
	if t := w.timings; t != nil && t.kind != noCallback {
		w.endCall()
	}
}

func (w *worker) endCall() {
	t := w.timings
	t.callbacks[t.kind].add(w.e.elapsed() - t.called)
	t.kind = noCallback
}

// beginHandshake notes when the connection came.
func (c *Conn) beginHandshake() {
	if t := c.w.timings; t != nil && c.origin != dialled {
		since := c.ep.e.elapsed()
		if c.tls != nil {
			since = c.tls.since
		}
		c.live.pingedAt = uint32(since.Microseconds())
	}
}

// endHandshake measures the handshake of a connection that is open now.
func (c *Conn) endHandshake() {
	if t := c.w.timings; t != nil && c.origin != dialled {
		took := uint32(c.ep.e.elapsed().Microseconds()) - c.live.pingedAt
		c.live.pingedAt = 0
		t.handshake.add(time.Duration(took) * time.Microsecond)
	}
}

// beginStall notes when the kernel took no more; endStall measures until when.
func (c *Conn) beginStall() {
	if watch := c.extra.watch; c.w.timings != nil && watch.stalled == 0 {
		watch.stalled = c.ep.e.elapsed()
	}
}

func (c *Conn) endStall() {
	if watch := c.extra.watch; watch.stalled != 0 {
		c.w.timings.writeStall.add(c.ep.e.elapsed() - watch.stalled)
		watch.stalled = 0
	}
}

// addTo adds what a loop counted.
func (h *histogram) addTo(sum *Histogram) {
	for i := range h.counts {
		sum.Counts[i] += h.counts[i].n.Load()
	}
	sum.Sum += time.Duration(h.sum.n.Load()).Seconds()
}

// beginTimes makes the histograms of m, which share their bounds.
func (m *Metrics) beginTimes() {
	bounds := make([]float64, len(timeBounds))
	for i, bound := range timeBounds {
		bounds[i] = bound.Seconds()
	}
	h := func(every int) Histogram {
		return Histogram{Every: every, Bounds: bounds, Counts: make([]uint64, len(timeBounds)+1)}
	}
	m.Turn, m.Handshake, m.SendDelay, m.WriteStall = h(turnsEvery), h(1), h(sendsEvery), h(1)
	for kind := noCallback + 1; kind < len(callbackNames); kind++ {
		every := 1
		if callsOfMany>>kind&1 != 0 {
			every = callsEvery
		}
		m.Callbacks = append(m.Callbacks, CallbackHistogram{callbackNames[kind], h(every)})
	}
}

// addTimes adds what a loop has measured, and returns how long its turns took.
func (m *Metrics) addTimes(t *timings) (busy time.Duration) {
	t.turn.addTo(&m.Turn)
	t.handshake.addTo(&m.Handshake)
	t.sendDelay.addTo(&m.SendDelay)
	t.writeStall.addTo(&m.WriteStall)
	for i := range m.Callbacks {
		t.callbacks[noCallback+1+i].addTo(&m.Callbacks[i].Histogram)
	}
	return turnsEvery * time.Duration(t.turn.sum.n.Load())
}
