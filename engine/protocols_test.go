package engine

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/outq"
	"github.com/sockmill/sockmill/protocol"
)

// everyScheme are the protocols of messages, with and without TLS.
var everyScheme = []string{"ws", "wss", "text", "text+tls", "frame", "frame+tls"}

// talker is a client of any of them.
type talker struct {
	net.Conn
	t    testing.TB
	kind string
	ws   *client
	in   *bufio.Reader
}

// peerOf connects to a listener.
func (x *tlsFixture) peerOf(l *Listener) *talker {
	x.t.Helper()
	scheme, _, _ := strings.Cut(l.String(), "://")
	kind, sealed := strings.CutSuffix(scheme, "+tls")
	p := &talker{Conn: x.connectTo(l), t: x.t, kind: kind}
	if sealed || kind == "wss" {
		nc := tls.Client(p.Conn, x.config)
		if err := nc.Handshake(); err != nil {
			x.t.Fatal(err)
		}
		p.Conn = nc
	}
	p.in = bufio.NewReader(p.Conn)
	if kind == "ws" || kind == "wss" {
		var err error
		if p.ws, err = x.open(p.Conn, "/", nil); err != nil {
			x.t.Fatal(err)
		}
		p.kind = "ws"
	}
	return p
}

// bytes is a message as it is sent.
func (p *talker) bytes(text string) []byte {
	switch p.kind {
	case "text":
		return []byte(text + "\n")
	case "frame":
		return append(binary.BigEndian.AppendUint32(nil, uint32(4+len(text))), text...)
	}
	b, err := p.ws.session.Encode(&p.ws.env, nil, protocol.OpText, []byte(text), true)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *talker) say(text string) {
	p.t.Helper()
	if _, err := p.Write(p.bytes(text)); err != nil {
		p.t.Error(err)
	}
}

// next is the next message. io.EOF is the proper end of the stream, *CloseError a close frame.
func (p *talker) next() (string, error) {
	switch p.kind {
	case "text":
		s, err := p.in.ReadString('\n')
		return strings.TrimSuffix(s, "\n"), err
	case "frame":
		var head [4]byte
		if _, err := io.ReadFull(p.in, head[:]); err != nil {
			return "", err
		}
		b := make([]byte, binary.BigEndian.Uint32(head[:])-4)
		_, err := io.ReadFull(p.in, b)
		return string(b), err
	}
	for {
		switch ev, err := p.ws.next(); {
		case err != nil:
			return "", err
		case ev.Kind == codec.Message:
			return string(ev.Data), nil
		case ev.Kind == codec.Close:
			return "", p.ws.env.Closed
		}
	}
}

func (p *talker) hears(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got, err := p.next(); got != w || err != nil {
			p.t.Fatalf("heard %.80q %v, want %.80q", got, err, w)
		}
	}
}

// rest counts messages until the stream ends.
func (p *talker) rest() (messages int, why *CloseError) {
	p.t.Helper()
	for {
		_, err := p.next()
		switch {
		case errors.As(err, &why):
		case errors.Is(err, io.EOF):
			return messages, why
		case err != nil:
			p.t.Fatalf("after %d messages: %v", messages, err)
		default:
			messages++
		}
	}
}

// everywhere runs a test with a listener of each protocol.
func everywhere(t *testing.T, cfg Config, h func(conns chan *Conn) Handler, f func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn)) {
	t.Helper()
	over(t, everyScheme, cfg, h, f)
}

func over(t *testing.T, schemes []string, cfg Config, h func(conns chan *Conn) Handler, f func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn)) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			conns := make(chan *Conn, 200)
			own := cfg
			own.Loops = 1
			x := serveTLS(t, own, Handler{OnMessage: echo})
			own.Addr, own.Loops = scheme+"://127.0.0.1:0", 0
			handler := h(conns)
			f(t, x, x.listen(own, &handler), conns)
			x.hangUp()
			x.settled()
			if err := x.end(); err != nil {
				t.Error(err)
			}
			x.balanced()
		})
	}
}

// settled waits until all are gone and every message that was sent is counted by
// what became of it.
func (s *server) settled() {
	s.t.Helper()
	s.await("all to be gone", func() bool { return s.Stats().Connections == 0 })
	s.await("the accounts to balance", func() bool {
		st := s.Stats()
		return st.MessagesSent == st.MessagesOut+st.Dropped+st.Replaced
	})
}

