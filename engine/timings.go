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
// alone changes them.
type timings struct {
	began  time.Duration // when the turn began
	called time.Duration // when the callback that is measured began
	kind   uint32        // that callback; noCallback: none is measured
	sent   time.Duration // when a message that is carried out in this turn was sent on another goroutine; 0: none was

	turn, handshake, sendDelay, writeStall histogram
	callbacks                              [len(callbackNames)]histogram
}

// Callbacks for messages are measured in one turn of so many: two readings of the clock
// for each of them would cost more than what is counted.
const sampleEvery = 64

const (
	everyCallback   = 1<<len(callbackNames) - 1
	callbacksOfMany = 1<<onMessage | 1<<onPing | 1<<onPong | 1<<onPacket
	seldomCallbacks = everyCallback &^ callbacksOfMany
)

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

// beginTiming is called at the beginning of the turn of that number.
func (w *worker) beginTiming(turn uint64) {
	t := w.timings
	t.began, t.kind = w.e.elapsed(), noCallback
	if w.watch.timed = seldomCallbacks; turn%sampleEvery == 0 {
		w.watch.timed = everyCallback
	}
}

// endTiming is called at the end of a turn.
func (w *worker) endTiming() {
	t, now := w.timings, w.e.elapsed()
	t.turn.add(now - t.began)
	if t.sent != 0 {
		t.sendDelay.add(now - t.sent)
		t.sent = 0
	}
}

// beginCall notes that a callback begins.
func (w *worker) beginCall(callback uint32) {
	t := w.timings
	if t.kind = noCallback; w.watch.timed>>callback&1 != 0 {
		t.kind, t.called = callback, w.e.elapsed()
	}
}

// returned is called when a callback has returned.
func (w *worker) returned() {
	if w.watch.timed != 0 {
		w.endCall()
	}
}

func (w *worker) endCall() {
	if t := w.timings; t.kind != noCallback {
		t.callbacks[t.kind].add(w.e.elapsed() - t.called)
		t.kind = noCallback
	}
}

// beginHandshake notes when the connection came.
func (c *Conn) beginHandshake() {
	if t := c.w.timings; t != nil && c.origin != dialled {
		since := t.began
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
	newHistogram := func() Histogram { return Histogram{Bounds: bounds, Counts: make([]uint64, len(timeBounds)+1)} }
	for _, h := range [...]*Histogram{&m.Turn, &m.Handshake, &m.SendDelay, &m.WriteStall} {
		*h = newHistogram()
	}
	for kind := noCallback + 1; kind < len(callbackNames); kind++ {
		every := 1
		if callbacksOfMany>>kind&1 != 0 {
			every = sampleEvery
		}
		m.Callbacks = append(m.Callbacks, CallbackHistogram{callbackNames[kind], every, newHistogram()})
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
	return time.Duration(t.turn.sum.n.Load())
}
