package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// listen has a running engine listen on one more address.
func (s *server) listen(cfg Config, h *Handler) *Listener {
	s.t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "ws://127.0.0.1:0"
	}
	l, err := s.Listen(cfg, h)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// connectTo is connect for another listener than the first.
func (s *server) connectTo(l *Listener) net.Conn {
	s.t.Helper()
	nc, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return s.keep(nc)
}

func (s *server) dialTo(l *Listener) *client {
	s.t.Helper()
	c, err := s.open(s.connectTo(l), "/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// TestListeners: connections of several listeners and protocols are of one
// engine: one broadcast and one topic reach them all, each in its protocol and
// with the handler of its listener.
func TestListeners(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		var s *server
		h := func(name string) *Handler {
			return &Handler{
				OnOpen:    func(c *Conn) { _ = c.Subscribe("room") },
				OnMessage: func(c *Conn, m Message) { _ = c.SendText(name + " " + c.Listener().String() + " " + m.Text()) },
			}
		}
		s = serve(t, Config{Loops: n, Schemes: map[string]func() codec.Codec{"chat": newRaw}}, *h("first"))
		path := filepath.Join(t.TempDir(), "s")
		l := []*Listener{
			s.Listeners()[0],
			s.listen(Config{}, nil),
			s.listen(Config{}, h("own")),
			s.listen(Config{Addr: "tcp://127.0.0.1:0"}, h("raw")),
			s.listen(Config{Addr: "chat+unix://" + path}, h("chat")),
		}
		if !slices.Equal(s.Listeners(), l) || s.Addr() != l[0].Addr() {
			t.Errorf("listeners %v, want %v", s.Listeners(), l)
		}
		var peers []*client
		for i, name := range []string{"first", "first", "own"} {
			c := s.dialTo(l[i])
			c.send(protocol.OpText, "hi")
			c.expect(fmt.Sprintf("%s ws://%v hi", name, l[i].Addr()))
			peers = append(peers, c)
		}
		raw, chat := s.connectTo(l[3]), s.connectTo(l[4])
		for nc, want := range map[net.Conn]string{raw: fmt.Sprintf("raw tcp://%v hi", l[3].Addr()), chat: "chat chat+unix://" + path + " hi"} {
			_, _ = nc.Write([]byte("hi"))
			readRaw(t, nc, want)
		}
		s.await("all to be open", func() bool { return s.Stats().Open == 5 })
		if err := s.Broadcast(Message{Type: Text, Data: []byte("all")}); err != nil {
			t.Fatal(err)
		}
		if err := s.Publish("room", Message{Type: Text, Data: []byte("room")}); err != nil {
			t.Fatal(err)
		}
		for _, c := range peers {
			c.expect("all")
			c.expect("room")
		}
		readRaw(t, raw, "allroom")
		readRaw(t, chat, "allroom")
		for i, x := range l {
			if st := x.Stats(); st != (ListenerStats{Connections: 1, Accepted: 1}) || x.Engine() != s.Engine {
				t.Errorf("listener %d: %+v", i, st)
			}
		}
	})
}

func readRaw(t *testing.T, nc net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(nc, b); err != nil || string(b) != want {
		t.Errorf("read %q %v, want %q", b[:n], err, want)
	}
}

// TestListenLimits: what a listener sets is its own; what it leaves out is that
// of New; and what New sets holds for all together.
func TestListenLimits(t *testing.T) {
	closed := make(chan protocol.CloseCode, 10)
	s := serve(t, Config{MessageBytesMax: 100, ConnectionsMax: 3, SendBytesHigh: 5000, PingInterval: time.Minute}, Handler{
		OnMessage: echo,
		OnClose:   func(_ *Conn, e *CloseError) { closed <- e.Code },
	})
	small := s.listen(Config{MessageBytesMax: 10, ConnectionsMax: 1}, nil)
	large := s.listen(Config{MessageBytesMax: 1000, SendBytesMax: 4000}, nil)
	if got := large.ep.settings; got.PingInterval != time.Minute || got.SendBytesHigh != 1000 || got.SendBytesLow != 250 {
		t.Errorf("settings of a listener: %+v", got)
	}
	if got := small.ep.settings; got.SendBytesHigh != 5000 {
		t.Errorf("settings of a listener: %+v", got)
	}
	message := func(l *Listener, size int) bool {
		t.Helper()
		c := s.dialTo(l)
		text := strings.Repeat("x", size)
		c.send(protocol.OpText, text)
		ev, err := c.next()
		_ = c.Conn.Close()
		<-closed
		s.await("it to leave", func() bool { return l.Stats().Connections == 0 })
		return err == nil && ev.Kind == codec.Message && string(ev.Data) == text
	}
	for _, try := range []struct {
		l    *Listener
		size int
		want bool
	}{{s.Listeners()[0], 100, true}, {s.Listeners()[0], 101, false}, {small, 10, true}, {small, 11, false}, {large, 1000, true}, {large, 1001, false}} {
		if got := message(try.l, try.size); got != try.want {
			t.Errorf("%v: a message of %d bytes: %v", try.l, try.size, got)
		}
	}
	s.dialTo(small)
	if _, err := s.open(s.connectTo(small), "/", nil); err == nil {
		t.Error("one more than ConnectionsMax of the listener")
	}
	s.dialTo(large)
	s.dialTo(large)
	if _, err := s.open(s.connectTo(large), "/", nil); err == nil {
		t.Error("one more than ConnectionsMax of New")
	}
	if a, b := small.Stats(), large.Stats(); a.Refused != 1 || a.Connections != 1 || b.Refused != 1 || b.Connections != 2 {
		t.Errorf("stats %+v %+v", a, b)
	}
	if got := s.Stats(); got.Connections != 3 || got.Refused != 2 {
		t.Errorf("stats of the engine: %+v", got)
	}
}

