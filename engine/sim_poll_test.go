package engine

import (
	"io"

	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/engine/internal/loop"
)

// simEvent is what epoll said of a socket; it may be stale when its turn comes.
type simEvent struct {
	k               *simSock // nil: the control connection
	end, hup, reads bool
}

// poll is one round of a loop: a batch of events in any order, among which
// those of sockets that were paused or closed meanwhile. It reports whether
// there was one.
func (s *sim) poll(l *simLoop) bool {
	for _, k := range s.fds {
		if k != nil && k.l == l {
			k.watcher()
		}
	}
	var batch []simEvent
	for _, k := range s.fds {
		switch {
		case k == nil || k.l != l:
		case k.reading && (len(k.in) > 0 || k.inFin) || k.reset:
			if s.calm || s.chance(800) {
				batch = append(batch, simEvent{k: k, end: k.inFin || k.reset, hup: k.reset, reads: k.reading})
			}
		case !s.calm && k.reading && s.chance(20), // spurious
			!s.calm && k.stale && s.chance(300) && k.c.parked() <= loop.ReadBytesMax:
			batch, k.stale = append(batch, simEvent{k: k, reads: true}), false
		}
	}
	if l.awake || !s.calm && s.chance(20) {
		batch = append(batch, simEvent{})
	}
	s.r.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	for _, ev := range batch {
		if s.failure != "" {
			break
		}
		s.onLoop(l, func() { s.handle(l, ev) })
		s.check(l)
	}
	return len(batch) > 0
}

// onLoop runs f as the loop's goroutine does.
func (s *sim) onLoop(l *simLoop, f func()) {
	l.on = true
	l.SetOn(true)
	f()
	l.SetOn(false)
	l.on = false
}

func (s *sim) handle(l *simLoop, ev simEvent) {
	switch k := ev.k; {
	case k == nil:
		l.awake = false
		for _, k := range s.fds {
			if k != nil && k.l == l {
				k.told = false
			}
		}
		l.Woken()
	case k.closed:
	case ev.hup && !ev.reads:
		k.close(io.EOF)
	default:
		for k.read() && ev.end && !k.closed { // gnet reads to the end, paused or not
			s.check(l)
		}
	}
}

// read is one read of gnet's; it reports false at the end of what there is.
func (k *simSock) read() bool {
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
		k.quietAt = s.now
		s.tracef("%v: the server reads %d", k.c, n)
		l.Readable(&k.c.c.sock, b)
		for i := range b { // it was valid during the call
			b[i] = 0xdb
		}
		return true
	case k.reset:
		k.close(unix.ECONNRESET)
	case k.inFin:
		k.close(io.EOF)
	}
	return false
}

// watcher tells, late or early, what a watched socket awaits.
func (k *simSock) watcher() {
	s := k.s
	room := len(k.out) < k.outMax || k.reset
	w := k.watchW && (room || !s.calm && s.chance(20))
	h := k.watchH && (k.inFin || k.reset)
	if !w && !h || !s.calm && s.chance(300) {
		return
	}
	k.watchW, k.watchH, k.told, k.hung = false, false, true, k.hung || h
	k.l.Happened(&k.c.c.sock, w, h)
}
