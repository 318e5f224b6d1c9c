package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/certs/certstest"
	"github.com/sockmill/sockmill/protocol"
)

// TestSeamPause: nothing is delivered while reading is paused, by the program, by
// Hold or by a function of Go, and afterwards all is, in order.
func TestSeamPause(t *testing.T) {
	got := make(chan string, 1000)
	for name, pause := range map[string]func(c *Conn) (resume func()){
		"PauseReading": func(c *Conn) func() {
			_ = c.PauseReading()
			return func() { _ = c.ResumeReading() }
		},
		"Hold": func(c *Conn) func() {
			release, err := c.Hold()
			if err != nil {
				t.Error(err)
			}
			return func() { release(nil) }
		},
		"Go": func(c *Conn) func() {
			done := make(chan struct{})
			_ = c.Go(Message{Type: Text, Data: []byte("off")}, func(_ context.Context, m Message) { <-done; got <- m.Text() })
			return func() { close(done) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, Config{}, func(conns chan *Conn) Handler {
				return Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: func(c *Conn, m Message) {
					got <- m.Text()
					if m.Text() == "pause" {
						c.SetState(pause(c))
						conns <- c
					}
				}}
			}, func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn) {
				p := x.peerOf(l)
				c := one(t, conns, "a connection")
				big := strings.Repeat("x", 100_000)
				all := append(p.bytes("pause"), p.bytes("a")...)
				all = append(append(all, p.bytes(big)...), p.bytes("b")...)
				sent := make(chan error, 1)
				go func() { _, err := p.Write(all); sent <- err }()
				if m := one(t, got, "the first"); m != "pause" {
					t.Fatal(m)
				}
				one(t, conns, "the pause")
				turns(t, c)
				if len(got) > 0 {
					t.Errorf("delivered while paused: %.20q", <-got)
				}
				c.State().(func())()
				want := []string{"a", big, "b"}
				if name == "Go" {
					want = append([]string{"off"}, want...)
				}
				for _, w := range want {
					if m := one(t, got, "a message"); m != w {
						t.Fatalf("%.20q, want %.20q", m, w)
					}
				}
				if err := one(t, sent, "the client"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSeamBroadcast: a hundred connections of each protocol get the same, in the
// same order.
func TestSeamBroadcast(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		h := Handler{OnOpen: func(c *Conn) { _ = c.Subscribe("odd") }}
		x := serveTLS(t, Config{Loops: n, Deflate: DeflateNoTakeover, AcceptsPerAddressPerSecond: NoLimit}, h)
		var peers []*talker
		for _, scheme := range everyScheme {
			l := x.listen(Config{Addr: scheme + "://127.0.0.1:0"}, &h)
			for range 17 {
				peers = append(peers, x.peerOf(l))
			}
		}
		x.await("all to be open", func() bool { return x.Stats().Open == len(peers) })
		sizes := []int{1, 100, 20_000, 70_000}
		var want []string
		for i := range 20 {
			m := Message{Type: Text, Data: fmt.Appendf(nil, "%d %s", i, strings.Repeat("y", sizes[i%4]))}
			want = append(want, string(m.Data))
			send := x.Broadcast
			if i%2 == 1 {
				send = func(m Message) error { return x.Publish("odd", m) }
			}
			if err := send(m); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		for _, p := range peers {
			all.Go(func() {
				for i, w := range want {
					if got, err := p.next(); err != nil || got != w {
						t.Errorf("%s: message %d is %.20q %v", p.kind, i, got, err)
						return
					}
				}
			})
		}
		all.Wait()
		x.hangUp()
		x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
		if st := x.Stats(); st.MessagesOut != uint64(len(want)*len(peers)) || st.Dropped != 0 {
			t.Errorf("%+v", st)
		}
		_ = x.end()
		x.balanced()
	})
}

// TestSeamPipe: megabytes go both ways between a connection with TLS and one without.
func TestSeamPipe(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns := make(chan *Conn, 2)
		h := Handler{OnOpen: func(c *Conn) { conns <- c }}
		x := serveTLS(t, Config{Loops: n, SendBytesHigh: 100_000}, h)
		ends := []*client{x.dialTLS(nil), x.dialTo(x.listen(Config{Addr: "ws://127.0.0.1:0"}, &h))}
		a, b := one(t, conns, "a connection"), one(t, conns, "another")
		if err := Pipe(a, b); err != nil {
			t.Fatal(err)
		}
		x.onLoop(a, func() {})
		x.onLoop(b, func() {})
		var all sync.WaitGroup
		for i, c := range ends {
			sent := c.fast(300, 10_000)
			other := ends[1-i]
			all.Go(func() {
				for j := range 300 {
					if ev, err := other.next(); err != nil || !bytes.Equal(ev.Data, numbered(j, 10_000)) {
						t.Errorf("message %d: %v", j, err)
						return
					}
				}
				if err := one(t, sent, "the sender"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		ends[0].close(4001, "bye")
		for _, c := range ends {
			if info := c.closed(); info == nil || info.Code != 4001 {
				t.Errorf("closed with %v", info)
			}
		}
		x.await("both to be gone", func() bool { return x.Stats().Connections == 0 })
		_ = x.end()
		x.balanced()
	})
}

// TestSeamTakeover: the histories of compression hold over TLS, also when messages
// wait.
func TestSeamTakeover(t *testing.T) {
	conns := make(chan *Conn, 1)
	x := serveTLS(t, Config{Loops: 1, Deflate: DeflateTakeover, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnMessage: echo, OnOpen: func(c *Conn) { conns <- c }})
	options := clientOptions("127.0.0.1")
	options.Deflate = &codec.Deflate{ThresholdBytes: 1, Level: 1}
	nc := x.tlsConn(nil)
	c := newClient(t, nc, options)
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	server := one(t, conns, "a connection")
	for i := range 50 {
		c.send(protocol.OpText, fmt.Sprint("the same again and again ", i))
		c.expect(fmt.Sprint("the same again and again ", i))
	}
	filler := x.fill(server)
	for i := range 50 {
		if err := server.SendText(fmt.Sprint("the same again and again ", i)); err != nil {
			t.Error(err)
		}
	}
	for range filler {
		c.expect(strings.Repeat("f", 64<<10))
	}
	for i := range 50 {
		c.expect(fmt.Sprint("the same again and again ", i))
	}
}

// TestSeamEnds: each way to end a connection whose peer reads nothing ends it, and
// leaves nothing behind.
func TestSeamEnds(t *testing.T) {
	for name, way := range map[string]struct {
		cfg   Config
		end   func(c *Conn)
		code  protocol.CloseCode
		cause error
	}{
		"Abort":             {Config{}, func(c *Conn) { _ = c.Abort() }, protocol.CloseAbnormal, ErrAborted},
		"CloseNow":          {Config{CloseTimeout: 50 * time.Millisecond}, func(c *Conn) { _ = c.CloseNow(&CloseError{Code: 4000}) }, 4000, nil},
		"Close":             {Config{CloseTimeout: 50 * time.Millisecond}, func(c *Conn) { _ = c.Close(4000, "") }, 4000, nil},
		"LifetimeMax":       {Config{LifetimeMax: 100 * time.Millisecond, CloseTimeout: 50 * time.Millisecond}, func(*Conn) {}, protocol.CloseGoingAway, nil},
		"WriteStallTimeout": {Config{WriteStallTimeout: 100 * time.Millisecond}, func(*Conn) {}, protocol.CloseAbnormal, ErrTimeout},
		"PolicyClose": {Config{SendBytesMax: 2 << 20, CloseTimeout: 50 * time.Millisecond}, func(c *Conn) {
			for c.SendText(strings.Repeat("x", 100_000)) == nil {
			}
		}, protocol.CloseTryAgainLater, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var closed chan *CloseError
			over(t, []string{"ws", "wss", "frame+tls"}, way.cfg, func(conns chan *Conn) Handler {
				mu.Lock()
				defer mu.Unlock()
				closed = make(chan *CloseError, 1)
				h := told(conns)
				h.OnClose = func(_ *Conn, e *CloseError) { closed <- e }
				return h
			}, func(t *testing.T, x *tlsFixture, l *Listener, conns <-chan *Conn) {
				p := x.peerOf(l)
				c := one(t, conns, "a connection")
				x.fill(c)
				x.onLoop(c, func() { way.end(c) })
				e := one(t, closed, "OnClose")
				if e.Code != way.code || way.cause != nil && !errors.Is(e, way.cause) {
					t.Errorf("closed with %v", e)
				}
				x.await("it to be gone", func() bool { return l.Stats().Connections == 0 }) // the peer has read nothing
				_ = p.Close()
			})
		})
	}
}

// TestSeamShutdownSlow: a shutdown waits for who reads slowly, and cuts who does not.
func TestSeamShutdownSlow(t *testing.T) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprint("reads=", reads), func(t *testing.T) {
			conns := make(chan *Conn, 1)
			x := serveTLS(t, Config{Loops: 2, CloseTimeout: patience, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, told(conns))
			c := x.dialTLS(nil)
			server := one(t, conns, "a connection")
			filler := x.fill(server)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- x.Shutdown(ctx) }()
			x.await("the shutdown", func() bool { return x.Stats().Open == 0 })
			if reads {
				for range filler {
					c.expect(strings.Repeat("f", 64<<10))
				}
				if info := c.closed(); info == nil || info.Code != protocol.CloseGoingAway {
					t.Errorf("closed with %v", info)
				}
			} else {
				cancel()
			}
			err := one(t, done, "Shutdown")
			if cut := new(CutError); reads != (err == nil) || !reads && (!errors.As(err, &cut) || cut.Connections != 1) {
				t.Errorf("Shutdown: %v", err)
			}
			x.balanced()
		})
	}
}

// TestSeamRates: reading pauses for who sends too much, and goes on.
func TestSeamRates(t *testing.T) {
	conns := make(chan *Conn, 1)
	x := serveTLS(t, Config{Addr: "text+tls://127.0.0.1:0", MessagesPerSecond: 5}, told(conns))
	p := x.peerOf(x.Listeners()[0])
	var all []byte
	for i := range 6 {
		all = append(all, p.bytes(fmt.Sprint(i))...)
	}
	_, _ = p.Write(all)
	for i := range 6 {
		p.hears(fmt.Sprint(i))
	}
	if one(t, conns, "the connection").Stats().RateLimited == 0 {
		t.Error("not limited")
	}
}

// TestSeamBudget: when the memory is spent, those that hold most are closed with TLS as
// without, and another goes on.
func TestSeamBudget(t *testing.T) {
	conns := make(chan *Conn, 10)
	x := serveTLS(t, Config{Loops: 1, BufferBytesMax: 4 << 20, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30, CloseTimeout: 50 * time.Millisecond}, told(conns))
	calm := witness(x.dialTLS(nil))
	one(t, conns, "the witness")
	for range 5 { // all are there before the memory is spent: newcomers are refused then
		x.dialTLS(nil)
	}
	for range 5 {
		c := one(t, conns, "a connection")
		_ = c.w.post(post{do: func() { // a connection may be closed for the others by then
			for range 20 {
				_ = c.SendBinary(make([]byte, 100_000))
			}
		}})
	}
	x.await("some to be closed", func() bool { return x.Stats().Connections < 6 })
	calm()
	x.hangUp()
	x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
	_ = x.end()
	x.balanced()
}

// TestSeamHTTP: large bodies and long polls on the TLS port.
func TestSeamHTTP(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		select {
		case <-release:
			_, _ = io.WriteString(w, "news")
		case <-r.Context().Done():
			inside <- struct{}{}
		}
	})
	// The short CloseTimeout has the deadlines looked at often; what is cut by HTTPStallTimeout is not cut on a busy machine.
	x := serveTLS(t, Config{HTTP: mux, CloseTimeout: 50 * time.Millisecond}, Handler{OnMessage: echo})
	calm := witness(x.dialTLS(nil))
	big := make([]byte, 5<<20)
	for i := range big {
		big[i] = byte(i * 7 >> 3)
	}
	for _, h2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: x.config.Clone(), ForceAttemptHTTP2: h2}
		client := http.Client{Transport: transport}
		r, err := client.Post("https://"+x.Addr().String()+"/echo", "", bytes.NewReader(big))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, big) || (r.ProtoMajor == 2) != h2 {
			t.Errorf("%d bytes, %v, %s", len(got), err, r.Proto)
		}
		_ = r.Body.Close()
		polled := make(chan string, 1)
		go func() {
			r, err := client.Get("https://" + x.Addr().String() + "/poll")
			if err != nil {
				polled <- err.Error()
				return
			}
			b, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			polled <- string(b)
		}()
		one(t, inside, "a poll")
		release <- struct{}{}
		if got := one(t, polled, "the answer"); got != "news" {
			t.Errorf("a long poll: %q", got)
		}
		ctx, hangUp := context.WithCancel(t.Context())
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+x.Addr().String()+"/poll", nil)
		go func() { _, err := client.Do(request); polled <- fmt.Sprint(err) }()
		one(t, inside, "another poll")
		hangUp()
		one(t, inside, "the end of the poll's context")
		one(t, polled, "its client")
		transport.CloseIdleConnections()
	}
	calm()
	x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
}