// told passes the connections on.
func told(conns chan *Conn) Handler {
	return Handler{OnMessage: echo, OnOpen: func(c *Conn) { conns <- c }}
}

// fill sends until the kernel takes no more, and returns how many messages that
// were.
func (s *server) fill(c *Conn) (n int) {
	s.onLoop(c, func() {
		for data := []byte(strings.Repeat("f", 64<<10)); !c.flow.congested; n++ {
			if err := c.send(outgoing{op: protocol.OpText, policy: PolicyClose, data: data}); err != nil {
				s.t.Error(err)
				return
			}
			c.flush()
		}
	})
	return n
}

// TestProtocolsAreBounded: what is too long or malformed ends its connection, with
// a cause, and nobody else.
func TestProtocolsAreBounded(t *testing.T) {
	length := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	line := func(n int) string { return strings.Repeat("x", n) }
	for name, bad := range map[string]struct {
		scheme, say string
		heard       int // messages before
		code        protocol.CloseCode
		cause       string
	}{
		"a line of the bound":           {"text", line(100) + "\r\n" + line(100) + "\n\n", 3, 0, ""},
		"a line above the bound":        {"text", line(101) + "\n", 0, protocol.CloseMessageTooBig, "longer than 100"},
		"a line without an end":         {"text", "a\n" + line(102), 1, protocol.CloseMessageTooBig, "longer than 100"},
		"a line that is not UTF-8":      {"text", "a\nb\xffc\nd\n", 1, protocol.CloseInvalidPayload, "not UTF-8"},
		"a line cut in a character":     {"text", "a\xe2\x82\n", 0, protocol.CloseInvalidPayload, "not UTF-8"},
		"a frame of the bound":          {"frame", length(104) + line(100) + length(4), 2, 0, ""},
		"a frame above the bound":       {"frame", length(105), 0, protocol.CloseMessageTooBig, "101 bytes: the limit is 100"},
		"the longest length":            {"frame", length(1<<32 - 1), 0, protocol.CloseMessageTooBig, "4294967291 bytes"},
		"a length that has a sign bit":  {"frame", length(1 << 31), 0, protocol.CloseMessageTooBig, "2147483644 bytes"},
		"a length below its own":        {"frame", length(3), 0, protocol.CloseProtocolError, "at least 4"},
		"a length of nothing":           {"frame", length(5) + "a" + length(0), 1, protocol.CloseProtocolError, "at least 4"},
		"a ClientHello for a frame":     {"frame", "\x16\x03\x01\x02\x00", 0, protocol.CloseMessageTooBig, "bytes"},
		"a request for a line":          {"text", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 3, 0, ""},
		"the end in a line, later":      {"text", "a\nb", 1, protocol.CloseAbnormal, "unexpected EOF"},
		"the end in a length, later":    {"frame", length(5) + "a\x00", 1, protocol.CloseAbnormal, "unexpected EOF"},
		"the end in a payload, later":   {"frame", length(104) + "a", 0, protocol.CloseAbnormal, "unexpected EOF"},
		"the end between lines, later":  {"text", "a\n", 1, protocol.CloseNormal, ""},
		"the end between frames, later": {"frame", length(5) + "a", 1, protocol.CloseNormal, ""},
	} {
		for _, sealed := range []string{"", "+tls"} {
			t.Run(name+sealed, func(t *testing.T) {
				got, closed := make(chan string, 10), make(chan *CloseError, 1)
				h := Handler{OnMessage: func(_ *Conn, m Message) { got <- m.Text() }, OnClose: func(_ *Conn, e *CloseError) { closed <- e }}
				unharmed(t, Config{}, Handler{}, func(x *tlsFixture) {
					l := x.listen(Config{Addr: bad.scheme + sealed + "://127.0.0.1:0", MessageBytesMax: 100}, &h)
					p := x.peerOf(l)
					for part := range slices.Chunk([]byte(bad.say), 50) {
						_, _ = p.Write(part)
					}
					for range bad.heard {
						one(t, got, "a message")
					}
					if strings.HasSuffix(name, "later") {
						endWriting(p.Conn)
					}
					if bad.code != 0 {
						e := one(t, closed, "OnClose")
						if e.Code != bad.code || (e.Err == nil) != (bad.cause == "") || e.Err != nil && !strings.Contains(e.Err.Error(), bad.cause) {
							t.Errorf("closed with %v", e)
						}
						if n, _ := p.rest(); n != 0 {
							t.Errorf("the peer got %d messages", n)
						}
					}
					_ = p.Close()
					if len(got) > 0 {
						t.Errorf("and %q", <-got)
					}
				})
			})
		}
	}
}

