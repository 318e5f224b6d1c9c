//go:build linux

package main

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// short is a run of a mode that takes a fraction of a second.
func short(addr, mode string) options {
	return options{
		addr: addr, mode: mode, conns: 4, inFlight: 3, size: 200, topics: 2, pid: os.Getpid(),
		warmUp: 1, duration: 1, rest: 20 * time.Millisecond,
		stall: time.Minute, quiet: 50 * time.Millisecond, least: 400, // the machine may be busy
	}
}

// An honest server passes, and what is reported is what happened.
func TestHonest(t *testing.T) {
	for _, mode := range []string{"echo", "raw", "deflate", "takeover", "broadcast", "topics", "handshake", "idle", "burst"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := &server{mode: mode}
			r, err := generate(short(s.start(t), mode))
			if err != nil {
				t.Fatal(err)
			}
			if r.Messages == 0 && mode != "idle" || r.WindowNs <= 0 || r.LoadCPUNs <= 0 || r.ServerCPUNs <= 0 || r.BytesIn == 0 || r.BytesOut == 0 {
				t.Errorf("%+v", r)
			}
			if r.Counted < r.Messages || r.Compared == 0 && mode != "handshake" {
				t.Errorf("%d counted, %d compared, %d messages", r.Counted, r.Compared, r.Messages)
			}
			if mode != "idle" && (r.Latency.Samples == 0 || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.P99 || r.Latency.P99 > r.Latency.Max) {
				t.Errorf("%+v", r.Latency)
			}
			switch mode {
			case "echo": // 4 bytes of header, and 4 of mask
				if in, out := r.BytesIn, r.BytesOut; in%204 != 0 || out%208 != 0 || in < r.Messages*204 {
					t.Errorf("%d bytes in, %d out, for %d messages", in, out, r.Messages)
				}
			case "idle", "burst":
				if r.Messages != 4 {
					t.Errorf("%d messages on 4 connections", r.Messages)
				}
			}
		})
	}
}

// from changes message number n of the server, and each after it.
func from(n int, change func(frame []byte) []byte) func(int, []byte) []byte {
	return func(i int, frame []byte) []byte {
		if i >= n {
			return change(frame)
		}
		return frame
	}
}

// only changes message number n.
func only(n int, change func(frame []byte) []byte) func(int, []byte) []byte {
	return func(i int, frame []byte) []byte {
		if i == n {
			return change(frame)
		}
		return frame
	}
}

func flip(at int) func([]byte) []byte {
	return func(frame []byte) []byte {
		frame = bytes.Clone(frame)
		frame[at] ^= 0x20
		return frame
	}
}

func set(at int, to byte) func([]byte) []byte {
	return func(frame []byte) []byte {
		frame = bytes.Clone(frame)
		frame[at] = to
		return frame
	}
}

func twice(frame []byte) []byte { return append(bytes.Clone(frame), frame...) }
func none([]byte) []byte        { return []byte{} }
func closing([]byte) []byte     { return nil }

// between changes messages number n up to m.
func between(n, m int, change func(frame []byte) []byte) func(int, []byte) []byte {
	return func(i int, frame []byte) []byte {
		if n <= i && i < m {
			return change(frame)
		}
		return frame
	}
}

// ahead adds the frame that would answer the next message.
func ahead(frame []byte) []byte {
	for i, payload := range corpus(200) {
		if bytes.Equal(frame, plain(payload)) {
			return append(bytes.Clone(frame), plain(corpus(200)[(i+1)%variants])...)
		}
	}
	panic("not of the corpus")
}

// aheadFrom answers message n twice over, and from then on each with the answer
// to the next: no reply is wrong but the last one. For one connection.
func aheadFrom(n int) func(int, []byte) []byte {
	return func(i int, frame []byte) []byte {
		switch next := ahead(frame); {
		case i == n:
			return next
		case i > n:
			return next[len(frame):]
		}
		return frame
	}
}

// late is a message that lies in the measured window, where contents are sampled.
const late = 600

// missing stands for any error, after a while.
const missing = "missing"

// TestLateMember: a server may answer a handshake before broadcasts reach who sent it.
func TestLateMember(t *testing.T) {
	for _, mode := range []string{"broadcast", "topics"} {
		s := &server{mode: mode, deliver: func(n, i int) int {
			if n == 0 && i == 0 {
				return 0
			}
			return 1
		}}
		if r, err := generate(short(s.start(t), mode)); err != nil || r.Messages == 0 {
			t.Errorf("%s: %+v, %v", mode, r, err)
		}
	}
}

