//go:build sockmill_debug

package codec_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
)

func TestPoisonShowsStaleReads(t *testing.T) {
	for _, n := range []int{1, 512, 70_000, 1 << 20, 3 << 20} {
		var p codec.Buffers
		b := append(p.Get(n), make([]byte, n)...)
		grown := p.Grow(b, cap(b))
		if want := bytes.Repeat([]byte{0xdb}, n); !bytes.Equal(b, want) || bytes.Contains(grown, want[:1]) {
			t.Errorf("%d bytes: Grow did not poison what it left, or spoiled what it kept", n)
		}
		p.Put(grown)
		if want := bytes.Repeat([]byte{0xdb}, cap(grown)); !bytes.Equal(grown[:cap(grown)], want) {
			t.Errorf("%d bytes: Put did not poison all of them", n)
		}
	}
}

func TestPoisonCatchesStaleWrites(t *testing.T) {
	for _, at := range []int{0, 3, 1023} {
		var p codec.Buffers
		b := p.Get(1000)[:1024]
		p.Put(b)
		b[at] = 7
		if said := complaint(func() { p.Get(1000) }); !strings.Contains(said, fmt.Sprintf("byte %d of a buffer of 1024", at)) {
			t.Errorf("a write to byte %d after Put: %q", at, said)
		}
	}
}

// A payload that came in pieces lies in a buffer; at the next call it is gone.
func TestPoisonOfDeliveredPayloads(t *testing.T) {
	for _, in := range []string{frame(0x81, text(3000)), frame(0x89, text(100)), frame(0x01, text(9)) + frame(0x80, text(9))} {
		x := openServer(t, limits())
		var kept []byte
		x.onEvent = func(ev codec.Event) { kept = ev.Data }
		x.feed(in[:len(in)-1])
		x.feed(in[len(in)-1:])
		if len(kept) == 0 || !bytes.Equal(kept, bytes.Repeat([]byte{0xdb}, len(kept))) {
			t.Errorf("%d bytes kept, beginning with %.20q", len(kept), kept)
		}
		x.finish()
	}
}
