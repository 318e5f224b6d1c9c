package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/certs/certstest"
	"github.com/sockmill/sockmill/protocol"
)

// witness has a client exchange messages for as long as others do their worst. The
// function that it returns has one more come back, and ends the client.
func witness(c *client) (ends func()) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for last := false; ; {
			select {
			case <-stop:
				last = true
			default:
			}
			out, err := c.session.Encode(&c.env, nil, protocol.OpText, []byte("still here"), true)
			if err == nil {
				_, err = c.Write(out)
			}
			for ev := (codec.Event{}); err == nil && ev.Kind != codec.Message; {
				if ev, err = c.next(); ev.Kind == codec.Close {
					err = c.env.Closed
				}
			}
			if err != nil || last {
				_ = c.Conn.Close()
				done <- err
				return
			}
		}
	}()
	return func() {
		c.t.Helper()
		close(stop)
		if err := one(c.t, done, "the witness"); err != nil {
			c.t.Errorf("somebody else noticed: %v", err)
		}
	}
}

// unharmed runs f against an engine whose other clients, with TLS and without, go
// on. Afterwards nothing is left behind.
func unharmed(t *testing.T, cfg Config, h Handler, f func(x *tlsFixture)) {
	t.Helper()
	before := descriptors()
	x := serveTLS(t, cfg, h)
	plain := x.listen(Config{Addr: "ws://127.0.0.1:0", HandshakeTimeout: patience}, &Handler{OnMessage: echo})
	calm := witness(x.dialTo(plain))
	f(x)
	calm()
	x.hangUp()
	x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
	if err := x.end(); err != nil {
		t.Error(err)
	}
	x.balanced()
	x.await("the descriptors to be closed", func() bool { return descriptors() <= before })
}

// lines are the entries of the log with a message like that, once there are n.
func (s *server) lines(n int, message string) string {
	s.t.Helper()
	found := func() int { return s.logs.FilterMessageSnippet(message).Len() }
	s.await(fmt.Sprintf("%d lines of the log: %s", n, message), func() bool { return found() >= n })
	if got := found(); got != n {
		s.t.Errorf("%d lines of the log, want %d: %s", got, n, message)
	}
	var all strings.Builder
	for _, e := range s.logs.FilterMessageSnippet(message).All() {
		fmt.Fprintln(&all, e.Message, e.ContextMap())
	}
	return all.String()
}

// helloOf are the first bytes that a client of TLS sends.
func helloOf(t testing.TB, cfg *tls.Config) string {
	near, far := net.Pipe()
	defer near.Close()
	done := make(chan struct{})
	go func() { defer close(done); _ = tls.Client(far, cfg).Handshake() }()
	b := make([]byte, 16<<10)
	n, err := near.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	<-done
	return string(b[:n])
}

const failedHandshake = "a TLS handshake failed"

