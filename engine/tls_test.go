package engine

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/certs/certstest"
	"github.com/sockmill/sockmill/protocol"
)

// tlsFixture is a server with TLS and a CA of its own.
type tlsFixture struct {
	*server
	ca     *certstest.CA
	config *tls.Config // of clients
}

func serveTLS(t testing.TB, cfg Config, h Handler) *tlsFixture {
	t.Helper()
	ca := certstest.New(t)
	if cfg.Addr == "" {
		cfg.Addr = "wss://127.0.0.1:0"
	}
	if cfg.TLS == nil {
		cfg.TLS = new(tls.Config)
	}
	cfg.TLS.Certificates = []tls.Certificate{ca.Server("127.0.0.1")}
	x := &tlsFixture{ca: ca, config: &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}}
	x.server = serve(t, cfg, h)
	return x
}

// tlsConn connects, and makes the TLS handshake.
func (x *tlsFixture) tlsConn(change func(*tls.Config)) *tls.Conn {
	x.t.Helper()
	cfg := x.config.Clone()
	if change != nil {
		change(cfg)
	}
	nc := tls.Client(x.connect(), cfg)
	if err := nc.Handshake(); err != nil {
		x.t.Fatal(err)
	}
	return nc
}

func (x *tlsFixture) dialTLS(change func(*tls.Config)) *client {
	x.t.Helper()
	c, err := x.open(x.tlsConn(change), "/", nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

func only(version uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
}

// sendAll sends text messages in one write, and does not wait for it.
func (c *client) sendAll(texts ...string) {
	c.t.Helper()
	var all []byte
	for _, s := range texts {
		var err error
		if all, err = c.session.Encode(&c.env, all, protocol.OpText, []byte(s), true); err != nil {
			c.t.Fatal(err)
		}
	}
	go func() { _, _ = c.Write(all) }() // what is missing is missed by who reads the answers
}

// TestTLSEcho: messages of all sizes, in order, in both versions.
func TestTLSEcho(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tls.VersionName(version), func(t *testing.T) {
				x := serveTLS(t, Config{Loops: n}, Handler{OnMessage: echo})
				c := x.dialTLS(only(version))
				sizes := []int{0, 1, 125, 126, 16<<10 - 4, 16 << 10, 17 << 10, 65535, 65536, 1_000_000, 5}
				for round := range 3 {
					var all []string
					for i, size := range sizes {
						all = append(all, fmt.Sprintf("%d/%d/%s", round, i, strings.Repeat("x", size)))
					}
					c.sendAll(all...)
					for i, size := range sizes {
						c.expect(fmt.Sprintf("%d/%d/%s", round, i, strings.Repeat("x", size)))
					}
				}
				c.close(protocol.CloseNormal, "done")
				if info := c.closed(); info == nil || info.Code != protocol.CloseNormal {
					t.Errorf("closed with %v", info)
				}
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // of crypto/tls: close_notify has come
					t.Errorf("after the close frame: %v", err)
				}
				_ = c.Conn.Close()
				x.await("it to be gone", func() bool { return x.Stats().Connections == 0 })
				if st := x.Stats(); st.MessagesIn != 33 || st.MessagesOut != 33 || st.Dropped != 0 {
					t.Errorf("%+v", st)
				}
				if err := x.end(); err != nil {
					t.Error(err)
				}
				x.balanced()
			})
		}
	})
}

// TestTLSManyInOneRead: what comes in one read leaves in one record.
func TestTLSManyInOneRead(t *testing.T) {
	x := serveTLS(t, Config{Loops: 1}, Handler{OnMessage: echo})
	c := x.dialTLS(nil)
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprint(i))
	}
	c.sendAll(all...)
	b := make([]byte, 1000)
	n, err := c.Read(b) // one record
	if err != nil || n != 10*3+10*4 {
		t.Errorf("the first record has %d bytes, %v", n, err)
	}
}

