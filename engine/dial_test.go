package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// pure runs an engine that only dials.
func pure(t testing.TB, cfg Config, h Handler) *server {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	cfg.Logger = zap.New(core)
	e, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, e)
	s.logs = logs
	return s
}

// url is where s serves.
func (s *server) url(target string) string {
	if s.Addr().Network() == "unix" {
		return "ws+unix://" + s.Addr().String() + ":" + target
	}
	return "ws://" + s.Addr().String() + target
}

// mustDial dials without a wait.
func (s *server) mustDial(d Dial) {
	s.t.Helper()
	if err := s.Dial(s.t.Context(), d); err != nil {
		s.t.Fatal(err)
	}
}

// one returns the next value of a channel.
func one[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("gave up waiting for %s", what)
	}
	return v
}

// TestDialEcho: messages of all sizes, both ways, with compression and without,
// and the data that was sent is as it was.
func TestDialEcho(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		for _, mode := range []DeflateMode{DeflateTakeover, DeflateNoTakeover, DeflateOff} {
			s := serve(t, Config{Loops: n, Deflate: mode}, Handler{OnMessage: echo, OnUpgrade: func(u *Upgrade) error {
				offer := u.Request.Fields.Get("Sec-WebSocket-Extensions")
				offered := offer != ""
				if offered && !strings.Contains(offer, "server_max_window_bits=12") { // what is kept of it
					t.Errorf("the offer is %q", offer)
				}
				if u.Request.Target != "/a%20b?q=1" || u.Request.Fields.Get("X") != "y" || offered != (mode != DeflateOff) {
					t.Errorf("the request is %+v", u.Request)
				}
				u.Subprotocol = "v1"
				u.Header = []protocol.Field{{Name: "Set-Cookie", Value: "a=b"}}
				return nil
			}})
			var sent [][]byte
			for i, size := range []int{0, 1, 125, 126, 1000, 65535, 65536, 300_000} {
				sent = append(sent, bytes.Repeat([]byte(fmt.Sprint(i)), size))
			}
			before := slices.Clone(sent)
			for i := range before {
				before[i] = slices.Clone(sent[i])
			}
			next := 0
			closed := make(chan *CloseError, 1)
			c := pure(t, Config{Loops: n, Deflate: mode}, Handler{})
			c.mustDial(Dial{
				URL: s.url("/a%20b?q=1"), State: "mine", Subprotocols: []string{"v2", "v1"}, Header: []protocol.Field{{Name: "X", Value: "y"}},
				Handler: &Handler{
					OnOpen: func(c *Conn) {
						if c.State() != "mine" || c.Subprotocol() != "v1" || !c.Dialled() || c.Request() != nil || c.Response().Fields.Get("set-cookie") != "a=b" {
							t.Errorf("state %v, subprotocol %q, response %v", c.State(), c.Subprotocol(), c.Response())
						}
						for i, b := range sent {
							if err := c.Send(Message{Type: MessageType(1 + i%2), Data: b}); err != nil {
								t.Error(err)
							}
						}
					},
					OnMessage: func(c *Conn, m Message) {
						if c.Response() != nil {
							t.Error("the response lived on")
						}
						if !bytes.Equal(m.Data, before[next]) || m.Type != MessageType(1+next%2) {
							t.Errorf("message %d came back as %v %.20q", next, m.Type, m.Data)
						}
						if next++; next == len(sent) {
							_ = c.Close(protocol.CloseNormal, "done")
						}
					},
					OnClose: func(_ *Conn, e *CloseError) { closed <- e },
				},
			})
			if e := one(t, closed, "OnClose"); e.Code != protocol.CloseNormal || e.Remote || e.Err != nil {
				t.Errorf("closed: %v", e)
			}
			for i := range sent {
				if !bytes.Equal(sent[i], before[i]) {
					t.Errorf("message %d was changed", i)
				}
			}
			c.await("all to be gone", func() bool { return c.Stats().Connections == 0 && s.Stats().Connections == 0 })
			if st := c.Stats(); st.Dialled != 1 || st.DialFailed != 0 || st.Accepted != 0 || st.MessagesIn != uint64(len(sent)) || st.MessagesOut != st.MessagesIn {
				t.Errorf("stats %+v", st)
			}
			for _, e := range []*server{s, c} {
				if err := e.end(); err != nil {
					t.Error(err)
				}
				e.balanced()
			}
		}
	})
}

func TestDialUnixSocket(t *testing.T) {
	s := serve(t, Config{Addr: "ws+unix://" + filepath.Join(t.TempDir(), "s")}, Handler{OnMessage: echo, OnUpgrade: func(u *Upgrade) error {
		if u.Request.Target != "/room?n=1" || u.Request.Host != "localhost" {
			t.Errorf("target %s, host %s", u.Request.Target, u.Request.Host)
		}
		return nil
	}})
	got := make(chan string, 1)
	s.mustDial(Dial{URL: s.url("/room?n=1"), Handler: &Handler{
		OnOpen:    func(c *Conn) { _ = c.SendText("by file") },
		OnMessage: func(_ *Conn, m Message) { got <- m.Text() },
	}})
	if m := one(t, got, "the echo"); m != "by file" {
		t.Errorf("received %q", m)
	}
}