// TestTLSBadHandshakes: each is one line of the log and ends for its peer with an
// alert, where TLS has one for it.
func TestTLSBadHandshakes(t *testing.T) {
	hello := helloOf(t, &tls.Config{ServerName: "a", MinVersion: tls.VersionTLS13})
	end := func(nc net.Conn) { _ = nc.(*net.TCPConn).CloseWrite() }
	for name, bad := range map[string]struct {
		say    string
		then   func(net.Conn)
		alert  byte // RFC 8446 §6; 0: none
		logged string
	}{
		"nothing said":              {"", nil, 0, "deadline exceeded"},
		"a part of a header":        {"\x16\x03", nil, 0, "deadline exceeded"},
		"a part of a ClientHello":   {hello[:100], nil, 0, "deadline exceeded"},
		"only a ClientHello":        {hello, nil, 0, "deadline exceeded"},
		"hung up at once":           {"", end, 0, "EOF"},
		"hung up in a ClientHello":  {hello[:100], end, 0, "EOF"},
		"hung up after it":          {hello, end, 0, "EOF"},
		"reset after it":            {hello, abort, 0, "remote"},
		"garbage":                   {strings.Repeat("\xff\x00\x7f", 100), nil, 0, "does not look like a TLS handshake"},
		"garbage in a record":       {"\x16\x03\x01\x00\x05hello", nil, 80, "handshake message of length"},
		"a malformed ClientHello":   {"\x16\x03\x01\x00\x08\x01\x00\x00\x04hell", nil, 50, "decoding"},
		"a record that is too long": {"\x16\x03\x01\xff\xff" + strings.Repeat("x", 100), nil, 22, "oversized record"},
		"a handshake that is":       {"\x16\x03\x01\x00\x04\x01\xff\xff\xff", nil, 80, "handshake message of length"},
		"data before the end":       {hello + "\x17\x03\x03\x00\x20" + strings.Repeat("x", 32), nil, 20, "bad record MAC"},
		"an alert in its place":     {"\x15\x03\x03\x00\x02\x02\x28", nil, 0, "remote error: tls: handshake failure"},
		"empty records":             {hello + strings.Repeat("\x16\x03\x03\x00\x00", 100), nil, 10, ""},
	} {
		t.Run(name, func(t *testing.T) {
			unharmed(t, Config{HandshakeTimeout: 200 * time.Millisecond}, Handler{OnOpen: func(*Conn) { t.Error("OnOpen") }}, func(x *tlsFixture) {
				nc := x.connect()
				_, _ = io.WriteString(nc, bad.say)
				var got []byte
				if bad.then != nil {
					bad.then(nc)
				}
				if got, _ = io.ReadAll(nc); bad.alert == 0 && bad.say != hello && len(got) != 0 {
					t.Errorf("the peer got %x", got)
				}
				if alert := []byte{21, 3, 3, 0, 2, 2, bad.alert}; bad.alert != 0 && !bytes.HasSuffix(got, alert) && !bytes.HasSuffix(got, []byte{21, 3, 1, 0, 2, 2, bad.alert}) {
					if bad.say[:10] != hello[:10] { // what follows our hello is encrypted
						t.Errorf("the peer got %x", got)
					}
				}
				if line := x.lines(1, failedHandshake); !strings.Contains(line, bad.logged) {
					t.Errorf("logged: %s", line)
				}
			})
		})
	}
}

// TestTLSRefusedClients: what a proper client hears that the server does not take,
// and what the log says of it.
func TestTLSRefusedClients(t *testing.T) {
	other := certstest.New(t).Client("mallory")
	refuse := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName == "" || h.ServerName == "known" {
			return nil, nil
		}
		if h.ServerName == "panic" {
			panic("on purpose")
		}
		return nil, fmt.Errorf("no certificate for %s", h.ServerName)
	}}
	for name, bad := range map[string]struct {
		server *tls.Config
		client func(*tls.Config)
		hears  string
		logged string
	}{
		"too old a version":             {nil, only(tls.VersionTLS11), "protocol version", "unsupported versions"},
		"a protocol that nobody knows":  {nil, func(c *tls.Config) { c.NextProtos = []string{"foo"} }, "no application protocol", "unsupported application protocols"},
		"a server name that nobody has": {refuse, func(c *tls.Config) { c.ServerName = "nobody" }, "internal error", "no certificate for nobody"},
		"a function that panics":        {refuse, func(c *tls.Config) { c.ServerName = "panic" }, "EOF", "on purpose"},
		"no certificate":                {&tls.Config{ClientAuth: tls.RequireAnyClientCert}, nil, "certificate required", "didn't provide a certificate"},
		"a certificate of another CA": {&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: certstest.New(t).Pool()}, func(c *tls.Config) { c.Certificates = []tls.Certificate{other} },
			"unknown certificate authority", "certificate signed by unknown authority"},
		"a program that says no": {&tls.Config{VerifyConnection: func(tls.ConnectionState) error { return errors.New("not you") }}, nil, "bad certificate", "not you"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{TLS: bad.server}
			if bad.server != nil {
				cfg.TLS = bad.server.Clone()
			}
			unharmed(t, cfg, Handler{OnOpen: func(*Conn) { t.Error("OnOpen") }}, func(x *tlsFixture) {
				client := x.config.Clone()
				client.InsecureSkipVerify = true // nothing here is about the server's certificate
				if bad.client != nil {
					bad.client(client)
				}
				nc := tls.Client(x.connect(), client)
				_, err := io.WriteString(nc, upgradeHead())
				if err == nil {
					_, err = nc.Read(make([]byte, 1))
				}
				if err == nil || !strings.Contains(err.Error(), bad.hears) {
					t.Errorf("the client hears %v, want %s", err, bad.hears)
				}
				if line := x.lines(1, failedHandshake); !strings.Contains(line, bad.logged) {
					t.Errorf("logged: %s", line)
				}
				_ = nc.Close()
			})
		})
	}
}

