package codec_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// packed compresses one message as RFC 7692 §7.2.1 says.
func packed(data string) string { return packedAfter("", data) }

// packedAfter does so with what the peer has already.
func packedAfter(history, data string) string {
	var b strings.Builder
	w, err := flate.NewWriterDict(&b, 6, []byte(history))
	if err != nil {
		panic(err)
	}
	_, _ = w.Write([]byte(data))
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// payloads takes the frames apart that a session sent.
func payloads(tb testing.TB, wire []byte) (headers []protocol.Header, list []string) {
	tb.Helper()
	for len(wire) > 0 {
		h, n, err := protocol.ParseHeader(wire)
		if err != nil || n == 0 {
			tb.Fatalf("%x: %v", wire, err)
		}
		p := wire[n : n+int(h.Length)]
		if h.Masked {
			protocol.Mask(p, h.Key, 0)
		}
		headers, list, wire = append(headers, h), append(list, string(p)), wire[n+len(p):]
	}
	return headers, list
}

// TestRFC7692Section7_2_3 decodes the examples of the RFC.
func TestRFC7692Section7_2_3(t *testing.T) {
	const hello = "\xf2\x48\xcd\xc9\xc9\x07\x00"
	for _, tt := range []struct{ section, in, want string }{
		{"1", frame(0xc1, hello), `text "Hello"`},
		{"1, in fragments", frame(0x41, hello[:3]) + frame(0x80, hello[3:]), `text "Hello"`},
		{"2", frame(0xc1, hello) + frame(0xc1, "\xf2\x00\x11\x00\x00"), `text "Hello"; text "Hello"`},
		{"2, without takeover", frame(0xc1, hello) + frame(0xc1, hello), `text "Hello"; text "Hello"`},
		{"3", frame(0xc1, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), `text "Hello"`},
		{"4", frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), `text "Hello"`},
		{"5", frame(0xc1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), `text "Hello"`},
		{"6", frame(0xc1, "\x00") + frame(0xc2, "\x00"), `text ""; binary ""`},
		{"not compressed", frame(0x81, hello[1:1]+"Hello") + frame(0xc1, hello), `text "Hello"; text "Hello"`},
	} {
		r := verdict(t, func() *side { return openDeflate(t, with(limits(), all()), "permessage-deflate") }, tt.in)
		if r.log != tt.want {
			t.Errorf("§7.2.3.%s: %s, want %s", tt.section, r.log, tt.want)
		}
	}
	// Without takeover, the second message of §7.2.3.2 refers to nothing.
	r := verdict(t, func() *side {
		return openDeflate(t, with(limits(), all()), "permessage-deflate; client_no_context_takeover")
	}, frame(0xc1, hello)+frame(0xc1, "\xf2\x00\x11\x00\x00"))
	if r.log != `text "Hello"; violation 1007; > close 1007` {
		t.Error(r.log)
	}
}

// similar returns n bytes with copies of earlier ones from all distances.
func similar(r *rand.Rand, n int) string {
	var b []byte
	for len(b) < n {
		if at := len(b); at > 20 && r.IntN(3) > 0 {
			from := max(0, at-10-1<<r.IntN(17)) + r.IntN(5)
			b = append(b, b[from:min(at, from+3+r.IntN(60))]...)
		} else {
			b = fmt.Appendf(b, "%x", r.Uint32N(1<<r.IntN(32)))
		}
	}
	return string(b[:n])
}

// TestRFC7692Section7_1_2_Windows sends both ways, with all windows and levels.
// A strict inflater sees that what was promised is kept.
func TestRFC7692Section7_1_2_Windows(t *testing.T) {
	for bits := 8; bits <= 15; bits++ {
		for _, takeover := range []bool{true, false} {
			for _, level := range []int{1, 3, 6, 9} {
				d := all()
				d.Level, d.HistoryBits = level, 8+level
				d.ServerTakeover, d.ClientTakeover = takeover, takeover
				d.ServerMaxWindowBits, d.ClientMaxWindowBits = bits, 8+(bits+3)%8
				roundTrips(t, d, level == 1 && bits%7 == 1)
			}
		}
	}
}