// TestTLSDial: a client of the engine against a server of the engine.
func TestTLSDial(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		x := serveTLS(t, Config{Loops: n}, Handler{OnMessage: echo})
		for _, scheme := range []string{"tls", "text+tls", "frame+tls"} {
			x.listen(Config{Addr: scheme + "://127.0.0.1:0"}, nil)
		}
		for _, l := range x.Listeners() {
			got, closed := make(chan string, 1), make(chan *CloseError, 1)
			x.mustDial(Dial{URL: l.String(), TLS: x.config, Handler: &Handler{
				OnOpen: func(c *Conn) {
					if s := c.TLS(); s == nil || s.Version != tls.VersionTLS13 || len(s.VerifiedChains) == 0 {
						t.Errorf("%v: TLS %+v", l, s)
					}
					_ = c.SendText("hello")
				},
				OnMessage: func(c *Conn, m Message) {
					got <- m.Text()
					_ = c.Close(protocol.CloseNormal, "")
				},
				OnClose: func(_ *Conn, e *CloseError) { closed <- e },
			}})
			if s := one(t, got, "an echo"); s != "hello" {
				t.Errorf("%v: %q", l, s)
			}
			if e := one(t, closed, "the end"); e.Code != protocol.CloseNormal || e.Err != nil {
				t.Errorf("%v: closed with %v", l, e)
			}
		}
		x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
		failed := make(chan error, 1)
		x.mustDial(Dial{URL: x.Listeners()[0].String(), OnFailure: func(e *DialError) { failed <- e }})
		var wrong *tls.CertificateVerificationError
		if err := one(t, failed, "the failure"); !errors.As(err, &wrong) {
			t.Errorf("an unknown CA: %v", err)
		}
		x.await("the server's side to be gone", func() bool { return x.Stats().Connections == 0 })
		if err := x.end(); err != nil {
			t.Error(err)
		}
		x.balanced()
	})
}

// TestTLSHTTP: requests on the TLS port, HTTP/1.1 and 2, and a handshake after
// keep-alive on the same connection.
func TestTLSHTTP(t *testing.T) {
	x := serveTLS(t, Config{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v %d", r.Proto, r.TLS != nil && r.TLS.HandshakeComplete, len(body))
	})}, Handler{OnMessage: echo, OnUpgrade: func(u *Upgrade) error {
		if u.TLS() == nil {
			return errors.New("no TLS")
		}
		return nil
	}})
	for _, h2 := range []bool{false, true} {
		client := http.Client{Transport: &http.Transport{TLSClientConfig: x.config.Clone(), ForceAttemptHTTP2: h2}}
		for _, size := range []int{0, 10, 1_000_000} {
			r, err := client.Post("https://"+x.Addr().String()+"/", "text/plain", strings.NewReader(strings.Repeat("x", size)))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if want := fmt.Sprintf("HTTP/%d.%d true %d", r.ProtoMajor, r.ProtoMinor, size); string(got) != want || h2 != (r.ProtoMajor == 2) {
				t.Errorf("%s, want %s", got, want)
			}
		}
		client.CloseIdleConnections()
	}
	nc := x.tlsConn(nil)
	in := bufio.NewReader(nc)
	for range 2 {
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r, err := http.ReadResponse(in, nil)
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%v %v", r, err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}
	c, err := x.open(nc, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.send(protocol.OpText, "after keep-alive")
	c.expect("after keep-alive")
	_ = c.Conn.Close()
	x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
}

// TestTLSPlainHTTP: who forgot the s is told so.
func TestTLSPlainHTTP(t *testing.T) {
	x := serveTLS(t, Config{}, Handler{})
	r, body := x.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r.StatusCode != 400 || !strings.Contains(body, "https://") {
		t.Errorf("%s %q", r.Status, body)
	}
	x.await("it to be gone", func() bool { return x.Stats().Connections == 0 })
	client := http.Client{Transport: &http.Transport{TLSClientConfig: x.config.Clone(), DisableKeepAlives: true}}
	r, err := client.Get("https://" + x.Addr().String() + "/")
	if err != nil || r.StatusCode != 426 {
		t.Fatalf("%v %v", r, err)
	}
	_ = r.Body.Close()
}

// TestTLSToPlainPort: a ClientHello on a port without TLS is told to the operator.
func TestTLSToPlainPort(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	if err := tls.Client(s.connect(), &tls.Config{ServerName: "a"}).Handshake(); err == nil {
		t.Error("a TLS handshake with a plain port")
	}
	s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
	if n := s.logs.FilterMessageSnippet("ClientHello").Len(); n != 1 {
		t.Errorf("%d log lines", n)
	}
}

// TestTLSTruncated: the end of the stream without close_notify is told, that with it
// is an end like without TLS.
func TestTLSTruncated(t *testing.T) {
	for _, scheme := range []string{"wss", "tls", "text+tls"} {
		for _, notify := range []bool{true, false} {
			t.Run(fmt.Sprint(scheme, notify), func(t *testing.T) {
				opened, closed := make(chan *Conn, 1), make(chan *CloseError, 1)
				x := serveTLS(t, Config{Addr: scheme + "://127.0.0.1:0"}, Handler{
					OnOpen:  func(c *Conn) { opened <- c },
					OnClose: func(_ *Conn, e *CloseError) { closed <- e },
				})
				nc := x.tlsConn(nil)
				if scheme == "wss" {
					if _, err := x.open(nc, "/", nil); err != nil {
						t.Fatal(err)
					}
				}
				one(t, opened, "OnOpen")
				if notify {
					_ = nc.CloseWrite()
				} else {
					_ = nc.NetConn().(*net.TCPConn).CloseWrite()
				}
				e := one(t, closed, "OnClose")
				clean := notify && scheme != "wss"
				if clean != (e.Code == protocol.CloseNormal) || !notify != errors.Is(e, io.ErrUnexpectedEOF) {
					t.Errorf("closed with %v", e)
				}
				if notify {
					if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
						t.Errorf("the server's end: %v", err)
					}
				}
				x.await("it to be gone", func() bool { return x.Stats().Connections == 0 })
			})
		}
	}
}