// tap changes what a client writes below TLS.
type tap struct {
	net.Conn
	change func([]byte) []byte
}

func (c *tap) Write(b []byte) (int, error) {
	if c.change == nil {
		return c.Conn.Write(b)
	}
	_, err := c.Conn.Write(c.change(bytes.Clone(b)))
	return len(b), err
}

// TestTLSBadRecords: a connection that was open ends at once, its program and its
// peer get to know why, and the operator need not.
func TestTLSBadRecords(t *testing.T) {
	for name, bad := range map[string]struct {
		change func(b []byte) []byte
		then   func(nc *net.TCPConn)
		cause  string
		hears  string
	}{
		"a changed bit":             {func(b []byte) []byte { b[len(b)-20] ^= 1; return b }, nil, "bad record MAC", "bad record MAC"},
		"a record again":            {func(b []byte) []byte { return append(b, b...) }, nil, "bad record MAC", "bad record MAC"},
		"a record that is too long": {func(b []byte) []byte { b[3], b[4] = 0xff, 0xff; return b }, nil, "oversized record", "record overflow"},
		"plaintext":                 {func([]byte) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, nil, "received record with version", "protocol version"},
		"an unknown record":         {func(b []byte) []byte { b[0] = 99; return b }, nil, "", "remote error: tls"},
		"the end in a header":       {func(b []byte) []byte { return b[:3] }, end, "unexpected EOF", "EOF"},
		"the end in a record":       {func(b []byte) []byte { return b[:len(b)/2] }, end, "unexpected EOF", "EOF"},
		"a reset in a record":       {func(b []byte) []byte { return b[:len(b)/2] }, func(nc *net.TCPConn) { abort(nc) }, "connection reset", "closed"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				closed := make(chan *CloseError, 1)
				h := Handler{OnMessage: echo, OnClose: func(_ *Conn, e *CloseError) { closed <- e }}
				unharmed(t, Config{}, h, func(x *tlsFixture) {
					low := &tap{Conn: x.connect()}
					cfg := x.config.Clone()
					only(version)(cfg)
					nc := tls.Client(low, cfg)
					c, err := x.open(nc, "/", nil)
					if err != nil {
						t.Fatal(err)
					}
					c.send(protocol.OpText, "a")
					c.expect("a")
					low.change = bad.change
					_, _ = nc.Write(bytes.Repeat([]byte{0x89, 0x80, 1, 2, 3, 4}, 20)) // pings
					low.change = nil
					if bad.then != nil {
						bad.then(low.Conn.(*net.TCPConn))
					}
					if e := one(t, closed, "OnClose"); e.Code != protocol.CloseAbnormal || !e.Remote || e.Err == nil || !strings.Contains(e.Err.Error(), bad.cause) {
						t.Errorf("closed with %v", e)
					}
					if _, err = io.Copy(io.Discard, nc); err != nil || bad.hears != "EOF" {
						if err == nil || !strings.Contains(err.Error(), bad.hears) {
							t.Errorf("the client hears %v, want %s", err, bad.hears)
						}
					}
					_ = low.Close()
					if n := x.logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n > 0 {
						t.Errorf("%d errors are logged", n)
					}
				})
			})
		}
	}
}

