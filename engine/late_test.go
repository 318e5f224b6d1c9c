package engine

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// A loop, or the whole process, is held up while peers do in time what they
// have to do: none is cut. When the loop goes on, its timers come first.

// late is a server whose loop can be held up, and one client of it.
type late struct {
	*server
	*client
	conn   *Conn
	closed chan *CloseError
	pong   chan struct{}
}

func newLate(t *testing.T, cfg Config) *late {
	conns, x := make(chan *Conn, 1), &late{closed: make(chan *CloseError, 4), pong: make(chan struct{}, 1)}
	cfg.Loops, cfg.DrainTimeout = 1, patience
	x.server = serveAt(t, new(testClock), cfg, Handler{
		OnOpen: func(c *Conn) {
			select {
			case conns <- c:
			default:
			}
		},
		OnMessage: echo,
		OnPong:    func(*Conn, []byte) { x.pong <- struct{}{} },
		OnClose:   func(_ *Conn, e *CloseError) { x.closed <- e },
	})
	x.client = x.dial("/", nil)
	x.conn = one(t, conns, "OnOpen")
	return x
}

// heldUp holds up the loop for d, in which meanwhile happens. The alarm rings
// before anything is read.
func (s *server) heldUp(d time.Duration, meanwhile func()) {
	s.t.Helper()
	w, held, release := s.running()[0], make(chan struct{}), make(chan struct{})
	_ = w.post(post{kind: ownPost, do: func() { close(held); <-release }})
	one(s.t, held, "the loop")
	meanwhile()
	s.clock.now.Add(int64(d))
	_ = w.post(post{kind: ownPost, do: w.rang})
	close(release)
}

// hear reads what the server sent, but does not answer it yet.
func (x *late) hear() {
	x.server.t.Helper()
	n, err := x.Read(x.buf)
	if err != nil {
		x.server.t.Fatal(err)
	}
	x.in = x.buf[:n]
}

// answer answers what was heard.
func (x *late) answer(want codec.Kind) {
	x.server.t.Helper()
	if ev, err := x.next(); err != nil || ev.Kind != want {
		x.server.t.Fatalf("%v, %v instead of %v", ev.Kind, err, want)
	}
}

// unharmed lets the second look come, and the time after it.
func (x *late) unharmed() {
	x.server.t.Helper()
	for range 3 {
		x.pass(secondLook)
	}
	x.send(protocol.OpText, "unharmed")
	x.expect("unharmed")
}

func TestLateHead(t *testing.T) {
	x := newLate(t, Config{})
	nc := x.connect()
	x.await("the connection", func() bool { return x.Stats().Accepted == 2 })
	x.heldUp(11*time.Second, func() {
		_, err := nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
	})
	b := make([]byte, 12)
	if _, err := nc.Read(b); err != nil || string(b) != "HTTP/1.1 101" {
		t.Errorf("the answer is %q, %v", b, err)
	}
	x.unharmed()
	if n := x.Stats().Open; n != 2 {
		t.Errorf("%d connections are open", n)
	}
	_ = nc.Close()
}

func TestLatePong(t *testing.T) {
	x := newLate(t, Config{})
	x.pass(12500 * time.Millisecond)
	x.pass(12500 * time.Millisecond)
	x.hear()
	x.heldUp(30*time.Second, func() { x.answer(codec.Ping) })
	one(t, x.pong, "OnPong")
	x.unharmed()
}

func TestLateAnswerToAClose(t *testing.T) {
	x := newLate(t, Config{})
	if err := x.conn.Close(4000, "go"); err != nil {
		t.Fatal(err)
	}
	x.hear()
	x.heldUp(6*time.Second, func() { x.answer(codec.Close) })
	if e := one(t, x.closed, "OnClose"); e.Code != 4000 || e.Err != nil {
		t.Errorf("OnClose: %v", e)
	}
}

