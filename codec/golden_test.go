package codec_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew")

// golden compares got with a file of testdata, byte for byte.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is meant, go test ./codec -update\n%s", name, got)
	}
}

// quote writes bytes as a Go string; a long one is cut.
func quote(who, b string) string {
	if len(b) > 400 {
		return fmt.Sprintf("%s %q … %d bytes\n", who, b[:60], len(b))
	}
	return fmt.Sprintf("%s %q\n", who, b)
}

// A whole conversation between a client and a server session: every byte on
// the wire, and what each side made of it.
func TestGoldenConversation(t *testing.T) {
	var s strings.Builder
	client, server := newSide(t, clientLimits()), newSide(t, limits())
	client.log = nil
	up, down := 0, 0
	wire := func(who, said string) {
		for line := range strings.SplitAfterSeq(said, "\r\n") {
			if line != "" {
				s.WriteString(quote(who, line))
			}
		}
	}
	settle := func(step string) {
		fmt.Fprintf(&s, "\n# %s\n", step)
		for up < len(client.env.Out) || down < len(server.env.Out) {
			said := string(client.env.Out[up:])
			up += len(said)
			wire("C:", said)
			server.feed(said)
			said = string(server.env.Out[down:])
			down += len(said)
			wire("S:", said)
			client.feed(said)
		}
		for _, x := range []*side{client, server} {
			for _, event := range x.log {
				if !strings.HasPrefix(event, "> ") {
					fmt.Fprintf(&s, "%s %s\n", map[*side]string{client: "client:", server: "server:"}[x], event)
				}
			}
			x.log = nil
		}
	}
	settle("the opening handshake")
	client.send(protocol.OpText, "Hello, wörld")
	settle("a text, masked")
	server.send(protocol.OpText, "Hello, wörld")
	settle("its echo, not masked")
	server.send(protocol.OpBinary, text(126))
	server.send(protocol.OpBinary, "")
	settle("a length of 16 bits, and none")
	client.send(protocol.OpPing, "are you there?")
	server.send(protocol.OpPing, "")
	settle("pings, and their pongs")
	client.env.Out = append(client.env.Out, frame(0x01, "Hel")+frame(0x89, "?")+frame(0x80, "lo")...)
	client.read = len(client.env.Out)
	settle("a fragmented text, with a ping inside")
	client.shut(protocol.CloseNormal, "that was all")
	settle("the closing handshake")
	golden(t, "conversation.txt", strings.TrimPrefix(s.String(), "\n"))
	client.finish()
	server.finish()
}

// What a client reads when its handshake is refused.
func TestGoldenRefusals(t *testing.T) {
	var s strings.Builder
	for _, tt := range requests {
		if r := play(newSide(t, limits()), tt.in, whole); strings.HasPrefix(r.log, "refused") {
			s.WriteString(quote("C:", tt.in) + quote("S:", r.out) + "\n")
		}
	}
	golden(t, "refusals.txt", s.String())
}

// What a client reads when it breaks the framing.
func TestGoldenViolations(t *testing.T) {
	var s strings.Builder
	o := limits()
	o.MessageBytesMax = 200
	for _, in := range []string{
		bare(0x81, "a"), frame(0xc1, "a"), frame(0x83, "a"), frame(0x09, "a"), frame(0x89, text(126)),
		"\x82\xfe\x00\x01", "\x82\xff\x80", frame(0x80, "a"), frame(0x01, "a") + frame(0x81, "b"),
		frame(0x81, "\xc0\x80"), frame(0x01, "\xe2\x82") + frame(0x80, ""), frame(0x82, text(201)),
		frame(0x02, "") + strings.Repeat(frame(0x00, ""), 7) + frame(0x80, ""),
		frame(0x88, "\x03"), frame(0x88, code(1005)), frame(0x88, code(1000)+"\xff"),
	} {
		x := openServer(t, o)
		opened := len(x.env.Out)
		s.WriteString(quote("C:", in))
		x.feed(in)
		s.WriteString(quote("S:", string(x.env.Out[opened:])) + "\n")
		x.finish()
	}
	golden(t, "violations.txt", s.String())
}
