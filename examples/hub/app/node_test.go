package app

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// others are nodes that a test says are there.
type others struct {
	*memory.Broker
	asked   chan struct{}
	mu      sync.Mutex
	answers broker.Answers
	err     error
}

func (o *others) Node() string { return "a" }

func (o *others) Answer(string, func(context.Context, []byte) []byte) func() { return func() {} }

func (o *others) Ask(ctx context.Context, _ string, _ []byte) (broker.Answers, error) {
	select {
	case o.asked <- struct{}{}:
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answers, o.err
}

func (o *others) say(missing []string, well ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = broker.Answers{Missing: missing}
	for _, name := range well {
		o.answers.Data = append(o.answers.Data, broker.Answer{Node: name})
	}
}

// fake is a cluster that starts when the test says so.
type fake struct {
	broker   *others
	expected int
	start    chan error
	health   atomic.Pointer[error]
	closed   chan struct{}
	got      Settings
}

func newFake(t *testing.T) *fake {
	t.Helper()
	m, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{broker: &others{Broker: m, asked: make(chan struct{})}, expected: 3, start: make(chan error, 1), closed: make(chan struct{})}
	f.is(nil)
	f.broker.say(nil, "a")
	return f
}

func (f *fake) Flags(fs *flag.FlagSet) { fs.Bool("flag-of-a-cluster", false, "of the test") }
func (f *fake) Check() error           { return nil }
func (f *fake) URLs() []string         { return []string{"http://127.0.0.1:1", "https://b.example"} }

func (f *fake) Start(ctx context.Context, s Settings) (*Node, error) {
	f.got = s
	s.Say("is starting")
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-f.start:
		if err != nil {
			return nil, err
		}
	}
	return &Node{
		Hopeless: func(err error) bool { return errors.Is(err, errHopeless) },
		Name:     "a", Broker: f.broker, History: f.broker, Presence: f.broker, Expected: f.expected,
		Health: func() error { return *f.health.Load() },
		Close: func(context.Context) error {
			close(f.closed)
			return f.broker.Close()
		},
	}, nil
}

func (f *fake) is(err error) { f.health.Store(&err) }

// becomes waits until /readyz answers so.
func (s *server) becomes(want int, says string) {
	s.t.Helper()
	for begin := time.Now(); ; {
		status, _, text := s.ask("GET", "/readyz", "")
		if status == want && strings.Contains(text, says) {
			return
		}
		if time.Since(begin) > patience {
			s.t.Fatalf("/readyz: %d %q, want %d %q", status, text, want, says)
		}
	}
}

func TestNodeIsReadyWhenItSaysSo(t *testing.T) {
	f := newFake(t)
	s := serveNode(t, f, "-flag-of-a-cluster", "-history", "7", "-history-for", "0s", "-api-key", "k", "-unready-for", "1h")
	s.becomes(503, "starting")
	if status, _, _ := s.ask("GET", "/healthz", ""); status != 200 {
		t.Errorf("/healthz of a node that starts: %d", status)
	}
	if status, _, text := s.ask("POST", "/api/info", "{}", "X-API-Key", "k"); status != 503 {
		t.Errorf("the API of a node that starts: %d %q", status, text)
	}
	if status := s.upgrade(); status != 503 {
		t.Errorf("a connection to a node that starts: %d", status)
	}
	f.start <- nil
	s.becomes(200, "ready")
	if f.got.History != 7 || f.got.Lifetime != 0 || f.got.Logger == nil {
		t.Errorf("settings: %+v", f.got)
	}
	f.is(errors.Join(errors.New("there is no leader"), errors.New("b is not there")))
	s.becomes(503, "there is no leader\nb is not there")
	c := s.dial() // who comes all the same is served
	c.call("connect", "{}")
	f.is(nil)
	s.becomes(200, "ready")
	s.signals <- syscall.SIGTERM
	s.becomes(503, "shutting down")
	select {
	case <-f.closed:
		t.Error("the node has left the cluster while it still serves")
	default:
	}
	s.signals <- syscall.SIGTERM
	if e := next(t, c.closed); e.Code != 3001 {
		t.Errorf("closed with %d, want 3001", e.Code)
	}
	next(t, f.closed)
	if err := next(t, s.done); err != nil {
		t.Error(err)
	}
}

