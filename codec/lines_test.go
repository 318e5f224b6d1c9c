package codec_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

const (
	longLine10 = "closed by this side: 1009: codec: a line is longer than 10 bytes"
	notUTF8    = "closed by this side: 1007: codec: a line is not UTF-8"
)

func TestLines(t *testing.T) {
	const ten = "0123456789"
	for in, want := range map[string]string{
		"":                               "0 kept",
		"hello\n":                        `text "hello"; 0 kept`,
		"hello\r\nworld\n":               `text "hello"; text "world"; 0 kept`,
		"\n\r\n\n":                       `text ""; text ""; text ""; 0 kept`,
		"a\rb\r\r\n\rc\n":                `text "a\rb\r"; text "\rc"; 0 kept`,
		"a\nno ending":                   `text "a"; 9 kept`,
		"a\n\r":                          `text "a"; 1 kept`,
		"\x00 κόσμε\n":                   longLine10,
		"\x00 κό\n":                      `text "\x00 κό"; 0 kept`,
		ten + "\n" + ten + "\r\n":        `text "0123456789"; text "0123456789"; 0 kept`,
		ten:                              "10 kept",
		ten + "\r":                       "11 kept",
		ten + "x":                        longLine10,
		ten + "x\n":                      longLine10,
		ten + "x\r\n":                    longLine10,
		ten + "\r\r\n":                   longLine10,
		ten + "\rx\n":                    longLine10,
		ten[1:] + "\rx\n":                longLine10,
		ten[2:] + "\rx\n":                `text "23456789\rx"; 0 kept`,
		"a\n" + strings.Repeat(ten, 500): `text "a"; ` + longLine10,
		"a\n\xff\nb\n":                   `text "a"; ` + notUTF8,
		"\xe2\x82\n\xac\n":               notUTF8,
		"\xed\xa0\x80\r\nb\n":            notUTF8,
		"\xff" + ten + ten + "\n":        longLine10,
		"\xff":                           "1 kept",
	} {
		if strings.HasPrefix(want, "closed") || strings.Contains(want, "; closed") {
			want += "; 0 kept"
		}
		anyCut(t, func() codec.Codec { return codec.NewLines(10) }, in, want, heldMost(10))
	}

	// Long ones, with code points that lie across the cuts.
	const most = 70_000
	in := strings.Repeat("€uro ", most/7)
	in += "\r\nx\n" + in + "\n" + text(most) + "\r\n" + in
	anyCut(t, func() codec.Codec { return codec.NewLines(most) }, in, linesOf(most, in), heldMost(most))
}

func TestLinesAreNotCopied(t *testing.T) {
	inPlace(t, codec.NewLines(10), "hello\n", 0, 5)
	inPlace(t, codec.NewLines(10), "hello\r\n", 0, 5)
}

func TestLinesRefuseBeforeKeeping(t *testing.T) {
	for _, in := range []string{text(11), text(11) + "\n", text(1<<20) + "\r", text(11) + "\nab\n"} {
		refused(t, codec.NewLines(10), in, protocol.CloseMessageTooBig, "codec: a line is longer than 10 bytes")
	}
	refused(t, codec.NewLines(10), "\xff\r\nab\n", protocol.CloseInvalidPayload, "codec: a line is not UTF-8")
}

func TestLinesEncode(t *testing.T) {
	c := codec.NewLines(1) // bounds what comes, not what is sent
	for in, want := range map[string]string{"": "x\n", "hello": "xhello\n", "a\r": "xa\r\n", "\xff": "x\xff\n"} {
		for _, op := range []protocol.Opcode{protocol.OpText, protocol.OpBinary} {
			if wire, err := c.Encode(nil, []byte("x"), op, []byte(in), false); err != nil || string(wire) != want {
				t.Errorf("%q: %q, %v", in, wire, err)
			}
		}
	}
	for _, in := range []string{"\n", "a\n", "\na", "a\r\nb"} {
		if wire, err := c.Encode(nil, []byte("x"), protocol.OpText, []byte(in), false); !errors.Is(err, codec.ErrNewline) || string(wire) != "x" {
			t.Errorf("%q: %q, %v", in, wire, err)
		}
	}
	if s := codec.ErrNewline.Error(); !strings.HasPrefix(s, "codec: ") {
		t.Error(s)
	}
	if got := units(t, c, "hello", "", "a\r", text(700)); !slices.Equal(got, []int{6, 1, 3, 701}) {
		t.Errorf("%d", got)
	}
}

