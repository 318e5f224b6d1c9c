//go:build linux

package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// server is an honest server of all modes, but for what a test has it change.
type server struct {
	mode  string
	tls   *tls.Config
	pongs atomic.Int32

	// answer changes the head that answers a handshake.
	answer func(head []byte) []byte
	// reply changes what is sent for the n-th message of the server, from 0.
	// It gets the frame and returns what is written instead; nil: the connection is
	// closed.
	reply func(n int, frame []byte) []byte
	// deliver is called for each delivery of a fan-out, and says how often it is made.
	deliver func(n, member int) int

	mu      sync.Mutex
	n       int
	members []net.Conn
	topics  map[string][]net.Conn
}

// start serves until the test ends.
func (s *server) start(t *testing.T) string {
	s.topics = map[string][]net.Conn{}
	return listen(t, func(c net.Conn) {
		if s.tls != nil {
			c = tls.Server(c, s.tls)
			defer c.Close() // with close_notify
		}
		s.serve(c)
	})
}

// listen has serve called for each connection, on a goroutine, until the test ends.
func listen(t *testing.T, serve func(c net.Conn)) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	return l.Addr().String()
}

func (s *server) serve(c net.Conn) {
	in := bufio.NewReaderSize(c, 128<<10)
	if s.mode == "raw" {
		b := make([]byte, 64<<10)
		for {
			n, err := in.Read(b)
			if err != nil {
				return
			}
			if !s.send(c, b[:n]) {
				return
			}
		}
	}
	q, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	extensions := ""
	switch s.mode {
	case "takeover":
		extensions = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
	case "deflate":
		extensions = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	}
	head := protocol.AppendSwitchingProtocols(nil, q.Header.Get("Sec-WebSocket-Key"), "", extensions, nil)
	if s.answer != nil {
		head = s.answer(head)
	}
	s.mu.Lock()
	s.members = append(s.members, c)
	_, err = c.Write(head)
	s.mu.Unlock()
	var said, heard []byte // the histories of takeover
	for err == nil {
		var payload []byte
		payload, err = s.receive(in)
		switch {
		case err != nil:
			return
		case s.mode == "deflate":
			said, heard = nil, nil
			fallthrough
		case s.mode == "takeover":
			var text []byte
			if text, err = inflate(payload, heard); err != nil {
				return
			}
			heard = append(heard, text...)
			heard = heard[max(0, len(heard)-1<<windowBits):]
			before := said[max(0, len(said)-1<<windowBits+len(text)):]
			said = append(said, text...)
			if !s.send(c, compressed(deflated(text, before))) {
				return
			}
		case !s.handle(c, payload):
			return
		}
	}
}

// inflate undoes deflated.
func inflate(b, before []byte) ([]byte, error) {
	end := []byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}
	return io.ReadAll(flate.NewReaderDict(io.MultiReader(bytes.NewReader(b), bytes.NewReader(end)), before))
}

// handle does what the mode says; false: close.
func (s *server) handle(c net.Conn, payload []byte) bool {
	frame := plain(payload)
	switch s.mode {
	case "broadcast":
		return s.spread(func() []net.Conn { return s.members }, frame)
	case "topics":
		verb, rest, _ := bytes.Cut(payload, []byte{' '})
		topic, text, _ := bytes.Cut(rest, []byte{' '})
		if string(verb) == "s" {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.topics[string(topic)] = append(s.topics[string(topic)], c)
			return true
		}
		return s.spread(func() []net.Conn { return s.topics[string(topic)] }, plain(text))
	}
	return s.send(c, frame)
}

// compressed is the frame in which a server sends a compressed payload.
func compressed(payload []byte) []byte {
	h := protocol.Header{Fin: true, Rsv: protocol.Rsv1, Opcode: protocol.OpText, Length: int64(len(payload))}
	return append(protocol.AppendHeader(nil, h), payload...)
}

func (s *server) spread(to func() []net.Conn, frame []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n
	s.n++
	if s.reply != nil {
		frame = s.reply(n, frame)
	}
	for i, c := range to() {
		times := 1
		if s.deliver != nil {
			times = s.deliver(n, i)
		}
		for range times {
			_, _ = c.Write(frame) // fails once the load has gone
		}
	}
	return frame != nil
}

func (s *server) send(c net.Conn, frame []byte) bool {
	s.mu.Lock()
	n := s.n
	s.n++
	s.mu.Unlock()
	if s.reply != nil {
		frame = s.reply(n, frame)
	}
	if frame == nil {
		return false
	}
	_, err := c.Write(frame)
	return err == nil
}

// receive reads one message of a client.
func (s *server) receive(in *bufio.Reader) ([]byte, error) {
	var b []byte
	for {
		h, n, err := protocol.ParseHeader(b)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if !h.Masked || !h.Fin || h.Opcode != protocol.OpText && h.Opcode != protocol.OpPong {
				return nil, fmt.Errorf("the load sends %+v", h)
			}
			payload := make([]byte, h.Length)
			_, err := io.ReadFull(in, payload)
			protocol.Mask(payload, h.Key, 0)
			if h.Opcode == protocol.OpPong && err == nil && string(payload) == "hi" {
				s.pongs.Add(1)
				b = nil
				continue
			}
			return payload, err
		}
		next, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		b = append(b, next)
	}
}