// TestNewline: a message with a newline reaches everybody but those whose protocol
// has none; for these it is counted and logged, however it was sent.
func TestNewline(t *testing.T) {
	const bad = "two\nlines"
	message := Message{Type: Text, Data: []byte(bad)}
	for name, send := range map[string]func(e *Engine, c *Conn) error{
		"Broadcast":       func(e *Engine, _ *Conn) error { return e.Broadcast(message) },
		"BroadcastExcept": func(e *Engine, _ *Conn) error { return e.BroadcastExcept(message, nil) },
		"Publish":         func(e *Engine, _ *Conn) error { return e.Publish("all", message) },
		"Send":            func(_ *Engine, c *Conn) error { return c.Send(message) },
		"SendText":        func(_ *Engine, c *Conn) error { return c.SendText(bad) },
		"Send, replacing": func(_ *Engine, c *Conn) error {
			return c.Send(Message{Type: Text, Data: message.Data, Policy: PolicyReplace, Key: "k"})
		},
		"a large one":      func(_ *Engine, c *Conn) error { return c.SendText(strings.Repeat(bad, copyBytesMax)) },
		"Prepared.Send":    func(e *Engine, c *Conn) error { return prepared(e, message).Send(c) },
		"Prepared.Publish": func(e *Engine, _ *Conn) error { return prepared(e, message).Publish("all") },
		"Broadcast, on the loop": func(e *Engine, c *Conn) error {
			done := make(chan error, 1)
			_ = c.Loop().Post(func() { done <- e.Broadcast(message) })
			return <-done
		},
	} {
		for _, congested := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", congested: ", congested), func(t *testing.T) {
				conns := make(chan *Conn, 10)
				h := Handler{OnMessage: echo, OnOpen: func(c *Conn) { conns <- c; _ = c.Subscribe("all") }}
				x := &tlsFixture{server: serve(t, Config{Loops: 1}, h)}
				ws := x.dial("/", nil)
				one(t, conns, "the WebSocket")
				text := x.peerOf(x.listen(Config{Addr: "text://127.0.0.1:0"}, &h))
				c := one(t, conns, "the other")
				var filler []string
				if congested {
					for range x.fill(c) {
						filler = append(filler, strings.Repeat("f", 64<<10))
					}
				}
				if err := send(x.Engine, c); err != nil {
					t.Fatal(err)
				}
				x.await("the message to be counted", func() bool { return x.Stats().Dropped == 1 })
				if err := x.Broadcast(Message{Type: Text, Data: []byte("one line")}); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(name, "cast") || strings.Contains(name, "Publish") {
					ws.expect(bad)
				}
				ws.expect("one line")
				text.hears(append(filler, "one line")...)
				if st := c.Stats(); st.Dropped != 1 {
					t.Errorf("%+v", st)
				}
				if line := x.lines(1, "the protocol of its connection cannot carry"); !strings.Contains(line, codec.ErrNewline.Error()) {
					t.Errorf("logged: %s", line)
				}
				x.hangUp()
				x.settled()
				_ = x.end()
				x.balanced()
			})
		}
	}
}

func prepared(e *Engine, m Message) *Prepared {
	p, err := e.Prepare(m)
	if err != nil {
		panic(err)
	}
	return p
}