// Each of these servers lies, and is caught.
func TestLiars(t *testing.T) {
	for _, c := range []struct {
		name   string
		server *server
		want   string // in the error
	}{
		{"a byte of the first reply", &server{mode: "echo", reply: only(0, flip(100))}, "connection"},
		{"the last byte of the third", &server{mode: "echo", reply: only(2, flip(203))}, "want"},
		{"contents, in the window", &server{mode: "echo", reply: from(late, flip(100))}, "want"},
		{"contents, only in the window", &server{mode: "echo", reply: between(500, 700, flip(100))}, "want"},
		{"before it was asked", &server{mode: "echo", reply: only(late, ahead)}, "replies to"},
		{"one more than was asked for", &server{mode: "echo", reply: aheadFrom(late)}, ""},
		{"one type, in the window", &server{mode: "echo", reply: only(late, set(0, 0x82))}, "from byte 0 on"},
		{"one length, in the window", &server{mode: "echo", reply: only(late, flip(3))}, "from byte"},
		{"masked", &server{mode: "echo", reply: only(5, set(1, 0x80|126))}, "from byte"},
		{"fragments", &server{mode: "echo", reply: only(5, set(0, 0x01))}, "from byte 0 on"},
		{"one missing", &server{mode: "echo", reply: only(late, none)}, missing},
		{"all missing", &server{mode: "echo", reply: from(late, none)}, missing},
		{"one twice", &server{mode: "echo", reply: only(late, twice)}, ""},
		{"closed", &server{mode: "echo", reply: only(late, closing)}, "connection"},
		{"the same for all", &server{mode: "echo", reply: func(int, []byte) []byte { return plain(corpus(200)[0]) }}, "want"},

		{"raw, a byte", &server{mode: "raw", reply: only(150, flip(0))}, "connection"},
		{"raw, one byte too many", &server{mode: "raw", reply: only(150, func(b []byte) []byte { return append(b, 0) })}, ""},

		{"not compressed", &server{mode: "deflate", reply: only(late, set(0, 0x81))}, "compressed"},
		{"another text", &server{mode: "deflate", reply: from(late, func([]byte) []byte { return compressed(deflated(corpus(200)[3], nil)) })}, "inflates to"},
		{"no deflate", &server{mode: "deflate", reply: from(late, func([]byte) []byte { return compressed(bytes.Repeat([]byte{0xff}, 50)) })}, ""},

		{"a member left out", &server{mode: "broadcast", deliver: func(n, i int) int {
			if i == 2 && n == late/4 {
				return 0
			}
			return 1
		}}, ""},
		{"a member twice", &server{mode: "broadcast", deliver: func(n, i int) int {
			if i == 2 && n == late/4 {
				return 2
			}
			return 1
		}}, ""},
		{"a broadcast's contents", &server{mode: "broadcast", reply: from(late/4, flip(50))}, "want"},
		{"a broadcast before it was sent", &server{mode: "broadcast", reply: only(late/4, ahead)}, "were published"},
		{"topics, a member twice", &server{mode: "topics", deliver: func(n, i int) int {
			if i == 0 && n == late/4 {
				return 2
			}
			return 1
		}}, ""},
		{"topics, subscribed to the other one", &server{mode: "topics", reply: from(late/4, func([]byte) []byte { return plain(corpus(200)[3]) })}, "want"},

		{"another key", &server{mode: "echo", answer: func(b []byte) []byte {
			return bytes.Replace(b, []byte("Accept: "), []byte("Accept: A"), 1)
		}}, "opening"},
		{"status 200", &server{mode: "echo", answer: func(b []byte) []byte {
			return bytes.Replace(b, []byte(" 101 "), []byte(" 200 "), 1)
		}}, "opening"},
		{"another key, among many handshakes", &server{mode: "handshake", answer: func(b []byte) []byte {
			return bytes.Replace(b, []byte("="), []byte("A"), 1)
		}}, "opening"},
		{"another key, once among many handshakes", &server{mode: "handshake", answer: once(10, func(b []byte) []byte {
			return bytes.Replace(b, []byte("="), []byte("A"), 1)
		})}, "opening"},
		{"compression that nobody wants", &server{mode: "echo", answer: func(b []byte) []byte {
			return bytes.Replace(b, []byte("\r\n\r\n"), []byte("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"), 1)
		}}, "compresses"},
		{"no takeover", &server{mode: "takeover", answer: func(b []byte) []byte {
			return bytes.Replace(b, []byte("client_max_window_bits=12"), []byte("server_no_context_takeover"), 1)
		}}, "both ways"},
		{"takeover, another text", &server{mode: "takeover", reply: from(late, func([]byte) []byte { return compressed(deflated(corpus(200)[3], nil)) })}, "inflates to"},
		{"takeover that nobody wants", &server{mode: "deflate", answer: func(b []byte) []byte {
			return bytes.Replace(b, []byte("server_no"), []byte("server_go"), 1)
		}}, "by itself"},
		{"idle, one wrong", &server{mode: "idle", reply: only(2, flip(30))}, "want"},
		{"burst, one wrong", &server{mode: "burst", reply: only(6, flip(30))}, "want"},
		{"burst, one missing", &server{mode: "burst", reply: only(6, none)}, missing},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := short(c.server.start(t), c.server.mode)
			o.quiet = 10 * time.Second
			if c.want == missing {
				o.stall = time.Second // some are noticed only because nothing comes
			}
			if c.name == "one more than was asked for" {
				o.conns = 1
			}
			if c.want == "replies to" || c.want == "were published" { // with one on its way, too many are noticed at once
				o.inFlight = 1
				if o.mode == "echo" {
					o.conns = 1
				}
			}
			r, err := generate(o)
			if err == nil {
				t.Fatalf("believed: %+v", r)
			}
			if c.want != missing && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: want %q in it", err, c.want)
			}
		})
	}
}

