// Command gobwas is a peer: github.com/gobwas/ws, its low level.
//
// Zero-copy upgrade, one goroutine for each connection (the netpoll of its examples is
// archived), frames read from a bufio.Reader of 4 KiB with ReadHeaderBuffer,
// CheckHeader and Cipher into a pooled buffer behind the header of the answer, so
// that an answer is one write and nothing is copied. A broadcast is encoded once and
// written in turn by who publishes.
//
// Frames are this program's to write, so it may also do what no example of gobwas
// does: -cork answers all frames that one read brought with one write.
//
// gobwas validates no text at this level: this program does.
//
// Compression: wsflate over klauspost/compress at level 3, 15 bits, without context
// takeover, as wsflate's own helper has it.
package main

import (
	"bufio"
	"errors"
	"flag"
	"net"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

var cork = flag.Bool("cork", false, "answer all frames of a read with one write")

func main() { peer.Main("github.com/gobwas/ws", serve) }

type server struct {
	peer.Options

	hub peer.Hub[*conn]
}

func serve(o peer.Options, l net.Listener) error {
	s := &server{Options: o}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go s.serve(c)
	}
}

// conn is a connection. Its methods belong to its goroutine; others may only
// write to the net.Conn.
type conn struct {
	net.Conn

	br      *bufio.Reader
	deflate bool
	header  [ws.MaxHeaderSize]byte // scratch
}

func (s *server) serve(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	c := &conn{Conn: nc}
	if err := c.upgrade(s.Deflate); err != nil {
		return
	}
	c.br = bufio.NewReaderSize(nc, 4096)
	if s.Mode != peer.Echo {
		s.hub.Join(c)
		defer s.hub.Leave(c)
	}
	for {
		if _, err := c.br.Peek(ws.MinHeaderSize); err != nil { // no buffer while nothing comes
			return
		}
		out := frames.Get().(*[]byte)
		err := s.turn(c, out)
		if cap(*out) <= 64<<10 {
			frames.Put(out)
		}
		if err != nil {
			return
		}
	}
}

var frames = sync.Pool{New: func() any {
	b := make([]byte, 0, 4096)
	return &b
}}

func (c *conn) upgrade(deflate bool) error {
	if !deflate {
		_, err := ws.Upgrader{}.Upgrade(c.Conn)
		return err
	}
	e := wsflate.Extension{Parameters: wsflate.DefaultParameters}
	_, err := ws.Upgrader{Negotiate: e.Negotiate}.Upgrade(c.Conn)
	_, c.deflate = e.Accepted()
	return err
}

// turn answers one message or, corked, all that are there; out is where.
func (s *server) turn(c *conn, out *[]byte) error {
	*out = (*out)[:0]
	for {
		at := len(*out)
		m, err := c.next(out)
		if err != nil {
			if errors.Is(err, errClosing) {
				_, _ = c.Write(*out)
			}
			return err
		}
		switch {
		case m.control: // its answer is in out
		case s.Mode == peer.Echo:
			if c.deflate && len(m.payload) >= peer.DeflateThresholdBytes {
				*out, err = appendDeflated((*out)[:at], m.op, m.payload)
			} else if m.moved {
				*out = append(appendHeader((*out)[:at], m.op, 0, len(m.payload)), m.payload...)
			}
			if err != nil {
				return err
			}
		default:
			*out = (*out)[:at]
			if err := s.fan(c, m); err != nil {
				return err
			}
		}
		if !*cork || c.br.Buffered() < ws.MinHeaderSize || len(*out) >= 64<<10 {
			_, err := c.Write(*out)
			return err
		}
	}
}

// fan sends m to whom the mode says.
func (s *server) fan(from *conn, m message) error {
	to, payload := s.hub.Fan(s.Mode, from, m.payload)
	if len(to) == 0 {
		return nil
	}
	var frame [2][]byte // plain, compressed
	for _, c := range to {
		i := 0
		if c.deflate && len(payload) >= peer.DeflateThresholdBytes {
			i = 1
		}
		if frame[i] == nil {
			var err error
			if i == 1 {
				frame[i], err = appendDeflated(nil, m.op, payload)
			} else {
				frame[i] = append(appendHeader(nil, m.op, 0, len(payload)), payload...)
			}
			if err != nil {
				return err
			}
		}
		if _, err := c.Write(frame[i]); err != nil {
			_ = c.Close() // its own goroutine does the rest
		}
	}
	return nil
}

func valid(op ws.OpCode, payload []byte) bool { return op != ws.OpText || utf8.Valid(payload) }