// TestNewlineIsToldToTheSender: where the sender can learn of it, it does, and
// nothing is counted.
func TestNewlineIsToldToTheSender(t *testing.T) {
	errs := make(chan error, 10)
	x := serveTLS(t, Config{Addr: "text+tls://127.0.0.1:0"}, Handler{OnMessage: func(c *Conn, m Message) {
		errs <- c.SendText("a\nb")
		errs <- c.Ping(nil)
		errs <- c.ep.e.Broadcast(Message{Type: Text, Data: []byte("a\nb")})
		_ = c.Send(m)
	}})
	p := x.peerOf(x.Listeners()[0])
	p.say("go")
	p.hears("go")
	for _, want := range []error{codec.ErrNewline, codec.ErrOpcode, codec.ErrNewline} {
		if err := one(t, errs, "an error"); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	x.await("the loop to have told", func() bool { return x.Stats().MessagesSent > 0 })
	if st := x.Stats(); st.Dropped != 0 || st.MessagesSent != 1 {
		t.Errorf("%+v", st)
	}
}

// TestPipeNewline: a pipe whose one side cannot carry a message ends, and says why.
func TestPipeNewline(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns, closed := make(chan *Conn, 2), make(chan *CloseError, 2)
		h := Handler{OnOpen: func(c *Conn) { conns <- c }, OnClose: func(_ *Conn, e *CloseError) { closed <- e }}
		x := serveTLS(t, Config{Loops: n}, h)
		ws := x.dialTLS(nil)
		a := one(t, conns, "a connection")
		text := x.peerOf(x.listen(Config{Addr: "text+tls://127.0.0.1:0"}, &h))
		if err := Pipe(a, one(t, conns, "another")); err != nil {
			t.Fatal(err)
		}
		ws.send(protocol.OpText, "one line")
		text.hears("one line")
		text.say("back")
		ws.expect("back")
		ws.send(protocol.OpText, "two\nlines")
		if e := one(t, closed, "OnClose"); e.Code != protocol.CloseInternalError || !errors.Is(e, codec.ErrNewline) {
			t.Errorf("closed with %v", e)
		}
		if info := ws.closed(); info == nil || info.Code != protocol.CloseInternalError {
			t.Errorf("the WebSocket: %v", info)
		}
		if n, _ := text.rest(); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestPoliciesOfEveryProtocol: which messages arrive, and how they are counted, is
// the same whatever carries them.
func TestPoliciesOfEveryProtocol(t *testing.T) {
	text := func(i int) string { return fmt.Sprintf("%03d%s", i, strings.Repeat("x", 997)) }
	everywhere(t, Config{SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, told, func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn) {
		head := 4
		if strings.HasPrefix(l.String(), "text") {
			head = 1
		}
		for _, tt := range []struct {
			policy            Policy
			want              []int
			dropped, replaced uint64
		}{
			{PolicyDropNewest, span(0, 10), 90, 0},
			{PolicyDropOldest, span(90, 100), 90, 0},
			{PolicyReplace, span(96, 100), 0, 96},
		} {
			p := x.peerOf(l)
			c := one(t, conns, "a connection")
			filler := x.fill(c)
			x.onLoop(c, func() { c.ep.SendBytesMax = c.out.queue.Bytes() + 10*(1000+head+outq.RemovableBytes) })
			for i := range 100 {
				_ = c.Send(Message{Type: Text, Data: []byte(text(i)), Policy: tt.policy, Key: fmt.Sprint(i % 4)})
			}
			x.onLoop(c, func() {
				c.ep.SendBytesMax = 1 << 30
				_ = c.SendText("end")
			})
			for range filler {
				p.hears(strings.Repeat("f", 64<<10))
			}
			for _, i := range tt.want {
				p.hears(text(i))
			}
			p.hears("end")
			x.await("an empty queue", func() bool { return c.QueuedBytes() == 0 })
			if st := c.Stats(); st.Dropped != tt.dropped || st.Replaced != tt.replaced || int(st.MessagesOut) != filler+len(tt.want)+1 {
				t.Errorf("%v: %+v", tt.policy, st)
			}
			p.say("after that")
			p.hears("after that")
		}
	})
}

// TestPolicyCloseOfEveryProtocol: a slow reader gets what it was sent of and then the
// reason, if its protocol has one; what was discarded is counted.
func TestPolicyCloseOfEveryProtocol(t *testing.T) {
	closed := make(chan *CloseError, 1)
	everywhere(t, Config{SendBytesHigh: 1 << 20, SendBytesMax: 1 << 20, CloseTimeout: patience}, func(conns chan *Conn) Handler {
		h := told(conns)
		h.OnClose = func(_ *Conn, e *CloseError) { closed <- e }
		return h
	}, func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn) {
		p := x.peerOf(l)
		c := one(t, conns, "a connection")
		sent := x.fill(c)
		for err := error(nil); err == nil; sent++ {
			err = c.SendText(strings.Repeat("y", 10_000))
		}
		if !errors.Is(c.SendText("late"), ErrClosed) { // it may be on its way to the loop yet
			sent++
		}
		arrived, why := p.rest()
		if p.kind == "ws" && (why == nil || why.Code != protocol.CloseTryAgainLater) {
			t.Errorf("the peer got %v", why)
		}
		if e := one(t, closed, "OnClose"); e.Code != protocol.CloseTryAgainLater || !errors.Is(e, ErrBackpressure) {
			t.Errorf("OnClose: %v", e)
		}
		if st := c.Stats(); arrived >= sent || int(st.MessagesOut) != arrived || int(st.Dropped) < sent-arrived-1 || int(st.Dropped) > sent-arrived {
			t.Errorf("%d sent, %d arrived, %+v", sent, arrived, st)
		}
	})
}

// TestTopicsOfEveryProtocol: topics, timers and functions off the loop, whatever
// carries the messages.
func TestTopicsOfEveryProtocol(t *testing.T) {
	everywhere(t, Config{}, func(conns chan *Conn) Handler {
		return Handler{OnOpen: func(c *Conn) {
			conns <- c
			c.After(time.Millisecond, func() { _ = c.SendText("after") })
		}, OnMessage: topical}
	}, func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn) {
		a := x.peerOf(l)
		one(t, conns, "a") // before the other comes: handshakes do not end in order
		b := x.peerOf(l)
		c := one(t, conns, "b")
		for _, p := range []*talker{a, b} {
			p.hears("after")
			p.say("+news")
			p.hears("+news")
		}
		a.say("news:" + strings.Repeat("x", 100_000))
		b.hears(strings.Repeat("x", 100_000))
		a.hears(strings.Repeat("x", 100_000), "news:"+strings.Repeat("x", 100_000))
		b.say("-news")
		b.hears("-news")
		if err := x.Publish("news", Message{Type: Text, Data: []byte("elsewhere")}); err != nil {
			t.Error(err)
		}
		a.hears("elsewhere")
		ticks := 0
		x.onLoop(c, func() {
			var tick *Timer
			tick = c.Every(time.Millisecond, func(Tick) {
				if ticks++; ticks == 3 {
					tick.Stop()
				}
				_ = c.SendText(fmt.Sprint("tick ", ticks))
			})
		})
		b.hears("tick 1", "tick 2", "tick 3")
	})
}

