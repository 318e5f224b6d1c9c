package codec_test

import (
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

const (
	deflated = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	takeover = "permessage-deflate"
)

// inflates checks what a server that agreed to compression makes of frames,
// however they are cut, and that it keeps nothing of them.
func inflates(t *testing.T, o codec.Options, in, want string) {
	t.Helper()
	r := verdict(t, func() *side { return openDeflate(t, o, deflated) }, in)
	if r.log != want {
		t.Errorf("%.200q\ngot  %s\nwant %s", in, r.log, want)
	}
	x := openDeflate(t, o, deflated)
	x.feed(in)
	x.checkIdle()
}

func TestRFC7692Section6_1_Rsv1(t *testing.T) {
	o, z := with(limits(), all()), packed("Hello")
	const refused = "violation 1002; > close 1002"
	for in, want := range map[string]string{
		frame(0xc1, z) + frame(0x81, "Hello") + frame(0xc2, z):                  `text "Hello"; text "Hello"; binary "Hello"`,
		frame(0x41, z[:1]) + frame(0x89, "x") + frame(0x80, z[1:]):              `ping "x"; > pong "x"; text "Hello"`,
		frame(0x01, "Hel") + frame(0x80, "lo") + frame(0xc1, z):                 `text "Hello"; text "Hello"`,
		frame(0x41, z[:1]) + frame(0xc0, z[1:]):                                 refused, // a continuation
		frame(0x41, z[:1]) + frame(0x40, z[1:2]) + frame(0x80, z[2:]):           refused,
		frame(0x01, "a") + frame(0xc0, "b"):                                     refused,
		frame(0xc9, "x"):                                                        refused, // control frames
		frame(0xca, "x"):                                                        refused,
		frame(0xc8, code(1000)):                                                 refused,
		frame(0xa1, z):                                                          refused, // RSV2, RSV3, and with RSV1
		frame(0x91, z):                                                          refused,
		frame(0xf1, z):                                                          refused,
		frame(0x41, z[:2]) + frame(0x88, code(1000)) + frame(0x80, z[2:]):       `closed 1000 ""; > close 1000`,
		frame(0x41, z[:2]) + frame(0xc1, z):                                     refused, // inside
		frame(0x41, "") + frame(0x00, z[:3]) + frame(0, z[3:]) + frame(128, ""): `text "Hello"`,
	} {
		inflates(t, o, in, want)
	}
	if r := verdict(t, func() *side { return openServer(t, o) }, frame(0xc1, z)); r.log != refused {
		t.Error("RSV1 that was not agreed to:", r.log)
	}
	if r := verdict(t, func() *side { return openServer(t, limits()) }, frame(0xc1, z)); r.log != refused {
		t.Error("RSV1 without compression:", r.log)
	}
}

// TestRFC7692Section6_1_Fragments cuts compressed messages into frames
// everywhere; verdict cuts those anywhere.
func TestRFC7692Section6_1_Fragments(t *testing.T) {
	o := with(limits(), all())
	long := text(300) + "ä€😀"
	first := packed(long)
	second := packedAfter(long, "again: "+long)
	want := show("text", []byte(long)) + "; " + show("text", []byte("again: "+long))
	for n := range len(first) + 1 {
		in := frame(0x41, first[:n]) + frame(0x80, first[n:]) +
			frame(0x41, second[:min(n, len(second))]) + frame(0x00, "") + frame(0x89, "") + frame(0x80, second[min(n, len(second)):])
		r := verdict(t, func() *side { return openDeflate(t, o, takeover) }, in)
		if r.log != strings.Replace(want, "; ", `; ping ""; > pong ""; `, 1) {
			t.Fatalf("split at %d: %s", n, r.log)
		}
	}
	var in string
	o.FragmentsMax = 1000
	for i := range len(first) {
		in += frame(byte(0x41*(1-min(i, 1))), first[i:i+1])
	}
	inflates(t, o, in+frame(0x80, "")+frame(0xc1, first), show("text", []byte(long))+"; "+show("text", []byte(long)))
}

// final compresses to one block with BFINAL set, and what pads it.
func final(data string) string {
	var b strings.Builder
	w, _ := flate.NewWriter(&b, 6)
	_, _ = w.Write([]byte(data))
	_ = w.Close()
	return b.String()
}

// TestRFC7692Section7_2_3_4_Final: blocks that follow a final one within the
// message are inflated, with what came before as their history.
func TestRFC7692Section7_2_3_4_Final(t *testing.T) {
	o := with(limits(), all())
	long := strings.Repeat("0123456789 ", 7000) // more than a window
	const fixed = "\xf3\x48\xcd\xc9\xc9\x07\x00"
	for _, tt := range []struct{ in, want string }{
		{fixed + "\x00", "Hello"},
		{fixed + fixed + packed(" there"), "HelloHello there"},
		{final("abc") + packedAfter("abc", "abcabcabcabc"), "abcabcabcabcabc"},
		{final(long) + final("x") + packedAfter(long[50_000:]+"x", long), long + "x" + long},
		{strings.Repeat("\x03\x00", codec.FinalBlocksMax) + "\x00", ""},
		{"\x01", ""}, // the tail is the length of a final block
		{fixed + "\x01", "Hello"},
		{"\x01\x05\x00\xfa\xffHello\x00", "Hello"},
	} {
		inflates(t, o, frame(0xc2, tt.in), show("binary", []byte(tt.want)))
	}
	const corrupt = "violation 1007; > close 1007"
	inflates(t, o, frame(0xc2, strings.Repeat("\x03\x00", codec.FinalBlocksMax+1)+"\x00"), corrupt)
	inflates(t, o, frame(0xc2, fixed), corrupt) // no block follows

	// Takeover goes on behind a final block.
	a, b := text(300), strings.Repeat("another part, ", 20)
	third := packedAfter(a+b+b+a, a+b)
	r := verdict(t, func() *side { return openDeflate(t, o, takeover) },
		frame(0xc1, packed(a))+frame(0xc1, final(b)+packedAfter(a+b, b+a))+frame(0xc1, third))
	if r.log != show("text", []byte(a))+"; "+show("text", []byte(b+b+a))+"; "+show("text", []byte(a+b)) || len(third) > 50 {
		t.Error(r.log)
	}
}

// A message of no bytes inflates to nothing, in one frame or in fragments, and
// what comes behind is as if it had not been.
func TestRFC7692Section7_2_3_6_NoBytes(t *testing.T) {
	o := with(limits(), all())
	a := text(300)
	for _, empty := range []string{frame(0xc1, ""), frame(0x41, "") + frame(0x00, "") + frame(0x80, "")} {
		r := verdict(t, func() *side { return openDeflate(t, o, takeover) }, frame(0xc1, packed(a))+empty+frame(0xc1, packedAfter(a, a)))
		if want := show("text", []byte(a)) + `; text ""; ` + show("text", []byte(a)); r.log != want {
			t.Errorf("%s\nwant %s", r.log, want)
		}
	}
}

// TestCorrupt: a message that cannot be inflated is answered with 1007.
func TestCorrupt(t *testing.T) {
	const hello = "\xf2\x48\xcd\xc9\xc9\x07\x00"
	dynamic := packed(text(20) + "the quick brown fox jumps over the lazy dog" + text(400) + strings.Repeat("THE DOG", 9))
	for name, in := range map[string]string{
		"reserved block type":           "\x06",
		"reserved final block type":     "\x07",
		"garbage":                       "\xff\xff\xff\xff",
		"truncated":                     hello[:5],
		"truncated by the padding":      hello[:6],
		"stored without its end":        "\x00\x05\x00\xfa\xffHel",
		"stored, the tail as its data":  "\x00\x08\x00\xf7\xffHell\x00",
		"stored final, so too":          "\x01\x0a\x00\xf5\xffHell\x00",
		"stored length":                 "\x00\x05\x00\xfa\xfeHello\x00",
		"no end of block":               "\xf2\x48\xcd",
		"distance before the start":     "\xf2\x00\x11\x00\x00",
		"dynamic, cut in its codes":     dynamic[:20],
		"dynamic, cut in its data":      dynamic[:len(dynamic)-9],
		"bytes behind":                  hello + "\x05",
		"stored, cut as a window ends":  "\x00\x40\x9c\xbf\x63" + text(1<<15-4),
		"dynamic, the tail as its data": dynamicBlock(),
	} {
		x := openDeflate(t, with(limits(), all()), takeover)
		x.feed(frame(0xc2, in) + frame(0x81, "late"))
		if got := strings.Join(x.log, "; "); got != "violation 1007; > close 1007" {
			t.Errorf("%s: %s", name, got)
		}
		x.finish()
		inflates(t, with(limits(), all()), frame(0xc1, hello)+frame(0xc1, in), `text "Hello"; violation 1007; > close 1007`)
	}
	// A loop's inflater serves the next connection as if nothing had been.
	env := newEnv()
	for _, in := range []string{"\x06", hello[:5], dynamic[:20], "\x00\x05\x00\xfa\xffHel"} {
		for _, in := range []string{in, hello} {
			x := newSide(t, with(limits(), all()))
			x.env, env.Out = env, nil
			x.feed(offering(takeover) + frame(0xc1, in))
			if ok := strings.HasSuffix(strings.Join(x.log, "; "), `text "Hello"`); ok != (in == hello) {
				t.Error(x.log)
			}
			x.finish()
		}
	}
}

// dynamicBlock is the beginning of a block whose code words are 0 for 'a', 10 for
// its end and 11 for three bytes from a distance of 1 or 2, which follows as a
// bit; and some of its data, with which the tail goes on.
func dynamicBlock() string {
	var b []byte
	at := 0
	write := func(n, v int) {
		for i := range n {
			if at%8 == 0 {
				b = append(b, 0)
			}
			b[at/8] |= byte(v>>i&1) << (at % 8)
			at++
		}
	}
	write(3, 0b100) // not final, dynamic
	write(5, 1)     // 258 lengths of literals
	write(5, 1)     // 2 of distances
	write(4, 14)    // 18 of lengths: for 18, 1 and 2
	for i := range 18 {
		write(3, map[int]int{2: 1, 15: 2, 17: 2}[i])
	}
	zeros := func(n int) { write(1, 0); write(7, n-11) } // 18: n times 0
	zeros('a')
	write(2, 0b01) // 1
	zeros(138)
	zeros(255 - 'a' - 138)
	write(4, 0b1111) // 2, 2
	write(4, 0b0101) // 1, 1
	write(8, 0)      // aaaaaaaa
	return string(b)
}

func TestRFC6455Section8_1_InflatedText(t *testing.T) {
	o := with(limits(), all())
	const refused = "violation 1007; > close 1007"
	for data, want := range map[string]string{
		"grüße": `text "grüße"`, "": `text ""`, "\xff": refused, "a\xe2\x82": refused, "\xed\xa0\x80": refused,
		strings.Repeat("ä", 40_000): show("text", []byte(strings.Repeat("ä", 40_000))),
	} {
		z := packed(data)
		inflates(t, o, frame(0xc1, z), want)
		inflates(t, o, frame(0x41, z[:len(z)/2])+frame(0x80, z[len(z)/2:]), want)
		inflates(t, o, frame(0xc2, z), show("binary", []byte(data)))
	}
	// What is wrong at the beginning is found there, not at the end.
	x := openDeflate(t, o, deflated)
	x.feed(frame(0xc1, packed("\xff"+strings.Repeat("a", 1<<21))))
	if got := strings.Join(x.log, "; "); got != refused {
		t.Error(got)
	}
}

// bomb compresses n zeros.
func bomb(n int64) string {
	var b strings.Builder
	w, _ := flate.NewWriter(&b, 9)
	_, _ = io.CopyN(w, zeros{}, n)
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The inflated size is capped while inflating: a bomb costs no more than a
// message of the size that is allowed.
func TestRFC6455Section10_4_InflatedBytesMax(t *testing.T) {
	for _, limit := range []int64{1, 500, 1000, 40_000, 1 << 20} {
		o := with(limits(), all())
		o.MessageBytesMax = limit
		full := strings.Repeat("\x00", int(limit))
		inflates(t, o, frame(0xc2, packed(full)), show("binary", []byte(full)))
		inflates(t, o, frame(0xc2, packed(full+"\x00")), "violation 1009; > close 1009")
		inflates(t, o, frame(0xc2, final(full)+packed("\x00")), "violation 1009; > close 1009")
	}
	const limit = 1 << 20
	z := bomb(64 << 20)
	for _, in := range []string{frame(0xc2, z), frame(0x42, z[:1000]) + frame(0x80, z[1000:])} {
		x := openDeflate(t, with(limits(), all()), takeover)
		input := []byte(in)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ev, _ := x.s.Decode(x.env, input)
		runtime.ReadMemStats(&after)
		if ev.Kind != codec.Close || x.env.Closed.Code != protocol.CloseMessageTooBig {
			t.Fatalf("%+v", ev)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 6*limit {
			t.Errorf("%d bytes allocated for a limit of %d", n, limit)
		}
		x.finish()
	}
}

// What is taken of a compressed message is bounded too, as soon as a header
// says that it is more than any compressor makes of the allowed size.
func TestRFC6455Section10_4_PackedBytesMax(t *testing.T) {
	o := with(limits(), all())
	o.MessageBytesMax = 800
	if n := o.PackedBytesMax(); n != 964 {
		t.Fatal(n)
	}
	empty := strings.Repeat("\x00\x00\x00\xff\xff", 192) // blocks, 960 bytes of them
	inflates(t, o, frame(0xc2, empty+"\x00"), `binary ""`)
	for before, head := range map[string]string{
		"":                                header(0xc2, 0x80, 965),
		frame(0x42, empty):                header(0x80, 0x80, 5),
		frame(0x42, empty) + frame(0, ""): header(0x80, 0x80, 5),
	} {
		x := openDeflate(t, o, deflated)
		x.feed(before + head)
		if len(x.log) > 0 {
			t.Errorf("before the header ends: %s", x.log)
		}
		x.feed("\x00\x00\x00\x00") // its key
		if got := strings.Join(x.log, "; "); got != "violation 1009; > close 1009" {
			t.Errorf("%x: %s", head, got)
		}
	}
	o.MessageBytesMax = math.MaxInt64
	if n := o.PackedBytesMax(); n != math.MaxInt64 {
		t.Error(n)
	}
}

// While this side closes, compressed messages are discarded unseen.
func TestRFC6455Section1_4_CompressedAfterClose(t *testing.T) {
	x := openDeflate(t, with(limits(), all()), takeover)
	x.feed(frame(0x41, packed("Hello")[:3]))
	x.shut(protocol.CloseNormal, "")
	x.feed(frame(0x80, "garbage") + frame(0xc1, "\x06") + frame(0x42, "\x06") + frame(0x80, "") + frame(0x88, code(1000)))
	if got := strings.Join(x.log, "; "); got != `> close 1000; closed 1000 ""` {
		t.Error(got)
	}
	x.finish()
}