// TestTLSBadRecord: a record that cannot be authenticated is answered with an alert.
func TestTLSBadRecord(t *testing.T) {
	closed := make(chan *CloseError, 1)
	x := serveTLS(t, Config{}, Handler{OnClose: func(_ *Conn, e *CloseError) { closed <- e }})
	c := x.dialTLS(nil)
	nc := c.Conn.(*tls.Conn)
	if _, err := nc.NetConn().Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...)); err != nil {
		t.Fatal(err)
	}
	if e := one(t, closed, "OnClose"); e.Code != protocol.CloseAbnormal || e.Err == nil || !strings.Contains(e.Err.Error(), "bad record MAC") {
		t.Errorf("closed with %v", e)
	}
	if _, err := nc.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the client got %v", err)
	}
	x.await("it to be gone", func() bool { return x.Stats().Connections == 0 })
}

// TestTLSClientCertificates: a client without one, or with one of another CA, is
// refused; of the right one the program sees it.
func TestTLSClientCertificates(t *testing.T) {
	names := make(chan string, 1)
	ca := certstest.New(t)
	x := serveTLS(t, Config{TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}}, Handler{
		OnOpen: func(c *Conn) { names <- c.TLS().VerifiedChains[0][0].Subject.CommonName },
	})
	with := func(certs ...tls.Certificate) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = certs }
	}
	x.dialTLS(with(ca.Client("alice")))
	if name := one(t, names, "a name"); name != "alice" {
		t.Errorf("name %q", name)
	}
	for what, change := range map[string]func(*tls.Config){"none": with(), "another CA": with(certstest.New(t).Client("mallory"))} {
		nc := x.tlsConn(change) // TLS 1.3: the client learns of it when it reads
		_, _ = io.WriteString(nc, upgradeHead())
		if _, err := nc.Read(make([]byte, 1)); err == nil || !strings.HasPrefix(err.Error(), "remote error: tls: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	x.await("them to be gone", func() bool { return x.Stats().Connections == 1 })
}

// TestTLSHandshakeTimeout: who begins a handshake and stops is closed, and held
// nobody up; who waits for a turn is in time too.
func TestTLSHandshakeTimeout(t *testing.T) {
	for _, sent := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		x := serveTLS(t, Config{HandshakeTimeout: 300 * time.Millisecond, TLSHandshakesMax: 1}, Handler{OnMessage: echo})
		var stalled []net.Conn
		for range 3 {
			nc := x.connect()
			_, _ = io.WriteString(nc, sent)
			stalled = append(stalled, nc)
		}
		for _, nc := range stalled {
			if _, err := nc.Read(make([]byte, 1)); err == nil || cutOff(err) != nil { // a reset, if nobody had read what it sent
				t.Errorf("a stalled handshake: %v", err)
			}
		}
		x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
	}
}

