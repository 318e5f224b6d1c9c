package engine

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/bits"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// wire is a server that speaks bytes.
type wire struct {
	net.Conn
	r *bufio.Reader
}

// wired answers each opening handshake, with more right behind it, and passes
// the connection on.
func wired(t *testing.T, more string) (url string, conns <-chan *wire) {
	c := make(chan *wire, 10)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	return answering(t, func(nc net.Conn) {
		x := &wire{nc, bufio.NewReader(nc)}
		r, err := http.ReadRequest(x.r)
		if err != nil {
			return
		}
		head := protocol.AppendSwitchingProtocols(nil, r.Header.Get("Sec-WebSocket-Key"), "", "", nil)
		_, _ = nc.Write(append(head, more...))
		c <- x
		<-done
	}), c
}

// TestRFC9110Section15_2_DialSkipsInterimAnswers: also if the answer has no
// reason phrase, and frames come in the same segment.
func TestRFC9110Section15_2_DialSkipsInterimAnswers(t *testing.T) {
	url := answering(t, func(nc net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil {
			return
		}
		_, _ = io.WriteString(nc, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Answer: no\r\n\r\n"+
			"HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Answer: yes\r\nSec-WebSocket-Accept: "+
			protocol.AcceptKey(r.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n\x81\x02hi\x88\x02\x03\xe8")
		_, _ = io.Copy(io.Discard, nc)
	})
	p := pure(t, Config{Loops: 1}, Handler{})
	told := make(chan string, 2)
	p.mustDial(Dial{URL: url, OnFailure: func(e *DialError) { told <- e.Error() }, Handler: &Handler{
		OnOpen:    func(c *Conn) { told <- c.Response().Fields.Get("X-Answer") },
		OnMessage: func(c *Conn, m Message) { told <- m.Text() },
	}})
	for _, want := range []string{"yes", "hi"} {
		if got := one(t, told, want); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// frame reads one.
func (x *wire) frame(t *testing.T) (h protocol.Header, payload string) {
	t.Helper()
	for size := 2; ; size++ {
		b, err := x.r.Peek(size)
		if err != nil {
			t.Fatalf("waiting for a frame: %v", err)
		}
		if h, n, err := protocol.ParseHeader(b); n > 0 || err != nil {
			body := make([]byte, n+int(h.Length))
			if _, err := io.ReadFull(x.r, body); err != nil {
				t.Fatal(err)
			}
			if h.Masked {
				protocol.Mask(body[n:], h.Key, 0)
			}
			return h, string(body[n:])
		}
	}
}

// ended reports, without a wait, whether the client has ended its stream.
func (x *wire) ended(t *testing.T) bool {
	t.Helper()
	raw, err := x.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ended = n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EAGAIN)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ended
}

// turns waits until c's loop has ended the turn that it may be in.
func turns(t *testing.T, c *Conn) {
	t.Helper()
	for range 2 {
		done := make(chan bool, 1)
		if err := c.w.post(post{do: func() { done <- true }}); err != nil {
			t.Fatal(err)
		}
		one(t, done, "a turn of the loop")
	}
}

// TestRFC6455Section5_3_DialledConnectionsMask: every frame, whichever way it
// leaves, is masked, each with a key of its own that nobody can foresee.
func TestRFC6455Section5_3_DialledConnectionsMask(t *testing.T) {
	url, wires := wired(t, "\x89\x02hi") // a ping
	p := pure(t, Config{Loops: 1, Deflate: DeflateOff}, Handler{})
	shared, err := p.Prepare(Message{Type: Text, Data: []byte("shared")})
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *Conn, 2)
	keys := map[[4]byte]bool{}
	ones, frames := 0, 0
	seen := func(h protocol.Header) {
		t.Helper()
		if !h.Masked {
			t.Fatalf("an unmasked %v", h.Opcode)
		}
		for _, b := range h.Key {
			ones += bits.OnesCount8(b)
		}
		keys[h.Key] = true
		frames++
	}
	for range 2 {
		p.mustDial(Dial{URL: url, Handler: &Handler{
			OnOpen: func(c *Conn) {
				for range 100 {
					_ = c.SendText("corked")
				}
				conns <- c
			},
		}})
		x, c := one(t, wires, "the handshake"), one(t, conns, "OnOpen")
		defer x.Close() // or its client waits for that at the end
		for range 200 {
			_ = c.SendText("posted")
		}
		_ = c.Ping([]byte("ping"))
		_ = shared.Send(c)
		_ = c.w.post(post{do: func() {
			for range 100 {
				_ = c.SendText("queued")
				_ = shared.Send(c)
			}
			_ = c.Close(protocol.CloseNormal, "bye")
		}})
		count := map[string]int{}
		for {
			h, payload := x.frame(t)
			seen(h)
			count[payload]++
			if h.Opcode == protocol.OpClose {
				break
			}
		}
		for payload, want := range map[string]int{"corked": 100, "hi": 1, "posted": 200, "ping": 1, "queued": 100, "shared": 101, "\x03\xe8bye": 1} {
			if count[payload] != want {
				t.Errorf("%d times %q, want %d", count[payload], payload, want)
			}
		}
	}
	if frames < 1000 || len(keys) < frames-2 || ones < 15*frames || ones > 17*frames { // 32 bits, 3 % off is 20 sigma
		t.Errorf("%d frames, %d different keys, %d bits set in them", frames, len(keys), ones)
	}
}

// TestBroadcastPassesDialledBy: an engine that dials itself is both ends.
func TestBroadcastPassesDialledBy(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		for _, mode := range []DeflateMode{DeflateOff, DeflateTakeover} {
			accepted := make(chan string, 10)
			s := serve(t, Config{Loops: n, Deflate: mode}, Handler{OnMessage: func(_ *Conn, m Message) { accepted <- m.Text() }})
			dialled := make(chan string, 10)
			s.mustDial(Dial{URL: s.url("/"), Handler: &Handler{OnMessage: func(_ *Conn, m Message) { dialled <- m.Text() }}})
			s.await("both ends", func() bool { return s.Stats().Open == 2 })
			var client *Conn
			for c := range s.Conns() {
				if c.Dialled() {
					client = c
				}
			}
			if err := client.Subscribe("news"); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"news", strings.Repeat("large news ", 1000)} {
				if err := s.Broadcast(Message{Type: Text, Data: []byte(text)}); err != nil {
					t.Error(err)
				}
				if got := one(t, dialled, "the broadcast"); got != text {
					t.Errorf("received %.20q", got)
				}
				// Who wants it gets it, in frames of its own.
				if err := s.Publish("news", Message{Type: Text, Data: []byte(text)}); err != nil {
					t.Error(err)
				}
				if got := one(t, accepted, "what was published"); got != text {
					t.Errorf("received %.20q", got)
				}
			}
			if len(accepted)+len(dialled) > 0 {
				t.Error("more than was sent")
			}
		}
	})
}

