package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// tapOf taps a connection of the test's server, from now on.
func (s *server) tapOf(c *Conn, o TapOptions) *Tap {
	s.t.Helper()
	tap, err := c.Tap(context.Background(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return tap
}

// seen reads n frames, and tells each in a line.
func (s *server) seen(tap *Tap, n int) (all []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(all) < n {
		frames, dropped, err := tap.Read(ctx)
		if err != nil || dropped > 0 {
			s.t.Fatalf("after %q: %d dropped, %v", all, dropped, err)
		}
		for _, f := range frames {
			all = append(all, tell(f))
		}
	}
	return all
}

func tell(f TappedFrame) string {
	line := map[bool]string{true: "< ", false: "> "}[f.In]
	if f.Framed {
		line += fmt.Sprintf("%v fin=%v rsv=%d masked=%v ", f.Opcode, f.Fin, f.Rsv, f.Masked)
	}
	line += fmt.Sprint(f.Length)
	if f.Payload != nil {
		line += fmt.Sprintf(" %q", f.Payload)
	}
	if time.Since(f.At) > patience || f.At.After(time.Now()) {
		line += " at a wrong time"
	}
	return line
}

// byDirection puts what came before what was sent: how the two meet depends on how TCP cuts.
func byDirection(lines []string) []string {
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
	return lines
}

func expectLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if got, want = byDirection(got), byDirection(want); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("shown:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTapShowsFrames looks at all frames in both directions, plain, through TLS, and with
// compression, cut anywhere: once without what they hold and once with a part of it.
func TestTapShowsFrames(t *testing.T) {
	for _, kind := range []string{"plain", "tls", "deflate"} {
		t.Run(kind, func(t *testing.T) {
			conns := make(chan *Conn, 1)
			h := Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: func(c *Conn, m Message) {
				if _, err := c.Tap(context.Background(), TapOptions{}); !errors.Is(err, errInspectOnLoop) {
					t.Errorf("in a callback: %v", err)
				}
				_ = c.Send(m)
				clear(m.Data) // it may
			}}
			var s *server
			var cl *client
			switch kind {
			case "tls":
				x := serveTLS(t, Config{Loops: 1}, h)
				s, cl = x.server, x.dialTLS(nil)
			case "deflate":
				s = serve(t, Config{Loops: 1, Deflate: DeflateNoTakeover}, h)
				cl = s.dialDeflate(deflating())
			default:
				s = serve(t, Config{Loops: 1}, h)
				cl = s.dial("/", nil)
			}
			c := <-conns
			bare, with := s.tapOf(c, TapOptions{}), s.tapOf(c, TapOptions{PayloadBytes: 4})
			bytes := func(b string) {
				for i := range b {
					if _, err := io.WriteString(cl, b[i:i+1]); err != nil {
						t.Fatal(err)
					}
				}
			}
			bytes("\x01\x83\x01\x02\x03\x04\x60\x60\x60" + "\x89\x82\x00\x00\x00\x00hi" + "\x80\x83\x00\x00\x00\x00def")
			cl.expect("abcdef")
			headers, whole := []string{
				"< text fin=false rsv=0 masked=true 3", "< ping fin=true rsv=0 masked=true 2", "> pong fin=true rsv=0 masked=false 2",
				"< continuation fin=true rsv=0 masked=true 3"}, []string{` "abc"`, ` "hi"`, ` "hi"`, ` "def"`}
			if kind == "deflate" {
				cl.env.Out, _ = cl.session.Encode(&cl.env, nil, protocol.OpText, []byte(news(1)), false)
				sent := len(cl.env.Out) - 6 // a header of two bytes, and the key
				cl.flush()
				cl.expect(news(1))
				headers = append(headers, "> text fin=true rsv=0 masked=false 6", fmt.Sprintf("< text fin=true rsv=4 masked=true %d", sent), fmt.Sprintf("> text fin=true rsv=4 masked=false %d", sent))
				whole = append(whole, ` "abcd"`, " packed", " packed")
			} else {
				cl.send(protocol.OpBinary, strings.Repeat("x", 70_000))
				cl.expect(strings.Repeat("x", 70_000))
				headers = append(headers, "> text fin=true rsv=0 masked=false 6", "< binary fin=true rsv=0 masked=true 70000", "> binary fin=true rsv=0 masked=false 70000")
				whole = append(whole, ` "abcd"`, ` "xxxx"`, ` "xxxx"`)
			}
			expectLines(t, s.seen(bare, len(headers)), slices.Clone(headers)...)
			shown := s.seen(with, len(headers))
			for i, line := range shown {
				if strings.Contains(line, " rsv=4") {
					before, _, _ := strings.Cut(line, ` "`)
					shown[i] = before + " packed"
				}
			}
			for i := range headers {
				headers[i] += whole[i]
			}
			expectLines(t, shown, headers...)
			cl.close(4000, "")
			_ = cl.closed()
			expectLines(t, s.seen(bare, 2), "< close fin=true rsv=0 masked=true 2", "> close fin=true rsv=0 masked=false 2")
			if _, _, err := bare.Read(context.Background()); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
			if _, err := c.Tap(context.Background(), TapOptions{}); !errors.Is(err, ErrClosed) {
				t.Errorf("Tap after the end: %v", err)
			}
			bare.Close()
			if _, err := c.Tap(context.Background(), TapOptions{PayloadBytes: tapPayloadMax + 1}); err == nil {
				t.Error("a Tap of too much was made")
			}
		})
	}
}

// TestTapBeginsInsideAFrame: nothing is shown of a frame of which a part had come, or was
// written, and the next ones are found, wherever it is cut.
func TestTapBeginsInsideAFrame(t *testing.T) {
	const frame = "\x82\xfe\x00\x80\x00\x00\x00\x00"
	whole := frame + strings.Repeat("x", 128)
	for _, cut := range []int{1, 2, 3, 7, 8, 9, 135} {
		conns := make(chan *Conn, 1)
		s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }})
		cl := s.dial("/", nil)
		c := <-conns
		before := c.Stats().BytesIn
		_, _ = io.WriteString(cl, whole[:cut])
		s.await("the first part", func() bool { return c.Stats().BytesIn == before+uint64(cut) })
		tap := s.tapOf(c, TapOptions{PayloadBytes: 2})
		_, _ = io.WriteString(cl, whole[cut:]+"\x89\x81\x00\x00\x00\x00!")
		want := []string{`< ping fin=true rsv=0 masked=true 1 "!"`, `> pong fin=true rsv=0 masked=false 1 "!"`}
		if cut < 8 { // its header was not complete
			want = append([]string{`< binary fin=true rsv=0 masked=true 128 "xx"`}, want...)
		}
		expectLines(t, s.seen(tap, len(want)), want...)
	}
}

