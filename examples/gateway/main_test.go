package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

const patience = time.Minute

// server is a server behind the gateway. It answers each message with its name
// and what it was asked for.
type server struct {
	*engine.Engine
	name   string
	trusts *tls.Config // when it dials
}

func (s *server) url() string { return "ws://" + s.Addr().String() }

func serve(t *testing.T, name string) *server {
	t.Helper()
	return start(t, name, engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			if u.Request.Path == "/secret" {
				return engine.Refuse(401, "log in first")
			}
			if u.Request.Fields.HasToken("Sec-WebSocket-Protocol", "v2") {
				u.Subprotocol = "v2"
			}
			u.State = strings.Join([]string{name, u.Request.Target, u.Request.Fields.Get("X-Forwarded-For"), u.Request.Cookie("who")}, " ")
			return nil
		},
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.SendText(c.State().(string) + " " + m.Text()) },
	})
}

func start(t *testing.T, name string, cfg engine.Config, h engine.Handler) *server {
	t.Helper()
	e, err := engine.New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = e.Shutdown(ctx) // cuts what is left
		if err := <-done; err != nil {
			t.Log(err)
		}
	})
	return &server{Engine: e, name: name}
}

// gate runs the program on a free port.
func gate(t *testing.T, upstreams ...string) (url string) {
	t.Helper()
	return gateAt(t, engine.Config{Addr: "ws://127.0.0.1:0"}, upstreams...)
}

func gateAt(t *testing.T, cfg engine.Config, upstreams ...string) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, cfg, upstreams, w)
		_ = w.CloseWithError(err)
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "gateway: "))
}

// client is a client of the gateway.
type client struct {
	t      *testing.T
	conn   *engine.Conn
	got    chan string
	closed chan *engine.CloseError
	failed chan error
}

