package engine

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// deflating is what a client offers that takes everything.
func deflating() *codec.Deflate {
	return &codec.Deflate{
		Level: 3, ThresholdBytes: 1, ServerTakeover: true, ClientTakeover: true,
		ServerMaxWindowBits: 15, ClientMaxWindowBits: 15, HistoryBits: 15,
	}
}

// dialDeflate is dial with an offer of compression.
func (s *server) dialDeflate(d *codec.Deflate) *client {
	s.t.Helper()
	c := newClient(s.t, s.connect(), &codec.Options{
		Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 30, FragmentsMax: 1 << 20,
		Host: s.Addr().String(), Target: "/", Deflate: d,
	})
	c.session.Start(&c.env)
	c.flush()
	if ev, err := c.next(); err != nil || ev.Kind != codec.Open {
		s.t.Fatalf("dial: %+v, %v", ev, err)
	}
	return c
}

// news is compressible, and different each time.
func news(n int) string {
	return fmt.Sprintf(`{"id":%d,"text":%q}`, n, strings.Repeat(fmt.Sprintf("news of %d, ", n), 40))
}

func TestDeflateEcho(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n, Deflate: DeflateTakeover}, Handler{OnMessage: func(c *Conn, m Message) {
			m.Plain = strings.Contains(m.Text(), "plainly")
			_ = c.Send(m)
		}})
		c := s.dialDeflate(deflating())
		if got := s.Stats().TakeoverBytes; got != 2*4096 {
			t.Errorf("%d bytes are granted", got)
		}
		sent := 0
		for i := range 50 {
			c.send(protocol.OpText, news(i))
			c.expect(news(i))
			sent += len(news(i))
		}
		st := s.Stats()
		if st.BytesOut > uint64(sent/3) || st.BytesIn > uint64(sent/3) {
			t.Errorf("%d bytes were echoed as %d, received as %d", sent, st.BytesOut, st.BytesIn)
		}
		plainly := strings.Repeat("plainly ", 1000)
		c.send(protocol.OpText, plainly)
		c.expect(plainly)
		c.send(protocol.OpText, news(1))
		c.expect(news(1))
		if more := s.Stats().BytesOut - st.BytesOut; more < uint64(len(plainly)) || more > uint64(len(plainly)+200) {
			t.Errorf("a plain message took %d bytes of %d", more, len(plainly))
		}
		c.close(protocol.CloseNormal, "")
		_ = c.closed()
		s.await("the budget", func() bool { return s.Stats().TakeoverBytes == 0 })
		_ = s.end()
		s.balanced()
	})
}

func TestDeflateModes(t *testing.T) {
	offer := "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
	for mode, want := range map[DeflateMode]string{
		0:                 "",
		DeflateTakeover:   "permessage-deflate; client_max_window_bits=11",
		DeflateNoTakeover: "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		DeflateOff:        "",
	} {
		s := serve(t, Config{Deflate: mode, DeflateWindowBits: 11}, Handler{})
		nc := s.connect()
		if _, err := io.WriteString(nc, upgradeHead(offer)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1000)
		n, _ := nc.Read(buf)
		_, rest, _ := strings.Cut(string(buf[:n]), "Sec-WebSocket-Extensions: ")
		if got, _, _ := strings.Cut(rest, "\r\n"); got != want {
			t.Errorf("mode %d answers %q", mode, got)
		}
		_ = nc.Close()
	}
	if _, err := New(Config{Deflate: 9}, Handler{}); err == nil || !strings.Contains(err.Error(), "Config.Deflate is 9: it must be") {
		t.Error(err)
	}
}

// When the budget is spent, new connections go without takeover, until another
// gives its share back.
func TestDeflateTakeoverBytes(t *testing.T) {
	s := serve(t, Config{Deflate: DeflateTakeover, DeflateTakeoverBytes: 2*8192 + 100}, Handler{OnMessage: echo})
	a, b := s.dialDeflate(deflating()), s.dialDeflate(deflating())
	c := s.dialDeflate(deflating())
	if got := s.Stats().TakeoverBytes; got != 2*8192 {
		t.Errorf("%d bytes are granted", got)
	}
	for i := range 10 {
		for _, c := range []*client{a, b, c} {
			c.send(protocol.OpText, news(i))
			c.expect(news(i))
		}
	}
	_ = b.Conn.Close()
	s.await("a share", func() bool { return s.Stats().TakeoverBytes == 8192 })
	_ = s.dialDeflate(deflating())
	if got := s.Stats().TakeoverBytes; got != 2*8192 {
		t.Errorf("%d bytes are granted", got)
	}
}