// answering accepts connections and treats each by f, in a goroutine, until the
// test ends.
func answering(t *testing.T, f func(nc net.Conn)) (url string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			go func() { defer nc.Close(); f(nc) }()
		}
	}()
	return "ws://" + ln.Addr().String()
}

// reply answers a request with a fixed text and waits for the end of the stream.
func reply(text string) func(nc net.Conn) {
	return func(nc net.Conn) {
		buf := make([]byte, 4096)
		_, _ = nc.Read(buf)
		_, _ = nc.Write([]byte(text))
		_, _ = nc.Read(buf)
	}
}

// once is reply, but ends the stream.
func once(text string) func(nc net.Conn) {
	return func(nc net.Conn) {
		_, _ = nc.Read(make([]byte, 4096))
		_, _ = nc.Write([]byte(text))
	}
}

// reset cuts a connection off when something has come.
func reset(nc net.Conn) {
	_, _ = nc.Read(make([]byte, 4096))
	_ = nc.(*net.TCPConn).SetLinger(0)
}

// unserved is an address where nobody listens, nor will during the test: it is bound.
func unserved(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	bound, other := unix.Getsockname(fd)
	if err = errors.Join(err, other); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
}

// TestDialFailures: each way to fail is told once, with its cause, and leaves
// nothing behind.
func TestDialFailures(t *testing.T) {
	status := func(status int, reason string) func(error) bool {
		return func(err error) bool {
			var refused *codec.HandshakeError
			return errors.As(err, &refused) && refused.Status == status && strings.Contains(refused.Reason, reason)
		}
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	says := func(text string) func(error) bool {
		return func(err error) bool { return strings.Contains(err.Error(), text) }
	}
	late := func(why func(error) bool) func(error) bool { // after Dial.Timeout
		return func(err error) bool { return err == ErrTimeout || why(err) } //nolint:errorlint // it asks whether to wait
	}
	s := serve(t, Config{}, Handler{OnUpgrade: func(u *Upgrade) error { return Refuse(401, "log in first") }})
	secure := serveTLS(t, Config{}, Handler{})
	other := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	other.Config.ErrorLog = log.New(io.Discard, "", 0)
	switching := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	for _, c := range []struct {
		name string
		url  string
		why  func(error) bool
	}{
		{"refused", s.url("/"), status(401, `: "log in first"`)},
		{"TLS is asked for", "ws://" + secure.Addr().String(), status(400, "this port speaks TLS: use https:// or wss://")},
		{"TLS is asked for by net/http", "ws" + other.URL[5:], status(400, "Client sent an HTTP request to an HTTPS server.")},
		{"TLS to a plain port", "wss" + s.url("/")[2:], says("may not speak TLS")},
		{"TLS to plain HTTP", "wss" + answering(t, reply("HTTP/1.1 400 Bad Request\r\n\r\n"))[2:], says(`does not speak TLS on this port, its answer begins with "HTTP/": use a URL without TLS`)},
		{"TLS to a port that resets", "wss" + answering(t, reset)[2:], says("may not speak TLS")},
		{"a broken record", "wss" + answering(t, reply("\x16\x03\x01\xff\xff"))[2:], says("attempt 1: tls: oversized record")},
		{"TLS without an answer", "wss" + answering(t, reply(""))[2:], late(says("in the TLS handshake"))},
		{"a body up to the end of the stream", answering(t, once("HTTP/1.0 403 No\r\n\r\ngo away")), status(403, `: "go away"`)},
		{"half a body", answering(t, once("HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nhalf")), status(403, `: "half"`)},
		{"half a body in time", answering(t, reply("HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nhalf")), late(status(403, `: "half"`))},
		{"nobody listens", "ws://" + unserved(t), func(err error) bool { var op *net.OpError; return errors.As(err, &op) }},
		{"wrong key", answering(t, reply(switching+"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")), status(502, "Sec-WebSocket-Accept")},
		{"no HTTP", answering(t, reply("220 mail\r\n\r\n")), status(502, "does not speak HTTP")},
		{"no HTTP, and no end of a head", answering(t, reply("SSH-2.0-x\r\n")), status(502, "does not speak HTTP")},
		{"TLS", answering(t, reply("\x15\x03\x03\x00\x02\x02\x46")), status(502, "the server speaks TLS: use wss://")},
		{"a bare LF", answering(t, reply("HTTP/1.1 101 Switching Protocols\n\n")), status(502, "bare LF")},
		{"a bad status line", answering(t, reply("HTTP/1.1 1e1 x\r\n\r\n")), status(502, "status code")},
		{"no reason phrase", answering(t, reply("HTTP/1.1 403\r\n\r\n")), status(403, "")},
		{"refused after a hint", answering(t, reply("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 429 No\r\n\r\n")), status(429, "")},
		{"hints only", answering(t, reply(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 9))), status(502, "interim")},
		{"a redirect", answering(t, reply("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n")), status(302, "")},
		{"a head without end", answering(t, reply(switching+"X: "+strings.Repeat("x", 20_000))), status(502, "exceeds")},
		{"the stream ends", answering(t, func(net.Conn) {}), func(err error) bool { return err != nil && !errors.Is(err, ErrTimeout) }},
		{"no connection", unanswered(t), is(ErrTimeout)},
		{"no answer", answering(t, reply("")), is(ErrTimeout)},
		{"half an answer", answering(t, reply(switching)), is(ErrTimeout)},
	} {
		t.Run(c.name, func(t *testing.T) {
			failed := make(chan *DialError, 2)
			timeout := patience
			if c.why(ErrTimeout) {
				timeout = 20 * time.Millisecond
			}
			p := pure(t, Config{Loops: 1, CloseTimeout: NoLimit}, Handler{ // nothing is awaited after a failure
				OnOpen:  func(*Conn) { t.Error("OnOpen") },
				OnClose: func(*Conn, *CloseError) { t.Error("OnClose") },
			})
			p.mustDial(Dial{URL: c.url + "/?secret", Timeout: timeout, OnFailure: func(e *DialError) {
				if !p.loops[0].loop.On() {
					t.Error("OnFailure runs elsewhere")
				}
				failed <- e
			}})
			e := one(t, failed, "OnFailure")
			if !c.why(e) || e.Attempt != 1 || e.Retry != 0 || e.URL != c.url+"/" || strings.Contains(e.Error(), "secret") {
				t.Errorf("failed with %v", e)
			}
			p.await("it to be forgotten", func() bool { return p.Stats().Connections == 0 })
			if st := p.Stats(); st.DialFailed != 1 || len(failed) != 0 {
				t.Errorf("stats %+v, and %d more failures", st, len(failed))
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
			p.balanced()
		})
	}
}

// TestDialControl: Control has each socket before it connects, and may refuse.
func TestDialControl(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	p := pure(t, Config{Loops: 1}, Handler{})
	opened, failed := make(chan *Conn, 1), make(chan *DialError, 1)
	refuse := errors.New("not this one")
	var calls atomic.Int32
	control := func(network, address string, c syscall.RawConn) error {
		if network != "tcp4" || address != s.Addr().String() {
			t.Errorf("Control is called for %s %s", network, address)
		}
		if calls.Add(1) > 1 {
			return refuse
		}
		err := error(nil)
		return errors.Join(c.Control(func(fd uintptr) {
			_, peer := syscall.Getpeername(int(fd)) // there is none yet
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			if err == nil && peer == nil {
				err = errors.New("connected already")
			}
		}), err)
	}
	d := Dial{URL: s.url("/"), Control: control, Handler: &Handler{OnOpen: func(c *Conn) { opened <- c }}, OnFailure: func(e *DialError) { failed <- e }}
	p.mustDial(d)
	one(t, opened, "OnOpen")
	p.mustDial(d)
	if e := one(t, failed, "OnFailure"); !errors.Is(e, refuse) {
		t.Errorf("failed with %v", e)
	}
}

// TestDialLocalAddr: the server sees where a connection comes from.
func TestDialLocalAddr(t *testing.T) {
	peers := make(chan string, 1)
	s := serve(t, Config{}, Handler{OnOpen: func(c *Conn) { peers <- c.RemoteAddr().(*net.TCPAddr).IP.String() }})
	p := pure(t, Config{Loops: 1}, Handler{})
	p.mustDial(Dial{URL: s.url("/"), LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7)}})
	if got := one(t, peers, "OnOpen"); got != "127.0.0.7" {
		t.Errorf("it comes from %s", got)
	}
}