// TestSeamHandoverRefused: who cannot be handed to the http.Server is told so through
// TLS.
func TestSeamHandoverRefused(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	ca := certstest.New(t)
	e, err := New(Config{Addr: "wss://127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{ca.Server("127.0.0.1")}}, HTTP: http.NotFoundHandler(), CloseTimeout: patience, Logger: zap.New(core)}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	e.Listeners()[0].ep.http.queue = nil // it takes nobody
	s := run(t, e)
	nc := tls.Client(s.connect(), &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"})
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r, _ := s.response(nc); r.StatusCode != 503 {
		t.Errorf("%s", r.Status)
	}
	if s.logs = logs; !strings.Contains(s.lines(1, lineRefused), "Config.HTTP does not take its connections fast enough") {
		t.Error("the log does not say why")
	}
	_ = nc.Close()
	s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
	_ = s.end()
	s.balanced()
}

// TestSeamUpgradeGo: a handshake that a goroutine decides, over TLS, with messages
// behind it.
func TestSeamUpgradeGo(t *testing.T) {
	x := serveTLS(t, Config{}, Handler{OnMessage: echo, OnUpgrade: func(u *Upgrade) error {
		return u.Go(func(context.Context) error {
			if u.TLS() == nil {
				return errors.New("no TLS")
			}
			if u.Request.Path != "/chat" {
				return Refuse(403, "not there")
			}
			return nil
		})
	}})
	nc := x.tlsConn(nil)
	_, _ = io.WriteString(nc, upgradeHead()+"\x81\x82\x00\x00\x00\x00hi")
	b := make([]byte, 4)
	in := bufio.NewReader(nc)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 101 {
		t.Fatalf("%v %v", r, err)
	}
	if _, err := io.ReadFull(in, b); err != nil || string(b) != "\x81\x02hi" {
		t.Errorf("%q %v", b, err)
	}
	_ = nc.Close()
	nc = x.tlsConn(nil)
	_, _ = io.WriteString(nc, strings.Replace(upgradeHead(), "/chat", "/", 1))
	if r, _ := x.response(nc); r.StatusCode != 403 {
		t.Errorf("%s", r.Status)
	}
	_ = nc.Close()
	x.await("both to be gone", func() bool { return x.Stats().Connections == 0 })
}

// mountedTLS serves an engine under an http.Server of the program, over a listener of
// ours or over any other.
func mountedTLS(t *testing.T, own bool, cfg Config, h Handler) (s *server, dial func() *client) {
	t.Helper()
	ca := certstest.New(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Server("127.0.0.1")}}
	cfg.CloseTimeout, cfg.DrainTimeout = patience, patience
	e, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	s = run(t, e)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: e, TLSConfig: config}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if own {
			_ = web.Serve(TLSListener(l, config))
		} else {
			_ = web.ServeTLS(l, "", "")
		}
	}()
	t.Cleanup(func() { _ = web.Close(); <-served })
	return s, func() *client {
		t.Helper()
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, tls.Client(s.keep(nc), &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}), clientOptions("127.0.0.1"))
		if err := c.begin(); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// TestSeamMountedDeaf: a peer that never reads is cut after WriteStallTimeout, and