func end(nc *net.TCPConn) { _ = nc.CloseWrite() }

// TestTLSManyHalfOpen: a thousand that began a handshake and stopped keep nobody
// out, and leave nothing behind.
func TestTLSManyHalfOpen(t *testing.T) {
	hello := helloOf(t, &tls.Config{ServerName: "a"})
	unharmed(t, Config{Loops: 2}, Handler{OnMessage: echo}, func(x *tlsFixture) {
		var all []net.Conn
		for i := range 1000 {
			nc := x.connect()
			_, _ = io.WriteString(nc, hello[:i%len(hello)])
			all = append(all, nc)
		}
		x.await("all to be half open", func() bool { return x.Listeners()[0].Stats().HalfOpen == len(all) })
		c := x.dialTLS(nil)
		c.send(protocol.OpText, "a")
		c.expect("a")
		for i, nc := range all {
			if i%2 == 0 {
				abort(nc)
			} else {
				_ = nc.Close()
			}
		}
		_ = c.Conn.Close()
	})
}

// TestTLSListenErrors: of a listener too each tells what is wrong with which field,
// nothing is bound, and nobody else notices.
func TestTLSListenErrors(t *testing.T) {
	ca := certstest.New(t)
	good, key := ca.Write(t.TempDir(), ca.Server("127.0.0.1"))
	old, oldKey := ca.Write(t.TempDir(), ca.Expired("127.0.0.1"))
	dir := t.TempDir()
	write := func(name, what string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(what), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cut := write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n")
	empty := write("empty.pem", "")
	wrong := write("wrong.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")
	unharmed(t, Config{}, Handler{}, func(x *tlsFixture) {
		before := len(x.Listeners())
		taken := "wss://" + x.Addr().String()
		const free = "wss://127.0.0.1:0"
		for want, cfg := range map[string]Config{
			"Config.CertFile and Config.KeyFile: certs: the certificate in " + old + " expired": {Addr: free, CertFile: old, KeyFile: oldKey},
			cut + " must have the certificate":                                                  {Addr: free, CertFile: cut, KeyFile: key},
			empty + " must have the certificate":                                                {Addr: free, CertFile: empty, KeyFile: key},
			wrong + " must have the certificate":                                                {Addr: free, CertFile: wrong, KeyFile: key},
			"private key does not match":                                                        {Addr: free, CertFile: good, KeyFile: oldKey},
			"Config.CertFile and Config.KeyFile: certs: open " + dir + "/none":                  {Addr: free, CertFile: dir + "/none", KeyFile: key},
			"Config.Addr " + taken + " is taken":                                                {Addr: taken},
			`has an unknown scheme: it must be`:                                                 {Addr: "wsss://127.0.0.1:0"},
			`Config.Addr "tls+tls://127.0.0.1:0" has an unknown scheme`:                         {Addr: "tls+tls://127.0.0.1:0"},
			`Config.Addr "udp+tls://127.0.0.1:0" has an unknown scheme`:                         {Addr: "udp+tls://127.0.0.1:0"},
			`Config.Addr "wss://127.0.0.1:65536" must be`:                                       {Addr: "wss://127.0.0.1:65536"},
			`Config.Addr "text+tls://127.0.0.1:0/path" must be`:                                 {Addr: "text+tls://127.0.0.1:0/path"},
		} {
			if l, err := x.Listen(cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, error %v, want %s", l, err, want)
			}
		}
		if n := len(x.Listeners()); n != before {
			t.Errorf("%d listeners", n)
		}
	})
}

// TestTLSBadReload: files that cannot be used any more are logged once, and the
// certificate before is still served.
func TestTLSBadReload(t *testing.T) {
	ca := certstest.New(t)
	servers := map[string]*tlsFixture{}
	for name, spoil := range map[string]func(dir string){
		"expired":   func(dir string) { ca.Write(dir, ca.Expired("127.0.0.1")) },
		"malformed": func(dir string) { _ = os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("nonsense"), 0o600) },
		"removed":   func(dir string) { _ = os.Remove(filepath.Join(dir, "key.pem")) },
	} {
		dir := t.TempDir()
		cert, key := ca.Write(dir, ca.Server("first", "127.0.0.1"))
		s := serve(t, Config{Addr: "wss://127.0.0.1:0", CertFile: cert, KeyFile: key}, Handler{OnMessage: echo})
		servers[name] = &tlsFixture{server: s, ca: ca, config: &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}}
		spoil(dir)
	}
	for name, x := range servers {
		x.await("the log", func() bool {
			_ = x.tlsConn(nil).Close()
			return x.logs.FilterMessageSnippet("a changed certificate cannot be used").Len() > 0
		})
		c := x.dialTLS(nil)
		c.send(protocol.OpText, name)
		c.expect(name)
		x.lines(1, "a changed certificate cannot be used")
	}
}

