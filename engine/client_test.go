package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

func TestMain(m *testing.M) {
	if serveAsChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long an event may take before a test gives up on it. No test
// passes or fails by how long something takes below it.
const patience = time.Minute

// server is an engine under test.
type server struct {
	*Engine
	t     testing.TB
	logs  *observer.ObservedLogs
	clock *testClock // nil: the real time
	stop  context.CancelFunc
	done  chan error // Run's result

	mu    sync.Mutex
	peers []net.Conn // that connect made
}

// serve runs an engine until the test ends. What Config grants a peer, a test's
// client may spend on waiting for a processor: it gets more.
func serve(t testing.TB, cfg Config, h Handler) *server {
	t.Helper()
	for _, d := range []*time.Duration{&cfg.HandshakeTimeout, &cfg.CloseTimeout, &cfg.DrainTimeout} {
		if *d == 0 {
			*d = patience
		}
	}
	return serveAt(t, nil, cfg, h)
}

// serveAt is serve with a time of the test's own; see server.pass.
func serveAt(t testing.TB, clock *testClock, cfg Config, h Handler) *server {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	if cfg.Logger == nil {
		cfg.Logger = zap.New(core)
	}
	if cfg.Addr == "" && cfg.Listener == nil {
		cfg.Addr = "ws://127.0.0.1:0"
	}
	e, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	if clock != nil {
		e.test.clock = clock.read
	}
	s := run(t, e)
	s.logs, s.clock = logs, clock
	return s
}

func run(t testing.TB, e *Engine) *server {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &server{Engine: e, t: t, stop: stop, done: make(chan error, 1)}
	go func() { s.done <- e.Run(ctx) }()
	t.Cleanup(func() { _ = s.end() })
	s.await("the loops to run", func() bool { return len(e.running()) > 0 })
	return s
}

// end stops the engine and returns Run's error.
func (s *server) end() error {
	s.stop()
	select {
	case err := <-s.done:
		s.done <- err
		return err
	case <-time.After(patience):
		s.t.Error("Run did not return")
		return nil
	}
}

// await waits until ok.
func (s *server) await(what string, ok func() bool) {
	s.t.Helper()
	look, give := time.NewTicker(time.Millisecond), time.After(patience)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-give:
			s.t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// loops runs a test with one loop and with two.
func loops(t *testing.T, f func(t *testing.T, n int)) {
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprintf("loops=%d", n), func(t *testing.T) { f(t, n) })
	}
}

// client is a WebSocket client on the codec's client role, blocking.
type client struct {
	net.Conn
	t       testing.TB
	env     codec.Env
	session *codec.Session
	in      []byte
	buf     []byte
}

// dial connects and opens; fields are more request fields.
func (s *server) dial(target string, subprotocols []string, fields ...protocol.Field) *client {
	s.t.Helper()
	c, err := s.tryDial(target, subprotocols, fields...)
	if err != nil {
		s.t.Fatalf("dial: %v", err)
	}
	return c
}

func (s *server) tryDial(target string, subprotocols []string, fields ...protocol.Field) (*client, error) {
	return s.open(s.connect(), target, subprotocols, fields...)
}

// open opens a session on a connection.
func (s *server) open(nc net.Conn, target string, subprotocols []string, fields ...protocol.Field) (*client, error) {
	host := s.Addr().String()
	if s.Addr().Network() == "unix" {
		host = "localhost"
	}
	options := clientOptions(host)
	options.Target, options.Subprotocols, options.Fields = target, subprotocols, fields
	c := newClient(s.t, nc, options)
	return c, c.begin()
}

func clientOptions(host string) *codec.Options {
	return &codec.Options{
		Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 30, FragmentsMax: 1 << 20,
		Host: host, Target: "/",
	}
}

// begin makes the handshake.
func (c *client) begin() error {
	c.session.Start(&c.env)
	if _, err := c.Write(c.env.Out); err != nil {
		return err
	}
	c.env.Out = c.env.Out[:0]
	for {
		ev, err := c.next()
		switch {
		case err != nil:
			return err
		case ev.Kind == codec.Open:
			return nil
		case ev.Kind == codec.Close:
			return c.env.Closed
		}
	}
}