// holds up no shutdown, whoever has its socket.
func TestSeamMountedDeaf(t *testing.T) {
	for _, own := range []bool{true, false} {
		for _, end := range []string{"stall", "shutdown", "abort"} {
			t.Run(fmt.Sprint("own=", own, " ", end), func(t *testing.T) {
				before := descriptors()
				conns, closed := make(chan *Conn, 2), make(chan *CloseError, 2)
				h := told(conns)
				h.OnClose = func(_ *Conn, e *CloseError) { closed <- e }
				cfg := Config{Loops: 1, WriteStallTimeout: NoLimit, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}
				if end == "stall" {
					cfg.WriteStallTimeout = 100 * time.Millisecond
				}
				s, dial := mountedTLS(t, own, cfg, h)
				deaf := dial()
				c := one(t, conns, "a connection")
				s.onLoop(c, func() { _ = c.SendBinary(make([]byte, 32<<20)) }) // more than all buffers on the way take
				calm := witness(dial())
				one(t, conns, "the witness")
				switch end {
				case "stall":
					if e := one(t, closed, "OnClose"); !errors.Is(e, ErrTimeout) && e.Code != protocol.CloseAbnormal {
						t.Errorf("closed with %v", e)
					}
					s.await("it to be gone", func() bool { return s.Stats().Connections == 1 })
					calm()
				case "abort":
					_ = c.Abort()
					s.await("it to be gone", func() bool { return s.Stats().Connections == 1 })
					calm()
				case "shutdown":
					calm()
					s.await("the witness to be gone", func() bool { return s.Stats().Connections == 1 })
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					done := make(chan error, 1)
					go func() { done <- s.Shutdown(ctx) }()
					cut := new(CutError)
					if err := one(t, done, "Shutdown"); !errors.As(err, &cut) || cut.Connections != 1 {
						t.Errorf("Shutdown: %v", err)
					}
				}
				_ = deaf.Conn.(*tls.Conn).NetConn().Close()
				s.hangUp()
				_ = s.end()
				s.balanced()
				s.await("the descriptors to be closed", func() bool { return descriptors() <= before+10 })
			})
		}
	}
}