func TestNodeThatDoesNotStart(t *testing.T) {
	f := newFake(t)
	f.start <- errors.New("the name is taken")
	if err := Run(make(chan os.Signal), "cluster", f, []string{"-listen", "ws://127.0.0.1:0"}, io.Discard); err == nil || !strings.Contains(err.Error(), "the name is taken") {
		t.Errorf("run: %v", err)
	}
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	if err := Run(signals, "cluster", newFake(t), []string{"-listen", "ws://127.0.0.1:0"}, io.Discard); err != nil {
		t.Errorf("a signal while it waits for others: %v", err)
	}
}

var errHopeless = errors.New("the disk was full")

func TestNodeThatIsHopelessEnds(t *testing.T) {
	f := newFake(t)
	f.start <- nil
	f.is(errors.New("there is no leader"))
	go func() {
		<-f.broker.asked
		<-f.broker.asked // another reason is none
		f.is(errHopeless)
		<-f.broker.asked
	}()
	signals := make(chan os.Signal, 1)
	defer time.AfterFunc(patience, func() { signals <- os.Interrupt }).Stop()
	if err := Run(signals, "cluster", f, []string{"-listen", "ws://127.0.0.1:0"}, io.Discard); !errors.Is(err, errHopeless) {
		t.Errorf("run: %v", err)
	}
	next(t, f.closed)
}

func TestNodesAreKnown(t *testing.T) {
	f := newFake(t)
	f.start <- nil
	f.broker.say([]string{"d"}, "c", "a", "b")
	s := serveNode(t, f)
	s.becomes(200, "ready")
	c := s.dial()
	c.call("connect", "{}")
	becomes := func(want string) {
		t.Helper()
		next(t, f.broker.asked)
		next(t, f.broker.asked) // what came of the first one is known now
		if got := string(c.call("rpc", `{"method":"nodes","data":{}}`).RPC.Data); got != want {
			t.Errorf("nodes: %s, want %s", got, want)
		}
	}
	becomes(`{"node":"a","nodes":["a","b","c"],"missing":["d"],"expected":3}`)
	f.broker.say(nil, "a", "b") // c is no longer known to the broker
	becomes(`{"node":"a","nodes":["a","b"],"missing":["c"],"expected":3}`)
	f.broker.mu.Lock()
	f.broker.err = broker.ErrUnavailable
	f.broker.mu.Unlock()
	becomes(`{"node":"a","nodes":["a"],"missing":["b","c"],"expected":3}`)
	c.fails(104, "rpc", `{"method":"other","data":{}}`)
}

func TestPageOfACluster(t *testing.T) {
	f := newFake(t)
	f.start <- nil
	s := serveNode(t, f)
	_, _, text := s.ask("GET", "/page.json", "")
	if want := `{"tokens":"none","api":false,"cluster":true,"urls":["http://127.0.0.1:1","https://b.example"]}`; strings.TrimSpace(text) != want {
		t.Errorf("page.json: %s, want %s", text, want)
	}
	_, head, _ := s.ask("GET", "/", "")
	if policy := head.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' ws://127.0.0.1:1 wss://b.example;") {
		t.Errorf("policy: %s", policy)
	}
	s.becomes(200, "ready")
	for origin, want := range map[string]int{"http://" + s.addr: 101, "https://b.example": 101, "http://b.example": 403, "https://evil.example": 403} {
		if got := s.upgrade("Origin", origin); got != want {
			t.Errorf("origin %s: %d, want %d", origin, got, want)
		}
	}
}

func TestURLs(t *testing.T) {
	if got, err := CheckURLs([]string{"http://127.0.0.1:8101/", "https://hub.example"}); err != nil || !slices.Equal(got, []string{"http://127.0.0.1:8101", "https://hub.example"}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "127.0.0.1:8101", "ws://a", "http://a/b", "http://a?b", "http://u@a", "http://", "http://%"} {
		if _, err := CheckURLs([]string{bad}); err == nil || !strings.Contains(err.Error(), "-urls has") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestFlagsOfTheEnvironment(t *testing.T) {
	t.Setenv("HUB_SECRET", "of the environment")
	t.Setenv("HUB_HISTORY_FOR", "3s")
	var o options
	f := o.flags("hub")
	if err := f.Parse([]string{"-history-for", "5s"}); err != nil {
		t.Fatal(err)
	}
	if err := fromEnvironment(f); err != nil || o.secret != "of the environment" || o.historyFor != 5*time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	t.Setenv("HUB_HISTORY", "many")
	if err := Run(signalled(), "hub", nil, nil, io.Discard); err == nil || !strings.Contains(err.Error(), "HUB_HISTORY") {
		t.Errorf("run: %v", err)
	}
}
