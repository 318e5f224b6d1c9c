package engine

import (
	"io"
	"slices"

	"golang.org/x/sys/unix"
)

// simEvent is what epoll said of a socket; it may be stale when its turn comes.
type simEvent struct {
	k                 *simSock // nil: the eventfd
	in, out, end, hup bool
	owed              bool // comes before the eventfd's
}

// poll is one round of a loop: a batch of events, among which those of sockets
// that were paused or closed meanwhile. They come in any order, but that a loop
// which was woken is not woken again before what was ready then. It reports
// whether there was an event.
func (s *sim) poll(l *simLoop) bool {
	var batch []simEvent
	for _, k := range s.fds {
		if k == nil || k.l != l {
			continue
		}
		if ev := k.event(); ev.in || ev.out || ev.end || ev.hup {
			batch = append(batch, ev)
		}
	}
	if l.awake || !s.calm && s.chance(20) {
		batch = append(batch, simEvent{})
	}
	s.r.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	if i := slices.IndexFunc(batch, func(ev simEvent) bool { return ev.k == nil }); i >= 0 {
		for j := i + 1; j < len(batch); j++ {
			if batch[j].owed {
				batch[i], batch[j], i = batch[j], batch[i], j
			}
		}
	}
	for _, ev := range batch {
		if s.failure != "" {
			break
		}
		s.onLoop(l, func() { s.handle(l, ev) })
		s.check(l)
	}
	return len(batch) > 0
}

// event is what epoll says of a socket: late at times, and at times what is not so.
func (k *simSock) event() simEvent {
	s := k.s
	in, out := k.ready()
	says := func(so bool) bool { return so && (s.calm || k.owed || s.chance(800)) || !s.calm && s.chance(20) }
	_, hangUp := k.l.Awaited(&k.c.c.sock)
	ev := simEvent{k: k, owed: k.owed, in: k.reading && says(in), out: says(out)}
	ev.end = !k.reading && hangUp && says(k.inFin)
	ev.hup = k.reset && says(true)
	k.owed = false
	return ev
}

// ready is what the loop is told of a socket at the latest before it is woken again.
func (k *simSock) ready() (in, out bool) {
	write, _ := k.l.Awaited(&k.c.c.sock)
	return k.reading && (len(k.in) > 0 || k.inFin || k.reset), write && (len(k.out) < k.outMax || k.reset)
}

// onLoop runs f as the loop's goroutine does.
func (s *sim) onLoop(l *simLoop, f func()) {
	l.on = true
	l.SetOn(true)
	f()
	l.SetOn(false)
	l.on = false
}

// handle does what a loop does about an event.
func (s *sim) handle(l *simLoop, ev simEvent) {
	k := ev.k
	switch {
	case k == nil:
		l.awake = false
		for _, k := range s.fds {
			if k != nil && k.l == l {
				in, out := k.ready()
				k.owed = in || out
			}
		}
		l.Woken()
		return
	case k.closed:
		return
	case !k.reading && (ev.end || ev.hup) && k.reset:
		k.close(io.EOF)
		return
	}
	hung := !k.reading && ev.end && k.inFin
	k.hung = k.hung || hung
	l.Happened(&k.c.c.sock, ev.out && (!ev.hup || !k.reading), hung)
	if (ev.in || ev.hup) && k.reading && !k.closed {
		s.check(l)
		k.read()
	}
}

// read is one read of the loop's.
func (k *simSock) read() {
	s, l := k.s, k.l
	n := min(len(k.in), len(l.buf))
	if n > 0 && s.chance(300) {
		n = 1 + s.r.IntN(n)
	}
	switch {
	case n > 0:
		b := l.buf[:copy(l.buf[:], k.in[:n])]
		k.in = k.in[n:]
		k.received += uint64(n)
		if k.outFin {
			k.late = append(k.late, simRead{s.now, n})
		}
		k.quietAt, k.inAt = s.now, s.now
		s.tracef("%v: the server reads %d", k.c, n)
		looks := k.c.c.end.phase.Load() < phaseEnding
		l.Readable(&k.c.c.sock, b)
		if k.c.peer.tls != nil {
			k.unsealed(looks)
		}
		for i := range b { // it was valid during the call
			b[i] = 0xdb
		}
	case k.reset:
		k.close(unix.ECONNRESET)
	case k.inFin:
		cc := k.c.c
		owes := cc.end.phase.Load() >= phaseClosing && cc.end.stream == streamOpen && cc.unsent() && !s.cfg.noPause
		answers, calls := k.ends(), k.calls
		stays := k.l.Ended(&cc.sock)
		switch cut := cc.end.stream == streamCut; {
		case answers && k.calls == calls:
			s.failf("%v: the peer's close_notify is not answered", k.c)
		case owes && !stays && !cut:
			s.failf("%v: closes the descriptor over what waits", k.c)
		}
		if !stays {
			k.close(io.EOF)
		}
	}
}
