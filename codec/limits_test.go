package codec_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
)

// announce is the header of a masked frame of n bytes, in the longest form.
func announce(first byte, n int64) string {
	return string(binary.BigEndian.AppendUint64([]byte{first, 0xff}, uint64(n))) + "\x00\x00\x00\x00"
}

func TestRFC6455Section10_4_MessageBytesMax(t *testing.T) {
	const limit, extended = 1000, 8 // a header with a 16-bit length
	o := limits()
	o.MessageBytesMax = limit
	full := show("binary", []byte(text(limit)))
	wants(t, o, frame(0x82, text(limit)), full)
	violates(t, o, frame(0x82, text(limit)), frame(0x82, text(limit+1)), extended, "1009")

	// All fragments together, as soon as a header tells.
	first, last := text(limit)[:600], text(limit)[600:]
	wants(t, o, frame(0x02, first)+frame(0x89, text(125))+frame(0x00, last)+frame(0x80, ""),
		show("ping", []byte(text(125)))+"; > "+show("pong", []byte(text(125)))+"; "+full)
	violates(t, o, "", frame(0x02, text(limit+1)), extended, "1009")
	violates(t, o, frame(0x02, first), frame(0x80, last+"x"), extended, "1009")
	violates(t, o, frame(0x02, first)+frame(0x00, last), frame(0x80, "x"), 6, "1009")
}

func TestRFC6455Section10_4_FragmentsMax(t *testing.T) {
	o := limits() // eight
	for _, piece := range []string{"", "a"} {
		before := frame(0x01, piece) + strings.Repeat(frame(0x00, piece), 6)
		wants(t, o, before+frame(0x80, piece)+before+frame(0x80, piece),
			show("text", []byte(strings.Repeat(piece, 8)))+"; "+show("text", []byte(strings.Repeat(piece, 8))))
		violates(t, o, before+frame(0x00, piece), frame(0x80, ""), 6, "1009")
	}
	o.FragmentsMax = 1
	wants(t, o, frame(0x81, "a")+frame(0x81, "b"), `text "a"; text "b"`)
	violates(t, o, frame(0x01, "a"), frame(0x80, ""), 6, "1009")
}

// Lengths near the ends of the integers neither overflow nor cost anything.
func TestRFC6455Section5_2_LengthArithmetic(t *testing.T) {
	for _, limit := range []int64{math.MaxInt32, math.MaxInt32 + 1, math.MaxInt64} {
		o := limits()
		o.MessageBytesMax = limit
		for _, n := range []int64{limit, limit - 1, math.MaxUint16 + 1} {
			x := openServer(t, o)
			x.feed(announce(0x82, n))
			if x.s.State() != codec.StateOpen || x.s.Held() != 0 || x.env.Buffers.Lent() != 0 {
				t.Errorf("%d bytes announced of %d: state %d, %d bytes held", n, limit, x.s.State(), x.s.Held())
			}
			x.feed("a")
			if x.s.Held() > 512 {
				t.Errorf("%d bytes held of 1", x.s.Held())
			}
			x.finish()
		}
		const part = "12345"
		violates(t, o, frame(0x02, part), announce(0x80, limit-int64(len(part))+1), 14, "1009")
		x := openServer(t, o)
		x.feed(frame(0x02, part) + announce(0x80, limit-int64(len(part))))
		if len(x.log) > 0 {
			t.Errorf("a message of exactly %d bytes: %s", limit, x.log)
		}
		x.finish()
		if limit < math.MaxInt64 {
			violates(t, o, "", announce(0x82, limit+1), 14, "1009")
			violates(t, o, "", announce(0x82, math.MaxInt64), 14, "1009")
		}
	}
}

// Memory follows the bytes that came, not the length that was announced, and a
// message that comes byte by byte is moved a logarithmic number of times.
func TestRFC6455Section10_4_MemoryGrowsWithInput(t *testing.T) {
	const n = 40_000
	o := limits()
	o.MessageBytesMax = math.MaxInt64
	for _, in := range []string{
		announce(0x81, math.MaxInt64) + text(n),
		frame(0x01, text(70_000)) + announce(0x00, 1<<40) + text(n),
	} {
		for _, step := range []int{1, 777, 65536} {
			x := openServer(t, o)
			moves, held := 0, 0
			for at := 0; at < len(in); at += step {
				x.feed(in[at:min(at+step, len(in))])
				if now := x.s.Held(); now != held {
					moves, held = moves+1, now
				}
				if _, free := x.env.Buffers.FreeBytes(); held > max(512, 2*(at+step)) || held+free > max(2048, 4*(at+step)) {
					t.Fatalf("%d bytes held, %d free, of %d that came", held, free, at+step)
				}
			}
			if moves > 12 {
				t.Errorf("moved %d times", moves)
			}
			x.finish()
		}
	}
}
