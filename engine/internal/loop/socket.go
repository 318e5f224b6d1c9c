package loop

import "golang.org/x/sys/unix"

// Owner is told what happens to its socket, on the loop's goroutine: Opened
// first, Closed last and once.
type Owner interface {
	Opened(l *Loop)
	// Readable brings bytes in the loop's own buffer: they may be changed, and
	// are valid during the call. A paused socket brings none.
	Readable(b []byte)
	// Writable follows a Watch: the kernel may take more.
	Writable()
	// HungUp follows a WatchHangup: the peer has ended its stream.
	HungUp()
	// Ended is called when the peer has ended its stream. The loop then closes the
	// socket, unless the owner paused it: after Resume, Ended is called again.
	Ended()
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
	awaited events // what the owner is to be told of
	armed   bool   // the poller reports whether the socket is writable
}

func (s *Socket) opened() {
	s.loop.calling = s
	s.owner.Opened(s.loop)
	s.called()
}

func (s *Socket) readable(b []byte) {
	s.loop.calling = s
	s.owner.Readable(b)
	s.called()
}

// ended reports whether the socket is to stay, or is closed already.
func (s *Socket) ended() bool {
	s.loop.calling = s
	s.owner.Ended()
	s.called()
	return s.paused || s.closing
}

// called ends a call of the owner: if it closed the socket, that takes effect now.
func (s *Socket) called() {
	s.loop.calling = nil
	if s.closing {
		s.loop.sys.Close(s)
	}
}

func (s *Socket) closed(err error) {
	s.closing = true
	s.owner.Closed(err)
	s.loop.load.Add(-1)
}

// Close closes the descriptor: at once, or at the end of the call if the socket's
// own owner is being called. What was not written is lost.
func (s *Socket) Close() {
	if s.closing {
		return
	}
	s.closing = true
	if s.loop.calling != s {
		s.loop.sys.Close(s)
	}
}

// ResetOnClose has the later end of the descriptor reset a TCP stream (RFC 9293
// §3.10.5): what the kernel has not sent is dropped, and the peer sees an error.
func (s *Socket) ResetOnClose() {
	if !s.closing {
		s.loop.sys.ResetOnClose(int(s.fd))
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

// PiecesMax is how many pieces one WriteV sends.
const PiecesMax = 64

// WriteV is Write for pieces; only the first PiecesMax are sent.
func (s *Socket) WriteV(pieces [][]byte) (n int, err error) {
	if s.closing {
		return 0, unix.EPIPE
	}
	if len(pieces) == 1 {
		return s.Write(pieces[0])
	}
	return written(s.loop.sys.SendVec(int(s.fd), pieces[:min(len(pieces), PiecesMax)]))
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

// HasInput reports whether the kernel has something that is not read yet.
func (s *Socket) HasInput() bool { return !s.closing && s.loop.sys.HasInput(int(s.fd)) }

// EndInput says that the peer has ended its stream, though it has not ended that of
// the socket: Ended follows as if it had, of a paused socket after Resume.
func (s *Socket) EndInput() {
	if !s.closing {
		s.loop.sys.EndInput(int(s.fd))
	}
}

// Pause stops reading, so that TCP pushes back. It reports false where that is
// not possible.
func (s *Socket) Pause() bool {
	if !s.paused {
		s.paused = !s.closing && s.loop.sys.SetReading(s, false) == nil
	}
	return s.paused
}

// Resume reads again.
func (s *Socket) Resume() {
	if s.paused && !s.closing {
		s.paused = false
		_ = s.loop.sys.SetReading(s, true)
	}
}
