package loop

import (
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// Owner is told what happens to its socket, on the loop's goroutine: Opened
// first, Closed last and once.
type Owner interface {
	Opened(l *Loop)
	// Readable brings bytes in the loop's own buffer: writable, valid during
	// the call. A paused socket may bring once more what was under way.
	Readable(b []byte)
	// Closed is called while the descriptor is still this socket's. err is
	// io.EOF, an I/O error, or nil if Close was called.
	Closed(err error)
}

// Socket is a connection on a loop. Its methods are for the loop's goroutine,
// between Opened and Closed.
type Socket struct {
	owner   Owner // what a message touches comes first
	loop    *Loop
	fd      int32
	closing bool // Close was called, or Closed is running
	paused  bool
	awaited events // what the watcher is to tell
	told    events // what it told; in Woken only
	watchID uint64 // 0: the watcher is not to tell anything
	watched bool   // it knew this socket, once
	conn    gnet.Conn
}

func (s *Socket) opened(l *Loop, c gnet.Conn) gnet.Action {
	s.conn = c
	return s.openedAs(l, c.Fd())
}

func (s *Socket) openedAs(l *Loop, fd int) gnet.Action {
	s.fd, s.loop = int32(fd), l
	l.reading = s
	s.owner.Opened(l)
	return s.called()
}

func (s *Socket) readable(b []byte) gnet.Action {
	if !s.closing {
		s.loop.reading = s
		s.owner.Readable(b)
	}
	return s.called()
}

// called ends a callback: a Close from within it takes effect now, where gnet
// expects it.
func (s *Socket) called() gnet.Action {
	s.loop.reading = nil
	if s.closing {
		return gnet.Close
	}
	return gnet.None
}

func (s *Socket) closed(err error) {
	s.closing = true
	if s.watched {
		s.loop.sys.Forget(s)
		s.loop.ready.remove(s)
	}
	s.owner.Closed(err)
	s.conn = nil
	s.loop.load.Add(-1)
}

// Close closes the descriptor: at once, or at the end of the socket's own
// Opened or Readable. What was not written is lost.
func (s *Socket) Close() {
	if s.closing {
		return
	}
	s.closing = true
	if s.loop.reading != s {
		s.loop.sys.Close(s) // calls closed
	}
}

// Owner is who was given to Enroll.
func (s *Socket) Owner() Owner { return s.owner }

// Dup returns a duplicate of the descriptor, which the caller owns.
func (s *Socket) Dup() (fd int, err error) { return s.loop.sys.Dup(s) }

// Write sends what the kernel takes now: n < len(b) with a nil error means
// that it is full. It never blocks and never closes.
func (s *Socket) Write(b []byte) (n int, err error) {
	if s.closing {
		return 0, unix.EPIPE
	}
	return written(s.loop.sys.Send(int(s.fd), b))
}

// vecsMax is how many pieces one WriteV sends.
const vecsMax = 64

// WriteV is Write for pieces; only the first 64 are sent.
func (s *Socket) WriteV(pieces [][]byte) (n int, err error) {
	if s.closing {
		return 0, unix.EPIPE
	}
	if len(pieces) == 1 {
		return s.Write(pieces[0])
	}
	return written(s.loop.sys.SendVec(int(s.fd), pieces[:min(len(pieces), vecsMax)]))
}

// written turns "not now" into a count of 0: a full kernel is no error.
func written(n int, errno unix.Errno) (int, error) {
	switch errno {
	case 0:
		return n, nil
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return 0, nil
	}
	return 0, errno
}

// CloseWrite ends the stream towards the peer (FIN); reading goes on.
func (s *Socket) CloseWrite() error {
	if s.closing {
		return unix.EPIPE
	}
	return s.loop.sys.Shutdown(int(s.fd))
}

// Pause stops reading, so that TCP pushes back. It reports false where that is
// not possible.
func (s *Socket) Pause() bool {
	s.paused = !s.closing && s.loop.sys.SetReading(int(s.fd), false) == nil
	return s.paused
}

// Resume reads again.
func (s *Socket) Resume() {
	if s.paused && !s.closing {
		s.paused = false
		_ = s.loop.sys.SetReading(int(s.fd), true)
	}
}
