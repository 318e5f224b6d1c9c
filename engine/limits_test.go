package engine

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/protocol"
)

func TestConfigErrorsNameFieldAndRange(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Config.Loops is 300: it must be from 1 to 256":                  {Loops: 300},
		"Config.Loops is -1: it must be":                                 {Loops: NoLimit},
		"Config.HandshakeTimeout is 1ns: it must be from 1ms to 24h0m0s": {HandshakeTimeout: 1},
		"Config.MessageBytesMax is -2: it must be from 1 to 2147483647":  {MessageBytesMax: -2},
		"Config.SendBytesLow is 2000000: it must be at most":             {SendBytesLow: 2_000_000, SendBytesHigh: 1_000_000},
		"Config.SendBytesMax is 5: it must be at least SendBytesHigh":    {SendBytesMax: 5, SendBytesHigh: 6},
		"Config.Addr and Config.Listener are both set":                   {Addr: "ws://127.0.0.1:0", Listener: failing{}},
		"Config.Origins": {Origins: []string{"https://"}},
		`Config.Origins: protocol: origin pattern "file://a" matches no origin`: {Origins: []string{"null", "file://", "file://a"}},
		"Config.Origins and Config.CheckOrigin are both set":                    {Origins: []string{"*"}, CheckOrigin: func(*protocol.Request) bool { return true }},
		`Config.TrustedProxies: "10.0.0" is neither`:                            {TrustedProxies: []string{"10.0.0"}},
		`Config.TrustedProxies: "fe80::1%eth0" has a zone`:                      {TrustedProxies: []string{"fe80::1%eth0"}},
		`Config.TrustedProxies: "::ffff:10.0.0.0/80" matches no address`:        {TrustedProxies: []string{"::ffff:10.0.0.0/80"}},
		`Config.Addr "127.0.0.1:80" is no URL: write it like ws://`:             {Addr: "127.0.0.1:80"},
		`Config.HTTP is nil: a listener on http://a:80 serves nothing else`:     {Addr: "http://a:80"},
		`Config.Addr "wsx://a:443" has an unknown scheme: it must be frame, `:   {Addr: "wsx://a:443"},
		`Config.Addr "unix+unix:///a" has an unknown scheme`:                    {Addr: "unix+unix:///a"},
		`Config.Schemes["ws"]: a scheme needs`:                                  {Schemes: map[string]func() codec.Codec{"ws": newRaw}},
		`Config.Schemes["Chat"]: a scheme needs`:                                {Schemes: map[string]func() codec.Codec{"Chat": newRaw}},
		`Config.Schemes["chat"]: a scheme needs`:                                {Schemes: map[string]func() codec.Codec{"chat": nil}},
		`Config.Addr "ws://a" must be ws://host:port`:                           {Addr: "ws://a"},
		`Config.Addr "ws://a:80/chat" must be`:                                  {Addr: "ws://a:80/chat"},
		`Config.Addr "ws+unix://a/b" must be ws+unix:///path`:                   {Addr: "ws+unix://a/b"},
	} {
		if _, err := New(cfg, Handler{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	cfg := Config{MessageBytesMax: NoLimit, PingInterval: NoLimit, ConnectionsMax: NoLimit}
	if err := cfg.settle(nil); err != nil || cfg.MessageBytesMax < 1<<30 || !limit.Endless(cfg.PingInterval) || cfg.SendBytesLow != cfg.SendBytesHigh/4 {
		t.Errorf("%+v %v", cfg, err)
	}
}

// TestSendBytesFit: each of the three may be set alone.
func TestSendBytesFit(t *testing.T) {
	for want, cfg := range map[[3]int]Config{
		{256 * kib, mib, 4 * mib}:         {},
		{1, 1, 1}:                         {SendBytesMax: 1},
		{4 * kib, 16 * kib, 64 * kib}:     {SendBytesMax: 64 * kib},
		{256 * kib, mib, gib}:             {SendBytesMax: gib},
		{256 * kib, mib, limit.Unbounded}: {SendBytesMax: NoLimit},
		{2 * mib, 8 * mib, 32 * mib}:      {SendBytesHigh: 8 * mib},
		{gib / 4, gib, limit.Unbounded}:   {SendBytesHigh: gib},
		{2 * mib, 2 * mib, 8 * mib}:       {SendBytesLow: 2 * mib},
		{2, 8, 9}:                         {SendBytesHigh: 8, SendBytesMax: 9},
	} {
		err := cfg.settle(nil)
		if got := [3]int{cfg.SendBytesLow, cfg.SendBytesHigh, cfg.SendBytesMax}; err != nil || got != want {
			t.Errorf("low, high, max are %d, want %d: %v", got, want, err)
		}
	}
}

// TestSlowHead: a head that does not end is cut by time, and it is the head
// alone that the time is for.
func TestSlowHead(t *testing.T) {
	s := serve(t, Config{HandshakeTimeout: 30 * time.Millisecond}, Handler{OnMessage: echo})
	c := s.dial("/", nil)
	if r, _ := s.exchange("GET / HTTP/1.1\r\nHost:"); r.StatusCode != 408 {
		t.Errorf("%s", r.Status)
	}
	if r, _ := s.exchange(""); r.StatusCode != 408 {
		t.Errorf("a silent peer: %s", r.Status)
	}
	c.send(protocol.OpText, "unharmed")
	c.expect("unharmed")
}

func TestPingFindsTheDead(t *testing.T) {
	ended := make(chan *CloseError, 2)
	var pongs atomic.Int32
	s := serve(t, Config{Loops: 1, PingInterval: 20 * time.Millisecond, PongTimeout: time.Second}, Handler{
		OnPong:  func(*Conn, []byte) { pongs.Add(1) },
		OnClose: func(_ *Conn, e *CloseError) { ended <- e },
	})
	alive := s.dial("/", nil)
	stop := make(chan struct{})
	go func() { // answers pings until the test ends
		defer close(stop)
		for {
			if _, err := alive.next(); err != nil {
				return
			}
		}
	}()
	_ = s.dial("/", nil) // never reads: never answers
	if e := <-ended; e.Code != protocol.CloseAbnormal || e.Remote || !errors.Is(e, ErrTimeout) {
		t.Errorf("OnClose: %v", e)
	}
	before := pongs.Load()
	s.await("more pongs", func() bool { return pongs.Load() > before+1 })
	if s.Stats().Open != 1 || len(ended) != 0 {
		t.Error("the living was cut")
	}
	_ = alive.Conn.Close()
	<-stop
}

// TestSecondLook: the first look after PongTimeout cuts nobody, for the pong may
// wait unread; the second does.
func TestSecondLook(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	_ = s.dial("/", nil)
	c := <-conns
	s.onLoop(c, func() {
		c.in.life = pending
		c.live.pingedAt = uint32(c.w.now() - c.ep.PongTimeout.Milliseconds())
		if c.lookForLife(); c.end.stream == streamCut {
			t.Error("cut at the first look")
		}
		if c.lookForLife(); c.end.stream != streamCut {
			t.Error("not cut at the second look")
		}
	})
}

// TestPingsWithoutPongTimeout go on, for proxies that cut the silent.
func TestPingsWithoutPongTimeout(t *testing.T) {
	s := serve(t, Config{PingInterval: 20 * time.Millisecond, PongTimeout: NoLimit}, Handler{})
	c := s.dial("/", nil)
	for range 3 {
		if ev, err := c.next(); err != nil || ev.Kind != codec.Ping {
			t.Fatalf("instead of a ping: %v %v", ev.Kind, err)
		}
	}
}

// TestPeerThatDoesNotAnswerAClose is cut after CloseTimeout.
func TestPeerThatDoesNotAnswerAClose(t *testing.T) {
	ended := make(chan *CloseError, 1)
	s := serve(t, Config{CloseTimeout: 30 * time.Millisecond}, Handler{
		OnOpen:  func(c *Conn) { _ = c.Close(4000, "go") },
		OnClose: func(_ *Conn, e *CloseError) { ended <- e },
	})
	_ = s.dial("/", nil)
	if e := <-ended; e.Code != 4000 || e.Remote || !errors.Is(e, ErrTimeout) {
		t.Errorf("OnClose: %v", e)
	}
	s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
}

// TestSlowReaderIsPushedBack: an echo to a peer that does not read holds a
// bounded number of bytes, loses none, and goes on when the peer reads.
func TestSlowReaderIsPushedBack(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns := make(chan *Conn, 1)
		s := serve(t, Config{Loops: n, SendBytesHigh: 64 << 10}, Handler{
			OnOpen: func(c *Conn) {
				select {
				case conns <- c:
				default:
				}
			},
			OnMessage: echo,
		})
		c := s.dial("/", nil)
		conn := <-conns
		const messages, size = 1500, 32 << 10
		written := make(chan struct{})
		go func() {
			defer close(written)
			frame, _ := c.session.Encode(&c.env, nil, protocol.OpBinary, make([]byte, size), false)
			for range messages {
				if _, err := c.Write(frame); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		}()
		s.await("pushing back", func() (back bool) {
			s.onLoop(conn, func() { back = conn.in.halted })
			return back
		})
		other := s.dial("/", nil)
		for range 100 { // while the loop serves others
			other.send(protocol.OpText, "x")
			other.expect("x")
		}
		if got := conn.out.queued.Load(); got > 64<<10+corkBytesMax+size+100 {
			t.Errorf("%d bytes are queued", got)
		}
		for i := range messages {
			if _, m := c.receive(); len(m) != size {
				t.Fatalf("message %d has %d bytes", i, len(m))
			}
		}
		<-written
		s.await("the counters", func() bool { // published at the end of a batch
			got := conn.Stats()
			return got.MessagesIn == messages && got.MessagesOut == messages
		})
	})
}

// TestFloodedPeerIsClosed: sends that the peer never reads meet the cap.
func TestFloodedPeerIsClosed(t *testing.T) {
	for _, from := range []string{"loop", "elsewhere", "broadcast"} {
		t.Run(from, func(t *testing.T) {
			ended := make(chan *CloseError, 1)
			conns := make(chan *Conn, 1)
			refused := make(chan error, 1)
			flood := func(c *Conn) {
				for {
					if err := c.SendBinary(make([]byte, 32<<10)); err != nil {
						refused <- err
						return
					}
				}
			}
			s := serve(t, Config{SendBytesHigh: 100_000, SendBytesMax: 300_000, CloseTimeout: 50 * time.Millisecond}, Handler{
				OnOpen: func(c *Conn) {
					if conns <- c; from == "loop" {
						flood(c)
					}
				},
				OnClose: func(_ *Conn, e *CloseError) { ended <- e },
			})
			_ = s.dial("/", nil)
			c := <-conns
			switch from {
			case "elsewhere":
				flood(c)
			case "broadcast":
				for c.end.phase.Load() == phaseOpen {
					if err := s.Broadcast(Message{Data: make([]byte, 32<<10)}); err != nil {
						t.Fatal(err)
					}
				}
				refused <- ErrBackpressure
			}
			if err := <-refused; !errors.Is(err, ErrBackpressure) && !errors.Is(err, ErrClosed) {
				t.Errorf("Send: %v", err)
			}
			if e := <-ended; e.Code != protocol.CloseTryAgainLater || !errors.Is(e, ErrBackpressure) && !errors.Is(e, ErrTimeout) {
				t.Errorf("OnClose: %v", e)
			}
			s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
			if got := c.out.queued.Load(); got != 0 {
				t.Errorf("%d bytes are still counted", got)
			}
			_ = s.end()
			s.balanced()
		})
	}
}

func TestConnectionsMax(t *testing.T) {
	s := serve(t, Config{ConnectionsMax: 2, HTTP: http.NotFoundHandler()}, Handler{OnMessage: echo})
	a, b := s.dial("/", nil), s.dial("/", nil)
	for range 3 {
		if r, _ := s.exchange(upgradeHead()); r.StatusCode != 503 {
			t.Fatalf("%s", r.Status)
		}
	}
	a.close(1000, "")
	_ = a.closed()
	s.await("a place", func() bool { return s.Stats().Connections == 1 })
	if r, _ := s.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); r.StatusCode != 404 {
		t.Fatalf("plain HTTP: %s", r.Status)
	}
	s.await("the place again", func() bool { return s.Stats().Connections == 1 })
	c := s.dial("/", nil)
	for _, c := range []*client{b, c} {
		c.send(protocol.OpText, "x")
		c.expect("x")
	}
	if st := s.Stats(); st.Refused != 3 || st.Open != 2 {
		t.Errorf("%+v", st)
	}
}

