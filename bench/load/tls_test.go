//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// overTLS is the server with a certificate of its own.
func overTLS(t *testing.T, s *server) *server {
	t.Helper()
	pair, err := engine.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	s.tls = &tls.Config{Certificates: []tls.Certificate{pair}}
	return s
}

// An honest server passes over TLS, in every mode that has it, and the bytes are
// those of TCP. Sixteen messages of 1 MiB do not fit into a socket at once.
func TestTLS(t *testing.T) {
	for _, c := range []struct {
		mode string
		size int
	}{{"echo", 200}, {"echo", 1 << 20}, {"deflate", 200}, {"takeover", 200}, {"handshake", 200}, {"idle", 200}, {"burst", 200}} {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			s := overTLS(t, &server{mode: c.mode})
			o := short(s.start(t), c.mode)
			o.tls, o.size = true, c.size
			if c.size > 1000 {
				o.conns, o.inFlight, o.least = 2, 16, 20
			}
			r, err := generate(o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Messages == 0 || r.Counted < r.Messages || r.BytesIn == 0 || r.BytesOut == 0 {
				t.Errorf("%+v", r)
			}
			// A record has 22 bytes more than its plaintext, a reply 4. What is on its way when the window begins may be missing.
			if c.mode == "echo" && c.size == 200 && r.BytesIn+12*226 < r.Messages*226 {
				t.Errorf("%d bytes in for %d messages: not those of TCP", r.BytesIn, r.Messages)
			}
		})
	}
}

// What is wrong is noticed through TLS, too.
func TestTLSLiars(t *testing.T) {
	old := func(s *server) { s.tls.MaxVersion = tls.VersionTLS12 }
	group := func(s *server) { s.tls.CurvePreferences = []tls.CurveID{tls.CurveP256} }
	for _, c := range []struct {
		name   string
		server *server
		change func(*server)
		want   string
	}{
		{"contents", &server{mode: "echo", reply: only(2, flip(203))}, nil, "want"},
		{"one twice", &server{mode: "echo", reply: only(late, twice)}, nil, ""},
		{"closed", &server{mode: "echo", reply: only(late, closing)}, nil, "TLS: EOF"},
		{"another key", &server{mode: "handshake", answer: func(b []byte) []byte {
			return bytes.Replace(b, []byte("Accept: "), []byte("Accept: A"), 1)
		}}, nil, "opening"},
		{"TLS 1.2", &server{mode: "echo"}, old, "opening"},
		{"another group", &server{mode: "echo"}, group, "opening"},
		{"a mode without TLS", &server{mode: "broadcast"}, nil, "-tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			overTLS(t, c.server)
			if c.change != nil {
				c.change(c.server)
			}
			o := short(c.server.start(t), c.server.mode)
			o.tls, o.quiet = true, 10*time.Second
			if r, err := generate(o); err == nil {
				t.Fatalf("believed: %+v", r)
			} else if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: want %q in it", err, c.want)
			}
		})
	}
}

// Who is refused during the handshake tries again in a burst: after an alert, the end
// of the stream, and a reset.
func TestTLSRetries(t *testing.T) {
	s := overTLS(t, &server{mode: "burst"})
	var hellos atomic.Int32
	s.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch c := hello.Conn.(*net.TCPConn); hellos.Add(1) {
		case 5:
			return nil, errors.New("not now")
		case 7:
			_ = c.SetLinger(0)
			fallthrough
		case 6:
			_ = c.Close()
		}
		return nil, nil
	}
	o := short(s.start(t), "burst")
	o.tls = true
	if r, err := generate(o); err != nil || r.Retries != 3 {
		t.Errorf("%+v, %v: want 3 retries", r, err)
	}
}

// Who chooses another cipher does other work.
func TestAgreed(t *testing.T) {
	good := tls.ConnectionState{CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	other := tls.ConnectionState{CipherSuite: tls.TLS_CHACHA20_POLY1305_SHA256}
	again := good
	again.DidResume = true
	if agreed(good) != nil || agreed(other) == nil || agreed(again) == nil {
		t.Errorf("%v, %v, %v", agreed(good), agreed(other), agreed(again))
	}
}

// Pings are answered, with and without TLS.
func TestPing(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := &server{mode: "echo", reply: only(20, func(frame []byte) []byte { return append([]byte("\x89\x02hi"), frame...) })}
		if secure {
			overTLS(t, s)
		}
		o := short(s.start(t), "echo")
		o.tls = secure
		if _, err := generate(o); err != nil || s.pongs.Load() != 1 {
			t.Errorf("TLS: %v: %d pongs, %v", secure, s.pongs.Load(), err)
		}
	}
}
