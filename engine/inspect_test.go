package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/certs/certstest"
	"github.com/sockmill/sockmill/protocol"
)

// infos are all connections, by their IDs.
func (s *server) infos() map[uint64]ConnInfo {
	s.t.Helper()
	all := map[uint64]ConnInfo{}
	silent, err := s.Inspect(context.Background(), func(infos []ConnInfo) bool {
		for _, i := range infos {
			all[i.Conn.ID()] = i
		}
		return true
	})
	if err != nil || len(silent) > 0 {
		s.t.Fatalf("%v are silent, %v", silent, err)
	}
	return all
}

// TestInspect describes connections of all kinds.
func TestInspect(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns, clock := make(chan *Conn, 1), new(testClock)
		handler := &Handler{OnOpen: func(c *Conn) { conns <- c }, OnMessage: echo}
		s := serveAt(t, clock, Config{Loops: n, Deflate: DeflateTakeover, TrustedProxies: []string{"127.0.0.1"}, Describe: func(c *Conn) string {
			if c.Subprotocol() == "panics" {
				panic("on purpose")
			}
			return strings.Repeat("ü", 200) + c.Subprotocol()
		}}, Handler{OnUpgrade: func(u *Upgrade) error {
			u.Handler = handler
			if subs := u.Request.Fields.Get("Sec-WebSocket-Protocol"); subs != "" {
				u.Subprotocol = subs
			}
			return nil
		}})
		l, err := s.Listen(Config{Addr: "text://127.0.0.1:0", TrustedProxies: []string{"192.0.2.1"}}, handler)
		if err != nil {
			t.Fatal(err)
		}
		s.connect() // its handshake does not come
		s.await("it", func() bool { return s.Stats().Accepted == 1 })
		clock.now.Add(int64(3 * time.Second))
		packed := s.dialDeflate(deflating())
		first := <-conns
		s.dial("/", []string{"chat"}, protocol.Field{Name: "X-Forwarded-For", Value: "192.0.2.7"})
		second := <-conns
		text := s.keep(s.connectTo(l))
		third := <-conns
		packed.send(protocol.OpText, "hello")
		packed.expect("hello")
		for _, topic := range []string{"b", "a"} {
			if err := second.Subscribe(topic); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = second.PauseReading(), second.PauseByOperator()
		all := s.infos()
		if len(all) != 4 {
			t.Fatalf("%d connections: %+v", len(all), all)
		}
		i := all[first.ID()]
		if i.Conn != first || i.Listener != s.Listeners()[0] || i.Handler != handler || i.Phase != ConnOpen || i.Protocol != "websocket" || i.Deflate != DeflateTakeover ||
			i.Stats.MessagesIn != 1 || i.Stats.MessagesOut != 1 || i.Paused != 0 || i.Age != 0 || i.Text != strings.Repeat("ü", 128) || i.Origin != ConnAccepted || i.TLS {
			t.Errorf("the first: %+v", i)
		}
		i = all[second.ID()]
		if i.Client.String() != "192.0.2.7" || i.Subprotocol != "chat" || i.Topics != 2 || !slices.Equal(i.Paused.Names(), []string{"user", "operator"}) || i.Deflate != 0 || i.Tapped {
			t.Errorf("the second: %+v", i)
		}
		if i = all[third.ID()]; i.Protocol != "text" || i.Listener != l || i.Text == "" || i.Topics != 0 {
			t.Errorf("the third: %+v", i)
		}
		for id, i := range all {
			if id != first.ID() && id != second.ID() && id != third.ID() && (i.Phase != ConnOpening || i.Age != 3*time.Second || i.Text != "") {
				t.Errorf("the one without a handshake: %+v", i)
			}
		}
		tap := s.tapOf(second, TapOptions{})
		defer tap.Close()
		d, err := second.Inspect(context.Background())
		if err != nil || strings.Join(d.TopicNames, " ") != "a b" || !d.Tapped || d.TLSVersion != 0 || s.Conn(second.ID()) != second {
			t.Errorf("in detail: %+v, %v", d, err)
		}
		_ = text.Close()
		s.await("its end", func() bool { return s.Conn(third.ID()) == nil })
		if _, err := third.Inspect(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("one that has gone: %v", err)
		}
		failed := make(chan error)
		_ = second.Loop().Post(func() {
			_, err := s.Inspect(context.Background(), nil)
			_, err2 := second.Inspect(context.Background())
			failed <- errors.Join(err, err2)
		})
		if err := <-failed; !errors.Is(err, errInspectOnLoop) {
			t.Errorf("in a callback: %v", err)
		}
		s.dial("/", []string{"panics"})
		if i := s.infos()[(<-conns).ID()]; i.Text != "" || s.logs.FilterMessageSnippet("panicked").Len() != 1 {
			t.Errorf("Describe panicked: %+v", i)
		}
	})
}

