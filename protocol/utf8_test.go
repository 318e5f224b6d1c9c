package protocol_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/sockmill/sockmill/protocol"
)

// beginnings holds every proper prefix of every encoded code point.
var beginnings = sync.OnceValue(func() map[string]bool {
	set := map[string]bool{}
	for r := range rune(utf8.MaxRune + 1) {
		if s := string(r); utf8.ValidRune(r) {
			for n := 1; n < len(s); n++ {
				set[s[:n]] = true
			}
		}
	}
	return set
})

// viable says by brute force whether p is a prefix of some valid text.
func viable(p []byte) bool {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			return beginnings()[string(p)]
		}
		p = p[n:]
	}
	return true
}

// checkUTF8 writes p cut wherever cuts has a bit and asks the oracle each time.
func checkUTF8(t *testing.T, p []byte, cuts uint64) {
	t.Helper()
	var u protocol.UTF8
	from := 0
	for to := 1; to <= len(p); to++ {
		if to < len(p) && cuts>>(to-1)&1 == 0 {
			continue
		}
		if got, want := u.Write(p[from:to]), viable(p[:to]); got != want {
			t.Fatalf("% x cut by %b: Write says %v after %d bytes", p, cuts, got, to)
		}
		if got, want := u.Complete(), utf8.Valid(p[:to]); got != want {
			t.Fatalf("% x cut by %b: Complete says %v after %d bytes", p, cuts, got, to)
		}
		if u.Write(nil) != viable(p[:to]) {
			t.Fatalf("% x: an empty write changes the verdict", p)
		}
		from = to
	}
}

func TestRFC6455Section8_1_EveryTwoBytes(t *testing.T) {
	for n := range 1 << 16 {
		p := []byte{byte(n >> 8), byte(n)}
		checkUTF8(t, p, 0)
		checkUTF8(t, p, 1)
	}
}

// Four bytes at every boundary that RFC 3629 §4 draws, in every way to cut them.
func TestRFC6455Section8_1_EveryBoundary(t *testing.T) {
	edges := unhex(t, "007f808f909fa0bfc0c1c2dfe0e1ecedeef0f1f3f4f5f8ff")
	p := make([]byte, 4)
	var walk func(at int)
	walk = func(at int) {
		if at == len(p) {
			for cuts := range uint64(8) {
				checkUTF8(t, p, cuts)
			}
			return
		}
		for _, p[at] = range edges {
			walk(at + 1)
		}
	}
	walk(0)
}

func TestRFC6455Section8_1_LongText(t *testing.T) {
	text := []byte(strings.Repeat("plain ASCII, grüße, €, 日本語, 😀. ", 8))
	rnd := rand.New(rand.NewPCG(6455, 8))
	for at := range text {
		checkUTF8(t, text[:at], rnd.Uint64())
		for _, c := range []byte{0x80, 0xc0, 0xe0, 0xff} {
			p := bytes.Clone(text)
			p[at] = c
			checkUTF8(t, p, rnd.Uint64()&rnd.Uint64()&rnd.Uint64())
		}
	}
}

func TestRFC6455Section8_1_FailsFast(t *testing.T) {
	for _, s := range []string{
		"\x80", "\xc0", "\xc1", "\xe0\x80", "\xe0\x9f", "\xed\xa0", "\xf0\x80", "\xf0\x8f", "\xf4\x90", "\xf5", "\xf8", "\xff",
		"κόσμε\xed\xa0",
	} {
		var u protocol.UTF8
		last := len(s) - 1
		if !u.Write([]byte(s[:last])) || u.Write([]byte(s[last:])) {
			t.Errorf("%q does not fail at its last byte", s)
		}
		if u.Write([]byte("\x80ok")) || u.Complete() {
			t.Errorf("%q is forgiven", s)
		}
	}
}

func TestUTF8Copies(t *testing.T) {
	var u protocol.UTF8
	u.Write([]byte("\xe2\x82"))
	v := u
	if !u.Write([]byte("\xac")) || v.Write([]byte("x")) || !u.Complete() {
		t.Error("a copy shares state")
	}
}

func TestUTF8Allocations(t *testing.T) {
	text := []byte(strings.Repeat("€uro", 100))
	wantAllocs(t, 0, func() {
		var u protocol.UTF8
		if !u.Write(text[:200]) || !u.Write(text[200:]) || !u.Complete() {
			t.Fatal("refused")
		}
	})
}

func FuzzUTF8(f *testing.F) {
	f.Fuzz(func(t *testing.T, p []byte, cuts uint64) {
		checkUTF8(t, p[:min(len(p), 64)], cuts)
		var u protocol.UTF8
		if ok := u.Write(p); ok != viable(p) || (ok && u.Complete()) != utf8.Valid(p) {
			t.Fatalf("% x whole: %v, %v", p, ok, u.Complete())
		}
	})
}

func BenchmarkUTF8(b *testing.B) {
	for _, text := range []string{"ascii text ", "日本語 text "} {
		p := []byte(strings.Repeat(text, 400))
		b.Run(fmt.Sprint(len(p)), func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				var u protocol.UTF8
				if !u.Write(p) {
					b.Fatal("refused")
				}
			}
		})
	}
}
