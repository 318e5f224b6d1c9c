package engine

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// headAttacks never get beyond the opening handshake, or slowly.
var headAttacks = []hostile{
	{name: "head byte by byte", ceiling: 16, attack: dribble},
	{name: "endless head", ceiling: 32, cfg: Config{DiscardTimeout: 200 * time.Millisecond}, attack: endlessHead},
	{name: "1,000 silent", ceiling: 32, cfg: Config{HandshakeTimeout: time.Second}, attack: silence},
	{name: "other protocols", ceiling: 16, attack: otherProtocols},
}

// dribble sends a handshake and a message in segments of one byte.
func dribble(s *siege) {
	all := s.connectMany(s.n(20, 200))
	wire := upgradeHead() + "\x81\x82\x00\x00\x00\x00hi\x88\x80\x00\x00\x00\x00"
	for i := range wire {
		for _, nc := range all {
			if _, err := io.WriteString(nc, wire[i:i+1]); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	for _, nc := range all {
		if got := s.ends("a slow head", nc); !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "\r\n\r\n\x81\x02hi\x88\x00") {
			s.t.Fatalf("answered %q", got)
		}
	}
}

// endlessHead sends on until it is cut. It gets its answer, others are served
// meanwhile, and it is cut when DiscardTimeout is over.
func endlessHead(s *siege) {
	var all sync.WaitGroup
	n := s.n(4, 40)
	for endless, first := range map[string]string{"x": "a: ", "a: b\r\n": "", "\r\n": ""} {
		piece := []byte(strings.Repeat(endless, 8192/len(endless)))
		for range n {
			all.Go(func() {
				nc := s.connect()
				written := make(chan struct{})
				go func() {
					defer close(written)
					_, err := io.WriteString(nc, "GET / HTTP/1.1\r\n"+first)
					for err == nil {
						_, err = nc.Write(piece)
					}
				}()
				want := http.StatusRequestHeaderFieldsTooLarge
				if endless == "\r\n" { // ends the head, which is then none of a handshake
					want = http.StatusBadRequest
				}
				r, err := http.ReadResponse(bufio.NewReader(nc), nil)
				if err != nil || r.StatusCode != want {
					s.t.Errorf("%q for ever: %+v %v", endless, r, err)
				}
				answered := time.Now()
				<-written
				if took := time.Since(answered); took > 10*time.Second {
					s.t.Errorf("%q for ever: cut after %v", endless, took)
				}
			})
		}
	}
	s.serves()
	all.Wait()
}

// silence is many who connect and say nothing. They are told so.
func silence(s *siege) {
	before := s.Stats().Accepted
	all := s.connectMany(1000)
	s.await("all to be accepted", func() bool { return s.Stats().Accepted == before+1000 })
	s.serves()
	for _, nc := range all {
		if got := s.ends("silent", nc); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
			s.t.Fatalf("told %q", got)
		}
	}
}

// otherProtocols speak something else than HTTP/1.1.
func otherProtocols(s *siege) {
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(s.rand.Uint32())
	}
	for _, hello := range []string{
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"SSH-2.0-OpenSSH_9.9\r\n", "EHLO localhost\r\n", "*1\r\n$4\r\nPING\r\n",
		"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
		strings.Repeat("\x00", 64<<10), string(noise),
	} {
		nc := s.connect()
		_, _ = io.WriteString(nc, hello) // the server may cut it short
		if cw, ok := nc.(*net.TCPConn); ok {
			_ = cw.CloseWrite()
		}
		if got := s.ends(hello[:min(len(hello), 20)], nc); got != "" && !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 505") {
			s.t.Errorf("%.20q got %.60q", hello, got)
		}
	}
	for range s.n(20, 200) {
		nc := s.connect()
		if err := tls.Client(nc, &tls.Config{ServerName: "localhost"}).Handshake(); !errors.Is(err, io.EOF) {
			s.t.Errorf("a TLS client saw: %v", err)
		}
	}
}