func TestNoAllocationPerLine(t *testing.T) {
	neverGrows(t, codec.NewLines(math.MaxInt), text(128)+"\n"+text(128)+"\r\n\n", 1<<30, 3)
	neverGrows(t, codec.NewLines(math.MaxInt), text(128)+"\n"+text(128)+"\r\n\n", 1, 3)
	neverGrows(t, codec.NewLines(1<<20), text(1<<20)+"\n", 64<<10, 1)
}

// linesOf is what lines of at most n bytes lead to, found in another way.
func linesOf(n int, input string) string {
	var log []string
	for {
		line, rest, ended := strings.Cut(input, "\n")
		if size := len(strings.TrimSuffix(line, "\r")); size > n {
			log = append(log, fmt.Sprintf("closed by this side: 1009: codec: a line is longer than %d bytes", n), "0 kept")
		} else if !ended {
			log = append(log, fmt.Sprintf("%d kept", len(line)))
		} else if line = line[:size]; !utf8.ValidString(line) {
			log = append(log, notUTF8, "0 kept")
		} else {
			log, input = append(log, show("text", []byte(line))), rest
			continue
		}
		return strings.Join(log, "; ")
	}
}

// FuzzLines feeds whatever comes, and closes after so many events, if not 0. The
// events are those of linesOf, and do not depend on how the input was cut.
func FuzzLines(f *testing.F) {
	f.Add([]byte("hello\r\n\nw\xc3\xb6rld\nno ending"), uint8(20), uint64(1), uint8(0))
	f.Add([]byte("a\rb\r\r\n0123456789\r\n0123456789x\n"), uint8(10), uint64(2), uint8(0))
	f.Add([]byte("a\n\xff\nb\n"), uint8(5), uint64(3), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, most uint8, cuts uint64, closeAfter uint8) {
		n := 1 + int(most)
		fuzzCuts(t, func() codec.Codec { return codec.NewLines(n) }, string(in), linesOf(n, string(in)), n, cuts, int(closeAfter))
	})
}

// fuzzCuts plays input in three cuts. Without closing, want must be the result.
func fuzzCuts(t *testing.T, fresh func() codec.Codec, input, want string, n int, cuts uint64, closeAfter int) {
	if closeAfter > 0 {
		want = pieces(t, fresh(), input, whole, closeAfter, heldMost(n))
	}
	for _, c := range []cut{whole, bytewise, randomly(cuts)} {
		if got := pieces(t, fresh(), input, c, closeAfter, heldMost(n)); got != want {
			t.Fatalf("%q\ngot  %s\nwant %s", input, got, want)
		}
	}
	// What arrived as a message can be sent, and arrives again.
	env, c := newEnv(), fresh()
	var wire []byte
	var sent []string
	for rest := []byte(input); ; {
		ev, taken := c.Decode(env, rest)
		if rest = rest[taken:]; ev.Kind != codec.Message {
			break
		}
		if strings.HasSuffix(string(ev.Data), "\r") {
			continue // taken for a part of the ending
		}
		var err error
		if wire, err = c.Encode(env, wire, ev.Opcode, ev.Data, false); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, string(ev.Data))
	}
	if got := messages(t, fresh(), env, wire); !slices.Equal(got, sent) {
		t.Fatalf("sent %q, arrived %q", sent, got)
	}
}

func BenchmarkDecodeLines(b *testing.B) {
	b.Run("128B", func(b *testing.B) { decodeAll(b, codec.NewLines(1<<20), text(128)+"\n", 1<<30, 128) })
	b.Run("1MiBin64KiB", func(b *testing.B) { decodeAll(b, codec.NewLines(1<<20), text(1<<20)+"\n", 64<<10, 1<<20) })
}