// TestTLSEndWithHandshakes: handshakes under way hold up no end of their listener or
// of the engine.
func TestTLSEndWithHandshakes(t *testing.T) {
	hello := helloOf(t, &tls.Config{ServerName: "a"})
	begin := func(x *tlsFixture, l *Listener) (all []net.Conn) {
		for i := range 20 {
			nc := x.connectTo(l)
			_, _ = io.WriteString(nc, hello[:100*(i%2)])
			all = append(all, nc)
		}
		x.await("all to be half open", func() bool { return l.Stats().HalfOpen == len(all) })
		return all
	}
	ended := func(t *testing.T, all []net.Conn) {
		for _, nc := range all {
			if _, err := io.Copy(io.Discard, nc); cutOff(err) != nil {
				t.Errorf("a handshake: %v", err)
			}
		}
	}
	for _, slots := range []int{3, 100} { // most wait for a turn; none does
		cfg := Config{TLSHandshakesMax: slots, HandshakeTimeout: NoLimit}
		t.Run(fmt.Sprint("Listener.Shutdown ", slots), func(t *testing.T) {
			unharmed(t, cfg, Handler{OnMessage: echo}, func(x *tlsFixture) {
				l := x.listen(Config{Addr: "wss://127.0.0.1:0"}, nil)
				all := begin(x, l)
				if err := l.Shutdown(t.Context()); err != nil || l.Stats().Connections != 0 {
					t.Errorf("%v %+v", err, l.Stats())
				}
				ended(t, all)
				_ = x.dialTLS(nil).Conn.Close()
			})
		})
		t.Run(fmt.Sprint("Listener.Close ", slots), func(t *testing.T) {
			unharmed(t, cfg, Handler{OnMessage: echo}, func(x *tlsFixture) {
				l := x.listen(Config{Addr: "wss://127.0.0.1:0"}, nil)
				late := x.connectTo(l)
				x.await("it", func() bool { return l.Stats().HalfOpen == 1 })
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				c, err := x.open(tls.Client(late, x.config), "/", nil) // it goes on
				if err != nil {
					t.Fatal(err)
				}
				c.send(protocol.OpText, "a")
				c.expect("a")
				_ = c.Conn.Close()
				x.await("it to be forgotten", func() bool { return len(x.Listeners()) == 2 })
			})
		})
		t.Run(fmt.Sprint("Engine.Shutdown ", slots), func(t *testing.T) {
			x := serveTLS(t, cfg, Handler{})
			all := begin(x, x.Listeners()[0])
			if err := x.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			ended(t, all)
			x.balanced()
		})
	}
}