// TestRFC6455Section7_1_1_TheServerEndsTheStream, whoever closed; a client
// waits for it, within Config.CloseTimeout.
func TestRFC6455Section7_1_1_TheServerEndsTheStream(t *testing.T) {
	for _, who := range []string{"client", "server", "violation"} {
		t.Run(who, func(t *testing.T) {
			url, wires := wired(t, "")
			p := pure(t, Config{Loops: 1, CloseTimeout: patience}, Handler{})
			conns, closed := make(chan *Conn, 1), make(chan *CloseError, 1)
			p.mustDial(Dial{URL: url, Handler: &Handler{
				OnOpen:  func(c *Conn) { conns <- c },
				OnClose: func(_ *Conn, e *CloseError) { closed <- e },
			}})
			x, c := one(t, wires, "the handshake"), one(t, conns, "OnOpen")
			code := protocol.CloseCode(4001)
			switch who {
			case "client":
				_ = c.Close(code, "")
				x.frame(t)
				_, _ = x.Write([]byte("\x88\x02\x0f\xa1"))
			case "server":
				_, _ = x.Write([]byte("\x88\x02\x0f\xa1"))
				x.frame(t)
			case "violation": // a masked frame
				code = protocol.CloseProtocolError
				_, _ = x.Write([]byte("\x81\x80abcd"))
				x.frame(t)
			}
			if e := one(t, closed, "OnClose"); e.Code != code || e.Remote != (who == "server") {
				t.Errorf("OnClose: %v", e)
			}
			turns(t, c)
			if x.ended(t) || p.Stats().Connections != 1 {
				t.Error("the client ended the stream")
			}
			_, _ = x.Write([]byte("ignored"))
			_ = x.CloseWrite()
			p.await("the end", func() bool { return p.Stats().Connections == 0 })
		})
	}
}