// TestLateAnswerInADrain: the same when the server goes away.
func TestLateAnswerInADrain(t *testing.T) {
	x := newLate(t, Config{})
	x.stop()
	x.hear()
	x.heldUp(6*time.Second, func() { x.answer(codec.Close) })
	_ = one(t, x.closed, "OnClose")
	_ = x.Conn.Close()
	if err := x.end(); err != nil {
		t.Error(err)
	}
}

// TestLateShutdown: the time of a shutdown is over, but its loop was held up
// when the answer came.
func TestLateShutdown(t *testing.T) {
	x := newLate(t, Config{})
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(patience))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- x.Shutdown(ctx) }()
	x.hear()
	x.heldUp(0, func() {
		x.answer(codec.Close)
		_ = x.Conn.Close()
		cancel()
	})
	if err := one(t, ended, "Shutdown"); err != nil {
		t.Error(err)
	}
}

// TestLateEndOfStream: the peer ended its stream after the closing handshake.
func TestLateEndOfStream(t *testing.T) {
	x := newLate(t, Config{})
	if err := x.conn.Close(4000, "go"); err != nil {
		t.Fatal(err)
	}
	x.answer(codec.Close)
	_ = one(t, x.closed, "OnClose")
	x.await("the end of the stream", func() (said bool) {
		x.onLoop(x.conn, func() { said = x.conn.end.stream == streamEnded })
		return said
	})
	x.heldUp(2*lingerTimeout, func() { _ = x.Conn.Close() })
	x.await("the end", func() bool { return x.Stats().Connections == 0 })
	if x.conn.end.stream == streamCut {
		t.Error("cut, though the peer had ended its stream")
	}
}

// TestLateReader: a peer that takes all of a backlog while the loop is held up.
func TestLateReader(t *testing.T) {
	x := newLate(t, Config{SendBytesMax: 64 << 20})
	before, size := uint64(0), 0
	x.onLoop(x.conn, func() {
		before = x.conn.Stats().BytesOut
		for !x.conn.flow.congested || x.conn.out.queue.Bytes() < 1<<20 {
			if err := x.conn.SendBinary(make([]byte, 64<<10)); err != nil {
				t.Error(err)
				return
			}
			size += 64 << 10
		}
	})
	x.heldUp(31*time.Second, func() {
		x.in = make([]byte, x.conn.Stats().BytesOut-before)
		if _, err := io.ReadFull(x.Conn, x.in); err != nil {
			t.Fatal(err)
		}
	})
	for taken := 0; taken < size; {
		_, m := x.receive()
		taken += len(m)
	}
	x.unharmed()
}

// TestLateAnswerToADial: the server answered before Dial.Timeout ended.
func TestLateAnswerToADial(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	opened := make(chan error, 1)
	s := serveAt(t, new(testClock), Config{Loops: 1}, Handler{OnOpen: func(*Conn) { opened <- nil }})
	s.mustDial(Dial{URL: "ws://" + ln.Addr().String(), Timeout: 5 * time.Second, OnFailure: func(e *DialError) { opened <- e }})
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	server := newClient(t, nc, &codec.Options{Role: codec.Server, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 20, FragmentsMax: 1 << 20})
	server.session.Start(&server.env)
	if ev, err := server.next(); err != nil || ev.Kind != codec.Request {
		t.Fatal(ev.Kind, err)
	}
	s.heldUp(6*time.Second, func() {
		if err := server.session.Accept(&server.env, codec.Accept{}); err != nil {
			t.Fatal(err)
		}
		server.flush()
	})
	if err := one(t, opened, "OnOpen"); err != nil {
		t.Error(err)
	}
}

// TestLateMessage: a message that came before IdleTimeout ended.
func TestLateMessage(t *testing.T) {
	x := newLate(t, Config{IdleTimeout: 8 * time.Second})
	for range 5 {
		x.pass(time.Second)
	}
	x.heldUp(20*time.Second, func() { x.send(protocol.OpText, "in time") })
	x.expect("in time")
	x.unharmed()
}
