package tunnel

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// cutReader gives its bytes in pieces that end where a bit of cuts is set.
type cutReader struct {
	rest []byte
	cuts uint64
}

func (r *cutReader) Read(b []byte) (n int, err error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	for n < min(len(b), len(r.rest)) {
		n++
		cut := r.cuts&1 == 1
		if r.cuts = r.cuts>>1 | r.cuts<<63; cut {
			break
		}
	}
	copy(b, r.rest[:n])
	r.rest = r.rest[n:]
	return n, nil
}

// tunnelled returns what follows the answer in b, or false if there is no tunnel.
func tunnelled(b []byte) ([]byte, bool) {
	for {
		end := bytes.Index(b, []byte("\r\n\r\n")) + 4
		if end < 4 {
			return nil, false
		}
		switch {
		case bytes.HasPrefix(b[len("HTTP/1.1"):], []byte(" 2")):
			return b[end:], true
		case !bytes.HasPrefix(b[len("HTTP/1.1"):], []byte(" 1")):
			return nil, false
		}
		b = b[end:]
	}
}

// FuzzAnswer reads one stream whole, byte by byte and cut at random: what comes of
// it is the same, and no byte behind the answer is lost.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		established, established + "hello", "HTTP/1.1 100 \r\n\r\n" + established + "\r\n\r\n", "HTTP/1.0 407 No\r\nA: b\r\n\r\nbody",
		"HTTP/1.1 101 \r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "SSH-2.0-a\r\n", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", answerBytesMax),
	} {
		f.Add([]byte(s), uint64(0x8421))
	}
	f.Fuzz(func(t *testing.T, b []byte, cuts uint64) {
		var verdict error
		for i, c := range []uint64{0, ^uint64(0), cuts} {
			r := &cutReader{b, c}
			early, err := readAnswer(r)
			var refused *Error
			switch {
			case err == nil:
				want, ok := tunnelled(b)
				if got := slices.Concat(early, r.rest); !ok || !bytes.Equal(got, want) {
					t.Fatalf("%q, cuts %b: a tunnel that begins with %q, want %q, %v", b, c, got, want, ok)
				}
			case len(early) > 0:
				t.Fatalf("%q, cuts %b: %q beside %v", b, c, early, err)
			case errors.As(err, &refused):
				checkText(t, refused)
			case !errors.Is(err, io.ErrUnexpectedEOF) || len(b) >= answerBytesMax:
				t.Fatalf("%q, cuts %b: %v", b, c, err)
			}
			if i == 0 {
				verdict = err
			}
			if (err == nil) != (verdict == nil) || err != nil && err.Error() != verdict.Error() {
				t.Fatalf("%q: whole %v; cuts %b %v", b, verdict, c, err)
			}
		}
	})
}

// checkText holds what is true of every Error.
func checkText(t *testing.T, e *Error) {
	t.Helper()
	if len(e.Text) > textBytesMax || strings.ContainsFunc(e.Text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Fatalf("text %q", e.Text)
	}
	if e.Status == 0 && e.Text == "" || e.Status/100 == 2 || e.Status >= 600 || e.Status < 0 {
		t.Fatalf("%#v", e)
	}
}
