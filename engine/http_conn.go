package engine

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/engine/internal/admit"
)

// handedConn is a connection that came from a loop to the http.Server, with what
// was read there.
//
// net/http bounds the time of heads and between requests. What it does not bound
// is bounded here by progress: a body that is read, and an answer. A deadline
// that somebody sets, such as a handler by http.ResponseController, holds in
// place of that. A handler that waits (a long poll) may wait for ever.
type handedConn struct {
	net.Conn
	s      *httpServer
	remote net.Addr
	pass   admit.Pass
	head   []byte
	sealed bool // there is TLS over it, which reads through read

	in, out direction
	stalled atomic.Bool // a shutdown cut it, as one without progress
}

func newHandedConn(s *httpServer, nc net.Conn, remote net.Addr, head []byte) *handedConn {
	c := &handedConn{Conn: nc, s: s, remote: remote, head: head}
	c.in.set, c.out.set = nc.SetReadDeadline, nc.SetWriteDeadline
	c.in.look = min(s.ep.HTTPStallTimeout, s.ep.CloseTimeout)/4 + 1
	c.out.look = c.in.look
	return c
}

func (c *handedConn) Read(b []byte) (n int, err error) {
	if len(c.head) > 0 {
		n = copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	if c.sealed {
		return c.Conn.Read(b)
	}
	return c.read(c.Conn, b)
}

// read reads from what lies under the http.Server: the socket, or the TLS over it.
func (c *handedConn) read(from net.Conn, b []byte) (n int, err error) {
	// While a handler runs and there is no body to read, net/http waits for the
	// end of the connection, with a buffer of one byte: the peer need not send anything.
	// It reads all else through a larger one.
	wait := waiting{owed: len(b) > 1, since: c.s.ep.e.elapsed()}
	for {
		c.in.begin(&wait)
		if n, err = from.Read(b); n > 0 || !c.in.goOn(c, &wait, err) {
			return n, err
		}
	}
}

func (c *handedConn) Write(b []byte) (n int, err error) {
	wait := waiting{owed: true, since: c.s.ep.e.elapsed()}
	for {
		c.out.begin(&wait)
		written, err := c.Conn.Write(b[n:])
		if n += written; written > 0 {
			wait.since, wait.looks = c.s.ep.e.elapsed(), 0
		}
		if !c.out.goOn(c, &wait, err) {
			return n, err
		}
	}
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are net/http's, and the
// handlers' by http.ResponseController.
func (c *handedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.setDeadline(t), c.out.setDeadline(t))
}

// SetReadDeadline sets until when a Read waits; zero: as long as there is progress.
func (c *handedConn) SetReadDeadline(t time.Time) error { return c.in.setDeadline(t) }

// SetWriteDeadline sets until when a Write waits; zero: as long as there is progress.
func (c *handedConn) SetWriteDeadline(t time.Time) error { return c.out.setDeadline(t) }

// RemoteAddr is the peer's address also once the peer has reset the stream.
func (c *handedConn) RemoteAddr() net.Addr { return c.remote }

// Close gives the connection's place to another.
func (c *handedConn) Close() error {
	if c.stalled.Swap(false) {
		c.s.cut.Add(1)
	}
	c.s.ep.gate.Leave(&c.pass)
	return c.Conn.Close()
}

// CloseWrite lets the http.Server end a stream before it closes it.
func (c *handedConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// waiting is a read or a write that may wait for the peer.
type waiting struct {
	owed  bool          // the peer must make progress, or the connection is cut
	since time.Duration // its last progress, by the engine's time
	looks int           // times that progress was looked at since then
}

// direction bounds what waits in one direction of a stream.
type direction struct {
	set  func(time.Time) error // the deadline of the socket
	look time.Duration         // how often progress is looked at

	mu   sync.Mutex
	by   time.Time // the deadline that net/http or a handler set
	free bool      // without one, it waits for ever
}

// begin is called before the socket is asked.
func (d *direction) begin(wait *waiting) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by.IsZero() {
		_ = d.set(d.untilLook(wait.owed))
	}
}

// untilLook is the deadline of an operation without one of its own.
func (d *direction) untilLook(owed bool) time.Time {
	if d.free || !owed {
		return time.Time{}
	}
	return time.Now().Add(d.look)
}

// goOn reports whether the socket, which ended an operation with err, is to be
// asked again: it ended only for a look at the progress. The connection is given
// up at a second look, or a process that stood still would cut peers whose bytes
// it has yet to read.
func (d *direction) goOn(c *handedConn, wait *waiting, err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	wait.looks++
	switch {
	case !d.by.IsZero():
		return time.Now().Before(d.by)
	case d.free || !wait.owed || wait.looks < 2 || !c.s.tooLong(c, wait.since):
		return true
	}
	d.by = time.Unix(1, 0) // a time in the past: every later operation fails at once
	_ = d.set(d.by)
	return false
}

func (d *direction) setDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by = t; t.IsZero() {
		t = d.untilLook(true) // something may be waiting already
	}
	return d.set(t)
}

// setFree ends the bounds: a handler has hijacked the connection.
func (d *direction) setFree() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free, d.by = true, time.Time{}
	_ = d.set(d.by)
}

// tooLong reports whether c has made no progress for so long that it is given
// up. A shutdown waits for it no longer than for a WebSocket peer.
func (s *httpServer) tooLong(c *handedConn, progress time.Duration) bool {
	now := s.ep.e.elapsed()
	if now-progress >= s.ep.HTTPStallTimeout {
		c.stalled.Store(s.drains.Load() != 0)
		return true
	}
	began := time.Duration(s.drains.Load())
	if began == 0 || now-max(progress, began) < s.ep.CloseTimeout {
		return false
	}
	c.stalled.Store(true)
	return true
}
