//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"syscall"
)

// sealed is the TLS of a connection: crypto/tls between bytes and bytes. As long as
// it shakes hands it is a coroutine, which stops where it needs more of the server.
type sealed struct {
	net.Conn // nil: the methods below are those that crypto/tls needs
	conn     *tls.Conn
	in, out  []byte // ciphertext that was read, and that is to be written

	step   func() (struct{}, bool) // goes on with the handshake; false at its end
	stop   func()
	yield  func(struct{}) bool // nil when hands are shaken
	err    error               // of the handshake
	shaken bool
}

// recordBytes is the most that crypto/tls holds of what was read before.
const recordBytes = 17 << 10

// clientConfig makes the same work of all servers: no tickets, no resumption,
// and one group for the key exchange. The certificate is nobody's; its signature
// is verified.
var clientConfig = &tls.Config{
	ServerName:         "localhost",
	NextProtos:         []string{"http/1.1"},
	CurvePreferences:   []tls.CurveID{tls.X25519},
	InsecureSkipVerify: true,
}

func newSealed() *sealed {
	s := &sealed{}
	s.conn = tls.Client(s, clientConfig)
	s.step, s.stop = iter.Pull(func(yield func(struct{}) bool) {
		s.yield = yield
		s.err = s.conn.Handshake()
		s.yield = nil
	})
	return s
}

// errMore is temporary: crypto/tls goes on after it.
var errMore net.Error = &net.DNSError{Err: "more is needed", IsTemporary: true}

// Read implements net.Conn.
func (s *sealed) Read(b []byte) (int, error) {
	for len(s.in) == 0 {
		if s.yield == nil {
			return 0, errMore
		}
		if !s.yield(struct{}{}) {
			return 0, net.ErrClosed
		}
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (s *sealed) Write(b []byte) (int, error) {
	s.out = append(s.out, b...)
	return len(b), nil
}

// shake goes on with the handshake of connection i, and sends the request behind it.
func (l *load) shake(i, op int) error {
	c := &l.conns[i]
	s := c.tls
	if len(s.out) == 0 { // else the socket was not connected
		if _, more := s.step(); !more {
			if s.err == nil {
				s.err = agreed(s.conn.ConnectionState())
			}
			if s.err != nil {
				return l.refused(i, s.err)
			}
			s.shaken = true
		}
	}
	if len(s.out) > 0 {
		n, errno := write(c.fd, s.out)
		switch {
		case c.state == connecting && (errno == syscall.EAGAIN || errno == syscall.ENOTCONN):
			return l.p.watch(op, c.fd, i, syscall.EPOLLOUT)
		case errno != 0:
			return l.refused(i, fmt.Errorf("write: %w", errno))
		case n < len(s.out):
			return fmt.Errorf("connection %d: the socket took %d of %d bytes of the handshake", i, n, len(s.out))
		}
		s.out = nil
		l.bytesOut += uint64(n)
	}
	switch {
	case s.shaken:
		return l.ask(i, opMod)
	case c.state == connecting:
		c.state = shaking
		return l.p.watch(op, c.fd, i, syscall.EPOLLIN)
	}
	return nil
}

// agreed checks that the server does the work that all others do. The cipher is one of
// TLS 1.3.
func agreed(s tls.ConnectionState) error {
	if s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || s.DidResume {
		return fmt.Errorf("the server chose %s, resumed: %v; want TLS_AES_128_GCM_SHA256 and a full handshake",
			tls.CipherSuiteName(s.CipherSuite), s.DidResume)
	}
	return nil
}

// unseal takes ciphertext that was read from connection i, and all that it opens
// at once.
func (l *load) unseal(i int, b []byte) error {
	c := &l.conns[i]
	c.tls.in = b
	if c.state == shaking {
		if err := l.shake(i, opMod); err != nil || c.state != asking {
			return err
		}
	}
	for n := 0; ; {
		more, err := c.tls.conn.Read(l.unsealed[n:])
		n += more
		switch {
		case err == nil:
			continue
		case !errors.Is(err, errMore):
			return fmt.Errorf("connection %d, after %d of %d replies: TLS: %w", i, c.got, c.sent, err)
		case n == 0:
			return nil
		}
		return l.received(i, l.unsealed[:n])
	}
}

// seal returns b as records. They are overwritten by the next call.
func (l *load) seal(c *conn, b []byte) []byte {
	s := c.tls
	s.out = l.sealing[:0]
	_, _ = s.conn.Write(b) // to s.out, which takes all
	b, s.out = s.out, nil
	l.sealing = b[:0]
	return b
}

// writeSealed writes what waits as ciphertext, or else seals all of the script that
// waits, and writes it.
func (l *load) writeSealed(c *conn) (int, syscall.Errno) {
	s := c.tls
	out := s.out
	if len(out) == 0 {
		out = l.seal(c, c.script.bytes[c.outAt:c.outEnd])
		c.outAt = c.outEnd
	}
	n, errno := write(c.fd, out)
	if errno != 0 {
		n = 0
	}
	s.out = bytes.Clone(out[n:])
	return max(n, 0), errno
}