// forger writes the records of a client of TLS 1.3 itself, so that a test can send
// what crypto/tls does not send by itself (RFC 8446 §5.2, §7.2, §7.3).
type forger struct {
	t      testing.TB
	to     io.Writer // below TLS
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func (f *forger) expand(label string, n int) []byte {
	label = "tls13 " + label
	b, err := hkdf.Expand(sha256.New, f.secret, "\x00"+string(rune(n))+string(rune(len(label)))+label+"\x00", n)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *forger) rekey(secret []byte) {
	f.secret, f.seq = secret, 0
	block, err := aes.NewCipher(f.expand("key", 16))
	if err == nil {
		f.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.iv = f.expand("iv", 12)
}

func (f *forger) record(kind byte, content string) []byte {
	nonce := bytes.Clone(f.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^f.seq)
	f.seq++
	n := len(content) + 1 + f.aead.Overhead()
	head := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	return f.aead.Seal(head, nonce, append([]byte(content), kind), head)
}

// data is a record that the program on the other side gets.
func (f *forger) data(s string) []byte { return f.record(23, s) }

// keyUpdate asks for another one in return.
func (f *forger) keyUpdate() []byte {
	b := f.record(22, "\x18\x00\x00\x01\x01")
	f.rekey(f.expand("traffic upd", 32))
	return b
}

// forge connects. What the server sends is read from the *tls.Conn.
func (x *tlsFixture) forge(low net.Conn) (*tls.Conn, *forger) {
	x.t.Helper()
	var log bytes.Buffer
	cfg := x.config.Clone()
	only(tls.VersionTLS13)(cfg)
	cfg.KeyLogWriter = &log
	nc := tls.Client(low, cfg)
	if err := nc.Handshake(); err != nil {
		x.t.Fatal(err)
	}
	if nc.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		x.t.Skip("crypto/tls did not choose AES-128-GCM")
	}
	f := &forger{t: x.t, to: low}
	for line := range strings.Lines(log.String()) {
		if w := strings.Fields(line); w[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(w[2])
			if err != nil {
				x.t.Fatal(err)
			}
			f.rekey(secret)
		}
	}
	return nc, f
}

func (f *forger) send(records ...[]byte) {
	f.t.Helper()
	if _, err := f.to.Write(bytes.Join(records, nil)); err != nil {
		f.t.Error(err)
	}
}

// TestSeamKeyUpdate: new keys, in the midst of everything.
func TestSeamKeyUpdate(t *testing.T) {
	x := serveTLS(t, Config{Loops: 1, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}, Handler{OnMessage: echo})
	low := x.connect()
	nc, f := x.forge(low)
	head := upgradeHead()
	f.send(f.keyUpdate(), f.data(head[:10]), f.keyUpdate(), f.data(head[10:]), f.data("\x81\x82\x00\x00"), f.keyUpdate(), f.data("\x00\x00hi"))
	in := bufio.NewReader(nc)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != 101 {
		t.Fatalf("%v %v", r, err)
	}
	for i := range 50 {
		if i > 0 {
			f.send(f.keyUpdate(), f.data("\x81\x82\x00\x00\x00\x00hi"))
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(in, b); err != nil || string(b) != "\x81\x02hi" {
			t.Fatalf("%q %v", b, err)
		}
	}
	_ = low.Close()

	// On the way to the http.Server, and there.
	low = x.connect()
	nc, f = x.forge(low)
	f.send(f.keyUpdate(), f.data("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"), f.keyUpdate(), f.data("cd"))
	in = bufio.NewReader(nc)
	for range 2 {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r.Body); string(got) != "abcd" || err != nil {
			t.Errorf("%q %v", got, err)
		}
		f.send(f.keyUpdate(), f.data("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"))
	}
	_ = low.Close()
	x.await("both to be gone", func() bool { return x.Stats().Connections == 0 })
	_ = x.end()
	x.balanced()
}

// narrow connects with a window of a few KiB.
func (s *server) narrow() net.Conn {
	s.t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10) })
	}}
	nc, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return s.keep(nc)
}

