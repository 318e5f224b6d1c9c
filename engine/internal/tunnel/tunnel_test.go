package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// proxied starts a proxy for one connection and connects to it. The proxy reads
// one head, which seen gets, and then calls serve, after which it hangs up.
func proxied(t *testing.T, serve func(c net.Conn)) (nc net.Conn, proxy *url.URL, seen <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heads, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer close(heads)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var head []byte
		for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b...) {
			if _, err := c.Read(b); err != nil {
				return
			}
		}
		heads <- string(head)
		serve(c)
	}()
	if nc, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		ln.Close()
		<-done
	})
	return nc, &url.URL{Scheme: "http", Host: ln.Addr().String()}, heads
}

// say is what a proxy serves that sends its answer at once.
func say(answer string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, answer) }
}

const established = "HTTP/1.1 200 Connection established\r\n\r\n"

func TestConnect(t *testing.T) {
	interim := "HTTP/1.1 100 Continue\r\n\r\n"
	for _, answer := range []string{
		established,
		"HTTP/1.0 200 \r\n\r\n",
		"HTTP/1.1 200\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nVia: 1.1 a\r\n\r\n",
		"HTTP/1.1 299 x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
		interim + established,
		interim + "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + established,
	} {
		for _, first := range []string{"", "hello", "HTTP/1.1 407 x\r\n\r\n", "\r\n\r\n"} {
			nc, proxy, seen := proxied(t, func(c net.Conn) {
				say(answer + first)(c)
				_, _ = io.Copy(c, c)
			})
			early, err := Connect(t.Context(), nc, "a.example:8443", proxy)
			if err != nil {
				t.Errorf("%q: %v", answer, err)
				continue
			}
			if want, got := "CONNECT a.example:8443 HTTP/1.1\r\nHost: a.example:8443\r\n\r\n", <-seen; got != want {
				t.Errorf("request %q, want %q", got, want)
			}
			if _, err = io.WriteString(nc, "echo"); err != nil {
				t.Fatal(err)
			}
			if err = nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(nc)
			if got := string(early) + string(rest); got != first+"echo" || err != nil {
				t.Errorf("%q: the tunnel says %q, %v, want %q", answer, got, err, first+"echo")
			}
		}
	}
}

// TestEarly is about bytes, and an end, that one Read brings together with the answer.
func TestEarly(t *testing.T) {
	interim := "HTTP/1.1 100 Continue\r\n\r\n"
	for _, want := range []string{"", "hello", strings.Repeat("x", answerBytesMax-len(interim+established))} {
		early, err := readAnswer(strings.NewReader(interim + established + want))
		if string(early) != want || err != nil {
			t.Errorf("%d early bytes, %v, want %d", len(early), err, len(want))
		}
		if cap(early) > len(want)+len(want)/2+64 {
			t.Errorf("%d early bytes keep %d", len(early), cap(early))
		}
	}
	early, err := readAnswer(iotest.DataErrReader(strings.NewReader(established + "x")))
	if string(early) != "x" || err != nil {
		t.Errorf("with the end in one Read: %q, %v", early, err)
	}
}

