package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

const (
	messageMax   = 16 << 20
	fragmentsMax = 128 << 10
	headMax      = 16 << 10
	fieldsMax    = 100
	lingerMax    = 900 * time.Millisecond
)

// reference is a plain echo server with permessage-deflate, one goroutine for
// each connection. broken names the one thing that it does wrong.
type reference struct {
	broken string
	busy   sync.Mutex // held by a server that is broken by "one at a time"
}

func (s *reference) is(fault string) bool { return s.broken == fault }

// listen serves connections until the test ends.
func listen(t *testing.T, l net.Listener, serve func(net.Conn)) string {
	t.Helper()
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[nc] = true
			mu.Unlock()
			serving.Go(func() {
				serve(nc)
				mu.Lock()
				delete(open, nc)
				mu.Unlock()
				_ = nc.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for nc := range open {
			_ = nc.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return l.Addr().String()
}

// loopback listens on a free port.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *reference) serve(nc net.Conn) {
	if s.is("one at a time") {
		s.busy.Lock()
		defer s.busy.Unlock()
	}
	r := bufio.NewReaderSize(nc, 64<<10)
	reply, d, opened := s.handshake(r)
	if _, err := nc.Write(reply); err != nil {
		return
	}
	if opened {
		if s.is("early frames lost") {
			_, _ = r.Discard(r.Buffered())
		}
		p := &peer{reference: s, nc: nc, r: r, deflate: d}
		p.run()
	}
	if s.is("TCP stays open") {
		_, _ = io.Copy(io.Discard, r)
		return
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = nc.SetReadDeadline(time.Now().Add(lingerMax))
	_, _ = io.Copy(io.Discard, r)
}

// head reads up to the empty line, and judges what it can on the way.
func (s *reference) head(r *bufio.Reader) (string, error) {
	limit := headMax
	if s.is("fields unlimited") {
		limit = messageMax
	}
	var head []byte
	for from := 0; ; {
		if len(head) >= limit {
			return "", &protocol.HandshakeError{Status: 431, Reason: "too long"}
		}
		if _, err := r.Peek(1); err != nil {
			return "", err
		}
		b, _ := r.Peek(min(r.Buffered(), limit-len(head)))
		before := len(head)
		if s.is("bare LF") {
			b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		}
		head = append(head, b...)
		end, next, err := protocol.ScanHead(head, from)
		if err != nil {
			return "", err
		}
		if end > 0 {
			_, _ = r.Discard(min(r.Buffered(), end-before))
			return string(head[:end]), nil
		}
		if s.is("one segment") {
			return "", &protocol.HandshakeError{Status: 400, Reason: "not all at once"}
		}
		_, _ = r.Discard(len(b))
		from = next
	}
}

// handshake returns the answer, and whether it opens the connection.
func (s *reference) handshake(r *bufio.Reader) (reply []byte, d *serverDeflate, opened bool) {
	head, err := s.head(r)
	var q protocol.Request
	if err == nil {
		head = s.mend(head)
		limit := fieldsMax
		if s.is("fields unlimited") {
			limit = 1 << 20
		}
		err = q.Parse(head, limit)
	}
	if err == nil {
		err = protocol.CheckUpgrade(&q)
	}
	if err == nil && q.Fields.Count("Origin") > 0 && !protocol.SameOrigin(q.Fields.Get("Origin"), q.Host) {
		err = &protocol.HandshakeError{Status: 403, Reason: "a foreign origin"}
	}
	if err != nil {
		return s.refuse(&q, err), nil, false
	}
	offers, _ := protocol.ParseExtensions(q.Fields)
	answer, d := s.negotiate(offers)
	key := q.Fields.Get("Sec-WebSocket-Key")
	if s.is("wrong accept key") {
		key = strings.ToLower(key)
	}
	return protocol.AppendSwitchingProtocols(nil, key, "", answer, nil), d, true
}

func (s *reference) refuse(q *protocol.Request, err error) []byte {
	var e *protocol.HandshakeError
	if !errors.As(err, &e) {
		return nil // the end of the stream
	}
	fields := e.Fields
	if s.is("426 without version") || s.is("405 without Allow") {
		fields = nil
	}
	reply := protocol.AppendReply(nil, e.Status, e.Reason, fields)
	if q.Method == "HEAD" && !s.is("HEAD with a body") {
		reply = reply[:bytes.Index(reply, []byte("\r\n\r\n"))+4]
	}
	return reply
}

// mend makes a bad handshake good, for servers that do not look.
func (s *reference) mend(head string) string {
	replace := func(old, with string) string { return strings.Replace(head, old, with, 1) }
	switch s.broken {
	case "version 12":
		return replace("Version: 12", "Version: 13")
	case "Connection by substring":
		return replace("Connection: Upgraded", "Connection: Upgrade")
	case "POST":
		return replace("POST ", "GET ")
	case "short key":
		return replace("AAECAwQFBgcICQoLDA0O\r\n", "AAECAwQFBgcICQoLDA0ODw==\r\n")
	case "Host missing":
		if !strings.Contains(head, "\r\nHost:") {
			return replace("\r\n", "\r\nHost: a.example\r\n")
		}
	case "space before colon":
		return strings.ReplaceAll(head, " :", ":")
	case "folding":
		return strings.ReplaceAll(head, "\r\n ", " ")
	case "two lengths":
		return replace("Content-Length: 5\r\n", "")
	case "Host before authority":
		return replace("http://a.example/", "/")
	}
	return head
}