// TestTapOfACongestedConnection: what waits is shown when it is written, and the rest of the frame
// that was cut before is not.
func TestTapOfACongestedConnection(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1, SendBytesMax: 64 << 20}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	cl, c, filler := congest(t, s, conns)
	tap := s.tapOf(c, TapOptions{FramesMax: 1 << 20})
	if d, err := c.Inspect(context.Background()); err != nil || !d.Congested || d.Queued == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	for _, text := range []string{"the last one", "end"} {
		if err := c.SendText(text); err != nil {
			t.Fatal(err)
		}
	}
	texts := received(cl, filler)
	if len(texts) != 1 || texts[0] != "the last one" {
		t.Fatalf("received %q", texts)
	}
	var shown []string
	for len(shown) == 0 || shown[len(shown)-1] != "> text fin=true rsv=0 masked=false 3" {
		for _, line := range s.seen(tap, 1) {
			if line != "> binary fin=true rsv=0 masked=false 65536" {
				shown = append(shown, line)
			}
		}
	}
	expectLines(t, shown, "> text fin=true rsv=0 masked=false 12", "> text fin=true rsv=0 masked=false 3")
}

// TestTapOfAStream: protocols without frames show messages that come, and what is written.
func TestTapOfAStream(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1, Addr: "text://127.0.0.1:0"}, Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: echo})
	nc := s.connect()
	c := <-conns
	tap := s.tapOf(c, TapOptions{PayloadBytes: 3})
	_, _ = io.WriteString(nc, "hello\nyou\n")
	expectLines(t, s.seen(tap, 3), `< 5 "hel"`, `< 3 "you"`, `> 10 "hel"`)
}