func (x *wire) CloseWrite() error { return x.Conn.(*net.TCPConn).CloseWrite() }

// TestDialledTimeouts: a server that does not end the stream, and one that is
// silent, are cut.
func TestDialledTimeouts(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		open func(c *Conn)
		code protocol.CloseCode
	}{
		{"CloseTimeout", Config{CloseTimeout: 20 * time.Millisecond}, func(c *Conn) { _ = c.Close(4000, "") }, 4000},
		{"PongTimeout", Config{PingInterval: 20 * time.Millisecond, PongTimeout: 20 * time.Millisecond}, nil, protocol.CloseAbnormal},
		{"LifetimeMax", Config{LifetimeMax: 20 * time.Millisecond, CloseTimeout: 20 * time.Millisecond}, nil, protocol.CloseGoingAway},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, wires := wired(t, "")
			p := pure(t, c.cfg, Handler{})
			closed := make(chan *CloseError, 1)
			p.mustDial(Dial{URL: url, Handler: &Handler{OnOpen: c.open, OnClose: func(_ *Conn, e *CloseError) { closed <- e }}})
			x := one(t, wires, "the handshake")
			if e := one(t, closed, "OnClose"); e.Code != c.code || !errors.Is(e, ErrTimeout) || e.Remote {
				t.Errorf("OnClose: %v", e)
			}
			if _, err := io.Copy(io.Discard, x.r); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			p.await("it to be gone", func() bool { return p.Stats().Connections == 0 })
		})
	}
}

// TestFirstFramesBehindTheAnswer: nothing that follows the answer is lost,
// wherever TCP cuts.
func TestFirstFramesBehindTheAnswer(t *testing.T) {
	got := make(chan string, 3)
	h := &Handler{
		OnOpen:    func(*Conn) { got <- "open" },
		OnMessage: func(_ *Conn, m Message) { got <- m.Text() },
		OnClose:   func(_ *Conn, e *CloseError) { got <- e.Reason },
	}
	p := pure(t, Config{Loops: 1}, Handler{})
	for _, piece := range []int{1000, 1, 2, 7, 100, 131} {
		url := answering(t, func(nc net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(nc))
			if err != nil {
				return
			}
			b := protocol.AppendSwitchingProtocols(nil, r.Header.Get("Sec-WebSocket-Key"), "", "", nil)
			for b = append(b, "\x81\x02hi\x88\x05\x03\xe8bye"...); len(b) > 0; b = b[min(piece, len(b)):] {
				_, _ = nc.Write(b[:min(piece, len(b))])
			}
		})
		p.mustDial(Dial{URL: url, Handler: h})
		for _, want := range []string{"open", "hi", "bye"} {
			if s := one(t, got, want); s != want {
				t.Errorf("in pieces of %d: %q, want %q", piece, s, want)
			}
		}
	}
}