// connect opens a connection; its error is that of the handshake.
func connect(t *testing.T, from *server, url string) (*client, error) {
	t.Helper()
	c := &client{t: t, got: make(chan string, 10), closed: make(chan *engine.CloseError, 1), failed: make(chan error, 1)}
	err := from.Dial(t.Context(), engine.Dial{
		URL: url, TLS: from.trusts, Subprotocols: []string{"v1", "v2"}, Header: []protocol.Field{{Name: "Cookie", Value: "who=Ada"}}, Timeout: patience,
		OnFailure: func(e *engine.DialError) { c.failed <- e },
		Handler: &engine.Handler{
			OnOpen:    func(conn *engine.Conn) { c.conn = conn; c.failed <- nil },
			OnMessage: func(_ *engine.Conn, m engine.Message) { c.got <- m.Text() },
			OnClose:   func(_ *engine.Conn, e *engine.CloseError) { c.closed <- e },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, next(t, c.failed)
}

func open(t *testing.T, from *server, url string) *client {
	t.Helper()
	c, err := connect(t, from, url)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) ask(text string) string {
	c.t.Helper()
	if err := c.conn.SendText(text); err != nil {
		c.t.Fatal(err)
	}
	return next(c.t, c.got)
}

func next[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("gave up waiting")
	}
	return v
}

// status is that of a refused handshake.
func status(err error) int {
	var refused *codec.HandshakeError
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}

// TestWhatIsPassedOn: path, query, subprotocol, cookie and address reach the
// server; its refusal and its close code reach the client.
func TestWhatIsPassedOn(t *testing.T) {
	a, from := serve(t, "a"), start(t, "", engine.Config{}, engine.Handler{})
	url := gate(t, a.url()+"/")
	c := open(t, from, url+"/room?n=1")
	if got := c.ask("hello"); got != "a /room?n=1 127.0.0.1 Ada hello" {
		t.Errorf("received %q", got)
	}
	if got := c.conn.Subprotocol(); got != "v2" {
		t.Errorf("subprotocol %q", got)
	}
	if _, err := connect(t, from, url+"/secret"); status(err) != 401 {
		t.Errorf("refused with %v", err)
	}
	for conn := range a.Conns() {
		_ = conn.Close(4001, "enough")
	}
	if e := next(t, c.closed); e.Code != 4001 || e.Reason != "enough" {
		t.Errorf("closed: %v", e)
	}
}

// TestTLS: with a certificate, the clients speak TLS.
func TestTLS(t *testing.T) {
	cert, err := engine.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir, from := t.TempDir(), start(t, "", engine.Config{}, engine.Handler{})
	cfg := engine.Config{Addr: "wss://127.0.0.1:0", CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for file, b := range map[string]*pem.Block{cfg.CertFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, cfg.KeyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	from.trusts = &tls.Config{RootCAs: x509.NewCertPool()}
	from.trusts.RootCAs.AddCert(cert.Leaf)
	url := gateAt(t, cfg, serve(t, "a").url())
	if !strings.HasPrefix(url, "wss://127.0.0.1:") {
		t.Fatal(url)
	}
	if got := open(t, from, url+"/room").ask("hello"); got != "a /room 127.0.0.1 Ada hello" {
		t.Errorf("received %q", got)
	}
}

// TestAServerDies: its clients are told to come back, and the other server has them.
func TestAServerDies(t *testing.T) {
	for how, kill := range map[string]func(s *server){
		"shut down": func(s *server) {},
		"killed": func(s *server) {
			for c := range s.Conns() {
				_ = c.Abort()
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			a, b, from := serve(t, "a"), serve(t, "b"), start(t, "", engine.Config{}, engine.Handler{})
			url := gate(t, a.url(), b.url())
			var on [2][]*client // clients of a and b, in turn
			for i := range 4 {
				c := open(t, from, url)
				if got := c.ask("x"); !strings.HasPrefix(got, []string{"a", "b"}[i%2]) {
					t.Fatalf("client %d is on %q", i, got)
				}
				on[i%2] = append(on[i%2], c)
			}
			kill(a)
			if err := a.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			for _, c := range on[0] {
				if e := next(t, c.closed); e.Code != protocol.CloseServiceRestart {
					t.Errorf("closed: %v", e)
				}
				on[1] = append(on[1], open(t, from, url)) // a has the fewest connections, and is found dead
			}
			for _, c := range on[1] {
				if got := c.ask("x"); !strings.HasPrefix(got, "b") {
					t.Errorf("received %q", got)
				}
			}
		})
	}
}

// TestNoServer: 502 for who finds out, 503 for those who come after.
func TestNoServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close() // nobody listens there
	from := start(t, "", engine.Config{}, engine.Handler{})
	url := gate(t, "ws://"+ln.Addr().String())
	if _, err := connect(t, from, url); status(err) != 502 {
		t.Errorf("%v", err)
	}
	for got := 502; got != 503; { // each failure doubles the delay
		if _, err := connect(t, from, url); status(err) != 502 && status(err) != 503 {
			t.Fatal(err)
		} else {
			got = status(err)
		}
	}
	if err := run(t.Context(), engine.Config{Addr: "ws://127.0.0.1:0"}, nil, io.Discard); err == nil {
		t.Error("it runs without a server")
	}
}

// TestPool: who is chosen, and when a server that failed is tried again.
func TestPool(t *testing.T) {
	p, now := newPool([]string{"a", "b"}), time.Now()
	a, b := p.list[0], p.list[1]
	take := func(want *upstream, tried ...*upstream) {
		t.Helper()
		if got := p.take(now, tried); got != want {
			t.Fatalf("took %v, not %v", got, want)
		}
	}
	take(a)
	take(b)
	p.give(b)
	take(b)
	take(a)
	for _, wait := range []time.Duration{retryMin, 2 * retryMin, 4 * retryMin} {
		if got := p.failed(a, now); got != wait {
			t.Errorf("it waits %v, not %v", got, wait)
		}
		take(nil, b)
		now = now.Add(wait - 1)
		take(nil, b)
		now = now.Add(1)
		take(a, b)
	}
	if !p.reached(a) || p.reached(a) {
		t.Error("it is back once")
	}
	if got := p.failed(a, now); got != retryMin || a.conns != 1 {
		t.Errorf("it waits %v, and has %d connections", got, a.conns)
	}
}
