package engine

import "slices"

// lane has the counters of one loop for the connections of one listener, or for
// those that have none. What happens to connections shows at once. What happens to
// bytes and messages is counted in current, which belongs to the loop alone, and told
// to others at the end of each turn: that costs a message nothing.
type lane struct {
	listener *Listener // nil: name says whose it is
	name     string

	untold  bool // current has changed in this turn
	current traffic

	accepted, dialled, answered, opened, ended, closed counter

	told traffic // loopStats.mu guards it
}

// The names of lanes without a Listener.
const (
	mountedName = "mounted" // connections of Engine.Upgrade
	dialledName = "dialled"
	pastName    = "closed" // of listeners that are closed and have no connections any more
)

// traffic is what connections sent and received.
type traffic struct {
	ConnStats
	sent, discarded uint64
}

func (t *traffic) add(o traffic) {
	t.ConnStats.add(o.ConnStats)
	t.sent += o.sent
	t.discarded += o.discarded
}

// newLanes makes the lanes of a listener, one for each loop.
func (e *Engine) newLanes(l *Listener, name string) (all []*lane) {
	for _, w := range e.loops {
		x := &lane{listener: l, name: name}
		w.stats.mu.Lock()
		w.stats.lanes = append(w.stats.lanes, x)
		w.stats.mu.Unlock()
		all = append(all, x)
	}
	return all
}

// lane returns the counters of the connection's listener on its loop, to be changed by
// the loop.
func (c *Conn) lane() *lane { return c.w.laneOf(c.ep) }

func (w *worker) laneOf(ep *endpoint) *lane {
	l := ep.lanes[w.api.index]
	if !l.untold {
		l.untold = true
		w.stats.untold = append(w.stats.untold, l)
	}
	return l
}

// foldLanes adds the counters of a listener that is no more to those of all its like,
// so that the sums do not fall, and no memory is kept for it.
func (ep *endpoint) foldLanes() {
	for _, w := range ep.e.loops {
		_ = w.post(post{kind: ownPost, do: func() { w.fold(ep) }}) // if the loop has ended, they stay
	}
}

func (w *worker) fold(ep *endpoint) {
	s, l, past := &w.stats, ep.lanes[w.api.index], w.stats.past
	ep.lanes[w.api.index] = past // a connection that was cut may still be on its way to its end
	s.mu.Lock()
	defer s.mu.Unlock()
	past.current.add(l.current)
	past.told = past.current
	for i, n := range l.counters() {
		past.counters()[i].add(n.n.Load())
	}
	s.lanes = slices.DeleteFunc(s.lanes, func(x *lane) bool { return x == l })
	s.untold = slices.DeleteFunc(s.untold, func(x *lane) bool { return x == l })
}

// counters lists what happened to connections.
func (l *lane) counters() [6]*counter {
	return [...]*counter{&l.accepted, &l.dialled, &l.answered, &l.opened, &l.ended, &l.closed}
}

// traffic returns what was told last; on the loop, where that is known, what is so
// now. loopStats.mu is held.
func (l *lane) traffic(on bool) traffic {
	if on {
		return l.current
	}
	return l.told
}
