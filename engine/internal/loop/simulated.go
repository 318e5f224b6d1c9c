package loop

import (
	"io"

	"github.com/sockmill/sockmill/engine/internal/gid"
)

// Simulated is a loop without a poller, without a goroutine and without
// descriptors: a test plays what they do, in whatever order it likes, through
// its System and the methods below. All of it runs on one goroutine.
type Simulated struct{ l *Loop }

// Simulate makes a loop on sys. A Wake writes one byte to wake.
func Simulate(sys System, wake io.Writer, driver func(*Loop) Driver) Simulated {
	l := &Loop{sys: sys, wake: wake}
	l.driver = driver(l)
	return Simulated{l}
}

// Driver is what Simulate was given.
func (s Simulated) Driver() Driver { return s.l.driver }

// SetOn makes the caller's goroutine the loop's, or another, and reports what
// it was.
func (s Simulated) SetOn(on bool) (was bool) {
	was = s.l.gid.Load() != 0
	if s.l.gid.Store(0); on {
		s.l.gid.Store(gid.Current())
	}
	return was
}

// Woken is the event that follows a Wake.
func (s Simulated) Woken() {
	s.l.woken.Swap(false)
	s.l.driver.Woken()
}

// Opened puts a socket on the loop under the number fd.
func (s Simulated) Opened(sock *Socket, owner Owner, fd int) {
	sock.owner, sock.loop, sock.fd = owner, s.l, int32(fd)
	sock.opened()
}

// Readable brings input.
func (s Simulated) Readable(sock *Socket, b []byte) { sock.readable(b) }

// Ended tells the owner that the peer has ended its stream, and reports whether
// the socket is to stay, or is closed already.
func (s Simulated) Ended(sock *Socket) bool { return sock.ended() }

// Closed tells the owner that the descriptor is about to be closed, as a loop
// does by itself or in System.Close.
func (s Simulated) Closed(sock *Socket, err error) { sock.closed(err) }

// Awaited returns the events that the owner awaits.
func (s Simulated) Awaited(sock *Socket) (write, hangUp bool) {
	return sock.awaited&writable != 0, sock.awaited&hangup != 0
}

// Happened does what an event of the poller does: it calls the owner for those of
// the events that it awaits.
func (s Simulated) Happened(sock *Socket, write, hangUp bool) {
	var e events
	if write {
		e |= writable
	}
	if hangUp {
		e |= hangup
	}
	sock.tell(e)
}
