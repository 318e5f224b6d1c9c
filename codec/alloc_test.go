package codec_test

import (
	"bytes"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// echo is a side that answers messages, and the memory that it works in: a
// read buffer, since Decode changes its input.
type echo struct {
	s      codec.Codec
	env    *codec.Env
	buffer []byte
}

func newEcho() *echo {
	o := limits()
	o.MessageBytesMax = 1 << 30
	o.FragmentsMax = 1 << 30
	return &echo{s: codec.NewSessionIn(&o, codec.StateOpen), env: newEnv()}
}

// take decodes wire in pieces of at most n bytes, echoes the messages, and
// returns how many events there were.
func (e *echo) take(wire string, n int) (events int) {
	e.env.Out = e.env.Out[:0]
	for len(wire) > 0 {
		e.buffer = append(e.buffer[:0], wire[:min(n, len(wire))]...)
		wire = wire[len(e.buffer):]
		for in := e.buffer; ; events++ {
			ev, taken := e.s.Decode(e.env, in)
			if ev.Kind == codec.NeedMore {
				break
			}
			in = in[taken:]
			if ev.Kind == codec.Message {
				e.env.Out, _ = e.s.Encode(e.env, e.env.Out, ev.Opcode, ev.Data, false)
			}
		}
	}
	return events
}

func TestNoAllocationPerMessage(t *testing.T) {
	const large = 1 << 30
	for _, tt := range []struct {
		name, wire string
		cut        int
		events     int
	}{
		{"text of 128 B", frame(0x81, text(128)), large, 1},
		{"binary of 16 KiB", frame(0x82, chaos(16<<10)), large, 1},
		{"ping and pong", frame(0x89, text(125)) + frame(0x8a, text(125)), large, 2},
		{"fragments", frame(0x01, text(3000)) + frame(0x89, "x") + frame(0x00, text(3000)) + frame(0x80, text(3000)), large, 2},
		{"text of 128 B, bytewise", frame(0x81, text(128)), 1, 1},
		{"fragments and pings, bytewise", frame(0x01, text(300)) + frame(0x89, text(125)) + frame(0x80, text(300)), 1, 2},
		{"binary of 1 MiB in 64 KiB pieces", frame(0x82, text(1<<20)), 64 << 10, 1},
		{"half a message", frame(0x01, text(3000)), large, 0},
	} {
		e := newEcho()
		run := func() {
			if n := e.take(tt.wire, tt.cut); n != tt.events {
				t.Fatalf("%s: %d events", tt.name, n)
			}
			if tt.events == 0 { // the connection is lost, and another one comes
				e.s.Release(e.env)
			}
		}
		if n := testing.AllocsPerRun(20, run); n > 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

// TestNoAllocationPerCompressedMessage echoes compressed messages: they are
// inflated, and compressed again.
func TestNoAllocationPerCompressedMessage(t *testing.T) {
	for _, offer := range []string{takeover, deflated, "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10"} {
		for name, wire := range map[string]string{
			"text of 200 B":   frame(0xc1, packed(text(200))),
			"binary of 5 KiB": frame(0xc2, packed(chaos(5000))),
			"text of 300 KiB": frame(0xc1, packed(text(300<<10))),
			"fragments":       frame(0x41, packed(text(3000))[:9]) + frame(0x80, packed(text(3000))[9:]),
			"final blocks":    frame(0xc1, final(text(300))+final(text(200))+"\x00"),
		} {
			for _, n := range []int{1 << 30, 7} {
				x := openDeflate(t, with(limits(), all()), offer)
				e := &echo{s: x.s, env: x.env}
				run := func() {
					if n := e.take(wire, n); n != 1 || !bytes.HasPrefix(e.env.Out, []byte{wire[0] | 0x80}) {
						t.Fatalf("%s, %s: %d events, %.2x", offer, name, n, e.env.Out)
					}
				}
				for range 100 { // until the histories are full
					run()
				}
				if n := testing.AllocsPerRun(20, run); n > 0 {
					t.Errorf("%s, %s: %v allocations", offer, name, n)
				}
			}
		}
	}
}

func TestNoAllocationPerMessageOfAClient(t *testing.T) {
	o := clientLimits()
	e := &echo{s: codec.NewSessionIn(&o, codec.StateOpen), env: newEnv()}
	wire := bare(0x81, text(128)) + bare(0x89, "ping")
	if n := testing.AllocsPerRun(20, func() { e.take(wire, 1<<30) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// A header that announces the utmost, and is refused or believed, costs the
// same: the close error, or nothing.
func TestNoAllocationForAnnouncements(t *testing.T) {
	o := limits()
	o.MessageBytesMax = 1<<63 - 1
	s, env := new(codec.Session), newEnv()
	wire := []byte(announce(0x82, 1<<63-1))
	if n := testing.AllocsPerRun(20, func() {
		*s = *codec.NewSessionIn(&o, codec.StateOpen)
		s.Decode(env, wire)
		s.Release(env)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := env.Buffers.Lent(); n != 0 {
		t.Errorf("%d buffers lent", n)
	}
	if _, kept := env.Buffers.FreeBytes(); kept != 0 {
		t.Errorf("%d bytes in the free lists: something was lent", kept)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, tt := range []struct {
		name, wire string
		cut, bytes int
	}{
		{"text128B", frame(0x81, text(128)), 1 << 30, 128},
		{"binary16KiB", frame(0x82, chaos(16<<10)), 1 << 30, 16 << 10},
		{"text16KiB", frame(0x81, text(16<<10)), 1 << 30, 16 << 10},
		{"binary1MiBin64KiB", frame(0x82, chaos(1<<20)), 64 << 10, 1 << 20},
		{"text1MiBin64KiB", frame(0x81, text(1<<20)), 64 << 10, 1 << 20},
	} {
		b.Run(tt.name, func(b *testing.B) {
			o := limits()
			decodeAll(b, codec.NewSessionIn(&o, codec.StateOpen), tt.wire, tt.cut, tt.bytes)
		})
	}
}

// decodeAll measures one message of so many bytes, which comes in pieces of cut.
func decodeAll(b *testing.B, c codec.Codec, wire string, cut, bytes int) {
	env, buffer := newEnv(), make([]byte, min(cut, len(wire)))
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		for wire := wire; len(wire) > 0; {
			in := buffer[:copy(buffer, wire)]
			wire = wire[len(in):]
			ev, n := c.Decode(env, in)
			if wire == "" && ev.Kind != codec.Message {
				b.Fatalf("%+v", ev)
			}
			c.Decode(env, in[n:])
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, o := range map[string]codec.Options{"server": limits(), "client": clientLimits()} {
		b.Run(name, func(b *testing.B) {
			s, env := codec.NewSessionIn(&o, codec.StateOpen), newEnv()
			payload := []byte(text(128))
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				env.Out, _ = s.Encode(env, env.Out[:0], protocol.OpText, payload, false)
			}
		})
	}
}

// TestHandshakeGarbage: a handshake that the program does not look at makes
// nothing but the value of the extensions.
func TestHandshakeGarbage(t *testing.T) {
	o := limits()
	o.Deflate = &codec.Deflate{
		Level: 1, ServerTakeover: true, ClientTakeover: true, ServerMaxWindowBits: 15, ClientMaxWindowBits: 12, HistoryBits: 12,
	}
	env := newEnv()
	head := []byte("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Cookie: " + text(300) + "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, permessage-deflate\r\n\r\n")
	s := new(codec.Session)
	shake := func() {
		s.Init(&o)
		env.Out = env.Out[:0]
		if ev, n := s.Decode(env, head); ev.Kind != codec.Request || n != len(head) {
			t.Fatalf("%+v", ev)
		}
		if err := s.Accept(env, codec.Accept{}); err != nil || !bytes.Contains(env.Out, []byte("client_max_window_bits=12")) {
			t.Fatal(err, string(env.Out))
		}
	}
	shake()
	if n := testing.AllocsPerRun(100, shake); n > 1 {
		t.Errorf("%v allocations", n)
	}
	if !s.Idle() {
		t.Error("an idle session holds memory for takeover")
	}
}
