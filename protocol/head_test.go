package protocol_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// wantStatus fails unless err is a *protocol.HandshakeError with that status; 0
// means no error.
func wantStatus(t testing.TB, err error, status int) {
	t.Helper()
	var e *protocol.HandshakeError
	switch {
	case status == 0 && err == nil:
	case !errors.As(err, &e) || e.Status != status:
		t.Errorf("error %v, want status %d", err, status)
	case e.Reason == "" || strings.ContainsAny(e.Reason, "\r\n"):
		t.Errorf("reason %q", e.Reason)
	}
}

// scan feeds b to ScanHead in pieces that end at each of the ends, then whole.
func scan(b []byte, ends func(yield func(int) bool)) (end int, err error) {
	from := 0
	for n := range ends {
		if end, from, err = protocol.ScanHead(b[:n:n], from); end != 0 || err != nil {
			return end, err
		}
	}
	end, _, err = protocol.ScanHead(b, from)
	return end, err
}

var heads = []struct {
	head   string
	end    int // 0: more, or refused
	status int
}{
	{"", 0, 0},
	{"GET", 0, 0},
	{"GET / HTTP/1.1\r\n", 0, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\n", 0, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\n\r", 0, 0},
	{"GET / HTTP/1.1\r\n\r\n", 18, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x85\n\n", 27, 0},
	{"HTTP/1.1 101 \r\n\r\nx", 17, 0},

	// §2.2: empty lines before the request line
	{"\r", 0, 0},
	{"\r\n", 0, 0},
	{"\r\n\r\n\r\n\r", 0, 0},
	{"\r\nG\r\n\r\n", 7, 0},
	{"\r\n\r\nG\r\n\r\n", 9, 0},
	{"\r\n\r\n\r\nG\r\nA\r\n\r\n", 14, 0},
	{"\r\n\r\n\r\n\r\n\r\nG\r\n\r\n", 15, 0},

	// a bare LF
	{"\n", 0, 400},
	{"GET / HTTP/1.1\n", 0, 400},
	{"GET / HTTP/1.1\n\n", 0, 400},
	{"GET / HTTP/1.1\r\n\n", 0, 400},
	{"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 0, 400},
	{"GET / HTTP/1.1\r\nHost: a\r\n\n", 0, 400},
	{"\r\n\n", 0, 400},
	{"\r\n\r\n\n", 0, 400},

	// what begins no request
	{"\x16\x03\x01\x02\x00\x01", 0, 400}, // a TLS ClientHello
	{"\x00", 0, 400},
	{"\x80", 0, 400},
	{"\xef\xbb\xbfGET", 0, 400},
	{" GET / HTTP/1.1\r\n", 0, 400},
	{"\tGET", 0, 400},
	{":", 0, 400},
	{"/", 0, 400},
	{"\"", 0, 400},
	{"\r\n ", 0, 400},
	{"\r\n\r\n\x16", 0, 400},
	{"\rG", 0, 400},
	{"\r\r\n", 0, 400},
	{"\r\n\r\r", 0, 400},

	// a bare CR inside is for Parse
	{"G\r\r\n\r\n", 6, 0},
	{"G\rA\r\n\r\r\n\r\n", 10, 0},
	{"G\r\n\r\r\n\r\n", 8, 0},
}

func TestRFC9112Section2_1_ScanHead(t *testing.T) {
	for _, tt := range heads {
		b := []byte(tt.head)
		check := func(how string, ends func(func(int) bool)) {
			t.Helper()
			end, err := scan(b, ends)
			if end != tt.end {
				t.Errorf("%q %s: end %d, want %d", tt.head, how, end, tt.end)
			}
			wantStatus(t, err, tt.status)
		}
		check("whole", func(func(int) bool) {})
		check("byte by byte", func(yield func(int) bool) {
			for n := range len(b) {
				if !yield(n) {
					return
				}
			}
		})
		for cut := range len(b) {
			check("in two", func(yield func(int) bool) { yield(cut) })
		}
	}
}

// The refusal comes with the first byte that deserves it.
func TestRFC9112Section2_1_ScanHeadFailsFast(t *testing.T) {
	for _, head := range []string{"\x16", "\r\n\x16", "\n", "GET / HTTP/1.1\n", "A\r\n\n", "\r\r"} {
		b := []byte(head)
		end, next, err := protocol.ScanHead(b[:len(b)-1], 0)
		if end != 0 || err != nil {
			t.Errorf("%q is refused early: %v", head, err)
		}
		_, _, err = protocol.ScanHead(b, next)
		wantStatus(t, err, 400)
	}
}

// A head that drips in must not be scanned from its start again and again.
func TestScanHeadGoesForward(t *testing.T) {
	for _, head := range []string{strings.Repeat("\r\n", 50), "GET /" + strings.Repeat("a", 50), "A\r\n" + strings.Repeat("b: c\r\n", 9)} {
		b, from := []byte(head), 0
		for n := range len(b) + 1 {
			end, next, err := protocol.ScanHead(b[:n], from)
			if end != 0 || err != nil || next < from || next < n-1 || next > n {
				t.Fatalf("%q: ScanHead(%d bytes, %d) = %d, %d, %v", head, n, from, end, next, err)
			}
			from = next
		}
	}
}

func TestScanHeadAllocations(t *testing.T) {
	b := []byte(chromium)
	wantAllocs(t, 0, func() {
		if end, _, err := protocol.ScanHead(b, 0); end != len(b) || err != nil {
			t.Fatal(end, err)
		}
	})
}

func FuzzHead(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, cuts uint64) {
		end, err := scan(b, func(func(int) bool) {})
		same := func(ends func(func(int) bool)) {
			t.Helper()
			e, err2 := scan(b, ends)
			if e != end || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
				t.Fatalf("%q: whole %d, %v; cut %d, %v", b, end, err, e, err2)
			}
		}
		same(func(yield func(int) bool) {
			for n := 1; n < len(b) && yield(n); n++ {
			}
		})
		same(func(yield func(int) bool) {
			for n, c := 1, cuts; n < len(b) && (c&1 == 0 || yield(n)); n++ {
				c = c>>1 | c<<63
			}
		})
		if err != nil {
			wantStatus(t, err, 400)
			return
		}
		// Parse has to stand anything, also what ScanHead did not let through.
		var whole, r protocol.Request
		checkParsed(t, &whole, whole.Parse(string(b), 16))
		if end > 0 {
			checkParsed(t, &r, r.Parse(string(b[:end]), 16))
		}
		var res protocol.Response
		if err := res.Parse(string(b), 16); err != nil {
			wantStatus(t, err, 502)
		} else if end != len(b) {
			t.Fatalf("%q: a response where ScanHead sees %d", b, end)
		}
	})
}