// TestInspectTLS shows what TLS agreed on, also while a function of Go runs.
func TestInspectTLS(t *testing.T) {
	release, conns := make(chan struct{}), make(chan *Conn, 1)
	x := serveTLS(t, Config{Loops: 1}, Handler{OnMessage: func(c *Conn, m Message) {
		_ = c.Go(m, func(context.Context, Message) { <-release })
		conns <- c
	}})
	cl := x.dialTLS(only(tls.VersionTLS13))
	cl.send(protocol.OpText, "x")
	c := <-conns
	if err := c.PauseByOperator(); err != nil {
		t.Fatal(err)
	}
	d, err := c.Inspect(context.Background())
	if err != nil || d.TLSVersion != tls.VersionTLS13 || d.TLSCipher == 0 || !d.TLS || !slices.Equal(d.Paused.Names(), []string{"offload", "operator"}) {
		t.Errorf("%+v, %v", d, err)
	}
	close(release)
	x.await("the end of the function", func() bool {
		d, err := c.Inspect(context.Background())
		return err == nil && slices.Equal(d.Paused.Names(), []string{"operator"})
	})
	cl.send(protocol.OpText, "waits")
	x.onLoop(c, func() {})
	if err := c.ResumeReading(); err != nil || c.Stats().MessagesIn != 1 {
		t.Errorf("%v; %d messages came", err, c.Stats().MessagesIn)
	}
	if err := c.ResumeByOperator(); err != nil {
		t.Fatal(err)
	}
	<-conns
}

// TestInspectVisitsAllWhileSomeLeave: connections that leave between two slices do not hide
// others.
func TestInspectVisitsAllWhileSomeLeave(t *testing.T) {
	s := serve(t, Config{Loops: 1, HalfOpenMax: 2000}, Handler{})
	w := s.loops[0]
	const most = 3*inspectMax + 10
	clients := map[string]net.Conn{}
	for range most {
		nc := s.connect()
		clients[nc.LocalAddr().String()] = nc
	}
	s.await("all", func() bool { return s.Stats().Accepted == most })
	seen, leave, round := map[string]bool{}, 0, 0
	silent, err := s.Inspect(context.Background(), func(infos []ConnInfo) bool {
		if len(infos) > inspectMax {
			t.Errorf("%d at once", len(infos))
		}
		for _, i := range infos {
			seen[i.Conn.RemoteAddr().String()] = true
		}
		var some []*Conn // from everywhere in the list, and none that has taken the place of one before
		_ = s.onWorker(w, func() {
			for i := round % 10; i < len(w.conns); i += 10 {
				some = append(some, w.conns[i])
			}
		})
		round++
		for _, c := range some {
			addr := c.RemoteAddr().String()
			_ = clients[addr].Close()
			seen[addr] = true // or it never will be
			leave++
		}
		s.await("their leaving", func() bool { return s.Stats().Closed == uint64(leave) })
		return true
	})
	if err != nil || silent != nil || len(seen) != most || leave == 0 {
		t.Errorf("%d of %d seen, %d left, %v, %v", len(seen), most, leave, silent, err)
	}
	n := 0
	if _, err := s.Inspect(context.Background(), func(infos []ConnInfo) bool { n += len(infos); return false }); err != nil || n == 0 || n > inspectMax {
		t.Errorf("%d were visited after false, %v", n, err)
	}
}

// onWorker runs f on a loop and waits for it.
func (s *server) onWorker(w *worker, f func()) error {
	done := make(chan struct{})
	err := w.post(post{do: func() { f(); close(done) }})
	if err == nil {
		<-done
	}
	return err
}