// TestSeamKeyUpdates: who asks for new keys and never reads the answers costs no more
// memory than a slow reader.
func TestSeamKeyUpdates(t *testing.T) {
	conns, closed := make(chan *Conn, 2), make(chan *CloseError, 2)
	h := told(conns)
	h.OnClose = func(_ *Conn, e *CloseError) { closed <- e }
	x := serveTLS(t, Config{Loops: 1, WriteStallTimeout: NoLimit}, h)
	low := x.narrow()
	nc, f := x.forge(low)
	f.send(f.data(upgradeHead()))
	if r, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || r.StatusCode != 101 {
		t.Fatalf("%v %v", r, err)
	}
	c := one(t, conns, "a connection")
	calm := witness(x.dialTLS(nil))
	f.send(f.data("\x82\xff\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00")) // a message that never ends
	most := 0
	for range 200 {
		var all []byte
		for range 100 {
			all = append(append(all, f.keyUpdate()...), f.data("x")...)
		}
		if _, err := low.Write(all); err != nil || len(closed) > 0 {
			break
		}
		x.onLoop(c, func() {
			if c.tls != nil {
				most = max(most, cap(c.tls.rest))
			}
		})
	}
	e := one(t, closed, "OnClose")
	if e.Code != protocol.CloseAbnormal || !errors.Is(e, errKeyUpdates) {
		t.Errorf("closed with %v", e)
	}
	if most > 4*keptBytesMax {
		t.Errorf("%d bytes were kept", most)
	}
	calm()
	x.hangUp()
	x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
	_ = x.end()
	x.balanced()
}

