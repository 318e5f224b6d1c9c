package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// ownUpgrader is a codec of a program's that opens with a request.
type ownUpgrader struct{ *codec.Session }

// TestUpgradeGo: what the function sets counts, the loop serves others meanwhile,
// and what the client sent too early comes in order. The request is the one that
// OnUpgrade saw, whoever comes to the loop meanwhile.
func TestUpgradeGo(t *testing.T) {
	for name, cfg := range map[string]Config{
		"own": {},
		"a codec of the program's": {Codec: func() codec.Codec {
			return ownUpgrader{codec.NewSession(&codec.Options{HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 20, FragmentsMax: 100})}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			waiting, decide := make(chan bool, 1), make(chan bool)
			upper := &Handler{
				OnOpen: func(c *Conn) {
					_ = c.SendText(fmt.Sprint(c.State(), c.Subprotocol(), c.Request().Path, " ", c.Request().Fields.Get("X"), c.Context().Err()))
				},
				OnMessage: func(c *Conn, m Message) { _ = c.SendText(strings.ToUpper(m.Text())) },
			}
			cfg.Loops = 1
			s := serve(t, cfg, Handler{OnMessage: echo, OnUpgrade: func(u *Upgrade) error {
				r := u.Request
				if r.Path != "/slow" {
					return nil
				}
				return u.Go(func(ctx context.Context) error {
					waiting <- true
					<-decide
					u.State, u.Subprotocol, u.Handler = r.Cookie("sid"), "v2", upper
					u.Header = []protocol.Field{{Name: "Set-Cookie", Value: "seen=" + u.Request.Fields.Get("X")}}
					return ctx.Err()
				})
			}})
			nc := s.connect()
			slow := strings.Replace(upgradeHead("X: y", "Cookie: sid=ada", "Sec-WebSocket-Protocol: v1, v2"), "/chat", "/slow", 1)
			_, _ = io.WriteString(nc, slow+"\x81\x82\x00\x00\x00\x00hi\x81\x82\x00\x00")
			one(t, waiting, "the function")
			_, _ = io.WriteString(nc, "\x00\x00ho\x88\x80\x00\x00\x00\x00")
			for range 3 {
				other := s.dial("/other", nil, protocol.Field{Name: "X", Value: "z"}, protocol.Field{Name: "Cookie", Value: "sid=eve"})
				other.send(protocol.OpText, "meanwhile")
				other.expect("meanwhile")
			}
			if n := s.gate.Counts().Half; n != 1 {
				t.Errorf("%d are half open", n)
			}
			decide <- true
			r, rest := s.response(nc)
			if r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Protocol") != "v2" || r.Header.Get("Set-Cookie") != "seen=y" {
				t.Errorf("%s %v", r.Status, r.Header)
			}
			if !strings.HasSuffix(rest, "\x81\x02HI\x81\x02HO\x88\x00") || !strings.Contains(rest, "adav2/slow y<nil>") {
				t.Errorf("then %q", rest)
			}
			if n := s.gate.Counts().Half; n != 0 {
				t.Errorf("%d are half open", n)
			}
		})
	}
}