// checkParsed holds what is true of every request that Parse accepts.
func checkParsed(t *testing.T, r *protocol.Request, err error) {
	t.Helper()
	var he *protocol.HandshakeError
	if err != nil {
		if !errors.As(err, &he) || he.Status != 400 && he.Status != 431 && he.Status != 505 {
			t.Fatalf("error %v", err)
		}
		return
	}
	for _, f := range r.Fields {
		if !protocol.ValidField(f) || strings.Trim(f.Value, " \t") != f.Value {
			t.Fatalf("field %q", f)
		}
	}
	if len(r.Fields) > 16 || r.Fields.Count("Host") > 1 || r.Fields.Count("Content-Length") > 1 {
		t.Fatalf("fields %q", r.Fields)
	}
	if r.Minor > 0 && r.Host == "" || strings.ContainsAny(r.Host, " \t@/?#\\") {
		t.Fatalf("host %q", r.Host)
	}
	if r.Path != "*" && !strings.HasPrefix(r.Path, "/") || strings.ContainsAny(r.Path, "?# \r\n\x00") {
		t.Fatalf("path %q", r.Path)
	}
	if err := protocol.CheckUpgrade(r); err != nil && !errors.As(err, &he) {
		t.Fatalf("CheckUpgrade: %v", err)
	}
}