func newClient(t testing.TB, nc net.Conn, o *codec.Options) *client {
	c := &client{Conn: nc, t: t, session: codec.NewSession(o), buf: make([]byte, 64<<10)}
	r := rand.New(rand.NewPCG(1, 2))
	c.env.Random = r.Uint64
	return c
}

// connect opens a TCP (or unix) connection that the test closes.
func (s *server) connect() net.Conn {
	s.t.Helper()
	nc, err := net.Dial(s.Addr().Network(), s.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return s.keep(nc)
}

// keep bounds the time of a connection, and has the test close it.
func (s *server) keep(nc net.Conn) net.Conn {
	_ = nc.SetDeadline(time.Now().Add(patience))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = append(s.peers, nc)
	s.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// hangUp closes all connections that connect made.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nc := range s.peers {
		_ = nc.Close()
	}
	s.peers = nil
}

func (c *client) flush() {
	if _, err := c.Write(c.env.Out); err != nil {
		c.t.Errorf("client: %v", err)
	}
	c.env.Out = c.env.Out[:0]
}

// next returns the next event; io.EOF if the stream ended.
func (c *client) next() (codec.Event, error) {
	for {
		ev, n := c.session.Decode(&c.env, c.in)
		c.in = c.in[n:]
		if len(c.env.Out) > 0 {
			_, _ = c.Write(c.env.Out) // an answer to a ping or close; the server may be gone
			c.env.Out = c.env.Out[:0]
		}
		if ev.Kind != codec.NeedMore {
			return ev, nil
		}
		n, err := c.Read(c.buf)
		if n == 0 && err != nil { // crypto/tls may return both
			return ev, err
		}
		c.in = c.buf[:n]
	}
}

func (c *client) send(op protocol.Opcode, payload string) {
	c.t.Helper()
	out, err := c.session.Encode(&c.env, c.env.Out, op, []byte(payload), false)
	if err != nil {
		c.t.Fatal(err)
	}
	c.env.Out = out
	c.flush()
}

// receive expects a message.
func (c *client) receive() (protocol.Opcode, string) {
	c.t.Helper()
	for {
		ev, err := c.next()
		switch {
		case err != nil:
			c.t.Fatalf("client: waiting for a message: %v", err)
		case ev.Kind == codec.Close:
			c.t.Fatalf("client: waiting for a message: %v", c.env.Closed)
		case ev.Kind == codec.Message:
			return ev.Opcode, string(ev.Data)
		}
	}
}

func (c *client) expect(want string) {
	c.t.Helper()
	if _, got := c.receive(); got != want {
		c.t.Fatalf("client: received %.80q, want %.80q", got, want)
	}
}

// closed expects a close frame and then the end of the stream, and returns the
// frame. Messages before it are passed over.
func (c *client) closed() *CloseError {
	c.t.Helper()
	var info *CloseError
	for {
		ev, err := c.next()
		switch {
		case errors.Is(err, io.EOF):
			_ = c.Conn.Close()
			return info
		case err != nil:
			c.t.Fatalf("client: waiting for the end: %v (close frame: %v)", err, info)
		case ev.Kind == codec.Close:
			info = c.env.Closed
		}
	}
}

func (c *client) close(code protocol.CloseCode, reason string) {
	c.session.Close(&c.env, code, reason)
	c.flush()
}

// exchange sends raw bytes and returns the response, and what follows it until
// the stream ends.
func (s *server) exchange(request string) (*http.Response, string) {
	s.t.Helper()
	nc := s.connect()
	if _, err := io.WriteString(nc, request); err != nil {
		s.t.Fatal(err)
	}
	return s.response(nc)
}

func (s *server) response(nc net.Conn) (*http.Response, string) {
	s.t.Helper()
	br := bufio.NewReader(nc)
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		s.t.Fatalf("no response: %v", err)
	}
	rest, err := io.ReadAll(br)
	if err != nil {
		s.t.Fatalf("the stream did not end well after %s: %v", r.Status, err)
	}
	return r, string(rest)
}

// upgradeHead is a valid request; more are its further lines.
func upgradeHead(more ...string) string {
	lines := append([]string{
		"GET /chat HTTP/1.1", "Host: example.com", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
	}, more...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func echo(c *Conn, m Message) { _ = c.Send(m) }
