package session

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// TestResumeOverEveryProtocol: a session goes from a connection that was cut to the
// next, whatever carries them: lines, and lines over TLS.
func TestResumeOverEveryProtocol(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		a := newArcade(t, engine.Config{Loops: n}, Config{})
		cert, err := engine.SelfSigned("localhost")
		if err != nil {
			t.Fatal(err)
		}
		var dials []func() net.Conn
		for _, scheme := range []string{"text", "text+tls"} {
			cfg := engine.Config{Addr: scheme + "://127.0.0.1:0"}
			if scheme == "text+tls" {
				cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			l, err := a.Listen(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			dials = append(dials, func() net.Conn {
				nc, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = nc.Close() })
				_ = nc.SetDeadline(time.Now().Add(patience))
				if cfg.TLS != nil {
					return tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
				}
				return nc
			})
		}
		var token string
		for i := range 6 { // from one protocol to the other and back
			nc := dials[i%2]()
			in := bufio.NewReader(nc)
			hears := func() string {
				t.Helper()
				s, err := in.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSuffix(s, "\n")
			}
			if i == 0 {
				_, _ = io.WriteString(nc, "begin ada\n")
				token = hears()
			} else {
				_, _ = io.WriteString(nc, "resume "+token+"\nmove\n") // in one segment
				if got, want := hears()+hears(), fmt.Sprintf("resumed ada, %d moves%d moves", 2*i-1, 2*i); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
			if c, ok := nc.(*tls.Conn); ok {
				nc = c.NetConn() // no close_notify
			}
			_ = nc.(*net.TCPConn).SetLinger(0)
			_ = nc.Close()
			if e := one(t, a.closed, "OnClose"); !errors.Is(e, io.EOF) && e.Err == nil {
				t.Errorf("closed with %v", e)
			}
		}
		if n := a.sessions.Len(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}