// TestUpgradeGoAnswers: each way to end the function, and each misuse of Go.
func TestUpgradeGoAnswers(t *testing.T) {
	refused := &DialError{Err: &codec.HandshakeError{Status: 401, Reason: "the server did not switch protocols"}}
	redirected := &DialError{Err: &codec.HandshakeError{Status: 302}}
	var left atomic.Pointer[Upgrade]
	s := serve(t, Config{Loops: 1}, Handler{
		OnOpen: func(*Conn) { t.Error("OnOpen") },
		OnUpgrade: func(u *Upgrade) error {
			run := func(err error) error { return u.Go(func(context.Context) error { return err }) }
			switch u.Request.Path {
			case "/refused":
				return run(Refuse(http.StatusConflict, "no seat left", protocol.Field{Name: "Retry-After", Value: "5"}))
			case "/broken":
				return run(errors.New("a secret of the database"))
			case "/panic":
				return u.Go(func(context.Context) error { panic("in the function") })
			case "/subprotocol":
				return u.Go(func(context.Context) error { u.Subprotocol = "not offered"; return nil })
			case "/upstream-refuses":
				return run(fmt.Errorf("asking: %w", refused))
			case "/upstream-redirects":
				return run(redirected)
			case "/upstream-away":
				return run(&DialError{Err: ErrTimeout})
			case "/twice":
				_ = run(nil)
				return run(nil)
			case "/again":
				return u.Go(func(context.Context) error { return u.Go(func(context.Context) error { return nil }) })
			case "/both":
				_ = u.Go(func(context.Context) error { t.Error("the function runs although OnUpgrade refused"); return nil })
				return Refuse(403, "no")
			}
			left.Store(u)
			return Refuse(404, "nowhere")
		},
	})
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/refused": {409, "no seat left"}, "/broken": {500, "internal server error"}, "/panic": {500, "internal server error"},
		"/subprotocol": {500, "internal"}, "/upstream-refuses": {401, ""}, "/upstream-redirects": {502, "cannot be reached"}, "/upstream-away": {502, "cannot be reached"},
		"/twice": {500, ""}, "/again": {500, ""}, "/both": {403, "no"}, "/nowhere": {404, "nowhere"},
	} {
		r, body := s.exchange(strings.Replace(upgradeHead(), "/chat", path, 1))
		if r.StatusCode != want.status || !strings.HasPrefix(body, want.body) && !strings.Contains(body, want.body) || path == "/refused" && r.Header.Get("Retry-After") != "5" {
			t.Errorf("%s: %s %q", path, r.Status, body)
		}
	}
	if err := new(Upgrade).Go(nil); err == nil {
		t.Error("Go of no handshake")
	}
	panics := s.logs.FilterMessageSnippet("Upgrade.Go panicked").All()
	if len(panics) != 1 || !strings.Contains(fmt.Sprint(panics[0].ContextMap()["stack"]), "decide_test.go") {
		t.Errorf("the panic was logged as %v", panics)
	}
	if n := s.logs.FilterMessageSnippet("OnUpgrade failed").Len(); n != 4 {
		t.Errorf("%d failures were logged, want those of /broken, /subprotocol, /twice and /again", n)
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if err := left.Load().Go(nil); err == nil { // the loop, which had it, has ended
		t.Error("Go after OnUpgrade")
	}
	s.balanced()
}

// undecided is a server whose handshakes wait for the test. Each function tells
// its context and then waits for its end; it returns only when released.
func undecided(t *testing.T, clock *testClock, cfg Config) (s *server, began chan context.Context, ended chan error, release chan bool) {
	began, ended, release = make(chan context.Context, 100), make(chan error, 100), make(chan bool)
	cfg.Loops = 1
	s = serveAt(t, clock, cfg, Handler{
		OnOpen: func(*Conn) { t.Error("OnOpen") },
		OnUpgrade: func(u *Upgrade) error {
			return u.Go(func(ctx context.Context) error {
				began <- ctx
				<-ctx.Done()
				ended <- ctx.Err()
				<-release
				return nil
			})
		},
	})
	return s, began, ended, release
}

// TestUpgradeGoEnds: the client leaves, the time is over, the engine stops. The
// context ends, the client gets its answer, and the place is taken until the
// function has returned, whose word comes too late.
func TestUpgradeGoEnds(t *testing.T) {
	for name, end := range map[string]func(s *server, nc net.Conn) (status int){
		"a hang-up": func(_ *server, nc net.Conn) int { _ = nc.Close(); return 0 },
		"the end of the client's stream": func(_ *server, nc net.Conn) int {
			_ = nc.(*net.TCPConn).CloseWrite()
			return 0
		},
		"a reset":     func(_ *server, nc net.Conn) int { _ = nc.(*net.TCPConn).SetLinger(0); _ = nc.Close(); return 0 },
		"the timeout": func(s *server, nc net.Conn) int { s.lapse(5 * time.Second); return 503 },
		"a shutdown":  func(s *server, nc net.Conn) int { s.stop(); return 503 },
	} {
		t.Run(name, func(t *testing.T) {
			clock := &testClock{}
			s, began, ended, release := undecided(t, clock, Config{HandshakeTimeout: 5 * time.Second, DrainTimeout: patience, CloseTimeout: patience})
			nc := s.connect()
			_, _ = io.WriteString(nc, upgradeHead()+"\x81\x82\x00\x00\x00\x00hi")
			one(t, began, "the function")
			status := end(s, nc)
			if err := one(t, ended, "the end of its context"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if status != 0 {
				if r, _ := s.response(nc); r.StatusCode != status {
					t.Errorf("%s, want %d", r.Status, status)
				}
			}
			_ = nc.Close()
			w := s.loops[0]
			s.await("the connection to be gone", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.conns) == 0 })
			if n := s.gate.Counts(); n.Inside != 1 || n.Half != 1 {
				t.Errorf("%+v before the function has returned", n)
			}
			release <- true
			s.await("its place to be free", func() bool { n := s.gate.Counts(); return n.Inside == 0 && n.Half == 0 })
			if err := s.end(); err != nil {
				t.Error(err)
			}
			s.balanced()
		})
	}
}