// TestTLSHalfOpen: handshakes count as half open, and for their address, before a byte
// is spent on them.
func TestTLSHalfOpen(t *testing.T) {
	x := serveTLS(t, Config{HalfOpenMax: 2}, Handler{OnMessage: echo})
	x.connect()
	second := x.connect()
	x.await("two to be half open", func() bool { return x.Listeners()[0].Stats().HalfOpen == 2 })
	if _, err := x.connect().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a third: %v", err)
	}
	_ = second.Close()
	x.await("one to be half open", func() bool { return x.Listeners()[0].Stats().HalfOpen == 1 })
	c := x.dialTLS(nil)
	c.send(protocol.OpText, "a")
	c.expect("a")
}

// TestTLSShutdown: a shutdown ends handshakes, and drains the others.
func TestTLSShutdown(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		x := serveTLS(t, Config{Loops: n}, Handler{OnMessage: echo})
		x.connect()
		c := x.dialTLS(nil)
		x.await("both", func() bool { return x.Stats().Connections == 2 })
		done := make(chan error, 1)
		go func() { done <- x.Shutdown(context.Background()) }()
		if info := c.closed(); info == nil || info.Code != protocol.CloseGoingAway {
			t.Errorf("closed with %v", info)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after the close frame: %v", err)
		}
		_ = c.Conn.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		x.balanced()
	})
}

// TestTLSProxy: the PROXY header of a trusted proxy comes before TLS.
func TestTLSProxy(t *testing.T) {
	clients := make(chan string, 1)
	x := serveTLS(t, Config{TrustedProxies: []string{"127.0.0.1"}}, Handler{
		OnOpen:    func(c *Conn) { clients <- c.ClientAddr().String() },
		OnMessage: echo,
	})
	for header, want := range map[string]string{"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n": "203.0.113.7", "": "127.0.0.1"} {
		nc := x.connect()
		for _, part := range strings.SplitAfter(header, "4") { // in two segments
			_, _ = io.WriteString(nc, part)
		}
		c, err := x.open(tls.Client(nc, x.config), "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := one(t, clients, "a client"); got != want {
			t.Errorf("client %s, want %s", got, want)
		}
		c.send(protocol.OpText, "a")
		c.expect("a")
	}
}

