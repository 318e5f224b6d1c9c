package loop

import (
	"io"

	"github.com/panjf2000/gnet/v2"

	"github.com/sockmill/sockmill/engine/internal/gid"
)

// Simulated is a loop without gnet, without a goroutine and without
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
	s.l.driver.Woken(s.l.ready.take())
}

// Opened puts a socket on the loop under the number fd.
func (s Simulated) Opened(sock *Socket, owner Owner, fd int) {
	sock.owner = owner
	s.called(sock, sock.openedAs(s.l, fd))
}

// Readable brings input.
func (s Simulated) Readable(sock *Socket, b []byte) { s.called(sock, sock.readable(b)) }

func (s Simulated) called(sock *Socket, a gnet.Action) {
	if a == gnet.Close {
		s.l.sys.Close(sock)
	}
}

// Closed tells the owner that the descriptor is about to be closed, as gnet
// does by itself or in System.Close.
func (s Simulated) Closed(sock *Socket, err error) { sock.closed(err) }

// Awaited is for System.Watch: it accepts the watching and says for what.
func (s Simulated) Awaited(sock *Socket) (write, hangUp bool) {
	sock.watchID = 1
	return sock.awaited&writable != 0, sock.awaited&hangup != 0
}

// Happened reports what was watched for, once for each Watch.
func (s Simulated) Happened(sock *Socket, write, hangUp bool) {
	var e events
	if write {
		e |= writable
	}
	if hangUp {
		e |= hangup
	}
	s.l.ready.add(sock, e)
	s.l.Wake()
}
