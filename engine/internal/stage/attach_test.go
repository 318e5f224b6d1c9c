package stage

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"
)

// A connection goes from one mode to the other and back, and nothing of what is
// on its way gets lost: neither fed nor unfed bytes, neither plaintext nor
// output that waits.
func TestAttach(t *testing.T) {
	for version, v := range versions {
		dialled, accepted := sockets(t, listen(t))
		cc, sc := configs(v)
		c, s := tls.Client(dialled, cc), Server(accepted, nil, sc)
		both(t, c, s.Conn())
		for range 3 {
			if s.Detach() != accepted {
				t.Fatal("Detach returns another net.Conn")
			}
			want := text(30_000)
			go func() { _, _ = c.Write(want) }()
			var got, in []byte
			for len(in) < 20_000 {
				b := make([]byte, 4000)
				n := must[int](t)(accepted.Read(b))
				in = append(in, b[:n]...)
			}
			// The loop reads a part of what it feeds, and of a record.
			dst := make([]byte, 100)
			s.Feed(in)
			for len(got) < 5000 {
				n := must[int](t)(s.Open(dst))
				got = append(got, dst[:n]...)
			}
			blocking := s.Attach(accepted)
			clear(in)
			rest := make([]byte, len(want)-len(got))
			must[int](t)(io.ReadFull(blocking, rest))
			if got = append(got, rest...); !bytes.Equal(got, want) {
				t.Errorf("%s: another text came out", version)
			}
			written := make(chan error)
			go func() {
				_, err := blocking.Write(want)
				written <- err
			}()
			must[int](t)(io.ReadFull(c, got))
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: another text came back", version)
			}
			// crypto/tls goes on after a deadline, as http.Server needs it.
			if err := blocking.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Error(err)
			}
			if _, err := blocking.Read(dst); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: a read after its deadline: %v", version, err)
			}
			_ = blocking.SetReadDeadline(time.Time{})
		}
	}
}

// Output that the loop did not take leaves before what is written later.
func TestAttachWithOutput(t *testing.T) {
	to, from, keys := updated(t, true)
	open(t, to, keys.record13(22, keyUpdate+"\x01"), 64)
	held := to.Held()
	ours, theirs := sockets(t, listen(t))
	_, before := to.Transferred()
	must[int](t)(to.Attach(ours).Write([]byte("reply")))
	_, after := to.Transferred()
	if held == 0 || to.Held() != 0 || to.Conn().RemoteAddr() != ours.RemoteAddr() || to.Conn().LocalAddr() != ours.LocalAddr() {
		t.Errorf("%d bytes held, then %d; from %v to %v", held, to.Held(), to.Conn().LocalAddr(), to.Conn().RemoteAddr())
	}
	b := make([]byte, after-before)
	must[int](t)(io.ReadFull(theirs, b))
	if got := open(t, from, b, 64); string(got) != "reply" || len(lengths(b)) != 2 {
		t.Errorf("%q in records of %v bytes", got, lengths(b))
	}
}

// After Ended, another net.Conn is a stream of its own.
func TestAttachAfterEnded(t *testing.T) {
	c, s := pairOf(t, tls.VersionTLS13)
	s.Ended()
	ours, theirs := sockets(t, listen(t))
	stream := seal(t, c, []byte("news"))
	must[int](t)(theirs.Write(stream[:9]))
	blocking := s.Attach(ours)
	must[int](t)(theirs.Write(stream[9:]))
	b := make([]byte, 4)
	must[int](t)(io.ReadFull(blocking, b))
	s.Detach()
	if got := open(t, s, seal(t, c, []byte("more")), 64); string(b)+string(got) != "newsmore" {
		t.Errorf("%q, %q", b, got)
	}
}

type onlyOnce struct {
	net.Listener
	c chan net.Conn
}

func (l *onlyOnce) Accept() (net.Conn, error) {
	if c, ok := <-l.c; ok {
		return c, nil
	}
	return nil, io.EOF
}

// An http.Server serves an attached connection, and a handler takes it back.
func TestHijack(t *testing.T) {
	for version, v := range versions {
		c, s := pairOf(t, v)
		ours, theirs := sockets(t, listen(t))
		l := &onlyOnce{Listener: listen(t), c: make(chan net.Conn, 1)}
		hijacked := make(chan *TLS)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				return
			}
			nc, _, err := w.(http.Hijacker).Hijack()
			if err != nil || r.TLS == nil {
				t.Error(err, r.TLS)
			}
			hijacked <- Of(nc)
		})}
		go func() { _ = server.Serve(l) }()
		s.Feed(seal(t, c, []byte("GET /first HTTP/1.1\r\nHost: a\r\n\r\n"), []byte("GET / HTTP")))
		l.c <- s.Attach(ours)
		must[int](t)(theirs.Write(seal(t, c, []byte("/1.1\r\nHost: a\r\n\r\n"))))
		if x := <-hijacked; x != s || x.Detach() != ours {
			t.Errorf("%s: Of finds another TLS", version)
		}
		if got := open(t, s, seal(t, c, []byte("frame")), 64); string(got) != "frame" {
			t.Errorf("%s: %q", version, got)
		}
		close(l.c)
		_ = server.Close()
	}
}