// TestUpgradeGoOutlivesTheEngine: a function that does not heed its context makes
// the shutdown need all its time, and no more.
func TestUpgradeGoOutlivesTheEngine(t *testing.T) {
	s, began, _, release := undecided(t, nil, Config{DrainTimeout: 20 * time.Millisecond, HandshakeTimeout: patience, CloseTimeout: patience})
	nc := s.connect()
	_, _ = io.WriteString(nc, upgradeHead())
	one(t, began, "the function")
	var cut *CutError
	if err := s.end(); !errors.As(err, &cut) || cut.Connections != 1 {
		t.Errorf("Run returns %v", err)
	}
	release <- true
	s.await("its place to be free", func() bool { return s.gate.Counts().Inside == 0 })
}

// TestUpgradesMax: no more functions run at once; the others wait, as many as
// HalfOpenMax allows, and those whose client has left do not run at all.
func TestUpgradesMax(t *testing.T) {
	s, began, ended, release := undecided(t, nil, Config{UpgradesMax: 2, HalfOpenMax: 5, HandshakeTimeout: patience, CloseTimeout: patience})
	var clients []net.Conn
	half := func(n int) func() bool { return func() bool { return s.gate.Counts().Half == n } }
	for i := range 5 {
		nc := s.connect()
		_, _ = io.WriteString(nc, upgradeHead())
		clients = append(clients, nc)
		if i < 2 {
			one(t, began, "a function")
		}
	}
	queued := func() int { s.upgrades.mu.Lock(); defer s.upgrades.mu.Unlock(); return len(s.upgrades.waiting) }
	s.await("three to wait", func() bool { return queued() == 3 })
	if r, _ := s.exchange(""); r.StatusCode != 503 {
		t.Errorf("the sixth: %s", r.Status)
	}
	for _, nc := range clients {
		_ = nc.Close()
	}
	for range 2 {
		_ = one(t, ended, "the end of a context")
	}
	w := s.loops[0]
	s.await("all to be gone", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.conns) == 0 })
	if n := s.gate.Counts().Half; n != 5 || len(began) > 0 {
		t.Errorf("%d places are taken, %d more functions began", n, len(began))
	}
	release <- true
	release <- true
	s.await("all places to be free", half(0))
	if len(began) > 0 {
		t.Error("a function began whose client had left")
	}
}

// TestUpgradeGoFloods: where reading cannot be paused, what comes before the
// answer has a bound.
func TestUpgradeGoFloods(t *testing.T) {
	s := &sim{r: rand.New(rand.NewPCG(1, 1))}
	s.setUp()
	s.cfg.noPause, s.calm = true, true
	s.e.main.handler.OnUpgrade = func(u *Upgrade) error { return u.Go(func(context.Context) error { return nil }) }
	s.arrive()
	c := s.conns[0]
	c.sock.inMax, c.sock.outMax = earlyBytesMax/2, 1000
	c.peer.stream = append(c.peer.stream, make([]byte, 3*earlyBytesMax)...)
	most := 0
	for c.peer.transmit(earlyBytesMax/2) && s.failure == "" {
		s.poll(c.l)
		most = max(most, c.parked())
	}
	if most == 0 || most > earlyBytesMax || !strings.HasPrefix(string(c.sock.out), "HTTP/1.1 400 ") || s.failure != "" {
		t.Errorf("%d bytes were kept, the answer is %q; %s", most, c.sock.out, s.failure)
	}
}
