package conformance

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is a connection of a case. What it reads is judged by the RFC; a wait
// that fails ends the case.
type conn struct {
	net.Conn  // TCP or TLS
	t         *T
	tcp       *net.TCPConn
	r         *bufio.Reader
	moved     atomic.Int64 // when bytes were last written, in Unix nanoseconds
	waiting   string       // what is being waited for, as the object of a sentence
	reply     *response    // to the opening handshake
	message   []byte       // the fragments so far of a message from the server
	opcode    byte         // of that message; 0: none
	packed    bool         // that message is compressed
	deflate   *deflate     // permessage-deflate, if it was agreed
	saidClose bool         // a close frame was sent
}

func newConn(t *T, tcp *net.TCPConn) *conn {
	c := &conn{Conn: tcp, t: t, tcp: tcp}
	c.r = bufio.NewReaderSize(patient{c}, 64<<10)
	return c
}

// patient reads with the deadlines of the case: it gives up when no byte has
// moved in either direction for quietMax.
type patient struct{ c *conn }

func (p patient) Read(b []byte) (int, error) {
	begun := time.Now()
	for {
		last := begun
		if moved := time.Unix(0, p.c.moved.Load()); moved.After(last) {
			last = moved
		}
		deadline := last.Add(p.c.t.quietMax)
		if p.c.t.deadline.Before(deadline) {
			deadline = p.c.t.deadline
		}
		if !time.Now().Before(deadline) {
			return 0, os.ErrDeadlineExceeded
		}
		if err := p.c.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		n, err := p.c.Conn.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// write sends b in one piece. A server may end the connection at any time, so
// only one that takes no bytes any more is a failure: the rest shows in what is
// read.
func (c *conn) write(b []byte) {
	if err := c.tryWrite(b); errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Failf("the server takes no more bytes")
	}
}

func (c *conn) tryWrite(b []byte) error {
	c.moved.Store(time.Now().UnixNano())
	if err := c.SetWriteDeadline(c.t.deadline); err != nil {
		return err
	}
	_, err := c.Conn.Write(b)
	c.moved.Store(time.Now().UnixNano())
	return err
}

// dribble sends b byte by byte.
func (c *conn) dribble(b []byte) {
	for i := range b {
		c.write(b[i : i+1])
	}
}

// stream sends the pieces in the background, for what may not fit the socket
// buffers while nobody reads. It ends at the first error.
func (c *conn) stream(pieces func(yield func([]byte) bool)) {
	c.t.streams.Go(func() {
		for piece := range pieces {
			if c.tryWrite(piece) != nil {
				return
			}
		}
	})
}

// closeWrite ends the client's side of the stream.
func (c *conn) closeWrite() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // fails only if the server was faster
	}
}

// reset ends the connection by RST.
func (c *conn) reset() {
	_ = c.tcp.SetLinger(0)
	_ = c.tcp.Close()
}

// drop ends the connection without a word.
func (c *conn) drop() { _ = c.Conn.Close() }

// lost ends the case because a read failed.
func (c *conn) lost(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(c.t.deadline):
		c.t.Failf("the time of the case is over, waiting for %s", c.waiting)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.t.Failf("nothing came for %v in place of %s", c.t.quietMax, c.waiting)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.t.Failf("the server ended the connection in place of %s", c.waiting)
	default:
		c.t.Failf("%v in place of %s", err, c.waiting)
	}
}

// full reads exactly n bytes.
func (c *conn) full(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.lost(err)
	}
	return b
}

// wantEnd waits for the server to end the connection, and fails if it sends
// anything before.
func (c *conn) wantEnd() {
	var b [1]byte
	err := c.SetReadDeadline(time.Now().Add(c.t.endMax))
	if n := c.r.Buffered(); n > 0 {
		c.t.Failf("%d more bytes came after the end", n)
	}
	if err == nil {
		var n int
		if n, err = c.Conn.Read(b[:]); n > 0 {
			c.t.Failf("more bytes came after the end, the first is %#02x", b[0])
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Failf("the server did not end TCP within %v", c.t.endMax)
	}
}