// A broadcast is compressed once; whoever cannot take that gets it otherwise,
// and in its place among what is sent to it alone.
func TestBroadcastToMixedConnections(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n, Deflate: DeflateTakeover}, Handler{OnMessage: echo})
		small, alone := deflating(), deflating()
		small.ServerMaxWindowBits = 9
		alone.ServerTakeover, alone.ClientTakeover = false, false
		clients := []*client{s.dial("/", nil)}
		for range 3 {
			clients = append(clients, s.dialDeflate(deflating()), s.dialDeflate(small), s.dialDeflate(alone))
		}
		s.await("all to be open", func() bool { return s.Stats().Open == len(clients) })
		random := make([]byte, 5000)
		r := rand.New(rand.NewPCG(1, 1))
		for i := range random {
			random[i] = byte(r.Uint32())
		}
		said := []Message{
			{Type: Text, Data: []byte(news(1))}, {Type: Text, Data: []byte(strings.Repeat("longer ", 300))}, {Type: Text, Data: []byte("short")},
			{Data: random}, {Type: Text, Data: []byte(news(2)), Plain: true}, {Type: Text, Data: []byte(news(1)), Policy: PolicyDropOldest}, {Data: []byte{}},
		}
		for i, m := range said {
			before := s.Stats().BytesOut
			want := string(m.Data)
			if err := s.Broadcast(m); err != nil {
				t.Fatal(err)
			}
			clear(m.Data) // it is the caller's again
			for _, c := range clients {
				c.expect(want)
			}
			if i == 1 {
				s.await("the counters", func() bool { return s.Stats().BytesOut > before })
				if n := int(s.Stats().BytesOut - before); n > 4*len(want)+7*len(want)/5 { // four take it as it is
					t.Errorf("%d bytes of %d to each went out", n, len(want))
				}
			}
			for k, c := range clients { // what comes after depends on it
				c.send(protocol.OpText, news(i+k))
				c.expect(news(i + k))
			}
		}
	})
}

// What a policy may remove from a congested queue is not compressed: what
// follows can be inflated without it.
func TestDeflateInACongestedQueue(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Deflate: DeflateTakeover, SendBytesHigh: 1 << 20, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	c := s.dialDeflate(deflating())
	conn := <-conns
	filler := make([]byte, 64<<10)
	for i := range filler {
		filler[i] = byte(i * i >> 3)
	}
	for congested := make(chan bool, 1); ; {
		if err := conn.Send(Message{Data: filler, Plain: true}); err != nil {
			t.Fatal(err)
		}
		_ = conn.onLoop(func() { congested <- conn.flow.congested })
		if <-congested {
			break
		}
	}
	const each = 200
	var kept []string
	for i := range each {
		for _, m := range []Message{
			{Type: Text, Data: []byte("keep " + news(i))},
			{Type: Text, Data: []byte("replace " + news(i)), Policy: PolicyReplace, Key: "7"},
			{Type: Text, Data: []byte("drop " + news(i)), Policy: PolicyDropOldest},
		} {
			if err := conn.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		kept = append(kept, "keep "+news(i))
	}
	for _, m := range []Message{
		{Type: Text, Data: []byte("replace " + news(each)), Policy: PolicyReplace, Key: "7"},
		{Type: Text, Data: []byte("drop " + news(each)), Policy: PolicyDropOldest},
		{Type: Text, Data: []byte("end " + news(each))},
	} {
		if err := s.Broadcast(m); err != nil {
			t.Fatal(err)
		}
	}
	last, dropping := "", 0
	for {
		op, m := c.receive()
		switch {
		case op == protocol.OpBinary:
		case strings.HasPrefix(m, "keep "):
			if m != kept[0] {
				t.Fatalf("%.40q, want %.40q", m, kept[0])
			}
			kept = kept[1:]
		case strings.HasPrefix(m, "replace "):
			last = m
		case strings.HasPrefix(m, "drop "):
			dropping++
		case strings.HasPrefix(m, "end "):
			if len(kept) > 0 || last != "replace "+news(each) || conn.Stats().Replaced == 0 || dropping != each+1 {
				t.Errorf("%d missing, %.40q is the last, %d replaced, %d that might be dropped", len(kept), last, conn.Stats().Replaced, dropping)
			}
			return
		default:
			t.Fatalf("%.40q", m)
		}
	}
}

// TestDeflateAllocatesNothing is TestHotPathAllocatesNothing with compression.
func TestDeflateAllocatesNothing(t *testing.T) {
	s := serve(t, Config{Loops: 1, Deflate: DeflateNoTakeover}, Handler{OnMessage: echo})
	cl := s.dialDeflate(deflating())
	frame, _ := cl.session.Encode(&cl.env, nil, protocol.OpText, []byte(news(1)), false)
	if len(frame) > len(news(1))/2 {
		t.Fatalf("%d bytes", len(frame))
	}
	buf := make([]byte, 1000)
	round := func() {
		if _, err := cl.Write(frame); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(frame)-4; { // the answer has no mask; it comes in one piece
			n, err := cl.Read(buf[got:])
			if got += n; err != nil {
				t.Fatal(err)
			}
		}
	}
	allocatesNothing(t, 1, round)
}
