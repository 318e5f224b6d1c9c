package peers

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// deflate is what the clients offer, as browsers do: any window, context takeover.
var deflate = &codec.Deflate{
	Level: 3, ThresholdBytes: 256, ServerTakeover: true, ClientTakeover: true,
	ServerMaxWindowBits: 15, ClientMaxWindowBits: 15, HistoryBits: 12,
}

func TestEcho(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		echo(t, name, false, dial(t, start(t, name), nil))
	})
}

// Those that are measured over TLS speak version 1.3 with the certificate that they
// are given, and ALPN, but for Bun, has http/1.1.
func TestEchoTLS(t *testing.T) {
	pair, err := engine.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	file := func(name, kind string, b []byte) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile, keyFile := file("cert.pem", "CERTIFICATE", pair.Certificate[0]), file("key.pem", "PRIVATE KEY", key)
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	each(t, func(t *testing.T, name string) {
		if !slices.Contains([]string{"sockmill", "bun", "gws", "gorilla", "coder"}, name) {
			return
		}
		addr := start(t, name, "-cert", certFile, "-key", keyFile)
		nc, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if s := nc.ConnectionState(); s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != "http/1.1" && name != "bun" {
			t.Errorf("%s, %q", tls.VersionName(s.Version), s.NegotiatedProtocol)
		}
		echo(t, name, false, upgrade(t, nc, addr, nil))
	})
}

func TestEchoDeflate(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		addr := start(t, name, "-deflate")
		c := dial(t, addr, deflate)
		echo(t, name, true, c)
		c.bytes = 0
		const messages, size = 20, 1024
		for i := range messages {
			c.send(protocol.OpText, talk(size, i))
			c.expect(protocol.OpText, talk(size, i))
		}
		if c.bytes > messages*size*3/4 {
			t.Errorf("%d bytes came back for %d: not compressed", c.bytes, messages*size)
		}
		t.Logf("%d bytes a message of %d", c.bytes/messages, size)
		echo(t, name, true, dial(t, addr, nil)) // who does not offer it
	})
}

// echo exchanges messages at the boundaries of the lengths' encodings, text,
// binary, fragments, 32 at once.
func echo(t *testing.T, name string, deflate bool, c *client) {
	t.Helper()
	if name != "nbio" { // no scenario has an empty message
		c.send(protocol.OpText, "")
		c.expect(protocol.OpText, "")
	}
	for _, n := range []int{1, 125, 126, 1000, 4096, 16 << 10, 65535, 65536, 1 << 20} {
		for _, op := range []protocol.Opcode{protocol.OpText, protocol.OpBinary} {
			c.send(op, talk(n, n))
			c.expect(op, talk(n, n))
		}
	}
	c.send(protocol.OpBinary, "\xff\xfe")
	c.expect(protocol.OpBinary, "\xff\xfe")
	c.send(protocol.OpText, "grüße, 世界")
	c.expect(protocol.OpText, "grüße, 世界")

	for i := range 32 {
		c.encode(protocol.OpText, talk(128, i))
	}
	c.flush()
	for i := range 32 {
		c.expect(protocol.OpText, talk(128, i))
	}

	piece := func(fin bool, op protocol.Opcode, payload string) {
		b := []byte(payload)
		h := protocol.Header{Fin: fin, Opcode: op, Masked: true, Key: [4]byte{1, 2, 3, 4}, Length: int64(len(b))}
		protocol.Mask(b, h.Key, 0)
		c.env.Out = append(protocol.AppendHeader(c.env.Out, h), b...)
	}
	piece(false, protocol.OpText, "gr\xc3")
	piece(true, protocol.OpPing, "between")
	piece(true, protocol.OpContinuation, "\xbc\xc3\x9fe")
	c.flush()
	pong := "between"
	if name == "gws" && deflate {
		pong = "" // see its OnPing
	}
	if ev := c.event(); ev.Kind != codec.Pong || string(ev.Data) != pong {
		t.Fatalf("received %v %q, want the pong", ev.Kind, ev.Data)
	}
	c.expect(protocol.OpText, "grüße")
}