// TestDialledLimits: those of Config hold for what a server sends, too.
func TestDialledLimits(t *testing.T) {
	s := serve(t, Config{}, Handler{OnOpen: func(c *Conn) { _ = c.SendBinary(make([]byte, 1001)) }})
	p := pure(t, Config{MessageBytesMax: 1000}, Handler{})
	closed := make(chan *CloseError, 1)
	p.mustDial(Dial{URL: s.url("/"), Handler: &Handler{
		OnMessage: func(*Conn, Message) { t.Error("a message above the limit") },
		OnClose:   func(_ *Conn, e *CloseError) { closed <- e },
	}})
	if e := one(t, closed, "OnClose"); e.Code != protocol.CloseMessageTooBig || e.Remote {
		t.Errorf("OnClose: %v", e)
	}
}

// TestDialledSlowReader: a server that does not read meets the policy of the
// client's message, and gets what was sent before, whole and masked.
func TestDialledSlowReader(t *testing.T) {
	url, wires := wired(t, "")
	p := pure(t, Config{Loops: 1, Deflate: DeflateOff, NotSentBytesMax: 16 << 10, SendBytesHigh: 32 << 10, SendBytesMax: 64 << 10, Policy: PolicyDropNewest}, Handler{})
	conns, full := make(chan *Conn, 1), make(chan bool, 1)
	p.mustDial(Dial{URL: url, Handler: &Handler{
		OnOpen:         func(c *Conn) { conns <- c },
		OnBackpressure: func(*Conn) { full <- true },
	}})
	x, c := one(t, wires, "the handshake"), one(t, conns, "OnOpen")
	defer x.Close() // or its client waits for that at the end
	data := make([]byte, 10_000)
	for i := range data {
		data[i] = byte(i)
	}
	sent := 0
	for len(full) == 0 || c.Stats().Dropped == 0 {
		switch err := c.SendBinary(data); {
		case err == nil:
			sent++
		case !errors.Is(err, ErrBackpressure):
			t.Fatal(err)
		}
	}
	for key := range 3 { // of which the last replaces the others
		_ = c.Send(Message{Type: Text, Data: []byte{byte('a' + key)}, Policy: PolicyReplace, Key: "1"})
	}
	for {
		h, payload := x.frame(t)
		if !h.Masked || h.Opcode == protocol.OpBinary && payload != string(data) {
			t.Fatalf("a frame %+v", h)
		}
		if h.Opcode == protocol.OpText && payload == "c" {
			break
		}
	}
	if st := c.Stats(); st.MessagesOut+st.Dropped+st.Replaced < uint64(sent) || st.Replaced == 0 && st.Dropped == 0 {
		t.Errorf("%d sent, stats %+v", sent, st)
	}
}

// TestDialledHotPathAllocatesNothing: two engines play, each on its loop.
func TestDialledHotPathAllocatesNothing(t *testing.T) {
	for _, size := range []int{128, 16 << 10} {
		s := serve(t, Config{Loops: 1}, Handler{OnMessage: echo})
		p := pure(t, Config{Loops: 1}, Handler{})
		const hops = 10
		left := hops
		conns, done := make(chan *Conn, 1), make(chan bool, 1)
		data := make([]byte, size)
		p.mustDial(Dial{URL: s.url("/"), Handler: &Handler{
			OnOpen: func(c *Conn) { conns <- c },
			OnMessage: func(c *Conn, m Message) {
				if left--; left == 0 {
					left = hops
					done <- true
					return
				}
				_ = c.Send(Message{Type: Binary, Data: m.Data, Plain: true})
			},
		}})
		c := one(t, conns, "OnOpen")
		allocatesNothing(t, hops, func() {
			_ = c.Send(Message{Type: Binary, Data: data, Plain: true})
			<-done
		})
	}
}