// TestListenErrors: each tells what is wrong with which field.
func TestListenErrors(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	taken := "ws://" + s.Addr().String()
	for want, cfg := range map[string]Config{
		"Engine.Listen needs Config.Addr or Config.Listener":          {},
		"Config.Loops belongs to the whole engine":                    {Addr: "ws://127.0.0.1:0", Loops: 2},
		"Config.BufferBytesMax belongs to the whole engine":           {Addr: "ws://127.0.0.1:0", BufferBytesMax: mib},
		"Config.Logger belongs to the whole engine":                   {Addr: "ws://127.0.0.1:0", Logger: zap.NewNop()},
		"Config.Schemes belongs to the whole engine":                  {Addr: "ws://127.0.0.1:0", Schemes: map[string]func() codec.Codec{"a": newRaw}},
		"Config.MessageBytesMax is -2: it must be from 1":             {Addr: "ws://127.0.0.1:0", MessageBytesMax: -2},
		"Config.Addr " + taken + " is taken: stop what listens there": {Addr: taken},
		`Config.Addr "gopher://a:1" has an unknown scheme`:            {Addr: "gopher://a:1"},
		"Config.HTTP is nil: a listener on http://127.0.0.1:0 serves": {Addr: "http://127.0.0.1:0"},
		`Config.TrustedProxies: "x" is neither`:                       {Addr: "ws://127.0.0.1:0", TrustedProxies: []string{"x"}},
	} {
		if l, err := s.Listen(cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, error %v, want %s", l, err, want)
		}
	}
	if n := len(s.Listeners()); n != 1 {
		t.Errorf("%d listeners", n)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(Config{Addr: taken}, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Listen after the end: %v", err)
	}
	if nc, err := net.Dial("tcp", s.Addr().String()); err == nil {
		_ = nc.Close()
		t.Error("the address is still bound")
	}
}

// TestListenBeforeRun: nothing is accepted before, everything after.
func TestListenBeforeRun(t *testing.T) {
	e, err := New(Config{}, Handler{OnMessage: echo})
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen(Config{Addr: "ws://127.0.0.1:0", HTTP: http.NotFoundHandler()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, e)
	c := s.dialTo(l)
	c.send(protocol.OpText, "a")
	c.expect("a")
	if got := httpGet(t, l); got != 404 {
		t.Errorf("status %d", got)
	}
}

// TestListenUnused: an engine that never ran frees its addresses.
func TestListenUnused(t *testing.T) {
	e, err := New(Config{}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	for i, end := range []func(*Listener) error{
		(*Listener).Close,
		func(l *Listener) error { return l.Shutdown(t.Context()) },
		func(*Listener) error { return e.Shutdown(t.Context()) },
	} {
		l, err := e.Listen(Config{Addr: "ws://127.0.0.1:0"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(l); err != nil || len(e.Listeners()) != i/2 {
			t.Errorf("%v %v", err, e.Listeners())
		}
		if nc, err := net.Dial("tcp", l.Addr().String()); err == nil {
			_ = nc.Close()
			t.Error("the address is still bound")
		}
	}
}

func httpGet(t *testing.T, l *Listener) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	return r.StatusCode
}

// TestListenerCloseLeaves: nothing more is accepted, but the connections go on,
// those with the http.Server too; then the listener is forgotten.
func TestListenerCloseLeaves(t *testing.T) {
	s := serve(t, Config{}, Handler{OnMessage: echo})
	l := s.listen(Config{HTTP: http.NotFoundHandler()}, nil)
	c, plain := s.dialTo(l), s.connectTo(l)
	request := func() {
		t.Helper()
		_, _ = io.WriteString(plain, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
		b := make([]byte, 1000)
		if n, err := plain.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 404") {
			t.Errorf("%q %v", b[:n], err)
		}
	}
	request()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if nc, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = nc.Close()
		t.Error("the address is still bound")
	}
	c.send(protocol.OpText, "still here")
	c.expect("still here")
	request()
	if len(s.Listeners()) != 2 {
		t.Error("forgotten with connections")
	}
	_, _ = io.WriteString(plain, upgradeHead())
	if r, _ := readHead(plain); !strings.HasPrefix(r, "HTTP/1.1 101") {
		t.Errorf("upgrade after keep-alive: %q", r)
	}
	_ = plain.Close()
	_ = c.Conn.Close()
	s.await("it to be forgotten", func() bool { return len(s.Listeners()) == 1 })
	s.dial("/", nil)
}

// TestListenerShutdown: its connections get 1001, the others go on.
func TestListenerShutdown(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n}, Handler{OnMessage: echo})
		causes := make(chan error, 10)
		l := s.listen(Config{}, &Handler{OnClose: func(_ *Conn, e *CloseError) { causes <- e.Err }})
		var leave []*client
		for range 10 {
			leave = append(leave, s.dialTo(l))
		}
		stay := s.dial("/", nil)
		done := make(chan error, 1)
		go func() { done <- l.Shutdown(context.Background()) }()
		for _, c := range leave {
			if info := c.closed(); info == nil || info.Code != protocol.CloseGoingAway {
				t.Errorf("closed with %v", info)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		for range leave {
			if err := one(t, causes, "OnClose"); !errors.Is(err, ErrListenerStopped) || errors.Is(err, ErrStopped) {
				t.Errorf("OnClose: %v", err)
			}
		}
		stay.send(protocol.OpText, "a")
		stay.expect("a")
		if len(s.Listeners()) != 1 || l.Stats().Connections != 0 {
			t.Errorf("%v %+v", s.Listeners(), l.Stats())
		}
	})
}

// TestListenerShutdownCuts: who does not leave is cut when ctx ends.
func TestListenerShutdownCuts(t *testing.T) {
	closed := make(chan *CloseError, 1)
	s := serve(t, Config{CloseTimeout: time.Hour}, Handler{OnClose: func(_ *Conn, e *CloseError) { closed <- e }})
	l := s.listen(Config{}, nil)
	s.dialTo(l) // does not answer the close frame
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var cut *CutError
	if err := l.Shutdown(ctx); !errors.As(err, &cut) || cut.Connections != 1 {
		t.Errorf("%v", err)
	}
	if e := <-closed; !errors.Is(e, ErrTimeout) {
		t.Errorf("OnClose: %v", e)
	}
	s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
}

// TestListenerShutdownInACallback fails, on a loop of the engine.
func TestListenerShutdownInACallback(t *testing.T) {
	errs := make(chan error, 1)
	s := serve(t, Config{}, Handler{OnOpen: func(c *Conn) { errs <- c.Listener().Shutdown(c.Context()) }})
	s.dial("/", nil)
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "callback") {
		t.Error(err)
	}
}