func TestRefused(t *testing.T) {
	padding := func(n int) string { return "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", n) }
	long := "it has not ended after 16384 bytes"
	for _, tt := range []struct {
		answer string
		status int
		text   string
		said   string // behind "tunnel: proxy ADDR "
	}{
		{"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno", 407,
			"Proxy Authentication Required", "answered CONNECT with 407 Proxy Authentication Required"},
		{"HTTP/1.0 502\r\n\r\n", 502, "", "answered CONNECT with 502"},
		{"HTTP/1.0 302 \t\r\n\r\n", 302, "", "answered CONNECT with 302"},
		{"HTTP/1.1 199 x\r\n\r\nHTTP/1.1 300 y\r\n\r\n", 300, "y", "answered CONNECT with 300 y"},
		{"HTTP/1.1 101 Switching Protocols\r\n\r\n" + established, 101, "Switching Protocols", "answered CONNECT with 101 Switching Protocols"},
		{"HTTP/1.1 500 a\tb\xc2\x9b\xff~\r\n\r\n", 500, "a?b??~", "answered CONNECT with 500 a?b??~"},
		{"HTTP/1.1 500 " + strings.Repeat("y", 101) + "\r\n\r\n", 500, strings.Repeat("y", 100),
			"answered CONNECT with 500 " + strings.Repeat("y", 100)},

		{"SSH-2.0-OpenSSH_9.6\r\n", 0, "it is not HTTP/1.x", "sent a malformed answer to CONNECT: it is not HTTP/1.x"},
		{"220\r\n", 0, "it is not HTTP/1.x", "sent a malformed answer to CONNECT: it is not HTTP/1.x"},
		{"\x15\x03\x01\x00\x02\x02\x46", 0, "it is not HTTP/1.x", "sent a malformed answer to CONNECT: it is not HTTP/1.x"},
		{"HTTP/2.0 200 OK\r\n", 0, "it is not HTTP/1.x", "sent a malformed answer to CONNECT: it is not HTTP/1.x"},
		{"\r\n" + established, 0, "it is not HTTP/1.x", "sent a malformed answer to CONNECT: it is not HTTP/1.x"},
		{"HTTP/1.1 200 OK\n", 0, "line ends with a bare LF", "sent a malformed answer to CONNECT: line ends with a bare LF"},
		{"HTTP/1.x 200 OK\r\n\r\n", 0, "malformed HTTP version", "sent a malformed answer to CONNECT: malformed HTTP version"},
		{"HTTP/1.1 2x0 OK\r\n\r\n", 0, "malformed status code", "sent a malformed answer to CONNECT: malformed status code"},
		{"HTTP/1.1 200 \x00\r\n\r\n", 0, "malformed status line", "sent a malformed answer to CONNECT: malformed status line"},
		{"HTTP/1.1\r\n\r\n", 0, "malformed status line", "sent a malformed answer to CONNECT: malformed status line"},
		{padding(answerBytesMax), 0, long, "sent a malformed answer to CONNECT: " + long},
		{"HTTP/1.1 100 \r\n\r\n" + padding(answerBytesMax-30), 0, long, "sent a malformed answer to CONNECT: " + long},
		{strings.Repeat("HTTP/1.1 100 \r\n\r\n", answerBytesMax/17+1), 0, long, "sent a malformed answer to CONNECT: " + long},
	} {
		nc, proxy, _ := proxied(t, func(c net.Conn) {
			say(tt.answer)(c)
			_, _ = io.Copy(io.Discard, c) // nothing more comes, and no end
		})
		early, err := Connect(t.Context(), nc, "a:1", proxy)
		var e *Error
		if !errors.As(err, &e) || *e != (Error{proxy.Host, tt.status, tt.text}) || early != nil {
			t.Errorf("%.80q: %q, %#v", tt.answer, early, err)
			continue
		}
		if want := "tunnel: proxy " + proxy.Host + " " + tt.said; err.Error() != want {
			t.Errorf("%.80q: %q, want %q", tt.answer, err, want)
		}
	}
	if _, err := readAnswer(strings.NewReader(padding(answerBytesMax-4-len(padding(0))) + "\r\n\r\n")); err != nil {
		t.Errorf("an answer of %d bytes: %v", answerBytesMax, err)
	}
}

func TestHungUp(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 2", "HTTP/1.1 100 \r\n\r\n", established[:len(established)-1]} {
		nc, proxy, _ := proxied(t, say(answer))
		early, err := Connect(t.Context(), nc, "a:1", proxy)
		if !errors.Is(err, io.ErrUnexpectedEOF) || early != nil || !strings.Contains(err.Error(), "tunnel: CONNECT by proxy "+proxy.Host) {
			t.Errorf("%q: %q, %v", answer, early, err)
		}
	}
	nc, proxy, _ := proxied(t, say(""))
	nc.Close()
	if _, err := Connect(t.Context(), nc, "a:1", proxy); !errors.Is(err, net.ErrClosed) {
		t.Errorf("over a closed connection: %v", err)
	}
}