func roundTrips(t *testing.T, d *codec.Deflate, large bool) {
	o := limits()
	o.MessageBytesMax = 1 << 21
	p := &pair{client: newSide(t, with(clientLimits(), d)), server: newSide(t, with(o, d)), c: whole}
	p.client.opts.MessageBytesMax = 1 << 21
	p.settle()
	r := rand.New(rand.NewPCG(uint64(d.Level), uint64(d.ServerMaxWindowBits)))
	base := similar(r, 40_000)
	if large {
		base = similar(r, 1<<20+500)
	}
	sizes := []int{0, 1, 2, 11, 100, 255, 256, 257, 700, 5000, 33_000}
	if large {
		sizes = append(sizes, 1<<20)
	}
	for _, x := range []struct {
		from, to *side
		bits     int
		takeover bool
	}{
		{p.client, p.server, d.ClientMaxWindowBits, d.ClientTakeover},
		{p.server, p.client, d.ServerMaxWindowBits, d.ServerTakeover},
	} {
		if x.from.s.State() != codec.StateOpen || x.to.s.State() != codec.StateOpen {
			t.Fatal(x.from.log, x.to.log)
		}
		z, smaller := &strict{window: 1 << x.bits, takeover: x.takeover}, 0
		for i, n := range append(sizes, sizes...) {
			data := base[i*13 : i*13+n]
			if i%5 == 4 {
				data = chaos(n)
			}
			begin := len(x.from.env.Out)
			x.from.send(protocol.OpBinary, data)
			wire := string(x.from.env.Out[begin:])
			headers, list := payloads(t, []byte(wire))
			if h := headers[0]; h.Rsv == protocol.Rsv1 {
				smaller++
				got, err := z.message(list[0])
				if err != nil || got != data || len(list[0]) >= len(data) {
					t.Fatalf("%+v: %d bytes as %d: %v", *d, n, len(list[0]), err)
				}
			} else if h.Rsv != 0 || list[0] != data {
				t.Fatalf("%+v: %d bytes sent as %+v", *d, n, h)
			}
			x.to.log = nil
			x.to.feed(wire)
			if want := show("binary", []byte(data)); len(x.to.log) != 1 || x.to.log[0] != want {
				t.Fatalf("%+v: %s, want %s", *d, x.to.log, want)
			}
		}
		if smaller < 8 || z.farthest <= z.window/4 && z.window <= 1<<12 {
			t.Errorf("%+v: %d messages compressed, distances up to %d", *d, smaller, z.farthest)
		}
	}
	p.client.finish()
	p.server.finish()
}

// A message is sent as it is if the program wants it so, if it is short, and if
// compression makes it no smaller; it then is nobody's history.
func TestRFC7692Section6_1_Uncompressed(t *testing.T) {
	d := all()
	d.ThresholdBytes = 150
	x := openDeflate(t, with(limits(), d), "permessage-deflate")
	z := &strict{window: 1 << 15, takeover: true}
	random := make([]byte, 500)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	for i, tt := range []struct {
		data   string
		plain  bool
		packed bool
	}{
		{text(149), false, false}, {text(150), false, true}, {text(500), true, false}, {string(random), false, false},
		{string(random) + text(150), false, true}, {text(300), false, true}, {string(random), false, true}, {string(random), true, false},
	} {
		out, err := x.s.Encode(x.env, nil, protocol.OpBinary, []byte(tt.data), tt.plain)
		headers, list := payloads(t, out)
		if err != nil || headers[0].Rsv == protocol.Rsv1 != tt.packed {
			t.Fatalf("message %d: %+v, %v", i, headers[0], err)
		}
		if n, message := x.s.Unit(append(out, "x"...)); n != len(out) || !message {
			t.Errorf("message %d: Unit is %d of %d", i, n, len(out))
		}
		if tt.packed {
			if got, err := z.message(list[0]); err != nil || got != tt.data {
				t.Fatalf("message %d: %v", i, err)
			}
		}
	}
	ping, _ := x.s.Encode(x.env, nil, protocol.OpPing, []byte(text(125)), false)
	if h, _ := payloads(t, ping); h[0].Rsv != 0 {
		t.Error("a compressed ping")
	}
	x.finish()
}

// A shared frame is good for every session that takes it, whatever was sent
// before and comes after.
func TestEncodeShared(t *testing.T) {
	o := with(limits(), all())
	for offer, want := range map[string][2]bool{ // for 200 bytes, for 5000
		"permessage-deflate":                                                    {true, true},
		"permessage-deflate; server_no_context_takeover":                        {true, true},
		"permessage-deflate; server_max_window_bits=8":                          {true, false},
		"permessage-deflate; server_max_window_bits=13":                         {true, true},
		"permessage-deflate; server_max_window_bits=12; client_max_window_bits": {true, false},
	} {
		x := openDeflate(t, o, offer)
		z := &strict{window: 1 << 15, takeover: !strings.Contains(offer, "server_no")}
		_, _ = fmt.Sscanf(offer, "permessage-deflate; server_max_window_bits=%d", &z.window)
		if z.window < 16 {
			z.window = 1 << z.window
		}
		for i, n := range []int{200, 5000, 200} {
			shared, ok := codec.EncodeShared(x.env, &o, nil, protocol.OpText, []byte(text(n)))
			if !ok || x.s.CanShare(n) != want[i%2] {
				t.Fatalf("%s, %d bytes: %v, shared: %v", offer, n, ok, x.s.CanShare(n))
			}
			if x.s.CanShare(n) {
				x.s.Shared(x.env, []byte(text(n)))
			} else {
				shared, _ = x.s.Encode(x.env, nil, protocol.OpText, []byte(text(n)), false)
			}
			own, _ := x.s.Encode(x.env, nil, protocol.OpText, []byte("own "+text(n)), false)
			_, list := payloads(t, append(shared, own...))
			for k, data := range []string{text(n), "own " + text(n)} {
				if got, err := z.message(list[k]); err != nil || got != data {
					t.Fatalf("%s, %d bytes: %v", offer, n, err)
				}
			}
		}
		x.finish()
	}
	x := openServer(t, limits())
	if x.s.CanShare(1) || x.s.CanShare(0) {
		t.Error("a session without compression shares")
	}
	plain, client := limits(), with(clientLimits(), all())
	for _, o := range []*codec.Options{&plain, &client} {
		if b, ok := codec.EncodeShared(x.env, o, nil, protocol.OpText, []byte(text(200))); ok || b != nil {
			t.Error("a shared frame that nobody can send")
		}
	}
	x.finish()
}