// TestListenerClosedWhileItAccepts: whoever was let in is served, nobody is lost
// between the socket and a loop.
func TestListenerClosedWhileItAccepts(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n, AcceptsPerAddressPerSecond: NoLimit}, Handler{OnMessage: echo})
		for round := range 20 {
			l := s.listen(Config{}, nil)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					nc, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						return
					}
					if round%2 == 0 {
						defer nc.Close()
					} else {
						_ = nc.Close()
					}
				}
			}()
			s.await("some to come", func() bool { return l.Stats().Accepted > 5 })
			if round%4 < 2 {
				_ = l.Close()
			} else if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			<-done
			s.await("it to be forgotten", func() bool { return len(s.Listeners()) == 1 && l.Stats().Connections == 0 })
		}
		if err := s.end(); err != nil {
			t.Error(err)
		}
		s.balanced()
	})
}

// TestHTTPOnly: a listener on http:// leaves all to Config.HTTP, handshakes too.
func TestHTTPOnly(t *testing.T) {
	s := serve(t, Config{}, Handler{OnOpen: func(*Conn) { t.Error("a connection opened") }})
	l := s.listen(Config{Addr: "http://127.0.0.1:0", HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Saw", r.Header.Get("Upgrade")+r.URL.Path)
	})}, nil)
	for range 2 { // the second with keep-alive
		nc := s.connectTo(l)
		for range 2 {
			_, _ = io.WriteString(nc, upgradeHead())
			if r, _ := readHead(nc); !strings.HasPrefix(r, "HTTP/1.1 200") || !strings.Contains(r, "Saw: websocket/") {
				t.Errorf("%q", r)
			}
		}
	}
	if s.Addr() == nil || s.Listeners()[1].String() != "http://"+l.Addr().String() {
		t.Errorf("%v", s.Listeners())
	}
}

// readHead reads one HTTP head, and what came with it.
func readHead(nc net.Conn) (string, error) {
	var all []byte
	b := make([]byte, 1)
	for !strings.HasSuffix(string(all), "\r\n\r\n") {
		if _, err := nc.Read(b); err != nil {
			return string(all), err
		}
		all = append(all, b[0])
	}
	return string(all), nil
}

func newRaw() codec.Codec { return new(codec.Raw) }