// once changes the n-th answer to a handshake.
func once(n int, change func(head []byte) []byte) func([]byte) []byte {
	var mu sync.Mutex
	return func(head []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		if n--; n == 0 {
			return change(head)
		}
		return head
	}
}

// What comes after the last reply is noticed: a whole message, or a piece of one.
func TestQuiet(t *testing.T) {
	for _, extra := range [][]byte{plain(corpus(200)[0]), {0x81}} {
		s := &server{mode: "echo"}
		l, err := newLoad(short(s.start(t), "echo"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		run := &traffic{load: l}
		l.onEnd = func(_, n int) error {
			run.messages += uint64(n)
			return nil
		}
		if err := l.openAll(4); err != nil {
			t.Fatal(err)
		}
		if err := run.quiet(); err != nil {
			t.Errorf("nothing came: %v", err)
		}
		s.mu.Lock()
		_, err = s.members[0].Write(extra)
		s.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		l.o.quiet = 10 * time.Second
		if err := run.quiet(); err == nil {
			t.Errorf("%q was not noticed", extra)
		}
	}
}

// No compressed message refers back further than the window.
func TestTakeoverWindow(t *testing.T) {
	payloads := corpus(1024)
	s := takeover(payloads, 4)
	var before []byte
	for i := range len(s.at) - 1 {
		frame := bytes.Clone(s.bytes[s.at[i]:s.at[i+1]])
		h, n, err := protocol.ParseHeader(frame)
		if err != nil || n == 0 {
			t.Fatal(err)
		}
		protocol.Mask(frame[n:], h.Key, 0)
		// Where the last byte of the message stands, the window ends before these.
		known := before[max(0, len(before)-(1<<windowBits-1024)):]
		text, err := inflate(frame[n:], known)
		if err != nil || !bytes.Equal(text, payloads[i%variants]) {
			t.Fatalf("frame %d: %v", i, err)
		}
		before = append(before, text...)
	}
	if alone := len(deflated(payloads[0], nil)); s.at[len(s.at)-1]/(len(s.at)-1) > alone*9/10 {
		t.Errorf("%d bytes a message, %d without takeover", s.at[len(s.at)-1]/(len(s.at)-1), alone)
	}
}

// Replies that come in any pieces are the same replies.
func TestPieces(t *testing.T) {
	for _, mode := range []string{"echo", "deflate"} {
		l, err := newLoad(options{addr: "127.0.0.1:1", mode: mode, conns: 1, inFlight: 1, size: 300})
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		var stream []byte
		for i := range 3 * variants {
			if l.inflate {
				stream = append(stream, compressed(deflated(l.payloads[i%variants], nil))...)
			} else {
				stream = append(stream, l.replies[i%variants]...)
			}
		}
		for _, always := range []bool{true, false} {
			l.always = always
			for piece := 1; piece < 700; piece += 1 + piece/40 {
				l.conns[0] = conn{}
				got := 0
				for at := 0; at < len(stream); at += piece {
					n, err := l.feed(0, stream[at:min(at+piece, len(stream))])
					if err != nil {
						t.Fatalf("%s, pieces of %d: %v", mode, piece, err)
					}
					got += n
				}
				if got != 3*variants {
					t.Fatalf("%s, pieces of %d: %d replies", mode, piece, got)
				}
			}
		}
	}
}

// Whatever is in flight, what is sent is the cycle of the script.
func TestScript(t *testing.T) {
	frames := [][]byte{}
	for i := range variants {
		frames = append(frames, bytes.Repeat([]byte{byte(i)}, i+1))
	}
	for _, inFlight := range []int{1, 3, variants, 40} {
		s := cycle(frames, inFlight)
		c := conn{script: s}
		var got, want []byte
		for i := range 500 {
			n := 1 + i%inFlight
			from := c.sent
			c.enqueue(n)
			for k := range n {
				want = append(want, frames[(int(from)+k)%variants]...)
			}
			got = append(got, s.bytes[c.outAt:c.outEnd]...)
			c.outAt = c.outEnd
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d in flight: not the cycle", inFlight)
		}
	}
}

// Each run ends with that quiet time.
func TestRunIsQuiet(t *testing.T) {
	s := &server{mode: "echo"}
	o := short(s.start(t), "echo")
	o.quiet = time.Second
	began := time.Now()
	if _, err := generate(o); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < o.quiet {
		t.Errorf("over after %v, which is less than %v of quiet", took, o.quiet)
	}
}