// TestReconnectAfterTheFunctionOfGo: OnClose waits for it, and the next OnOpen
// for OnClose and what that gave to Go.
func TestReconnectAfterTheFunctionOfGo(t *testing.T) {
	url, wires := wired(t, "\x81\x02go")
	p := pure(t, Config{Loops: 1}, Handler{})
	var order []string
	ended, done := make(chan bool), make(chan string, 1)
	p.mustDial(Dial{URL: url, Reconnect: true, BackoffMin: time.Millisecond, BackoffMax: time.Millisecond, Handler: &Handler{
		OnOpen: func(*Conn) { order = append(order, "open") },
		OnClose: func(c *Conn, _ *CloseError) {
			order = append(order, "close")
			_ = c.Go(Message{}, func(context.Context, Message) { order = append(order, "save") })
		},
		OnMessage: func(c *Conn, m Message) {
			if len(order) > 1 {
				done <- strings.Join(order, " ")
				return
			}
			_ = c.Go(m, func(context.Context, Message) {
				<-c.Context().Done()
				<-ended
			})
		},
	}})
	x := one(t, wires, "the handshake")
	p.await("the function", func() bool { return p.Stats().MessagesIn == 1 })
	_ = x.Conn.(*net.TCPConn).SetLinger(0) // a reset is seen although reading is paused
	_ = x.Close()
	w := p.loops[0]
	p.await("the loss", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.conns) == 0 })
	if st := p.Stats(); st.Connections != 1 || st.Dialled != 1 || p.waiting() != 0 {
		t.Errorf("it reconnects before the function returned: %+v", st)
	}
	close(ended)
	x = one(t, wires, "the second handshake")
	defer x.Close() // or its client waits for that at the end
	if got := one(t, done, "the second message"); got != "open close save open" {
		t.Errorf("called %s", got)
	}
}

// TestDialATrustedProxy: what answers there is no client of it.
func TestDialATrustedProxy(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	p := pure(t, Config{TrustedProxies: []string{"127.0.0.1"}}, Handler{})
	opened := make(chan string, 1)
	p.mustDial(Dial{URL: s.url("/"), Handler: &Handler{OnOpen: func(c *Conn) { opened <- c.ClientAddr().String() }}})
	if addr := one(t, opened, "OnOpen"); addr != "127.0.0.1" {
		t.Errorf("ClientAddr is %s", addr)
	}
}

// TestDialForALoop: the connection and OnFailure come to the loop that was asked
// for, also if that was before Run.
func TestDialForALoop(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	e, err := New(Config{Loops: 3}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan *Loop, 20)
	dial := func() {
		for _, l := range e.Loops() {
			for _, url := range []string{s.url("/"), "ws://127.0.0.1:1", s.url("/")} {
				err := e.Dial(t.Context(), Dial{
					URL: url, Loop: l, Handler: &Handler{OnOpen: func(c *Conn) { came <- c.Loop() }},
					OnFailure: func(*DialError) {
						if l.On() {
							came <- l
						}
					},
				})
				if err != nil {
					t.Error(err)
				}
			}
		}
	}
	dial()
	run(t, e)
	dial()
	count := map[*Loop]int{}
	for range 18 {
		count[one(t, came, "a call")]++
	}
	for i, l := range e.Loops() {
		if count[l] != 6 {
			t.Errorf("%d of 6 on loop %d", count[l], i)
		}
	}
}

// TestDialFromCallbacks, and a panic in OnFailure.
func TestDialFromCallbacks(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	p := pure(t, Config{Loops: 1}, Handler{})
	end := make(chan bool, 1)
	ok := Dial{URL: s.url("/"), Handler: &Handler{OnOpen: func(c *Conn) {
		_ = c.Close(protocol.CloseNormal, "")
	}, OnClose: func(c *Conn, _ *CloseError) { end <- true }}}
	p.mustDial(Dial{URL: "ws://127.0.0.1:1", LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, OnFailure: func(*DialError) {
		if err := p.Dial(context.Background(), ok); err != nil {
			t.Error(err)
		}
		panic(errOnPurpose)
	}})
	one(t, end, "the second's end")
	p.await("both to be over", func() bool { return p.Stats().Connections == 0 })
}
