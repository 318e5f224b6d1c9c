package conformance

import (
	"bytes"
	stdflate "compress/flate"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"
)

// TestInflateKnownStreams: the examples of RFC 7692 §7.2.3, and what zlib made of
// others.
func TestInflateKnownStreams(t *testing.T) {
	var squares strings.Builder
	for i := range 40 {
		fmt.Fprintf(&squares, "%d, ", i*i)
	}
	for _, c := range []struct{ name, stream, want string }{
		{"fixed", "f248cdc9c90700", "Hello"},
		{"stored", "000500faff48656c6c6f00", "Hello"},
		{"final", "f348cdc9c9070000", "Hello"},
		{"two blocks", "f24805000000ffffcac9c90700", "Hello"},
		{"empty", "00", ""},
		{"overlap, by zlib", "4a4c84010000", "aaaaaaaaaa"},
		{"dynamic, by zlib", "1c8ec901002108035ba1001ec2026aff8d6dc68f869083e5166ee57605c62ddbedd35f9a47f4d136d6d293a02a64682f62d4" +
			"d9a023eecbc24c1e8e2ad011d7a96d6fe906c78036dc667bd05d1c775e1b31b1488c203c5e4f2495f1bdf67a873437fd00", squares.String()},
	} {
		b, err := hex.DecodeString(c.stream)
		if err != nil {
			t.Fatal(err)
		}
		z := &inflater{window: 1 << 15}
		got, err := z.message(b)
		if string(got) != c.want || err != nil {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	z := &inflater{window: 1 << 15}
	for _, stream := range []string{"\xf2\x48\xcd\xc9\xc9\x07\x00", "\xf2\x00\x11\x00\x00", "\xf2\x00\x11\x00\x00"} {
		if got, err := z.message([]byte(stream)); string(got) != "Hello" || err != nil {
			t.Errorf("takeover: %q, %v", got, err)
		}
	}
	z.forget()
	if got, err := z.message([]byte("\xf2\x00\x11\x00\x00")); err == nil {
		t.Errorf("without its history: %q", got)
	}
}

// samples are what the compressors of the tests are given.
func samples() [][]byte {
	t := newT(&Target{}, "samples", time.Minute)
	return [][]byte{
		nil, []byte("a"), bytes.Repeat([]byte("a"), 1000), t.letters(100), t.noise(40_000), t.words(40_000),
		bytes.Repeat(t.noise(700), 50), []byte(strings.Repeat("the same again, ", 5000)),
	}
}

// TestInflateCompressors: what two libraries write comes out as it was, also
// over messages that share a window.
func TestInflateCompressors(t *testing.T) {
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		var out, stdOut bytes.Buffer
		w, err := flate.NewWriter(&out, level)
		if err != nil {
			t.Fatal(err)
		}
		std, err := stdflate.NewWriter(&stdOut, level)
		if err != nil {
			t.Fatal(err)
		}
		z, stdZ := &inflater{window: 1 << 15}, &inflater{window: 1 << 15}
		for i, s := range samples() {
			if got, err := z.message(compress(w, &out, s)); !bytes.Equal(got, s) || err != nil {
				t.Errorf("level %d, sample %d: %d bytes, %v", level, i, len(got), err)
			}
			stdOut.Reset()
			if _, err := std.Write(s); err != nil {
				t.Fatal(err)
			}
			if err := std.Flush(); err != nil {
				t.Fatal(err)
			}
			if got, err := stdZ.message(bytes.TrimSuffix(stdOut.Bytes(), []byte{0, 0, 0xff, 0xff})); !bytes.Equal(got, s) || err != nil {
				t.Errorf("standard library, level %d, sample %d: %d bytes, %v", level, i, len(got), err)
			}
		}
	}
}

// TestInflateWindow: a compressor with a window of n bits passes an inflater of
// n bits, and fails one of fewer.
func TestInflateWindow(t *testing.T) {
	for bits := 8; bits <= 15; bits++ {
		var out bytes.Buffer
		w := newWriter(&out, bits)
		z := &inflater{window: 1 << bits}
		for i, s := range samples() {
			if got, err := z.message(compress(w, &out, s)); !bytes.Equal(got, s) || err != nil {
				t.Errorf("%d bits, sample %d: %d bytes, %v", bits, i, len(got), err)
			}
		}
		far := (&bitWriter{}).stored(make([]byte, 1<<bits)).fixed().match(3, 1<<bits).flushed()
		if _, err := (&inflater{window: 1 << bits}).message(far); err != nil {
			t.Errorf("a distance of 2^%d in a window of as much: %v", bits, err)
		}
		if _, err := (&inflater{window: 1<<bits - 1}).message(far); err == nil {
			t.Errorf("a distance of 2^%d passes a window of one byte less", bits)
		}
	}
}

// TestInflateDistances: every length and distance that bitWriter can write.
func TestInflateDistances(t *testing.T) {
	history := newT(&Target{}, "history", time.Minute).noise(1 << 15)
	for distance := 1; distance <= 1<<15; distance += 1 + distance/7 {
		for length := 3; length <= 10; length++ {
			z := &inflater{window: 1 << 15, out: bytes.Clone(history)}
			got, err := z.message((&bitWriter{}).fixed().match(length, distance).flushed())
			want := bytes.Repeat(history[len(history)-distance:], 10)[:length]
			if !bytes.Equal(got, want) || err != nil {
				t.Fatalf("length %d, distance %d: %x, %v, want %x", length, distance, got, err, want)
			}
		}
	}
}

func TestInflateRefusesCorruption(t *testing.T) {
	for _, k := range corruptions() {
		z := &inflater{window: 1 << 15}
		if got, err := z.message(k.payload); err == nil {
			t.Errorf("%s comes out as %q", k.id, got)
		}
	}
}

// TestInflateIsStricter: of damaged streams, what passes here passes the standard
// library as well, and comes out the same.
func TestInflateIsStricter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var out bytes.Buffer
	w := newWriter(&out, 15)
	stream := compress(w, &out, newT(&Target{}, "damage", time.Minute).words(2000))
	passed := 0
	for i := range 2000 {
		b := bytes.Clone(stream)
		for range 1 + i%3 {
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		}
		got, err := (&inflater{window: 1 << 15}).message(b)
		if err != nil {
			continue
		}
		passed++
		want, stdErr := inflateAll(append(b, 0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff))
		if stdErr != nil || !bytes.Equal(got, want) {
			t.Fatalf("damage %d: %d bytes, the standard library has %d and %v", i, len(got), len(want), stdErr)
		}
	}
	if passed == 0 {
		t.Error("no damaged stream passed: nothing was compared")
	}
}

// inflateAll decodes streams that follow each other.
func inflateAll(b []byte) (all []byte, err error) {
	for r := bytes.NewReader(b); r.Len() > 0; {
		out, err := io.ReadAll(stdflate.NewReaderDict(r, all))
		if all = append(all, out...); err != nil {
			return all, fmt.Errorf("with %d bytes left: %w", r.Len(), err)
		}
	}
	return all, nil
}
