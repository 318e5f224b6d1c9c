package protocol_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantCode fails unless err is a *protocol.Error with that code; 0 means no error.
func wantCode(t testing.TB, err error, code protocol.CloseCode) {
	t.Helper()
	var e *protocol.Error
	switch {
	case code == 0 && err == nil:
	case !errors.As(err, &e) || e.Code != code:
		t.Errorf("error %v, want close code %d", err, code)
	case e.Reason == "" || len(e.Reason) > 123:
		t.Errorf("reason %q does not fit a close frame", e.Reason)
	}
}

var key = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// frames holds the examples of §5.7 and every boundary of the three length forms.
var frames = []struct {
	wire string
	h    protocol.Header
}{
	{"8105", protocol.Header{Fin: true, Opcode: protocol.OpText, Length: 5}},
	{"818537fa213d", protocol.Header{Fin: true, Opcode: protocol.OpText, Masked: true, Key: key, Length: 5}},
	{"0103", protocol.Header{Opcode: protocol.OpText, Length: 3}},
	{"8002", protocol.Header{Fin: true, Opcode: protocol.OpContinuation, Length: 2}},
	{"8905", protocol.Header{Fin: true, Opcode: protocol.OpPing, Length: 5}},
	{"8a8537fa213d", protocol.Header{Fin: true, Opcode: protocol.OpPong, Masked: true, Key: key, Length: 5}},
	{"827e0100", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 256}},
	{"827f0000000000010000", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 65536}},

	{"8200", protocol.Header{Fin: true, Opcode: protocol.OpBinary}},
	{"827d", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 125}},
	{"827e007e", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 126}},
	{"827e007f", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 127}},
	{"827effff", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 65535}},
	{"82fe007e37fa213d", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Masked: true, Key: key, Length: 126}},
	{"827f0000000100000000", protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 1 << 32}},
	{"82ff7fffffffffffffff37fa213d",
		protocol.Header{Fin: true, Opcode: protocol.OpBinary, Masked: true, Key: key, Length: math.MaxInt64}},
	{"7300", protocol.Header{Rsv: protocol.Rsv1 | protocol.Rsv2 | protocol.Rsv3, Opcode: 3}},
	{"4100", protocol.Header{Rsv: protocol.Rsv1, Opcode: protocol.OpText}},
	{"2100", protocol.Header{Rsv: protocol.Rsv2, Opcode: protocol.OpText}},
	{"1100", protocol.Header{Rsv: protocol.Rsv3, Opcode: protocol.OpText}},
	{"8f00", protocol.Header{Fin: true, Opcode: 15}},
}

func TestRFC6455Section5_2_Header(t *testing.T) {
	for _, tt := range frames {
		wire := unhex(t, tt.wire)
		h, n, err := protocol.ParseHeader(append(bytes.Clone(wire), 0xff, 0xff))
		if h != tt.h || n != len(wire) || err != nil {
			t.Errorf("ParseHeader(%s…) = %+v, %d, %v", tt.wire, h, n, err)
		}
		if got := protocol.AppendHeader([]byte("x"), tt.h); string(got) != "x"+string(wire) {
			t.Errorf("AppendHeader(%+v) = %x, want %s", tt.h, got, tt.wire)
		}
		for cut := range wire {
			var want protocol.Header
			if cut >= 2 {
				want = tt.h
				want.Key, want.Length = [4]byte{}, int64(wire[1]&0x7f)
			}
			h, n, err := protocol.ParseHeader(wire[:cut])
			if h != want || n != 0 || err != nil {
				t.Errorf("ParseHeader(%x) = %+v, %d, %v, want %+v and more", wire[:cut], h, n, err, want)
			}
		}
	}
}

func TestRFC6455Section5_2_LengthViolations(t *testing.T) {
	for _, tt := range []struct {
		wire string
		seen int // bytes after which the violation is visible
	}{
		{"827e0000", 4},
		{"827e007d", 4},
		{"82fe000137fa213d", 4},
		{"827f0000000000000000", 8},
		{"827f000000000000007d", 8},
		{"827f000000000000ffff", 8},
		{"82ff000000000000ffff37fa213d", 8},
		{"827f8000000000000000", 3},
		{"827fffffffffffffffff", 3},
		{"82ff800000000000000137fa213d", 3},
	} {
		wire := unhex(t, tt.wire)
		for cut := range len(wire) + 1 {
			_, n, err := protocol.ParseHeader(wire[:cut])
			if n != 0 {
				t.Errorf("ParseHeader(%x) accepts", wire[:cut])
			}
			if cut < tt.seen {
				wantCode(t, err, 0)
			} else {
				wantCode(t, err, protocol.CloseProtocolError)
			}
		}
	}
}

func TestRFC6455Section5_2_MinimalLength(t *testing.T) {
	for _, length := range []int64{0, 1, 125, 126, 127, 65535, 65536, 1 << 31, math.MaxInt64} {
		for _, masked := range []bool{false, true} {
			want := 2
			if length > 125 {
				want = 4
			}
			if length > 65535 {
				want = 10
			}
			if masked {
				want += 4
			}
			if got := len(protocol.AppendHeader(nil, protocol.Header{Masked: masked, Length: length})); got != want {
				t.Errorf("length %d, masked %v: header of %d bytes, want %d", length, masked, got, want)
			}
			if want > protocol.HeaderBytesMax {
				t.Errorf("HeaderBytesMax = %d", protocol.HeaderBytesMax)
			}
		}
	}
}

