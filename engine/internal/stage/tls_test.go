package stage

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
)

func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

// A stream is the same however it is cut, and however small the room for
// plaintext is.
func TestCuts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	cuts := map[string]func(left int) int{
		"whole":  func(left int) int { return left },
		"bytes":  func(int) int { return 1 },
		"random": func(int) int { return 1 + r.IntN(3000) },
	}
	for version, v := range versions {
		for cut, length := range cuts {
			for _, dst := range []int{1, 100, 1 << 14} {
				c, s := pairOf(t, v)
				for _, ends := range [][2]*TLS{{c, s}, {s, c}} {
					want := text(20_000)
					stream := append(seal(t, ends[0], want[:1], want[1:15_000]), seal(t, ends[0], want[15_000:])...)
					var got []byte
					for len(stream) > 0 {
						n := min(length(len(stream)), len(stream))
						got = append(got, open(t, ends[1], stream[:n], dst)...)
						stream = stream[n:]
					}
					if !bytes.Equal(got, want) || ends[1].Held() != 0 {
						t.Errorf("%s, %s, %d bytes of room: another text came out, or %d bytes are held", version, cut, dst, ends[1].Held())
					}
				}
			}
		}
	}
}

func TestEveryCut(t *testing.T) {
	for version, v := range versions {
		c, s := pairOf(t, v)
		for cut := 0; ; cut++ {
			stream := slices.Concat(seal(t, c, []byte("one")), seal(t, c, []byte("two")), seal(t, c, []byte("three")))
			if cut > len(stream) {
				break
			}
			got := string(open(t, s, stream[:cut], 64)) + string(open(t, s, stream[cut:], 64))
			if got != "onetwothree" {
				t.Fatalf("%s, cut at %d: %q", version, cut, got)
			}
		}
	}
}

// Either side talks with crypto/tls that blocks.
func TestStandardPeer(t *testing.T) {
	for version, v := range versions {
		for _, client := range []bool{true, false} {
			ours, theirs := sockets(t, listen(t))
			cc, sc := configs(v)
			x, peer := Client(ours, nil, cc), tls.Server(theirs, sc)
			if !client {
				x, peer = Server(ours, nil, sc), tls.Client(theirs, cc)
			}
			both(t, x.Conn(), peer)
			if s := x.State(); s.Version != v || !s.HandshakeComplete {
				t.Fatalf("%s: %+v", version, s)
			}
			want := text(50_000)
			result := make(chan error, 1)
			go func() {
				if _, err := peer.Write(want); err != nil {
					result <- err
					return
				}
				got, err := io.ReadAll(peer)
				if err == nil && !bytes.Equal(got, want) {
					err = errors.New("another text came back")
				}
				result <- errors.Join(err, peer.Close())
			}()
			if err := echo(x, x.Detach(), len(want)); !errors.Is(err, io.EOF) {
				t.Errorf("%s, client %v: %v", version, client, err)
			}
			if err := <-result; err != nil {
				t.Errorf("%s, client %v: %v", version, client, err)
			}
		}
	}
}

// echo is a loop that sends n bytes back, shuts, and goes on to the end.
func echo(x *TLS, socket net.Conn, n int) error {
	in, plain := make([]byte, 5000), make([]byte, 3000)
	for {
		k, err := x.Open(plain)
		var out []byte
		switch {
		case errors.Is(err, ErrMore):
			if k, err = socket.Read(in); errors.Is(err, io.EOF) {
				x.Ended()
			} else if err != nil {
				return err
			}
			x.Feed(in[:k])
			continue
		case err != nil:
			return err
		}
		if out, err = x.Seal(out, [][]byte{plain[:k/2], plain[k/2 : k]}); err != nil {
			return err
		}
		if n -= k; n == 0 {
			if out, err = x.Shut(out); err != nil {
				return err
			}
		}
		if _, err = socket.Write(out); err != nil {
			return err
		}
	}
}

// A close_notify is told from a stream that only ends, also where a record ends.
func TestEnd(t *testing.T) {
	for version, v := range versions {
		for name, tt := range map[string]struct {
			shut bool
			cut  int
			text string
			want error
		}{
			"close_notify":               {true, 0, "news", io.EOF},
			"an end between records":     {false, 0, "news", io.ErrUnexpectedEOF},
			"an end within a record":     {false, 1, "", io.ErrUnexpectedEOF},
			"an end within close_notify": {true, 1, "news", io.ErrUnexpectedEOF},
		} {
			c, s := pairOf(t, v)
			stream := seal(t, c, []byte("news"))
			if tt.shut {
				stream = must[[]byte](t)(c.Shut(stream))
			}
			plain, err := openAll(s, stream[:len(stream)-tt.cut], 64)
			if errors.Is(err, ErrMore) {
				s.Ended()
				_, err = s.Open(make([]byte, 64))
			} else if !tt.shut || tt.cut > 0 {
				t.Errorf("%s, %s: %v before the end", version, name, err)
			}
			if string(plain) != tt.text || !errors.Is(err, tt.want) {
				t.Errorf("%s, %s: %q, %v", version, name, plain, err)
			}
			s.Feed(stream)
			if _, again := s.Open(make([]byte, 64)); !errors.Is(again, err) || s.Held() != 0 {
				t.Errorf("%s, %s: then %v, and %d bytes are held", version, name, again, s.Held())
			}
		}
	}
}