func TestArguments(t *testing.T) {
	proxies := map[string]string{
		"socks5://a:1":                "tunnel: a proxy of the scheme \"socks5\" is not supported: it must be http or https",
		"//a:1":                       "tunnel: a proxy of the scheme \"\" is not supported: it must be http or https",
		"http://us%3Aer:secret@a":     "tunnel: the user information of proxy a:80 has a colon in the name or a control character",
		"https://user:secret%0A@[::]": "tunnel: the user information of proxy [::]:443 has a colon in the name or a control character",
	}
	for s, want := range proxies {
		proxy, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Connect(t.Context(), nil, "a:1", proxy); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", s, err, want)
		}
	}
	for addr, want := range map[string]string{
		"":                      "host:port",
		"a":                     "host:port",
		"::1":                   "host:port",
		"a:":                    "port from 1",
		"a:0":                   "port from 1",
		"a:65536":               "port from 1",
		"a:http":                "port from 1",
		"a:1\r\nX y":            "port from 1",
		":80":                   "no well-formed host",
		"a\r\nX-Evil: 1\r\n:80": "host:port",
		"a\r\n:80":              "no well-formed host",
		"a\r:80":                "no well-formed host",
		"a\n:80":                "no well-formed host",
		"a\x00:80":              "no well-formed host",
		"a\x7f:80":              "no well-formed host",
		"a b:80":                "no well-formed host",
		"u@a:80":                "no well-formed host",
		"a/b:80":                "no well-formed host",
		"münchen.example:80":    "no well-formed host",
		"[a:b]:80":              "no well-formed host",
		"[::1\r\n]:80":          "no well-formed host",
		"[fe80::1%eth0]:80":     "zone",
		"[fe80::1%\r\n]:80":     "zone",
	} {
		_, err := Connect(t.Context(), nil, addr, &url.URL{Scheme: "http", Host: "a:1"})
		if err == nil || !strings.HasPrefix(err.Error(), "tunnel: the target ") || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%q: %v, want %s", addr, err, want)
		}
	}
}

func TestRequest(t *testing.T) {
	for _, tt := range []struct {
		addr, scheme string
		user         *url.Userinfo
		want         string
	}{
		{"a.example:80", "https", nil, "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n"},
		{"[a]:80", "http", nil, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"},
		{"192.0.2.1:65535", "http", nil, "CONNECT 192.0.2.1:65535 HTTP/1.1\r\nHost: 192.0.2.1:65535\r\n\r\n"},
		{"[2001:db8::1]:443", "http", nil, "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"},
		// RFC 7617 §2
		{"a:1", "http", url.UserPassword("Aladdin", "open sesame"),
			"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"},
		// RFC 7617 §2.1
		{"a:1", "http", url.UserPassword("test", "123£"),
			"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: Basic dGVzdDoxMjPCow==\r\n\r\n"},
		{"a:1", "http", url.User("test"), "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: Basic dGVzdDo=\r\n\r\n"},
		{"a:1", "http", url.User(""), "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: Basic Og==\r\n\r\n"},
		{"a:1", "http", url.UserPassword("", "a:b~?>~"), "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: Basic OmE6Yn4/Pn4=\r\n\r\n"},
	} {
		nc, proxy, seen := proxied(t, say("HTTP/1.1 407 x\r\n\r\n"))
		proxy.Scheme, proxy.User = tt.scheme, tt.user
		_, err := Connect(t.Context(), nc, tt.addr, proxy)
		if got := <-seen; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.addr, got, tt.want)
		}
		if want := "tunnel: proxy " + proxy.Host + " answered CONNECT with 407 x"; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", tt.addr, err, want) // with no password in it
		}
	}
}