// TestTLSErrors: each tells what is wrong with which field.
func TestTLSErrors(t *testing.T) {
	ca := certstest.New(t)
	certFile, keyFile := ca.Write(t.TempDir(), ca.Server("a"))
	oldFile, oldKey := ca.Write(t.TempDir(), ca.Expired("a"))
	with := &tls.Config{Certificates: []tls.Certificate{ca.Server("a")}}
	for want, cfg := range map[string]Config{
		"Config.TLS is nil: wss://127.0.0.1:0 needs a certificate":     {Addr: "wss://127.0.0.1:0"},
		"Config.TLS is set, but ws://127.0.0.1:0 does not use it":      {Addr: "ws://127.0.0.1:0", TLS: with},
		"Config.CertFile and Config.KeyFile belong together":           {Addr: "wss://127.0.0.1:0", CertFile: certFile},
		"Config.CertFile is set, and Config.TLS has Certificates, ":    {Addr: "wss://127.0.0.1:0", TLS: with, CertFile: certFile, KeyFile: keyFile},
		"Config.CertFile is set, but ws://127.0.0.1:0 does not use it": {Addr: "ws://127.0.0.1:0", CertFile: certFile, KeyFile: keyFile},
		"Config.TLS has no ClientCAs":                                  {Addr: "wss://127.0.0.1:0", TLS: &tls.Config{Certificates: with.Certificates, ClientAuth: tls.RequireAndVerifyClientCert}},
		"Config.TLS.Certificates[0] is empty":                          {Addr: "wss://127.0.0.1:0", TLS: &tls.Config{Certificates: make([]tls.Certificate, 1)}},
		"Config.TLS.Certificates[1]: x509: ":                           {Addr: "wss://127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{ca.Server("a"), {Certificate: [][]byte{{1}}}}}},
		"Config.TLS offers h2":                                         {Addr: "wss://127.0.0.1:0", TLS: &tls.Config{Certificates: with.Certificates, NextProtos: []string{"h2"}}},
		"Config.Listener ends TLS by itself":                           {Listener: TLSListener(failing{}, with)},
		"Config.Listener ends TLS by itself, so":                       {Listener: tls.NewListener(failing{}, with)},
		"Config.TLS has no certificate":                                {Addr: "wss://127.0.0.1:0", TLS: new(tls.Config)},
		"Config.CertFile and Config.KeyFile: certs: ":                  {Addr: "wss://127.0.0.1:0", CertFile: keyFile, KeyFile: certFile},
		"the certificate in " + oldFile + " expired":                   {Addr: "wss://127.0.0.1:0", CertFile: oldFile, KeyFile: oldKey},
		"no such file": {Addr: "wss://127.0.0.1:0", CertFile: certFile + "x", KeyFile: keyFile},
		"Config.TLSHandshakesMax is -2: it must be from 1 to 1000000": {TLSHandshakesMax: -2},
	} {
		if e, err := New(cfg, Handler{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, error %v, want %s", e, err, want)
		}
	}
}

// TestTLSExpiry: the operator sees when the first certificate expires.
func TestTLSExpiry(t *testing.T) {
	ca := certstest.New(t)
	good, old := ca.Server("a"), ca.Expired("a")
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &good, nil }
	choose := func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
	s := serve(t, Config{}, Handler{})
	bare := tls.Certificate{Certificate: old.Certificate, PrivateKey: old.PrivateKey}
	for _, c := range []struct {
		cfg  *tls.Config
		want time.Time
	}{
		{&tls.Config{Certificates: []tls.Certificate{good}}, good.Leaf.NotAfter},
		{&tls.Config{Certificates: []tls.Certificate{good, old}}, old.Leaf.NotAfter},
		{&tls.Config{Certificates: []tls.Certificate{bare, good}}, old.Leaf.NotAfter},
		{&tls.Config{GetCertificate: get, Certificates: []tls.Certificate{good}}, time.Time{}},
		{&tls.Config{GetConfigForClient: choose, Certificates: []tls.Certificate{good}}, time.Time{}},
	} {
		l := s.listen(Config{Addr: "wss://127.0.0.1:0", TLS: c.cfg}, nil)
		if got := l.Stats().CertificateExpires; !got.Equal(c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

// TestTLSReload: a certificate that changes on disk is served to newcomers, while
// connections go on; a broken one is logged, and not served.
func TestTLSReload(t *testing.T) {
	ca := certstest.New(t)
	dir := t.TempDir()
	certFile, keyFile := ca.Write(dir, ca.Server("first", "127.0.0.1"))
	s := serve(t, Config{Addr: "wss://127.0.0.1:0", CertFile: certFile, KeyFile: keyFile}, Handler{OnMessage: echo})
	x := &tlsFixture{server: s, ca: ca, config: &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}}
	if got := s.Listeners()[0].Stats().CertificateExpires; time.Until(got) < time.Minute {
		t.Errorf("expires %v", got)
	}
	c := x.dialTLS(nil)
	served := func() string { return x.tlsConn(nil).ConnectionState().PeerCertificates[0].DNSNames[0] }
	if got := served(); got != "first" {
		t.Errorf("serves %s", got)
	}
	ca.Write(dir, ca.Server("second", "127.0.0.1"))
	s.await("the second", func() bool { return served() == "second" })
	c.send(protocol.OpText, "a")
	c.expect("a")
	if n := s.logs.FilterLevelExact(zap.ErrorLevel).Len(); n > 1 { // one, if a look fell between the two files
		t.Errorf("%d errors are logged", n)
	}
}

// TestTLSMounted: a handshake from an http.Server of the program under TLS, over a
// listener of ours and over any other.
func TestTLSMounted(t *testing.T) {
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprint("own=", own), func(t *testing.T) {
			ca := certstest.New(t)
			config := &tls.Config{Certificates: []tls.Certificate{ca.Server("127.0.0.1")}, NextProtos: []string{"h2", "http/1.1"}}
			states := make(chan bool, 1)
			closed := make(chan *CloseError, 1)
			e, err := New(Config{}, Handler{
				OnOpen: func(c *Conn) {
					if c.RemoteAddr().Network() != "tcp" || c.LocalAddr().Network() != "tcp" {
						t.Errorf("addresses %v %v", c.RemoteAddr(), c.LocalAddr())
					}
					states <- c.TLS() != nil
				},
				OnMessage: echo,
				OnClose:   func(_ *Conn, e *CloseError) { closed <- e },
			})
			if err != nil {
				t.Fatal(err)
			}
			s := run(t, e)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			web := &http.Server{Handler: e}
			defer web.Close()
			if own {
				go func() { _ = web.Serve(TLSListener(l, config)) }()
			} else {
				web.TLSConfig = config
				go func() { _ = web.ServeTLS(l, "", "") }()
			}
			nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: ca.Pool()})
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(patience))
			c := newClient(t, nc, clientOptions(l.Addr().String()))
			if err := c.begin(); err != nil {
				t.Fatal(err)
			}
			if got := one(t, states, "OnOpen"); got != own {
				t.Errorf("Conn.TLS: %v", got)
			}
			for _, size := range []int{1, 100_000, 1_000_000} {
				text := strings.Repeat("x", size)
				c.sendAll(text)
				c.expect(text)
			}
			c.close(protocol.CloseNormal, "")
			_ = c.closed()
			if e := one(t, closed, "OnClose"); e.Code != protocol.CloseNormal {
				t.Errorf("closed with %v", e)
			}
			if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the end: %v", err)
			}
			_ = nc.Close()
			s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
		})
	}
}