// TestRefusedPeersThatStay: whoever is refused and does not leave keeps nobody
// else waiting. One after the other they would take far longer than patience.
func TestRefusedPeersThatStay(t *testing.T) {
	s := serve(t, Config{ConnectionsMax: 1}, Handler{OnMessage: echo})
	a := s.dial("/", nil)
	const stay = (acceptorsPerListener + 1) * int(patience/refuseTimeout)
	refused := make([]net.Conn, stay)
	for i := range refused {
		refused[i] = s.connect()
	}
	for i, nc := range refused {
		if r, _ := s.response(nc); r.StatusCode != 503 {
			t.Fatalf("%d: %s", i, r.Status)
		}
	}
	a.close(1000, "")
	_ = a.closed()
	s.await("the place", func() bool { return s.Stats().Connections == 0 })
	b := s.dial("/", nil)
	b.send(protocol.OpText, "x")
	b.expect("x")
	if st := s.Stats(); st.Refused != uint64(stay) {
		t.Errorf("%+v", st)
	}
}

// failing is a listener whose Accept fails as if descriptors had run out, now
// and then.
type failing struct {
	net.Listener
	errs *atomic.Int32
}

func (l failing) Accept() (net.Conn, error) {
	if l.errs.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAcceptErrorsAreWaitedOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := failing{ln, new(atomic.Int32)}
	l.errs.Store(2 * acceptorsPerListener)
	s := serve(t, Config{Listener: l}, Handler{OnMessage: echo})
	c := s.dial("/", nil)
	c.send(protocol.OpText, "alive")
	c.expect("alive")
	if n := s.logs.FilterMessageSnippet("accepting failed").Len(); n != 2*acceptorsPerListener {
		t.Errorf("%d failures were logged", n)
	}
}

// TestShutdownIsNoAcceptError: acceptors that wait when the engine ends have
// nothing to complain of.
func TestShutdownIsNoAcceptError(t *testing.T) {
	s := serve(t, Config{}, Handler{OnMessage: echo})
	c := s.dial("/", nil)
	c.send(protocol.OpText, "alive")
	c.expect("alive") // one accepted; the others wait
	_ = c.Close()
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if n := s.logs.FilterMessageSnippet("accepting failed").Len(); n != 0 {
		t.Errorf("%d failures were logged", n)
	}
}

// TestForeignListener: a connection of a kind that no loop can hold is closed.
func TestForeignListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{Listener: wrapping{ln}}, Handler{})
	if _, err := io.ReadAll(s.connect()); err != nil {
		t.Errorf("not closed: %v", err)
	}
	s.await("the log", func() bool { return s.logs.FilterMessageSnippet("no loop can hold").Len() > 0 })
}

type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}