// Bytes that were read before are read first, and data that follows the
// handshake at once is not lost.
func TestEarly(t *testing.T) {
	for version, v := range versions {
		for _, n := range []int{1, 5, 100} {
			dialled, accepted := sockets(t, listen(t))
			cc, sc := configs(v)
			c := tls.Client(dialled, cc)
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write([]byte("with the handshake"))
				sent <- err
			}()
			early := make([]byte, n)
			must[int](t)(io.ReadFull(accepted, early))
			s := Server(accepted, early, sc)
			clear(early)
			if !s.Began() {
				t.Error("early bytes are no beginning")
			}
			if err := s.Handshake(context.Background()); err != nil {
				t.Fatalf("%s, %d early bytes: %v", version, n, err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			got, b := open(t, detached(s), nil, 64), make([]byte, 1000)
			for len(got) < len("with the handshake") {
				k := must[int](t)(accepted.Read(b))
				got = append(got, open(t, s, b[:k], 64)...)
			}
			if string(got) != "with the handshake" {
				t.Errorf("%s, %d early bytes: %q", version, n, got)
			}
		}
	}
}

// All that a client sent may be early: more than the handshake needs.
func TestEarlyHasAll(t *testing.T) {
	cc, sc := configs(tls.VersionTLS13)
	dialled, accepted := sockets(t, listen(t))
	c := Client(dialled, nil, cc)
	done := make(chan error, 1)
	go func() {
		_, err := c.Conn().Write([]byte("with the handshake"))
		done <- err
	}()
	// The server answers only when it has the whole first record of the client.
	head := make([]byte, 5)
	must[int](t)(io.ReadFull(accepted, head))
	hello := make([]byte, int(head[3])<<8|int(head[4]))
	must[int](t)(io.ReadFull(accepted, hello))
	s := Server(&late{Conn: accepted, client: done, t: t}, slices.Concat(head, hello), sc)
	if err := s.Handshake(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.Detach()
	if got := open(t, s, nil, 64); string(got) != "with the handshake" {
		t.Errorf("%q", got)
	}
	in, _ := s.Transferred()
	if _, out := c.Transferred(); in != out-int64(5+len(hello)) {
		t.Errorf("%d bytes were read, %d written", in, out)
	}
}

// A late net.Conn reads nothing until the client has written all.
type late struct {
	net.Conn
	client chan error
	t      *testing.T
	waited bool
}

func (l *late) Read(p []byte) (int, error) {
	if !l.waited {
		l.waited = true
		if err := <-l.client; err != nil {
			l.t.Error(err)
		}
	}
	return l.Conn.Read(p)
}

func detached(x *TLS) *TLS {
	x.Detach()
	return x
}

// What crypto/tls read while a net.Conn was attached, and did not give, comes
// out of Open: whole records, a close_notify, and a part of a record.
func TestDetach(t *testing.T) {
	for version, v := range versions {
		c, s := pairOf(t, v)
		ours, _ := sockets(t, listen(t))
		one, two, three, four := seal(t, c, []byte("one")), seal(t, c, []byte("two")), seal(t, c, []byte("three")), seal(t, c, []byte("four"))
		end := must[[]byte](t)(c.Shut(nil))
		if err := ours.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)

		s.Feed(one[:9])
		if n, err := s.Attach(ours).Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: %d bytes, %v", version, n, err)
		}
		s.Detach()
		s.Feed(slices.Concat(one[9:], two[:7]))
		if n, err := s.Open(b); string(b[:n]) != "one" || err != nil {
			t.Fatalf("%s: %q, %v", version, b[:n], err)
		}
		if rest := s.Unread(); !bytes.Equal(rest, two[:7]) {
			t.Errorf("%s: Open has left %d bytes, and not 7", version, len(rest))
		}

		s.Feed(slices.Concat(two, three, four, end))
		if n, err := s.Attach(ours).Read(b); string(b[:n]) != "two" || err != nil {
			t.Fatalf("%s: %q, %v", version, b[:n], err)
		}
		s.Detach()
		for _, want := range []string{"three", "four"} {
			if n, err := s.Open(b); string(b[:n]) != want || err != nil {
				t.Errorf("%s: %q, %v", version, b[:n], err)
			}
		}
		if _, err := s.Open(b); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v at the end", version, err)
		}
	}
}
