package nats

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sockmill/sockmill/hub/broker"
)

// inbox is a receiver that keeps what comes.
type inbox struct {
	got         chan broker.Publication
	interrupted chan string
}

func newInbox() *inbox {
	return &inbox{got: make(chan broker.Publication, 100), interrupted: make(chan string, 100)}
}

func (i *inbox) Deliver(_ string, p broker.Publication) { i.got <- p }
func (i *inbox) Interrupted(channel string)             { i.interrupted <- channel }

func follow(t testing.TB, b *Broker, channel string) *inbox {
	t.Helper()
	i := newInbox()
	must(t, b.Subscribe(ctx, channel, i))
	return i
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// next waits for an event.
func next[T any](t testing.TB, what string, events <-chan T) (x T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case x = <-events:
	case <-timer.C:
		t.Fatalf("gave up waiting for %s", what)
	}
	return x
}

func text(s string) broker.Publication { return broker.Publication{Data: []byte(s)} }

// TestConnectionLost: a node that is cut off knows it, fails at once, and says so to the receivers when it is back.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	port := s.Addr().(*net.TCPAddr).Port
	b := open(t, Config{URL: s.ClientURL(), Node: "a", NoHistory: true})
	events := make(chan string, 10)
	b.onDisconnect(func(context.Context) { events <- "disconnected" })
	b.onReconnect(func(context.Context) { events <- "reconnected" })
	room, left := follow(t, b, "room"), follow(t, b, "left")

	stop(s)
	if e := next(t, "the end of the connection", events); e != "disconnected" {
		t.Error(e)
	}
	if err := b.Health(); err == nil || !strings.HasPrefix(err.Error(), "nats: the connection to NATS is lost: ") {
		t.Errorf("health: %v", err)
	}
	for name, err := range map[string]error{
		"Publish":   b.Publish(ctx, "room", text("lost")),
		"Subscribe": b.Subscribe(ctx, "room", newInbox()), // a shard that it has
		"new":       b.Subscribe(ctx, "new", newInbox()),
	} {
		if !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, b.Unsubscribe(ctx, "left", left))
	if x := b.Stats(); x.Connected || x.Disconnects != 1 || x.Channels != 1 || x.Published != 0 {
		t.Errorf("%+v", x)
	}

	start(t, func(o *server.Options) { o.Port = port })
	if e := next(t, "the new connection", events); e != "reconnected" {
		t.Error(e)
	}
	if channel := next(t, "Interrupted", room.interrupted); channel != "room" {
		t.Error(channel)
	}
	must(t, b.Health())
	must(t, b.Publish(ctx, "left", text("to nobody")))
	must(t, b.Publish(ctx, "room", text("again")))
	if p := next(t, "a publication", room.got); string(p.Data) != "again" {
		t.Errorf("%q", p.Data)
	}
	if len(left.got) > 0 || len(left.interrupted) > 0 {
		t.Error("called after Unsubscribe")
	}
	if x := b.Stats(); !x.Connected || x.Interrupted != 1 || x.Published != 2 || x.Delivered != 1 {
		t.Errorf("%+v", x)
	}
}

// TestHistoriesTellThemselves: with histories it is not for this part to call Interrupted after a new connection.
func TestHistoriesTellThemselves(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	b.cfg.NoHistory = false
	again := make(chan struct{}, 1)
	b.onReconnect(func(context.Context) { again <- struct{}{} })
	room := follow(t, b, "room")
	must(t, b.conn.ForceReconnect())
	next(t, "the new connection", again)
	if len(room.interrupted) > 0 {
		t.Error("interrupted")
	}
}

// TestSilentServer: one that keeps the connection and says nothing is noticed, and nobody has to wait for it afterwards.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := newProxy(t, s.Addr().String())
	b := open(t, Config{URL: "nats://" + p.l.Addr().String(), Node: "a", NoHistory: true})
	next(t, "the connection", p.accepted)
	lost := make(chan struct{}, 10)
	b.onDisconnect(func(context.Context) { lost <- struct{}{} })
	p.speech.Lock()
	defer p.speech.Unlock()
	next(t, "the end of the connection", lost)
	// nats.go dials again and again now, and gets no answer.
	for range 2 {
		next(t, "nats.go to dial", p.accepted)
		began := time.Now()
		for range 3 {
			if err := b.Publish(ctx, "room", text("x")); !errors.Is(err, broker.ErrUnavailable) {
				t.Fatal(err)
			}
			if err := b.Subscribe(ctx, "room", newInbox()); !errors.Is(err, broker.ErrUnavailable) {
				t.Fatal(err)
			}
			_ = b.Health()
		}
		if took := time.Since(began); took > dialTimeout/2 {
			t.Errorf("the calls took %v while nats.go waits %v for the server", took, dialTimeout)
		}
	}
}

// proxy is between a node and a server. Nothing comes from the server while speech is locked.
type proxy struct {
	l        net.Listener
	speech   sync.Mutex
	accepted chan struct{}
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{l: l, accepted: make(chan struct{}, 1)}
	var all sync.WaitGroup
	var conns []net.Conn
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				for _, c := range conns { // nats.go forgets to close some
					_ = c.Close()
				}
				return
			}
			conns = append(conns, from)
			select {
			case p.accepted <- struct{}{}:
			default:
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				continue
			}
			all.Go(func() { p.copy(server, from, func() {}) })
			all.Go(func() {
				p.copy(from, server, func() {
					p.speech.Lock()
					p.speech.Unlock() //nolint:staticcheck // only waited for
				})
			})
		}
	})
	return p
}

func (p *proxy) copy(to, from net.Conn, wait func()) {
	defer func() { _ = to.Close() }()
	buf := make([]byte, 32*kib)
	for {
		n, err := from.Read(buf)
		wait()
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// TestCloseWhileDisconnected does not hang, and is told by ErrClosed.
func TestCloseWhileDisconnected(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := open(t, Config{URL: s.ClientURL(), Node: "a", NoHistory: true})
	lost := make(chan struct{}, 1)
	b.onDisconnect(func(context.Context) { lost <- struct{}{} })
	stop(s)
	next(t, "the end of the connection", lost)
	must(t, b.Close())
	must(t, b.Close())
	if err := b.Publish(ctx, "room", text("x")); !errors.Is(err, broker.ErrClosed) {
		t.Error(err)
	}
	if err := b.Health(); err == nil {
		t.Error("a closed node is well")
	}
}

// TestServerThatTells: what Config.Server says of itself is asked for.
func TestServerThatTells(t *testing.T) {
	t.Parallel()
	s := &telling{Server: start(t, nil), change: make(chan struct{})}
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	changed := make(chan struct{}, 1)
	b.onChange(func(context.Context) { changed <- struct{}{} })
	must(t, b.Health())
	s.mu.Lock()
	close(s.change)
	s.change, s.err = make(chan struct{}), errors.New("no leader")
	s.mu.Unlock()
	next(t, "the change", changed)
	if err := b.Health(); !errors.Is(err, s.err) {
		t.Errorf("health: %v", err)
	}
}

type telling struct {
	*server.Server
	mu     sync.Mutex
	change chan struct{}
	err    error
}

func (s *telling) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change
}

func (s *telling) Health() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