// TestInspectHeldLoop: a loop that is held up is named, with what holds it, and the others
// answer.
func TestInspectHeldLoop(t *testing.T) {
	release, held := make(chan struct{}), make(chan *Conn, 1)
	s := serve(t, Config{Loops: 2, CallbackWarnAfter: 10 * time.Millisecond, Logger: zap.NewNop()}, Handler{OnMessage: func(c *Conn, _ Message) {
		held <- c
		<-release
	}})
	for range 4 {
		s.dial("/", nil)
	}
	cl := s.dial("/", nil)
	cl.send(protocol.OpText, "hold")
	c := <-held
	at := c.Loop().Index()
	var info LoopInfo
	s.await("the watchdog", func() bool { info = s.InspectLoops()[at]; return info.HeldFor > 0 })
	if !info.InTurn || info.Callback != "OnMessage" || info.Conn != c.ID() || info.Index != at || info.Connections < 2 || info.Looks < info.Busy || info.Busy == 0 || info.Turns == 0 {
		t.Errorf("the loop: %+v", info)
	}
	ctx, cancel := context.WithCancel(context.Background())
	visited := 0
	silent, err := s.Inspect(ctx, func(infos []ConnInfo) bool {
		visited += len(infos)
		cancel()
		return true
	})
	if err != nil || len(silent) != 1 || silent[0].Index() != at || visited < 2 {
		t.Errorf("%d visited, %v silent, %v", visited, silent, err)
	}
	if _, err := c.Inspect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("its connection: %v", err)
	}
	if _, err := c.Tap(ctx, TapOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a Tap of it: %v", err)
	}
	if s.InspectLoops()[at].Posts == 0 {
		t.Error("nothing waits in its inbox")
	}
	close(release)
	s.await("its turn to end", func() bool { i := s.InspectLoops()[at]; return i.HeldFor == 0 && i.Posts == 0 })
	s.onLoop(c, func() {
		if c.w.taps != nil {
			t.Error("a Tap has begun that nobody waited for")
		}
	})
	s.hangUp()
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if silent, err := s.Inspect(context.Background(), nil); err != nil || len(silent) != 2 {
		t.Errorf("after the end: %v, %v", silent, err)
	}
}

// TestSettings: defaults are filled in, and what may be a secret is not shown.
func TestSettings(t *testing.T) {
	e, err := New(Config{Addr: "wss://127.0.0.1:0", Loops: 3, PingInterval: NoLimit, IdleTimeout: time.Minute, MessagesPerSecond: 7, Deflate: DeflateNoTakeover,
		Origins: []string{"https://a.example", "https://b.example"}, TLS: &tls.Config{ServerName: "hidden.example", Certificates: []tls.Certificate{certstest.New(t).Server("127.0.0.1")}}, Describe: func(*Conn) string { return "" }}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Shutdown(context.Background()) }()
	all := map[string]string{}
	for _, s := range e.Settings() {
		all[s.Name] = fmt.Sprint(s.Value, s.Hidden)
	}
	for name, want := range map[string]string{
		"Loops": "3false", "PingInterval": "no limitfalse", "IdleTimeout": "1m0sfalse", "MessagesPerSecond": "7false", "BytesPerSecond": "no limitfalse",
		"LifetimeMax": "no limitfalse", "MessageBytesMax": "16777216false", "Deflate": "DeflateNoTakeoverfalse", "Policy": "PolicyClosefalse", "SlowCode": "1013 try again laterfalse",
		"Origins": "https://a.example https://b.examplefalse", "TLS": "settrue", "Describe": "settrue", "CheckOrigin": "not settrue", "Addr": "wss://127.0.0.1:0false",
		"CertFile": "not setfalse", "Logger": "not settrue", "BufferBytesMax": "1073741824false",
	} {
		if all[name] != want {
			t.Errorf("%s is %q, want %q", name, all[name], want)
		}
	}
	if len(all) < 50 {
		t.Errorf("%d settings", len(all))
	}
	l, err := e.Listen(Config{Addr: "tcp://127.0.0.1:0", IdleTimeout: time.Hour, Listener: nil}, nil)
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]string{}
	for _, s := range l.Settings() {
		own[s.Name] = s.Value
	}
	if own["IdleTimeout"] != "1h0m0s" || own["Addr"] != "tcp://127.0.0.1:0" || own["Loops"] != "" {
		t.Errorf("of the listener: %v", own)
	}
}