// TestDialEveryProtocol: what is dialled comes again after a loss, whatever
// carries it.
func TestDialEveryProtocol(t *testing.T) {
	everywhere(t, Config{}, func(conns chan *Conn) Handler {
		return Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: func(c *Conn, m Message) {
			if m.Text() == "cut" {
				_ = c.Abort()
			}
			_ = c.Send(m)
		}}
	}, func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn) {
		got, closed := make(chan string, 10), make(chan *CloseError, 10)
		resumed, opened := 0, 0
		d := Dial{URL: l.String(), Reconnect: true, BackoffMin: time.Millisecond, BackoffMax: 2 * time.Millisecond, Handler: &Handler{
			OnOpen: func(c *Conn) {
				if s := c.TLS(); s != nil && s.DidResume {
					resumed++
				}
				opened++
				_ = c.SendText(fmt.Sprint("hello, resumed ", resumed))
			},
			OnMessage: func(c *Conn, m Message) {
				got <- m.Text()
				if opened == 3 {
					_ = c.Close(protocol.CloseNormal, "")
					return
				}
				_ = c.SendText("cut")
			},
			OnClose: func(_ *Conn, e *CloseError) { closed <- e },
		}}
		if strings.Contains(l.String(), "wss") || strings.Contains(l.String(), "tls") {
			d.TLS = x.config.Clone()
			d.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		x.mustDial(d)
		for i := range 3 {
			want := "hello, resumed 0"
			if d.TLS != nil {
				want = fmt.Sprint("hello, resumed ", i)
			}
			if m := one(t, got, "an echo"); m != want {
				t.Errorf("%q, want %q", m, want)
			}
			if e := one(t, closed, "the end"); (e.Code == protocol.CloseNormal) != (i == 2) {
				t.Errorf("closed with %v", e)
			}
		}
	})
}
