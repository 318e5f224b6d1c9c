package engine

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/engine/internal/loop"
)

// simLoop is a loop with its eventfd and its read buffer.
type simLoop struct {
	loop.Simulated
	s     *sim
	w     *worker
	awake bool // the eventfd was written to
	rung  bool // the alarm's post waits
	on    bool // its events are being handled

	rising [12]uint64 // counters, at the last look

	posted, carried [2]int // posts from elsewhere, on the loop
	buf             [loop.ReadBytesMax]byte
}

// Write takes what a Wake writes.
func (l *simLoop) Write(b []byte) (int, error) {
	l.awake = true
	return len(b), nil
}

// simSock is the kernel's part of a connection at the server.
type simSock struct {
	s  *sim
	l  *simLoop
	c  *simConn
	fd int

	in     []byte // from the peer, not read yet
	inMax  int
	inFin  bool  // the peer ended its stream behind in
	inAt   int64 // since when something waits to be read
	looks  bool  // the connection's timer ran out and is to look again
	lookAt int64 // when it ran out
	out    []byte
	outMax int
	outFin bool // the server ended its stream behind out
	reset  bool
	closed bool // by the server

	aborted bool // the end is to be a reset

	reading        bool
	owed           bool // was ready when the loop was woken last
	hung           bool // the loop was told of a hang-up
	sent, received uint64
	calls          int   // of Send
	progressAt     int64 // the kernel took something, or nothing waited
	tookAt         int64 // the kernel took something
	quietAt        int64 // something was read, or reading began
	pausedAt       int64
	finAt          int64     // the server ended its stream
	late           []simRead // what it read since then

	// With TLS:
	opened    uint64     // plaintext that the server has to have read
	written   simRecords // what it wrote
	noticed   bool       // it has read the peer's close_notify
	broken    bool       // it has read a record that cannot be opened
	truncated bool       // it has found the end of the peer's stream before that
}

func (s *sim) open(c *simConn, l *simLoop) *simSock {
	k := &simSock{s: s, l: l, c: c, reading: true, quietAt: s.now, progressAt: s.now}
	k.inMax = s.pick(1, 100, 5000, 100_000)
	k.outMax = s.pick(10, 1000, 20_000, 200_000)
	for k.fd < len(s.fds) && s.fds[k.fd] != nil {
		k.fd++
	}
	if k.fd == len(s.fds) {
		s.fds = append(s.fds, nil)
	}
	s.fds[k.fd] = k
	return k
}

// simRead is a read of the server's.
type simRead struct {
	at int64
	n  int
}

// lately is how many bytes the server has read since it ended its stream, at
// most so many milliseconds ago.
func (k *simSock) lately(ms int64) (n int) {
	for _, r := range k.late {
		if r.at > k.s.now-ms {
			n += r.n
		}
	}
	return n
}

// at finds the socket of a descriptor. A call on a closed one is a failure.
func (s *sim) at(fd int, call string) *simSock {
	if fd >= len(s.fds) || s.fds[fd] == nil {
		s.failf("%s on the closed descriptor %d", call, fd)
		return nil
	}
	return s.fds[fd]
}

// Send implements loop.System: it takes something between nothing and all.
func (s *sim) Send(fd int, b []byte) (int, unix.Errno) {
	k := s.at(fd, "send")
	if k != nil {
		k.calls++
	}
	if s.writes++; s.writes > 100_000 {
		panic("the engine writes for ever")
	}
	switch {
	case k == nil:
		return 0, unix.EBADF
	case k.outFin:
		s.failf("%v: written after the end of the stream", k.c)
		return 0, unix.EPIPE
	case k.reset:
		return 0, unix.Errno(s.pick(int(unix.EPIPE), int(unix.ECONNRESET)))
	case !s.calm && s.chance(s.cfg.faults):
		k.breaks()
		return 0, unix.ETIMEDOUT
	}
	n := max(min(len(b), k.outMax-len(k.out)), 0)
	switch {
	case n == 0 || !s.calm && s.chance(50):
		return 0, unix.Errno(s.pick(int(unix.EAGAIN), int(unix.EAGAIN), int(unix.EINTR), int(unix.ENOBUFS)))
	case !s.calm && s.chance(300):
		n = 1 + s.r.IntN(n)
	}
	k.out = append(k.out, b[:n]...)
	k.sent += uint64(n)
	k.written.take(b[:n])
	k.progressAt, k.tookAt = s.now, s.now
	s.tracef("%v: the kernel takes %d of %d", k.c, n, len(b))
	return n, 0
}

