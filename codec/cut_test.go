package codec_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
)

// handshake is a client's, with the key of RFC 6455 §1.3.
const handshake = "GET /chat HTTP/1.1\r\nHost: a:8090\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// bare is a frame without a mask: its first byte as the RFC's diagrams have
// it, the length, the payload.
func bare(first byte, payload string) string { return header(first, 0, len(payload)) + payload }

// frame is bare with a mask, as a client sends it.
func frame(first byte, payload string) string {
	const key = "\x37\xfa\x21\x3d"
	masked := []byte(payload)
	for i := range masked {
		masked[i] ^= key[i%4]
	}
	return header(first, 0x80, len(payload)) + key + string(masked)
}

func header(first, mask byte, n int) string {
	switch {
	case n <= 125:
		return string([]byte{first, mask | byte(n)})
	case n <= 65535:
		return string([]byte{first, mask | 126, byte(n >> 8), byte(n)})
	}
	return string([]byte{first, mask | 127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// A cut says how many of the bytes that are left come next.
type cut func(left int) int

func whole(left int) int { return left }
func bytewise(int) int   { return 1 }

// splitAt cuts once, after n bytes.
func splitAt(n int) cut {
	return func(left int) int {
		defer func() { n = left }()
		return min(n, left)
	}
}

// randomly cuts pieces of very different sizes, empty ones among them.
func randomly(seed uint64) cut {
	r := rand.New(rand.NewPCG(seed, 1))
	return func(left int) int { return r.IntN(1 + min(left, 1<<r.IntN(17))) }
}

// result is all that a session shows of itself, comparable.
type result struct {
	log, out, close string
	state           codec.State
}

// feedCut feeds the input in pieces.
func (x *side) feedCut(input string, c cut) {
	x.tb.Helper()
	for len(input) > 0 {
		n := c(len(input))
		x.feed(input[:n])
		input = input[n:]
	}
}

// play feeds the input in pieces and ends the connection.
func play(x *side, input string, c cut) result {
	x.tb.Helper()
	x.feedCut(input, c)
	r := result{log: strings.Join(x.log, "; "), out: string(x.env.Out), state: x.s.State()}
	if x.close != nil {
		r.close = x.close.Error()
	}
	x.finish()
	return r
}

// verdict is what input leads to, however it is cut: whole, bytewise, into two
// everywhere, at random.
func verdict(t *testing.T, fresh func() *side, input string) result {
	t.Helper()
	want := play(fresh(), input, whole)
	same := func(name string, c cut) {
		t.Helper()
		if got := play(fresh(), input, c); got != want {
			t.Errorf("%.200q\nwhole: %+v\n%s: %+v", input, want, name, got)
		}
	}
	same("bytewise", bytewise)
	if len(input) <= 400 {
		for n := range len(input) {
			same("split", splitAt(n))
		}
	}
	for seed := range uint64(4) {
		same("random", randomly(seed))
	}
	return want
}

// wants checks what an open server makes of frames, and that it keeps nothing
// of them: in and want end between two messages or with the session.
func wants(t *testing.T, o codec.Options, in, want string) {
	t.Helper()
	r := verdict(t, func() *side { return openServer(t, o) }, in)
	if r.log != want {
		t.Errorf("%.200q\ngot  %s\nwant %s", in, r.log, want)
	}
	x := openServer(t, o)
	x.feed(in)
	x.checkIdle()
}

// violates checks that what follows the well-formed frames before is refused
// with code, and as soon as n bytes of it are there.
func violates(t *testing.T, o codec.Options, before, wire string, n int, code string) {
	t.Helper()
	x := openServer(t, o)
	x.feed(before)
	for i := range len(wire) {
		if over := x.s.State() == codec.StateClosed; over != (i >= n) {
			t.Errorf("%.60q: after %d bytes closed: %v, want it after %d", wire, i, over, n)
			return
		}
		x.feed(wire[i : i+1])
	}
	if over := x.s.State() == codec.StateClosed; !over {
		t.Errorf("%.60q: accepted", wire)
		return
	}
	r := verdict(t, func() *side { return openServer(t, o) }, before+wire+frame(0x81, "too late"))
	if want := "violation " + code + "; > close " + code; !strings.HasSuffix(r.log, want) {
		t.Errorf("%.60q: %s, want %s", wire, r.log, want)
	}
	if !strings.HasSuffix(r.out, x.close.Reason) || x.close.Reason == "" {
		t.Errorf("%.60q: the close frame does not say %q", wire, x.close.Reason)
	}
}