// Some of the connections compress, some do not.
func TestBroadcast(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		addr := start(t, name, "-mode", "broadcast", "-deflate")
		var all []*client
		for i := range 4 {
			c := dial(t, addr, []*codec.Deflate{nil, deflate}[i%2])
			settle(c, all...)
			all = append(all, c)
		}
		const messages = 32
		text := func(i int) string { return talk(300, i) }
		binary := func(i int) string { return talk(600, 100+i) }
		for i, c := range all {
			c.bytes = 0
			for i := i; i < messages; i += len(all) {
				c.encode(protocol.OpText, text(i))
				c.encode(protocol.OpBinary, binary(i))
			}
			c.flush() // all at once
		}
		for _, c := range all {
			missing := map[string]bool{}
			for i := range messages {
				missing[text(i)], missing[binary(i)] = true, true
			}
			for range 2 * messages {
				ev := c.event()
				if ev.Kind != codec.Message || !missing[string(ev.Data)] || (ev.Opcode == protocol.OpText) != (len(ev.Data) == 300) {
					t.Fatalf("received %v %v %.60q (%v): not sent, or twice", ev.Kind, ev.Opcode, ev.Data, c.env.Closed)
				}
				delete(missing, string(ev.Data))
			}
		}
		if all[1].bytes > all[0].bytes*3/4 {
			t.Errorf("%d bytes came compressed, %d else: not compressed", all[1].bytes, all[0].bytes)
		}
	})
}

// settle has the newcomer be known: its own message comes back to it, and
// to the others.
func settle(newcomer *client, others ...*client) {
	newcomer.t.Helper()
	newcomer.send(protocol.OpText, "here")
	newcomer.expect(protocol.OpText, "here")
	for _, c := range others {
		c.expect(protocol.OpText, "here")
	}
}

func TestTopics(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		addr := start(t, name, "-mode", "topics")
		a, b, c := dial(t, addr, nil), dial(t, addr, nil), dial(t, addr, nil)
		subscribe := func(c *client, topic string) {
			c.send(protocol.OpText, "s "+topic)
			c.send(protocol.OpText, "s "+topic) // again: no change
			own := "own " + strings.Repeat("x", len(topic))
			c.send(protocol.OpText, "p "+topic+" "+own)
			c.expect(protocol.OpText, own)
		}
		subscribe(a, "red")
		subscribe(b, "blue")
		subscribe(b, "grün")
		c.send(protocol.OpText, "p red for a  only")
		a.expect(protocol.OpText, "for a  only")
		c.send(protocol.OpText, "p grün schön für b")
		b.expect(protocol.OpText, "schön für b")
		c.send(protocol.OpText, "p nobody hello")
		c.send(protocol.OpText, "p red  ")
		a.expect(protocol.OpText, " ")
		_ = a.nc.Close() // a subscriber that is gone
		c.send(protocol.OpText, "p red x")
		c.send(protocol.OpText, "p blue last")
		b.expect(protocol.OpText, "last")
	})
}

// Text that is not UTF-8 ends the connection everywhere: with 1007, with another
// code or without one, but never with an echo.
func TestInvalidText(t *testing.T) {
	codes := map[string]protocol.CloseCode{"coder": 1007, "gobwas": 1007, "gorilla": 1007, "gws": 1007, "nbio": 1002, "node-ws": 1007, "bun": 1007, "sockmill": 1007}
	each(t, func(t *testing.T, name string) {
		addr := start(t, name, "-deflate")
		for _, text := range []string{"\xff", talk(300, 1) + "\xc3", "\xed\xa0\x80", talk(20000, 1) + "\xf5" + talk(20000, 2)} {
			for _, offer := range []*codec.Deflate{nil, deflate} {
				c := dial(t, addr, offer)
				c.send(protocol.OpText, text)
				if ev := c.event(); ev.Kind != codec.Close || !c.env.Closed.Remote || c.env.Closed.Code != codes[name] {
					t.Errorf("%.20q: %v %v, want the peer to close with %d", text, ev.Kind, c.env.Closed, codes[name])
				}
			}
		}
	})
}
