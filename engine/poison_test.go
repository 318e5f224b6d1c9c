//go:build sockmill_debug

package engine

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// TestStaleDataIsPoisoned: what a program kept beyond its callback reads as
// poison, wherever it lay: in the loop's read buffer or in a pooled one.
func TestStaleDataIsPoisoned(t *testing.T) {
	for _, tt := range []struct {
		op      protocol.Opcode // 0: not WebSocket
		payload string
	}{
		{protocol.OpText, "short"}, {protocol.OpPing, "ping"}, {protocol.OpPong, "pong"},
		{protocol.OpBinary, strings.Repeat("x", 200_000)}, {0, "raw"},
	} {
		var kept []byte
		found := make(chan []byte, 1)
		keep := func(_ *Conn, data []byte) { kept = data }
		addr := "ws://127.0.0.1:0"
		if tt.op == 0 {
			addr = "tcp://127.0.0.1:0"
		}
		s := serve(t, Config{Addr: addr, Loops: 1}, Handler{
			OnMessage: func(c *Conn, m Message) { keep(c, m.Data) },
			OnPing:    keep,
			OnPong:    keep,
			OnClose:   func(*Conn, *CloseError) { found <- bytes.Clone(kept) },
		})
		var nc net.Conn
		if tt.op == 0 {
			nc = s.connect()
			_, _ = nc.Write([]byte(tt.payload))
		} else {
			c := s.dial("/", nil)
			c.send(tt.op, tt.payload)
			nc = c.Conn
		}
		_ = nc.Close() // brings no bytes over those that were kept
		if b := <-found; !bytes.Equal(b, bytes.Repeat([]byte{0xdb}, len(tt.payload))) {
			t.Errorf("%v: %d of %d bytes, beginning with %.20q", tt.op, len(b), len(tt.payload), b)
		}
	}
}

// TestStaleWriteIsCaught: the next who borrows the buffer finds out.
func TestStaleWriteIsCaught(t *testing.T) {
	var kept []byte
	s := serve(t, Config{Loops: 1}, Handler{OnMessage: func(c *Conn, m Message) {
		if kept == nil {
			kept = m.Data
			return
		}
		kept[5] = '!'
		func() {
			defer func() { _ = c.SendText(fmt.Sprint(recover())) }()
			c.w.env.Buffers.Get(len(kept))
		}()
	}})
	c := s.dial("/", nil)
	pieces, _ := c.session.Encode(&c.env, nil, protocol.OpPing, nil, false)
	ping := len(pieces)
	pieces, _ = c.session.Encode(&c.env, pieces, protocol.OpText, []byte(strings.Repeat("x", 3000)), false)
	rest := bytes.Clone(pieces[ping+100:]) // the client's memory may serve for what it receives
	// The answer to the ping shows that the first piece has been read: two reads, so the message lies in a buffer.
	if _, err := c.Write(pieces[:ping+100]); err != nil {
		t.Fatal(err)
	}
	if ev, err := c.next(); err != nil || ev.Kind != codec.Pong {
		t.Fatal(ev, err)
	}
	if _, err := c.Write(rest); err != nil {
		t.Fatal(err)
	}
	c.send(protocol.OpText, "look")
	if _, said := c.receive(); !strings.Contains(said, "byte 5 of a buffer of 4096 was overwritten with 0x21") {
		t.Errorf("the stale write: %s", said)
	}
}

// TestStalePacketIsPoisoned: the same holds for packets.
func TestStalePacketIsPoisoned(t *testing.T) {
	kept := make(chan []byte, 1)
	s := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 1}, Handler{OnPacket: func(p Packet, data []byte) {
		_ = p.Loop().Post(func() { kept <- bytes.Clone(data) })
	}})
	peerOf(t, s.Listeners()[0]).send("secret")
	if b := <-kept; !bytes.Equal(b, bytes.Repeat([]byte{0xdb}, len("secret"))) {
		t.Errorf("%q", b)
	}
}