// TestTapOfADialledConnection: what this side masks is shown as it was.
func TestTapOfADialledConnection(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{OnMessage: echo})
	conns := make(chan *Conn, 1)
	if err := s.Dial(context.Background(), Dial{URL: s.url("/"), Handler: &Handler{OnOpen: func(c *Conn) { conns <- c }}}); err != nil {
		t.Fatal(err)
	}
	c := <-conns
	tap := s.tapOf(c, TapOptions{PayloadBytes: 10})
	if err := c.SendText("hello"); err != nil {
		t.Fatal(err)
	}
	expectLines(t, s.seen(tap, 2), `> text fin=true rsv=0 masked=true 5 "hello"`, `< text fin=true rsv=0 masked=false 5 "hello"`)
}

// TestTapReaderIsSlow: what nobody reads is bounded, and counted.
func TestTapReaderIsSlow(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: echo})
	cl := s.dial("/", nil)
	c := <-conns
	tap := s.tapOf(c, TapOptions{FramesMax: 3})
	for range 5 {
		cl.send(protocol.OpText, "x")
		cl.expect("x")
	}
	s.onLoop(c, func() {}) // it has noted what it wrote
	frames, dropped, err := tap.Read(context.Background())
	if len(frames) != 3 || dropped != 7 || err != nil {
		t.Errorf("%d frames, %d dropped, %v", len(frames), dropped, err)
	}
	cl.send(protocol.OpText, "once more")
	cl.expect("once more")
	expectLines(t, s.seen(tap, 2), "< text fin=true rsv=0 masked=true 9", "> text fin=true rsv=0 masked=false 9")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := tap.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("without frames: %v", err)
	}
}

// TestTapEnds by its Close, by an Abort, by a shutdown: the loop forgets it.
func TestTapEnds(t *testing.T) {
	for name, end := range map[string]func(s *server, c *Conn, tap *Tap){
		"close":    func(_ *server, _ *Conn, tap *Tap) { tap.Close(); tap.Close() },
		"abort":    func(_ *server, c *Conn, _ *Tap) { _ = c.Abort() },
		"shutdown": func(s *server, _ *Conn, _ *Tap) { s.hangUp(); _ = s.end() },
	} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan *Conn, 1)
			s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }})
			s.dial("/", nil)
			c := <-conns
			tap := s.tapOf(c, TapOptions{})
			read := make(chan error)
			go func() {
				for {
					if _, _, err := tap.Read(context.Background()); err != nil {
						read <- err
						return
					}
				}
			}()
			end(s, c, tap)
			if err := <-read; !errors.Is(err, io.EOF) {
				t.Errorf("Read: %v", err)
			}
			if name == "close" {
				s.onLoop(c, func() {
					if c.w.taps != nil {
						t.Error("the loop has not forgotten the tap")
					}
				})
			} else if _ = s.end(); c.w.taps != nil {
				t.Error("the loop has not forgotten the tap")
			}
			tap.Close()
		})
	}
}

// TestTapCostsOthersNothing: echoes of a connection allocate nothing while somebody looks at
// another one of its loop.
func TestTapCostsOthersNothing(t *testing.T) {
	conns := make(chan *Conn, 2)
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: echo})
	cl := s.dial("/", nil)
	<-conns
	s.dial("/", nil)
	tap := s.tapOf(<-conns, TapOptions{PayloadBytes: 10})
	defer tap.Close()
	frame := []byte("\x82\x81\x00\x00\x00\x00x")
	buf := make([]byte, 3)
	allocatesNothing(t, 1, func() {
		if _, err := cl.Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(cl, buf); err != nil {
			t.Fatal(err)
		}
	})
}