func TestShut(t *testing.T) {
	for version, v := range versions {
		c, s := pairOf(t, v)
		alert := must[[]byte](t)(c.Shut([]byte("before")))
		if l := lengths(alert[len("before"):]); len(l) != 1 {
			t.Errorf("%s: records of %v bytes", version, l)
		}
		if b := must[[]byte](t)(c.Shut(nil)); len(b) != 0 {
			t.Errorf("%s: a second Shut appends %d bytes", version, len(b))
		}
		if b, err := c.Seal([]byte("kept"), [][]byte{[]byte("late")}); err == nil || string(b) != "kept" {
			t.Errorf("%s: Seal after Shut: %q, %v", version, b, err)
		}
		// The other direction stays open.
		if got := open(t, c, seal(t, s, []byte("last")), 64); string(got) != "last" {
			t.Errorf("%s: %q", version, got)
		}
	}
}

func TestBadMAC(t *testing.T) {
	for version, v := range versions {
		c, s := pairOf(t, v)
		stream := seal(t, c, []byte("news"))
		stream[len(stream)-1] ^= 1
		_, err := openAll(s, append(stream, "behind"...), 64)
		if err == nil || !strings.Contains(err.Error(), "bad record MAC") || len(s.Unread()) > 0 {
			t.Errorf("%s: %v", version, err)
		}
		if _, again := openAll(s, seal(t, c, []byte("more")), 64); !errors.Is(again, err) || s.Held() == 0 {
			t.Errorf("%s: then %v, and %d bytes are held", version, again, s.Held())
		}
		alert := s.Output([]byte("before"))
		if _, err := openAll(c, alert[len("before"):], 64); err == nil || !strings.Contains(err.Error(), "remote error: tls: bad record MAC") {
			t.Errorf("%s: the peer is told: %v", version, err)
		}
		if b := s.Output(nil); len(b) != 0 || s.Held() != 0 {
			t.Errorf("%s: the alert is still there: %d bytes, %d held", version, len(b), s.Held())
		}
		if _, err := s.Seal(nil, [][]byte{[]byte("late")}); err == nil {
			t.Errorf("%s: Seal goes on after an alert", version)
		}
	}
}

// Pieces are joined: their bytes, and not their number, make the records.
func TestSealJoins(t *testing.T) {
	const full = recordBytesMax + 17 // the type and the tag
	for name, tt := range map[string]struct {
		pieces  []int
		records []int
	}{
		"nothing":         {nil, nil},
		"empty pieces":    {[]int{0, 0}, nil},
		"one":             {[]int{10}, []int{27}},
		"small":           {[]int{10, 0, 20, 30}, []int{77}},
		"exactly full":    {[]int{recordBytesMax - 1, 1}, []int{full}},
		"one more":        {[]int{recordBytesMax, 1}, []int{full, 18}},
		"across records":  {[]int{10, 2 * recordBytesMax, 5}, []int{full, full, 32}},
		"large, then few": {[]int{2*recordBytesMax + 3, 4}, []int{full, full, 24}},
	} {
		client, server := configs(tls.VersionTLS13)
		client.DynamicRecordSizingDisabled = true
		c, s := pair(t, listen(t), client, server)
		var pieces [][]byte
		for _, n := range tt.pieces {
			pieces = append(pieces, text(n))
		}
		stream := must[[]byte](t)(c.Seal([]byte("before"), pieces))[len("before"):]
		if got := lengths(stream); !slices.Equal(got, tt.records) {
			t.Errorf("%s: records of %v bytes", name, got)
		}
		if got := open(t, s, stream, 1000); !bytes.Equal(got, bytes.Join(pieces, nil)) {
			t.Errorf("%s: another text came out", name)
		}
	}
}

// A paused reader takes back what was not read, and feeds it later.
func TestUnread(t *testing.T) {
	c, s := pairOf(t, tls.VersionTLS13)
	one, two, three := seal(t, c, []byte("one")), seal(t, c, []byte("two")), seal(t, c, []byte("three"))
	dst := make([]byte, 2)
	s.Feed(slices.Concat(one, two[:7]))
	if n, err := s.Open(dst); n != 2 || err != nil || s.Held() != 7 {
		t.Fatal(n, err, s.Held())
	}
	rest := s.Unread()
	if !bytes.Equal(rest, two[:7]) || s.Held() != 0 {
		t.Fatalf("%d bytes unread, %d held", len(rest), s.Held())
	}
	if got := open(t, s, nil, 1); string(got) != "e" {
		t.Fatalf("%q of the first record", got)
	}
	s.Feed(rest)
	s.Feed(two[7:]) // before the rest was read
	if got := open(t, s, three, 64); string(got) != "twothree" {
		t.Fatalf("%q", got)
	}
}

func TestHandshakeFails(t *testing.T) {
	for name, say := range map[string]string{"a silent peer": "", "a peer that speaks HTTP": "GET / HTTP/1.1\r\n\r\n"} {
		dialled, accepted := sockets(t, listen(t))
		_, sc := configs(tls.VersionTLS13)
		s := Server(accepted, nil, sc)
		ctx, cancel := context.WithCancel(context.Background())
		if say == "" {
			cancel()
		}
		must[int](t)(io.WriteString(dialled, say))
		err := s.Handshake(ctx)
		cancel()
		if in, _ := s.Transferred(); err == nil || s.Began() != (say != "") || in > int64(len(say)) || errors.Is(err, context.Canceled) != (say == "") {
			t.Errorf("%s: %v, began %v, %d bytes", name, err, s.Began(), in)
		}
	}
}

func TestOf(t *testing.T) {
	c, _ := pairOf(t, tls.VersionTLS13)
	plain, _ := sockets(t, listen(t))
	if Of(c.Conn()) != c || Of(plain) != nil || Of(tls.Client(plain, &tls.Config{})) != nil {
		t.Error("Of finds the wrong TLS")
	}
}