func TestAppendHeaderMisuse(t *testing.T) {
	if got := protocol.AppendHeader(nil, protocol.Header{Rsv: 0xf8, Opcode: 0xf1}); string(got) != "\x01\x00" {
		t.Errorf("excess bits reach the wire: %x", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("a negative length was written")
		}
	}()
	protocol.AppendHeader(nil, protocol.Header{Length: -1})
}

func TestRFC6455Section5_Check(t *testing.T) {
	const all = protocol.Rsv1 | protocol.Rsv2 | protocol.Rsv3
	for op := range protocol.Opcode(16) {
		for bits := range 1 << 8 {
			h := protocol.Header{Opcode: op, Fin: bits&1 != 0, Masked: bits&2 != 0, Rsv: byte(bits>>2) & 7}
			fromClient := bits&32 != 0
			allowed := []byte{0, protocol.Rsv1, protocol.Rsv2 | protocol.Rsv3, all}[bits>>6]
			for _, h.Length = range []int64{0, 125, 126, 127, 65536, math.MaxInt64} {
				first := op == protocol.OpText || op == protocol.OpBinary
				bad := h.Rsv != 0 && (!first || h.Rsv&allowed != h.Rsv) ||
					op >= 3 && op <= 7 || op >= 11 ||
					op >= 8 && (!h.Fin || h.Length > 125) ||
					h.Masked != fromClient
				var want protocol.CloseCode
				if bad {
					want = protocol.CloseProtocolError
				}
				err := h.Check(fromClient, allowed)
				if (err != nil) != bad {
					t.Fatalf("%+v.Check(%v, %d) = %v", h, fromClient, allowed, err)
				}
				wantCode(t, err, want)
			}
		}
	}
}

// A frame can be refused by its first two bytes, before the length is known.
func TestRFC6455Section5_5_ControlLengthFailsFast(t *testing.T) {
	for _, wire := range []string{"89fe", "88ff", "8aff00"} {
		h, n, err := protocol.ParseHeader(unhex(t, wire))
		if n != 0 || err != nil {
			t.Fatalf("ParseHeader(%s) = %d, %v", wire, n, err)
		}
		wantCode(t, h.Check(true, 0), protocol.CloseProtocolError)
	}
}

func TestRFC6455Section11_8_Opcodes(t *testing.T) {
	names := map[protocol.Opcode]string{0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
	for op := range protocol.Opcode(20) {
		name, known := names[op]
		if op.Reserved() == known {
			t.Errorf("%d.Reserved() = %v", op, !known)
		}
		if op.Control() != (op >= 8) {
			t.Errorf("%d.Control() = %v", op, op.Control())
		}
		if known && op.String() != name {
			t.Errorf("%d.String() = %q", op, op.String())
		}
	}
	if got := protocol.Opcode(11).String(); got != "opcode 11" {
		t.Errorf("String() = %q", got)
	}
}

func TestHeaderAllocations(t *testing.T) {
	wire := unhex(t, "82fe010037fa213d")
	dst := make([]byte, 0, protocol.HeaderBytesMax)
	wantAllocs(t, 0, func() {
		h, _, err := protocol.ParseHeader(wire)
		if err != nil || h.Check(true, protocol.Rsv1) != nil {
			t.Fatal("refused")
		}
		dst = protocol.AppendHeader(dst[:0], h)
	})
	bad := unhex(t, "c97f00")
	wantAllocs(t, 0, func() {
		if h, _, _ := protocol.ParseHeader(bad); h.Check(true, 0) == nil {
			t.Fatal("accepted")
		}
	})
}

func wantAllocs(t *testing.T, want float64, f func()) {
	t.Helper()
	if got := testing.AllocsPerRun(100, f); got != want {
		t.Errorf("%v allocations, want %v", got, want)
	}
}

func BenchmarkParseHeader(b *testing.B) {
	for _, bm := range []struct{ name, wire string }{
		{"short", "818537fa213d"}, {"16bit", "82fe010037fa213d"}, {"64bit", "82ff000000000001000037fa213d"},
	} {
		wire := unhex(b, bm.wire)
		b.Run(bm.name, func(b *testing.B) {
			for b.Loop() {
				h, _, err := protocol.ParseHeader(wire)
				if err == nil {
					err = h.Check(true, 0)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	dst := make([]byte, 0, protocol.HeaderBytesMax)
	h := protocol.Header{Fin: true, Opcode: protocol.OpBinary, Length: 256}
	for b.Loop() {
		dst = protocol.AppendHeader(dst[:0], h)
	}
}

func FuzzFrameHeader(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := protocol.ParseHeader(b)
		// Cut short, it says the same or wants more; it never says something else.
		for cut := range b {
			h2, n2, err2 := protocol.ParseHeader(b[:cut])
			if n2 != 0 && (n2 != n || h2 != h) || err2 != nil && !errors.Is(err2, err) {
				t.Fatalf("%x: %+v, %d, %v; the first %d bytes %+v, %d, %v", b, h, n, err, cut, h2, n2, err2)
			}
		}
		if err != nil {
			if wantCode(t, err, protocol.CloseProtocolError); n != 0 {
				t.Fatalf("%x: %d bytes taken and %v", b, n, err)
			}
			return
		}
		if n == 0 {
			if len(b) >= protocol.HeaderBytesMax {
				t.Fatalf("%x: wants more", b)
			}
			return
		}
		if got := protocol.AppendHeader(nil, h); !bytes.Equal(got, b[:n]) {
			t.Fatalf("%x came back as %x", b[:n], got)
		}
		if err := h.Check(true, protocol.Rsv1); err != nil {
			wantCode(t, err, protocol.CloseProtocolError)
		}
	})
}
