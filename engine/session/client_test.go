package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errOnPurpose = errors.New("on purpose")

// patience is how long an event may take before a test gives up on it. No test
// passes or fails by how long something takes below it.
const patience = time.Minute

// server is an engine under test.
type server struct {
	*engine.Engine
	t    testing.TB
	logs *observer.ObservedLogs
	stop context.CancelFunc
	done chan error // Run's result
}

// serve runs an engine until the test ends. What Config grants a peer, a test's
// client may spend on waiting for a processor: it gets more.
func serve(t testing.TB, cfg engine.Config, h engine.Handler) *server {
	t.Helper()
	for _, d := range []*time.Duration{&cfg.HandshakeTimeout, &cfg.CloseTimeout, &cfg.DrainTimeout} {
		if *d == 0 {
			*d = patience
		}
	}
	core, logs := observer.New(zap.DebugLevel)
	cfg.Logger, cfg.Addr = zap.New(core), "ws://127.0.0.1:0"
	e, err := engine.New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &server{Engine: e, t: t, logs: logs, stop: stop, done: make(chan error, 1)}
	go func() { s.done <- e.Run(ctx) }()
	t.Cleanup(func() { _ = s.end() })
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

// clock is the time of a Store, which does not pass by itself.
type clock struct {
	t *testing.T

	mu     sync.Mutex // guards what follows
	now    time.Time
	timers []*timer // of the Store, in the order of their making; stopped ones too
}

// timer is due when the test's time says so. One that the Store has stopped
// rings too: so may one that is under way when it is stopped.
type timer struct {
	*engine.Timer
	loop *engine.Loop
	due  time.Time
	rang chan struct{}
}

func (k *clock) read() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

func (k *clock) after(l *engine.Loop, d time.Duration, f func()) *engine.Timer {
	k.mu.Lock()
	defer k.mu.Unlock()
	x := &timer{loop: l, due: k.now.Add(d), rang: make(chan struct{})}
	x.Timer = l.After(24*time.Hour, func() {
		defer close(x.rang)
		f()
	})
	k.timers = append(k.timers, x)
	return x.Timer
}

// pass lets time pass and returns when all timers that are due have been called.
func (k *clock) pass(d time.Duration) {
	k.t.Helper()
	var due, left []*timer
	k.mu.Lock()
	k.now = k.now.Add(d)
	for _, x := range k.timers {
		if x.due.After(k.now) {
			left = append(left, x)
		} else {
			due = append(due, x)
		}
	}
	k.timers = left
	k.mu.Unlock()
	for _, x := range due {
		x.Reset(0)
		<-x.rang
		after := make(chan struct{})
		if x.loop.Post(func() { close(after) }) == nil {
			<-after // and what follows the call, such as the log of a panic
		}
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

// dial connects and opens.
func (s *server) dial() *client {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	s.t.Cleanup(func() { _ = nc.Close() })
	c := &client{Conn: nc, t: s.t, buf: make([]byte, 64<<10), session: codec.NewSession(&codec.Options{
		Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 20, FragmentsMax: 100, Host: "localhost", Target: "/",
	})}
	c.env.Random = rand.New(rand.NewPCG(1, 2)).Uint64
	c.session.Start(&c.env)
	c.flush()
	if ev, err := c.next(); err != nil || ev.Kind != codec.Open {
		s.t.Fatalf("dial: %v %v", ev.Kind, err)
	}
	return c
}

// abort resets a connection.
func abort(nc net.Conn) {
	_ = nc.(*net.TCPConn).SetLinger(0)
	_ = nc.Close()
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
		if err != nil {
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
func (c *client) closed() *engine.CloseError {
	c.t.Helper()
	var info *engine.CloseError
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

// frame encodes a message.
func (c *client) frame(text string) []byte {
	b, _ := c.session.Encode(&c.env, nil, protocol.OpText, []byte(text), false)
	return b
}

func one[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("gave up waiting for %s", what)
	}
	return v
}
