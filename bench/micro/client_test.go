package micro

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// key is the nonce of every handshake: the example of RFC 6455 §1.3.
const key = "dGhlIHNhbXBsZSBub25jZQ=="

var request = protocol.AppendRequest(nil, "127.0.0.1", "/", key, nil, "", nil)

// client is the client's end of an open connection.
type client struct {
	*net.TCPConn
	tb testing.TB
	in []byte // read buffer, made for the stream at hand
}

// dial opens a connection and returns it with the server's answer.
func dial(tb testing.TB, addr net.Addr) (c *client, answer []byte) {
	tb.Helper()
	nc, err := net.DialTCP("tcp", nil, addr.(*net.TCPAddr))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	c = &client{TCPConn: nc, tb: tb}
	c.write(request)
	end, next := 0, 0
	for end == 0 {
		var piece [512]byte
		n, err := nc.Read(piece[:])
		if err != nil {
			tb.Fatal(err)
		}
		answer = append(answer, piece[:n]...)
		if end, next, err = protocol.ScanHead(answer, next); err != nil {
			tb.Fatal(err)
		}
	}
	var r protocol.Response
	if err := r.Parse(string(answer[:end]), 32); err != nil {
		tb.Fatal(err)
	}
	if err := protocol.CheckResponse(&r, key, nil); err != nil {
		tb.Fatal(err)
	}
	return c, answer[:end]
}

func (c *client) write(b []byte) {
	if _, err := c.Write(b); err != nil {
		c.tb.Fatal(err)
	}
}

// receive reads as much as want, and demands that it is want.
func (c *client) receive(want []byte) {
	if cap(c.in) < len(want) {
		c.in = make([]byte, len(want))
	}
	got := c.in[:len(want)]
	if _, err := io.ReadFull(c, got); err != nil {
		c.tb.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		c.tb.Fatalf("received %.40q, want %.40q", got, want)
	}
}

// stream is a cycle of different binary messages of one size, encoded as a
// client sends them and as a server does. Each slice holds two cycles, so that
// one cycle's worth lies together wherever it begins.
type stream struct {
	messages            int // in a cycle
	masked, plain       []byte
	maskedOne, plainOne int // bytes of one message
}

func newStream(size, messages int) *stream {
	s := &stream{messages: messages}
	header := protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: int64(size)}
	for i := range 2 * messages {
		message := payload(size, i%messages)
		header.Masked, header.Key = false, [4]byte{}
		s.plain = append(protocol.AppendHeader(s.plain, header), message...)
		header.Masked, header.Key = true, [4]byte{0x9a, 0x31, 0xc5, byte(i)}
		s.masked = protocol.AppendHeader(s.masked, header)
		protocol.Mask(message, header.Key, 0)
		s.masked = append(s.masked, message...)
	}
	s.maskedOne, s.plainOne = len(s.masked)/(2*messages), len(s.plain)/(2*messages)
	return s
}

// payload is message number i of a cycle.
func payload(size, i int) []byte {
	b := make([]byte, size)
	for at := range b {
		b[at] = byte(at + i)
	}
	return b
}

// echo sends n messages of s, a whole cycle of them unanswered at any time,
// and receives them back.
func (c *client) echo(s *stream, n int) {
	sent := min(n, s.messages)
	c.write(s.masked[:sent*s.maskedOne])
	c.follow(s, n, func(received int) {
		if more := min(received+s.messages, n) - sent; more > 0 {
			from := sent % s.messages * s.maskedOne
			c.write(s.masked[from : from+more*s.maskedOne])
			sent += more
		}
	})
}

// follow receives n messages of s, in whatever pieces they come, and calls
// back after each piece.
func (c *client) follow(s *stream, n int, progress func(received int)) {
	cycle := s.messages * s.plainOne
	if len(c.in) < cycle {
		c.in = make([]byte, cycle)
	}
	for got := 0; got < n*s.plainOne; {
		k, err := c.Read(c.in[:cycle])
		if err != nil {
			c.tb.Fatal(err)
		}
		at := got % cycle
		if !bytes.Equal(c.in[:k], s.plain[at:at+k]) {
			c.tb.Fatalf("byte %d and the next %d are not what was sent", got, k)
		}
		got += k
		progress(got / s.plainOne)
	}
}