// TestTLSInherited: a listener that has a certificate of its own still asks for those
// of clients as New says.
func TestTLSInherited(t *testing.T) {
	ca := certstest.New(t)
	config := &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	certFile, keyFile := ca.Write(t.TempDir(), ca.Server("127.0.0.1"))
	s := serve(t, Config{Addr: "wss://127.0.0.1:0", TLS: config, CertFile: certFile, KeyFile: keyFile}, Handler{})
	certFile, keyFile = ca.Write(t.TempDir(), ca.Server("127.0.0.1", "second"))
	own := s.listen(Config{Addr: "wss://127.0.0.1:0", CertFile: certFile, KeyFile: keyFile}, nil)
	other := s.listen(Config{Addr: "wss://127.0.0.1:0", TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, nil)
	if own.ep.tls.ClientAuth != config.ClientAuth || other.ep.tls.ClientAuth != 0 || other.ep.certs == nil {
		t.Errorf("%v %v %v", own.ep.tls.ClientAuth, other.ep.tls.ClientAuth, other.ep.certs)
	}
	plain := s.listen(Config{}, nil)
	if plain.ep.tls != nil {
		t.Error("a listener without TLS has some")
	}
	nc := tls.Client(s.connectTo(own), &tls.Config{RootCAs: ca.Pool(), ServerName: "second", MaxVersion: tls.VersionTLS12})
	if err := nc.Handshake(); err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
		t.Errorf("a client without a certificate: %v", err)
	}
	s.await("the failure to be counted", func() bool { return own.Stats().TLSFailed == 1 })
}