// TestSeamResumption: a client that comes again resumes its session of TLS, in both
// versions, under each kind of server.
func TestSeamResumption(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			var resumed atomic.Int32
			x := serveTLS(t, Config{}, Handler{OnMessage: echo, OnOpen: func(c *Conn) {
				if c.TLS().DidResume {
					resumed.Add(1)
				}
			}})
			cache := tls.NewLRUClientSessionCache(1)
			for i := range 4 {
				c := x.dialTLS(func(c *tls.Config) { only(version)(c); c.ClientSessionCache = cache })
				c.send(protocol.OpText, "a")
				c.expect("a") // the tickets of 1.3 come before it
				if got := c.Conn.(*tls.Conn).ConnectionState().DidResume; got != (i > 0) {
					t.Errorf("connection %d resumed: %v", i, got)
				}
				_ = c.Conn.Close()
			}
			if n := resumed.Load(); n != 3 {
				t.Errorf("%d resumed", n)
			}
			x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
		})
	}
}

// TestSeamReload: live connections go on while the certificate is replaced again and
// again, and newcomers come.
func TestSeamReload(t *testing.T) {
	ca := certstest.New(t)
	dir := t.TempDir()
	cert, key := ca.Write(dir, ca.Server("0", "127.0.0.1"))
	s := serve(t, Config{Addr: "wss://127.0.0.1:0", CertFile: cert, KeyFile: key, Loops: 2, AcceptsPerAddressPerSecond: NoLimit}, Handler{OnMessage: echo})
	x := &tlsFixture{server: s, ca: ca, config: &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}}
	var all []*client
	for range 1000 {
		all = append(all, x.dialTLS(nil))
	}
	calm := witness(x.dialTLS(nil))
	for round := 1; round < 3; round++ {
		ca.Write(dir, ca.Server(fmt.Sprint(round), "127.0.0.1"))
		x.await("the new certificate", func() bool {
			nc := x.tlsConn(nil)
			defer nc.Close()
			return nc.ConnectionState().PeerCertificates[0].DNSNames[0] == fmt.Sprint(round)
		})
		for i, c := range all {
			c.send(protocol.OpText, fmt.Sprint(round, i))
			c.expect(fmt.Sprint(round, i))
		}
	}
	calm()
	x.hangUp()
	x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
	_ = x.end()
	x.balanced()
}