// TestDialCrowd: thousands of connections, and not a goroutine for each.
func TestDialCrowd(t *testing.T) {
	const crowd, n = 2000, 2
	var open, most atomic.Int64
	s := serve(t, Config{Loops: n}, Handler{OnMessage: echo})
	before := runtime.NumGoroutine()
	h := &Handler{
		OnOpen: func(c *Conn) {
			open.Add(1)
			if now := int64(runtime.NumGoroutine() - before); now > most.Load() {
				most.Store(now)
			}
			_ = c.SendText("here")
		},
		OnMessage: func(c *Conn, m Message) {
			if m.Text() == "here" {
				open.Add(-1)
			}
		},
	}
	p := pure(t, Config{Loops: n, DialsMax: 16}, Handler{})
	for range crowd {
		p.mustDial(Dial{URL: s.url("/"), Handler: h})
	}
	p.await("all to have been answered", func() bool { st := p.Stats(); return st.Open == crowd && st.MessagesIn == crowd && open.Load() == 0 })
	if most.Load() > 100 {
		t.Errorf("up to %d goroutines for %d connections", most.Load(), crowd)
	}
	for _, w := range p.loops {
		w.mu.Lock()
		if len(w.conns) != crowd/n {
			t.Errorf("%d connections on one of %d loops", len(w.conns), n)
		}
		w.mu.Unlock()
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
	s.await("the server to see them leave", func() bool { return s.Stats().Connections == 0 })
}
