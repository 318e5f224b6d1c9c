//go:build linux

package main

import (
	"bytes"
	"fmt"
	"syscall"

	"github.com/sockmill/sockmill/protocol"
)

// conn is one connection to the server.
type conn struct {
	fd    int32
	state state
	full  bool // the socket took no more: watched for writing
	key   uint8
	group int32 // in fan-outs
	node  uint8 // of the server
	tls   *sealed

	// What is sent: script.bytes[outAt:outEnd] waits to be written; next is the
	// frame that begins at outEnd.
	script        *script
	outAt, outEnd int
	next          int
	sent          uint64 // messages, those that wait included

	// What is received: message number got, off bytes of its frame so far.
	got     uint64
	off     int
	compare bool // this message byte by byte
	frame   int  // length of the frame, once known (deflate)
	acc     []byte

	// The message whose latency is taken.
	mark   uint64
	markAt int64
}

type state uint8

const (
	closed     state = iota
	connecting       // the request waits until the socket is writable
	shaking          // hands are shaken, of TLS
	asking           // the request is sent
	open
)

// enqueue adds the next n messages of the script to what waits to be written.
// Then call flush.
func (c *conn) enqueue(n int) {
	s := c.script
	for end := s.at[s.lead+variants]; c.outAt >= end; {
		c.outAt -= end - s.at[s.lead]
		c.outEnd -= end - s.at[s.lead]
		c.next -= variants
	}
	c.next += n
	c.outEnd = s.at[c.next]
	c.sent += uint64(n)
}

// flush writes what waits.
func (l *load) flush(i int) error {
	c := &l.conns[i]
	for c.outAt < c.outEnd || c.tls != nil && len(c.tls.out) > 0 {
		n, errno := l.writeSome(c)
		switch errno {
		case 0:
			l.bytesOut += uint64(n)
			continue
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if c.full {
				return nil
			}
			c.full = true
			return l.p.watch(opMod, c.fd, i, syscall.EPOLLIN|syscall.EPOLLOUT)
		}
		return fmt.Errorf("connection %d, after %d of its messages: write: %w", i, c.sent, errno)
	}
	if !c.full {
		return nil
	}
	c.full = false
	return l.p.watch(opMod, c.fd, i, syscall.EPOLLIN)
}

// writeSome writes as much as the socket takes.
func (l *load) writeSome(c *conn) (n int, errno syscall.Errno) {
	if c.tls != nil {
		return l.writeSealed(c)
	}
	n, errno = write(c.fd, c.script.bytes[c.outAt:c.outEnd])
	if errno == 0 {
		c.outAt += n
	}
	return n, errno
}

// feed takes what was read and returns how many messages it ends.
func (l *load) feed(i int, b []byte) (ended int, err error) {
	c := &l.conns[i]
	for len(b) > 0 {
		if c.off == 0 {
			if n := l.control(i, b); n > 0 {
				b = b[n:]
				continue
			}
			l.fed++
			c.compare = l.always || l.fed%compareEvery == 0
		}
		var take int
		var end bool
		if l.inflate {
			take, end, err = l.deflatedPart(c, b)
		} else {
			take, end, err = l.knownPart(c, b)
		}
		if err != nil {
			return ended, fmt.Errorf("connection %d, reply %d: %w", i, c.got, err)
		}
		b = b[take:]
		if end {
			c.off = 0
			c.got++
			ended++
			if c.compare {
				l.compared++
			}
		}
	}
	l.counted += uint64(ended)
	return ended, nil
}

// compareEvery is how many replies share one that is compared whole, while the
// window is measured. Type and length of every one are checked always.
const compareEvery = 64

// knownPart takes b as a piece of a reply whose bytes are known.
func (l *load) knownPart(c *conn, b []byte) (take int, end bool, err error) {
	want := l.replies[c.got%variants]
	take = min(len(want)-c.off, len(b))
	n := take
	if !c.compare {
		n = max(0, min(take, l.header-c.off))
	}
	if !bytes.Equal(b[:n], want[c.off:c.off+n]) {
		return 0, false, fmt.Errorf("from byte %d on it is %.60q, want %.60q", c.off, b[:n], want[c.off:c.off+n])
	}
	c.off += take
	return take, c.off == len(want), nil
}

// deflatedPart takes b as a piece of a compressed reply, whose length is the
// server's affair.
func (l *load) deflatedPart(c *conn, b []byte) (take int, end bool, err error) {
	if c.off == 0 {
		c.frame, c.acc = 0, c.acc[:0]
	}
	if c.frame == 0 { // the header, byte by byte
		c.acc = append(c.acc, b[0])
		c.off++
		h, n, err := protocol.ParseHeader(c.acc)
		if err != nil || n == 0 {
			return 1, false, err
		}
		if !h.Fin || h.Opcode != protocol.OpText || h.Rsv != protocol.Rsv1 || h.Masked {
			return 1, false, fmt.Errorf("the frame is %+v, want one of text, whole, compressed, unmasked", h)
		}
		c.frame, c.acc = n+int(h.Length), c.acc[:0]
		take = 1
	}
	n := min(c.frame-c.off, len(b)-take)
	if c.compare {
		c.acc = append(c.acc, b[take:take+n]...)
	}
	take += n
	c.off += n
	if end = c.off == c.frame; end && c.compare {
		err = l.inflated(c.acc, c.got)
	}
	return take, end, err
}

// inflated checks that b inflates to the payload of reply number got.
func (l *load) inflated(b []byte, got uint64) error {
	want := l.payloads[got%variants]
	var before []byte
	if l.o.mode == "takeover" {
		before = l.before[got%variants]
		before = before[len(before)-min(len(before), int(got)*len(want)):]
	}
	l.tail.Reset()
	l.tail.Write(b)
	l.tail.Write([]byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}) // RFC 7692 §7.2.2, and a last block
	l.plain.Reset()
	if err := l.flate.Reset(&l.tail, before); err != nil {
		return err
	}
	if _, err := l.plain.ReadFrom(l.flateReader); err != nil {
		return err
	}
	if !bytes.Equal(l.plain.Bytes(), want) {
		return fmt.Errorf("it inflates to %.60q, want %.60q", l.plain.Bytes(), want)
	}
	return nil
}

// control takes a ping at the start of b and answers it. It returns its length,
// 0 if there is none. (Servers ping who is silent, as listeners to a broadcast are.)
func (l *load) control(i int, b []byte) int {
	c := &l.conns[i]
	const ping = 0x80 | byte(protocol.OpPing)
	if b[0] != ping || l.o.mode == "raw" || len(b) < 2 || b[1] > 125 || len(b) < 2+int(b[1]) {
		return 0
	}
	n := 2 + int(b[1])
	h := protocol.Header{Fin: true, Opcode: protocol.OpPong, Masked: true, Length: int64(b[1])}
	pong := append(protocol.AppendHeader(nil, h), b[2:n]...) // a key of zeros changes nothing
	switch {
	case c.outAt < c.outEnd: // the server hears of us anyway
	case c.tls != nil:
		_, _ = c.tls.conn.Write(pong)
		_ = l.flush(i)
	default:
		_, _ = write(c.fd, pong)
	}
	return n
}