// TestSeamProxy: what a proxy may do to a Dial, and how the program learns of it.
func TestSeamProxy(t *testing.T) {
	x := serveTLS(t, Config{}, Handler{OnMessage: echo})
	text := x.listen(Config{Addr: "text://127.0.0.1:0"}, &Handler{OnOpen: func(c *Conn) { _ = c.SendText("hello") }})
	// carries joins a client that asked for a tunnel with its target.
	carries := func(nc net.Conn, target string, before string) {
		far, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer far.Close()
		if before == "" { // what the target says first comes in one piece with the answer
			b := make([]byte, 6)
			_, _ = io.ReadFull(far, b)
			before = "HTTP/1.1 200 OK\r\n\r\n" + string(b)
		}
		_, _ = io.WriteString(nc, before)
		go func() { _, _ = io.Copy(far, nc); endWriting(far) }()
		_, _ = io.Copy(nc, far)
	}
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	for name, tt := range map[string]struct {
		proxy   func(nc net.Conn, r *http.Request)
		url     string
		status  int // of a ProxyError
		timeout bool
		cause   string // "": it works
	}{
		"carries TLS":      {func(nc net.Conn, r *http.Request) { carries(nc, r.Host, "HTTP/1.1 200 OK\r\n\r\n") }, x.Listeners()[0].String(), 0, false, ""},
		"the target first": {func(nc net.Conn, r *http.Request) { carries(nc, r.Host, "") }, text.String(), 0, false, ""},
		"wants a name": {func(nc net.Conn, _ *http.Request) {
			_, _ = io.WriteString(nc, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
		}, x.Listeners()[0].String(), 407, false, "407 Proxy Authentication Required"},
		"has no such target": {func(nc net.Conn, _ *http.Request) {
			_, _ = io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry")
		}, text.String(), 502, false, "502"},
		"stalls":               {func(net.Conn, *http.Request) { <-never }, x.Listeners()[0].String(), 0, true, "CONNECT by proxy"},
		"stalls in its answer": {func(nc net.Conn, _ *http.Request) { _, _ = io.WriteString(nc, "HTTP/1.1 200 O"); <-never }, text.String(), 0, true, "CONNECT by proxy"},
		"stalls in TLS":        {func(nc net.Conn, _ *http.Request) { _, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n"); <-never }, x.Listeners()[0].String(), 0, true, "deadline"},
		"speaks early": {func(nc net.Conn, _ *http.Request) {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\nnonsense here")
			_, _ = io.Copy(io.Discard, nc)
		}, x.Listeners()[0].String(), 0, false, "does not look like a TLS handshake"},
		"speaks another protocol": {func(nc net.Conn, _ *http.Request) {
			_, _ = io.WriteString(nc, "SSH-2.0-x\r\n")
			_, _ = io.Copy(io.Discard, nc)
		}, text.String(), -1, false, "malformed"},
		"hangs up": {func(net.Conn, *http.Request) {}, text.String(), 0, false, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := answering(t, func(nc net.Conn) {
				r, err := http.ReadRequest(bufio.NewReader(nc))
				if err == nil && r.Method == http.MethodConnect {
					tt.proxy(nc, r)
				}
			})
			proxy, err := url.Parse(strings.Replace(asked, "ws://", "http://user:secret@", 1))
			if err != nil {
				t.Fatal(err)
			}
			p := pure(t, Config{Loops: 1}, Handler{})
			failed, got := make(chan *DialError, 1), make(chan string, 1)
			timeout := patience
			if tt.timeout {
				timeout = 100 * time.Millisecond
			}
			p.mustDial(Dial{
				URL: tt.url, TLS: tlsOf(tt.url, x.config), Timeout: timeout, OnFailure: func(e *DialError) { failed <- e },
				Proxy: func(*url.URL) (*url.URL, error) { return proxy, nil },
				Handler: &Handler{
					OnOpen: func(c *Conn) { _ = c.SendText("hello") },
					OnMessage: func(c *Conn, m Message) {
						got <- m.Text()
						_ = c.Close(protocol.CloseNormal, "")
					},
				},
			})
			if tt.cause == "" {
				if m := one(t, got, "a message"); m != "hello" {
					t.Errorf("%q", m)
				}
			} else {
				e, refused := one(t, failed, "the failure"), new(ProxyError)
				if !strings.Contains(e.Error(), tt.cause) || errors.Is(e, ErrTimeout) != tt.timeout || errors.As(e, &refused) != (tt.status != 0) || tt.status > 0 && refused.Status != tt.status {
					t.Errorf("%v", e)
				}
				if strings.Contains(e.Error(), "secret") {
					t.Errorf("the password is in %v", e)
				}
			}
			p.await("it to be gone", func() bool { return p.Stats().Connections == 0 })
			if err := p.end(); err != nil {
				t.Error(err)
			}
			p.balanced()
		})
	}
	x.await("all to be gone", func() bool { return x.Stats().Connections == 0 })
}

// tlsOf is what a Dial of url needs.
func tlsOf(url string, cfg *tls.Config) *tls.Config {
	if strings.HasPrefix(url, "wss") || strings.Contains(url, "tls") {
		return cfg.Clone()
	}
	return nil
}

// TestSeamDialPanics: a function of the program that panics in an attempt fails it.
func TestSeamDialPanics(t *testing.T) {
	x := serveTLS(t, Config{}, Handler{})
	for name, change := range map[string]func(d *Dial){
		"Proxy":            func(d *Dial) { d.Proxy = func(*url.URL) (*url.URL, error) { panic("on purpose") } },
		"Control":          func(d *Dial) { d.Control = func(_, _ string, _ syscall.RawConn) error { panic("on purpose") } },
		"VerifyConnection": func(d *Dial) { d.TLS.VerifyConnection = func(tls.ConnectionState) error { panic("on purpose") } },
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors()
			failed := make(chan *DialError, 1)
			d := Dial{URL: x.Listeners()[0].String(), TLS: x.config.Clone(), OnFailure: func(e *DialError) { failed <- e }}
			change(&d)
			x.mustDial(d)
			if e := one(t, failed, "the failure"); !strings.Contains(e.Error(), "on purpose") {
				t.Errorf("%v", e)
			}
			x.await("all to be gone", func() bool { return x.Stats().Connections == 0 && descriptors() <= before })
		})
	}
	x.lines(3, "a function of a Dial panicked")
}

