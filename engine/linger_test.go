package engine

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// blockingBytes is more than the kernels of both ends hold.
const blockingBytes = 32 << 20

// maskedFrame is a frame of a client's with the masking key 0.
func maskedFrame(first byte, payload string) string {
	h := protocol.AppendHeader(nil, protocol.Header{Fin: true, Masked: true, Opcode: protocol.Opcode(first & 0x0f), Length: int64(len(payload))})
	h[0] = first
	return string(h) + payload
}

// TestCloseFrameReachesASender: a peer that is in the midst of sending, and reads
// only when it has sent everything, reads the close frame (RFC 6455 §7.1.7).
func TestCloseFrameReachesASender(t *testing.T) {
	piece := maskedFrame(0x82, strings.Repeat("x", 60_000))
	ways := map[protocol.CloseCode]string{ // how each begins
		protocol.CloseProtocolError:   "\xff\xff",
		protocol.CloseUnsupportedData: maskedFrame(0x81, "unsupported"),
		protocol.CloseInvalidPayload:  maskedFrame(0x81, "\xff"),
		protocol.ClosePolicyViolation: maskedFrame(0x81, "policy"),
		protocol.CloseMessageTooBig:   announcement(0x82, blockingBytes),
		protocol.CloseInternalError:   maskedFrame(0x81, "panic"),
		protocol.CloseTryAgainLater:   maskedFrame(0x81, "slow"),
	}
	s := serveAt(t, new(testClock), Config{Loops: 1}, Handler{OnMessage: func(c *Conn, m Message) {
		switch m.Text() {
		case "unsupported":
			_ = c.Close(protocol.CloseUnsupportedData, "")
		case "policy":
			_ = c.Close(protocol.ClosePolicyViolation, "")
		case "panic":
			panic("on purpose")
		case "slow":
			for c.Send(Message{Data: make([]byte, 1<<20)}) == nil { // until 1013
			}
		}
	}})
	for code, begin := range ways {
		c := s.dial("/", nil)
		_, err := io.WriteString(c, begin)
		for sent := 0; err == nil && sent < blockingBytes; sent += len(piece) {
			_, err = io.WriteString(c, piece)
		}
		if err != nil {
			t.Errorf("%d: the peer cannot send all it has: %v", code, err)
			continue
		}
		if info := c.closed(); info == nil || info.Code != code {
			t.Errorf("closed with %v, want %d", info, code)
		}
	}
}

// TestRefusalReachesASender: the same for the answer to a bad opening handshake,
// whether the loop or the acceptor refuses.
func TestRefusalReachesASender(t *testing.T) {
	send := func(s *server, begin string, status int, then ...func()) {
		t.Helper()
		nc := s.connect()
		_, err := io.WriteString(nc, begin)
		for _, f := range then {
			f()
		}
		for sent := 0; err == nil && sent < blockingBytes; sent += 1 << 16 {
			_, err = io.WriteString(nc, strings.Repeat("x", 1<<16))
		}
		if err != nil {
			t.Errorf("%d: the peer cannot send all it has: %v", status, err)
		} else if r, _ := s.response(nc); r.StatusCode != status {
			t.Errorf("answered with %s, want %d", r.Status, status)
		}
	}
	s := serveAt(t, new(testClock), Config{HandshakeBytesMax: blockingBytes / 2}, Handler{})
	send(s, "GET / HTTP/1.1\r\na: ", http.StatusRequestHeaderFieldsTooLarge)
	send(s, upgradeHead("Content-Length: 33554432"), http.StatusRequestEntityTooLarge)
	late := serveAt(t, new(testClock), Config{}, Handler{})
	beginLate := func() {
		late.await("the handshake to begin", func() bool { return late.Stats().BytesIn > 0 })
		late.lapse(late.set.HandshakeTimeout)
	}
	send(late, "GET /", http.StatusRequestTimeout, beginLate)
	full := serve(t, Config{ConnectionsMax: 1}, Handler{})
	full.dial("/", nil)
	send(full, upgradeHead(), http.StatusServiceUnavailable)
}

// TestNoAnswerInTheMidstOfSending: the program is told after CloseTimeout that
// the peer did not answer, but the close frame is still there for the peer to
// read when it has sent what it had.
func TestNoAnswerInTheMidstOfSending(t *testing.T) {
	told := make(chan *CloseError, 1)
	s := serveAt(t, new(testClock), Config{CloseTimeout: 5 * time.Second}, Handler{
		OnMessage: func(c *Conn, _ Message) { _ = c.Close(protocol.ClosePolicyViolation, "") },
		OnClose:   func(_ *Conn, e *CloseError) { told <- e },
	})
	c := s.dial("/", nil)
	piece, sent := maskedFrame(0x82, strings.Repeat("x", 60_000)), 0
	send := func() {
		if _, err := io.WriteString(c, piece); err != nil {
			t.Fatalf("the peer cannot send: %v", err)
		}
		sent += len(piece)
	}
	for range 2 {
		send()
		s.await("the server to read", func() bool { return s.Stats().BytesIn > uint64(sent) })
	}
	s.lapse(5 * time.Second)
	if e := <-told; e.Code != protocol.ClosePolicyViolation || e.Remote || !errors.Is(e, ErrTimeout) {
		t.Errorf("OnClose was told %v", e)
	}
	for sent < blockingBytes {
		send()
	}
	if info := c.closed(); info == nil || info.Code != protocol.ClosePolicyViolation {
		t.Errorf("closed with %v", info)
	}
}

// TestDiscardTimeout: a peer that sends on for ever is cut in the end, and one
// that sends a little now and then is cut sooner.
func TestDiscardTimeout(t *testing.T) {
	clock := new(testClock)
	s := serveAt(t, clock, Config{Loops: 1, CloseTimeout: 5 * time.Second, DiscardTimeout: 12 * time.Second}, Handler{})
	open := func() *client {
		c := s.dial("/", nil)
		_, _ = io.WriteString(c, "\xff\xff")
		if ev, err := c.next(); err != nil || ev.Kind != codec.Close {
			t.Fatal(ev, err)
		}
		s.await("the end of the session", func() bool { return s.Stats().Open == 0 })
		return c
	}
	send := func(c *client, n int) {
		t.Helper()
		before := s.Stats().BytesIn
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		s.await("the server to read", func() bool { return s.Stats().BytesIn >= before+uint64(n) })
	}
	connections := func() int { return s.Stats().Connections }
	c := open()
	for _, step := range []time.Duration{lingerTimeout, 5 * time.Second, 5 * time.Second} {
		send(c, lingerBytesMin)
		s.lapse(step)
		if connections() != 1 {
			t.Fatal("a peer in the midst of sending was cut")
		}
	}
	send(c, lingerBytesMin)
	s.lapse(2 * time.Second) // 12 s since the first look
	s.await("the cut after DiscardTimeout", func() bool { return connections() == 0 })
	c = open()
	send(c, lingerBytesMin/2)
	s.lapse(lingerTimeout)
	s.await("the cut of a peer that sends next to nothing", func() bool { return connections() == 0 })
}