// SendVec implements loop.System.
func (s *sim) SendVec(fd int, pieces [][]byte) (int, unix.Errno) {
	s.gathered = s.gathered[:0]
	for _, b := range pieces {
		s.gathered = append(s.gathered, b...)
	}
	return s.Send(fd, s.gathered)
}

// Shutdown implements loop.System.
func (s *sim) Shutdown(fd int) error {
	k := s.at(fd, "shutdown")
	if k == nil || k.reset {
		return unix.ENOTCONN
	}
	k.outFin, k.finAt = true, s.now
	s.tracef("%v: the server ends its stream", k.c)
	return nil
}

// HasInput implements loop.System.
func (s *sim) HasInput(fd int) bool {
	k := s.at(fd, "recv")
	return k != nil && len(k.in) > 0
}

// EndInput implements loop.System.
func (s *sim) EndInput(fd int) {
	if k := s.at(fd, "endInput"); k != nil && !k.reset {
		k.inFin = true
		s.tracef("%v: the server takes the peer's stream as ended", k.c)
	}
}

// sock is the kernel's part of an open socket. A call on a closed one is a failure.
func (s *sim) sock(sock *loop.Socket, call string) *simSock {
	k := s.of[(*Conn)(sock.Owner().(*owner))].sock
	if k.closed {
		s.failf("%v: %s after its end", k.c, call)
	}
	return k
}

// ResetOnClose implements loop.System.
func (s *sim) ResetOnClose(fd int) {
	if k := s.at(fd, "setsockopt"); k != nil {
		k.aborted = true
	}
}

// SetReading implements loop.System.
func (s *sim) SetReading(sock *loop.Socket, on bool) error {
	k := s.sock(sock, "epoll_ctl")
	if s.cfg.noPause {
		return errors.ErrUnsupported
	}
	switch k.reading = on; {
	case !on:
		k.pausedAt = s.now
	case s.now > k.pausedAt:
		k.quietAt = s.now
	}
	k.inAt = s.now
	s.tracef("%v: reading %v", k.c, on)
	return nil
}

// Watch implements loop.System.
func (s *sim) Watch(sock *loop.Socket) error {
	s.sock(sock, "watch")
	return nil
}

// Close implements loop.System.
func (s *sim) Close(sock *loop.Socket) { s.sock(sock, "close").close(nil) }

// Dup implements loop.System; no connection here goes to an http.Server.
func (s *sim) Dup(*loop.Socket) (int, error) { return 0, unix.EMFILE }

// close is what a loop does to close a socket.
func (k *simSock) close(err error) {
	k.closed = true
	k.c.checkTimeout()
	if err == nil && k.outFin && !k.inFin && !k.reset && !k.s.stopped && k.c.c.ending().cause == nil {
		k.s.failf("%v: closes before the peer did, at the risk of its last words", k.c)
	}
	k.s.tracef("%v: closes the descriptor %d: %v", k.c, k.fd, err)
	k.l.Closed(&k.c.c.sock, err)
	k.s.fds[k.fd] = nil
	if (len(k.in) > 0 || k.aborted) && !k.reset { // the kernel resets the stream, whatever is under way
		k.breaks()
	}
}

// breaks resets the connection; what was under way to the peer may be lost.
func (k *simSock) breaks() {
	k.reset = true
	k.s.tracef("%v: reset", k.c)
	if !k.s.calm && k.s.chance(500) {
		k.in = nil
	}
	if k.s.chance(700) {
		lost := k.s.r.IntN(len(k.out) + 1)
		k.out = k.out[:len(k.out)-lost]
	}
	k.c.peer.lossy = true
}