var readEnvironment atomic.Bool

// TestSeamProxyFromEnvironment runs in a process of its own: the environment is read
// once.
func TestSeamProxyFromEnvironment(t *testing.T) {
	if readEnvironment.Swap(true) {
		t.Skip("net/http reads the environment once in a process")
	}
	asked := make(chan string, 1)
	proxy := answering(t, func(nc net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
			asked <- r.Method + " " + r.Host
			_, _ = io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\n\r\n")
		}
	})
	if os.Getenv("HTTPS_PROXY") != "" {
		t.Skip("the environment has a proxy")
	}
	t.Setenv("HTTPS_PROXY", strings.Replace(proxy, "ws://", "http://", 1))
	p := pure(t, Config{Loops: 1}, Handler{})
	failed := make(chan *DialError, 1)
	p.mustDial(Dial{URL: "wss://nobody.invalid/path", Proxy: ProxyFromEnvironment, OnFailure: func(e *DialError) { failed <- e }})
	refused := new(ProxyError)
	if e := one(t, failed, "the failure"); !errors.As(e, &refused) || refused.Status != 403 {
		t.Errorf("%v", e)
	}
	if got := one(t, asked, "the request"); got != "CONNECT nobody.invalid:443" {
		t.Errorf("asked for %q", got)
	}
}