// TestStalled ends the context of a Connect whose proxy has begun to answer.
func TestStalled(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	nc, proxy, _ := proxied(t, func(c net.Conn) {
		say("HTTP/1.1 100 \r\n\r\nHTTP/1.1 2")(c)
		close(began)
		<-ended
		say("late")(c)
	})
	why := errors.New("no time")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-began
		cancel(why)
	}()
	_, err := Connect(ctx, nc, "a:1", proxy)
	if !errors.Is(err, why) || errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "tunnel: CONNECT by proxy "+proxy.Host) {
		t.Errorf("cancelled: %v", err)
	}
	close(ended)
	if b, err := io.ReadAll(nc); !strings.HasSuffix(string(b), "late") || err != nil {
		t.Errorf("afterwards: %q, %v", b, err)
	}
}

// slow is a net.Conn that needs a second to set a deadline.
type slow struct {
	net.Conn
	deadline time.Time
	begun    chan struct{} // closed by the first call that sets one
}

func slowly(nc net.Conn) *slow { return &slow{nc, time.Unix(1, 0), make(chan struct{})} }

func (s *slow) SetDeadline(at time.Time) error {
	if !at.IsZero() {
		close(s.begun)
		<-time.After(time.Second)
	}
	s.deadline = at
	return s.Conn.SetDeadline(at)
}

// TestDeadline is about a proxy that does not read, one that does not answer, and
// what Connect leaves behind.
func TestDeadline(t *testing.T) {
	for _, reads := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			if reads {
				go func() { _, _ = io.Copy(io.Discard, b) }()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			nc := slowly(a)
			begun := time.Now()
			_, err := Connect(ctx, nc, "a:1", &url.URL{Scheme: "http", Host: "p"})
			var late net.Error
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &late) || !late.Timeout() || time.Since(begun) != time.Minute+time.Second {
				t.Errorf("after %v: %v", time.Since(begun), err)
			}
			<-time.After(time.Hour)
			if !nc.deadline.IsZero() {
				t.Error("the deadline remains")
			}
			a.Close()
			b.Close()
		})
	}
}

// ending is a net.Conn that ends a context with the Read that brings the answer.
type ending struct {
	*slow
	cancel context.CancelFunc
}

func (e *ending) Read(b []byte) (int, error) {
	e.cancel()
	<-e.begun
	return copy(b, established), nil
}

// TestAnswerAtTheEnd lets the context end with the answer: the tunnel is open, and
// bears no trace of the context.
func TestAnswerAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		ctx, cancel := context.WithCancel(t.Context())
		nc := &ending{slowly(a), cancel}
		if _, err := Connect(ctx, nc, "a:1", &url.URL{Scheme: "http", Host: "p"}); err != nil {
			t.Error(err)
		}
		<-time.After(time.Hour)
		if !nc.deadline.IsZero() {
			t.Error("the deadline remains")
		}
		a.Close()
	})
}

// TestContextAfterwards ends the context when the tunnel is open.
func TestContextAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go func() {
			_, _ = b.Read(make([]byte, 1024))
			say(established)(b)
		}()
		ctx, cancel := context.WithCancel(t.Context())
		nc := slowly(a)
		if _, err := Connect(ctx, nc, "a:1", &url.URL{Scheme: "http", Host: "p"}); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-time.After(time.Hour)
		if !nc.deadline.IsZero() {
			t.Error("the context still reaches the connection")
		}
		a.Close()
		b.Close()
	})
}

func TestAddr(t *testing.T) {
	for s, want := range map[string]string{
		"http://a":          "a:80",
		"https://a":         "a:443",
		"http://u:p@a:3128": "a:3128",
		"https://a:80/path": "a:80",
		"http://a:":         "a:80",
		"http://[::1]":      "[::1]:80",
		"https://[::1]:1":   "[::1]:1",
	} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := Addr(u); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}
