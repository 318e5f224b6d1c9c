package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// patience is how long an event may take before a test gives up on it.
const patience = 30 * time.Second

var ctx = context.Background()

// node is an engine with a hub, and clients that dial it.
type node struct {
	*Hub
	t     *testing.T
	e     *engine.Engine
	conns chan *engine.Conn
	stop  func()

	dialling sync.Mutex // one after the other, so that it is known which connection is whose
}

// text is the format of these tests; that of another number begins with it.
func text(format int, channel string, p *broker.Publication) engine.Message {
	s := string(p.Data)
	switch {
	case p.Kind == KindJoin:
		s = p.Info.User + " joins"
	case p.Kind == KindLeave:
		s = p.Info.User + " leaves"
	case p.Offset > 0:
		s = fmt.Sprint(p.Offset, " ", s)
	}
	if format > 0 {
		channel = fmt.Sprint(format, "|", channel)
	}
	return engine.Message{Type: engine.Text, Data: []byte(channel + ": " + s)}
}

// start lets all clients join.
func start(t *testing.T, cfg Config) *node {
	t.Helper()
	if cfg.Hooks.Join == nil {
		cfg.Hooks.Join = joins
	}
	return startStrict(t, cfg)
}

func startStrict(t *testing.T, cfg Config) *node {
	t.Helper()
	return startWith(t, engine.Config{}, cfg)
}

func startWith(t *testing.T, ec engine.Config, cfg Config) *node {
	t.Helper()
	ec.Addr, ec.Loops = "ws://127.0.0.1:0", 2
	n := &node{t: t, conns: make(chan *engine.Conn, 100)}
	var err error
	if ec.Logger == nil {
		ec.Logger = zap.NewNop()
	}
	n.e, err = engine.New(ec, engine.Handler{
		OnOpen: func(c *engine.Conn) {
			if !c.Dialled() {
				n.conns <- c
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Encode == nil {
		cfg.Encode = text
	}
	if n.Hub, err = New(n.e, cfg); err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- n.e.Run(run) }()
	n.stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
		if m := n.Metrics(); m.Subscriptions != 0 || m.Present != 0 {
			t.Errorf("left: %d subscriptions, %d present", m.Subscriptions, m.Present)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.clients)+len(n.Hub.conns)+len(n.users)+len(n.channels) > 0 {
			t.Errorf("left: %d clients, %d users, %d channels", len(n.clients), len(n.users), len(n.channels))
		}
	})
	t.Cleanup(n.stop)
	return n
}

// peerConn is the far end of a connection.
type peerConn struct {
	*Client
	t    *testing.T
	far  chan *engine.Conn
	got  chan string
	over chan *engine.CloseError
}

// dial opens a connection, which is not yet a client.
func (n *node) dial() (*peerConn, *engine.Conn) {
	n.t.Helper()
	n.dialling.Lock()
	defer n.dialling.Unlock()
	p := &peerConn{t: n.t, far: make(chan *engine.Conn, 1), got: make(chan string, 4096), over: make(chan *engine.CloseError, 1)}
	err := n.e.Dial(ctx, engine.Dial{URL: "ws://" + n.e.Addr().String(), Handler: &engine.Handler{
		OnOpen:    func(c *engine.Conn) { p.far <- c },
		OnMessage: func(_ *engine.Conn, m engine.Message) { p.got <- m.Text() },
		OnClose:   func(_ *engine.Conn, e *engine.CloseError) { p.over <- e },
	}})
	if err != nil {
		n.t.Fatal(err)
	}
	return p, wait(n.t, n.conns, "a connection")
}

// client opens a connection of a user.
func (n *node) client(user string) *peerConn {
	n.t.Helper()
	return n.connect(Connect{User: user, Info: []byte("info of " + user)})
}

func (n *node) connect(as Connect) *peerConn {
	n.t.Helper()
	p, c := n.dial()
	var err error
	if p.Client, err = n.Connect(ctx, c, as); err != nil {
		n.t.Fatal(err)
	}
	return p
}

var everyone = Target{All: true}

// joins is a hook that lets everybody join.
func joins(context.Context, *Client, string, *Join) error { return nil }

// all gives all channels the same options.
func all(o Options) func(string) (Options, error) {
	return func(string) (Options, error) { return o, nil }
}

// is fails the test unless err is the wanted one.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func wait[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("gave up waiting for %s", what)
	}
	return v
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	look, give := time.NewTicker(time.Millisecond), time.After(patience)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-give:
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

func (p *peerConn) expect(all ...string) {
	p.t.Helper()
	for _, want := range all {
		if got := wait(p.t, p.got, want); got != want {
			p.t.Fatalf("%s received %q, want %q", p.User(), got, want)
		}
	}
}

// nothing expects that nothing was sent before what is sent now.
func (p *peerConn) nothing() {
	p.t.Helper()
	if err := p.Conn().SendText("mark"); err != nil {
		p.t.Fatal(err)
	}
	p.expect("mark")
}

func (p *peerConn) join(channel string, j Join) Joined {
	p.t.Helper()
	got, err := p.Join(ctx, channel, j)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// only is what an order failed with.
func only(_ Reach, err error) error { return err }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) say(channel, data string, but ...*peerConn) broker.Position {
	n.t.Helper()
	p := Publication{Data: []byte(data)}
	for _, c := range but {
		p.Except = append(p.Except, c.ID())
	}
	at, err := n.Publish(ctx, channel, p)
	must(n.t, err)
	return at
}

var kept = all(Options{History: 10})

func TestPublish(t *testing.T) {
	n := start(t, Config{})
	a, b, c := n.client("anna"), n.client("bob"), n.client("bob")
	for _, x := range []*peerConn{a, b, c} {
		if got := x.join("room", Join{}); got.Recovered || got.Missed != nil || got.Position != (broker.Position{}) {
			t.Errorf("joined %+v", got)
		}
	}
	n.say("room", "one")
	n.say("room", "two", b)
	n.say("room", "three", a, b)
	n.say("elsewhere", "not here")
	must(t, n.PublishUsers(ctx, []string{"bob"}, Publication{Data: []byte("for bob")}))
	must(t, n.PublishUsers(ctx, []string{"bob"}, Publication{Data: []byte("for one bob"), Except: []string{b.ID()}}))
	must(t, n.PublishUsers(ctx, []string{"carol"}, Publication{Data: []byte("for nobody")}))
	must(t, n.PublishTo(ctx, everyone, Publication{Data: []byte("for all")}))
	must(t, n.PublishTo(ctx, everyone, Publication{Data: []byte("for bobs"), Except: []string{a.ID()}}))
	a.expect("room: one", "room: two", ": for all")
	b.expect("room: one", ": for bob", ": for all", ": for bobs")
	c.expect("room: one", "room: two", "room: three", ": for bob", ": for one bob", ": for all", ": for bobs")
	must(t, a.Leave(ctx, "room"))
	n.say("room", "four")
	c.expect("room: four")
	a.nothing()
	if err := a.Leave(ctx, "room"); !errors.Is(err, ErrNotJoined) {
		t.Errorf("left twice: %v", err)
	}
	a.join("room", Join{})
	n.say("room", "five")
	a.expect("room: five")
}

func TestRecovery(t *testing.T) {
	b, err := memory.New(memory.Config{})
	must(t, err)
	n := start(t, Config{Broker: b, History: b, Presence: b, RingMax: 2, Channel: kept, RecoverMax: 5})
	a, other := n.client("anna"), n.client("bob")
	first := a.join("room", Join{}).Position
	n.say("room", "one")
	a.expect("room: 1 one")
	must(t, a.Leave(ctx, "room"))
	n.say("room", "two")
	n.say("room", "hidden", a)
	last := n.say("room", "three")
	got := a.join("room", Join{Since: &broker.Position{Offset: 1, Epoch: first.Epoch}})
	if !got.Recovered || len(got.Missed) != 2 || got.Position != last {
		t.Errorf("joined %+v", got)
	}
	n.say("room", "four")
	a.expect("room: 2 two", "room: 4 three", "room: 5 four")

	// From the ring, as anna is here; two is what it has.
	got = other.join("room", Join{Since: &broker.Position{Offset: 3, Epoch: first.Epoch}})
	if !got.Recovered || len(got.Missed) != 2 {
		t.Errorf("joined %+v", got)
	}
	other.expect("room: 4 three", "room: 5 four")
	must(t, other.Leave(ctx, "room"))

	for _, since := range []broker.Position{{Offset: 5, Epoch: "other"}, {Offset: 6, Epoch: first.Epoch}, {Offset: 0, Epoch: first.Epoch}} {
		if since.Offset == 0 { // more than RecoverMax lies behind it
			n.say("room", "six")
		}
		if got = other.join("room", Join{Since: &since}); got.Recovered || got.Missed != nil || got.Position.Offset < 5 {
			t.Errorf("since %v: joined %+v", since, got)
		}
		must(t, other.Leave(ctx, "room"))
	}
	other.nothing()
	must(t, n.RemoveHistory(ctx, "room"))
	page, err := n.History(ctx, "room", broker.Query{Limit: broker.NoLimit})
	if err != nil || len(page.Publications) > 0 || page.Top.Offset != 6 {
		t.Errorf("after RemoveHistory: %+v %v", page, err)
	}
	if got = other.join("room", Join{Since: &broker.Position{Offset: 5, Epoch: first.Epoch}}); got.Recovered || got.Missed != nil || got.Position != page.Top {
		t.Errorf("joined after RemoveHistory, while anna is here: %+v", got)
	}
	must(t, other.Leave(ctx, "room"))
	if got = other.join("room", Join{Since: &broker.Position{Offset: 2, Epoch: first.Epoch}}); got.Recovered {
		t.Errorf("removed, and joined %+v", got)
	}
}

// Begin comes before what follows, and in place of what was missed; if it fails, nothing was joined.
func TestBegin(t *testing.T) {
	n := start(t, Config{Channel: kept, RecoverMax: 2})
	a, stays := n.client("anna"), n.client("bob")
	stays.join("room", Join{})
	at := a.join("room", Join{}).Position
	must(t, a.Leave(ctx, "room"))
	n.say("room", "one")
	onPurpose := errors.New("on purpose")
	if _, err := a.Join(ctx, "room", Join{Begin: func(Joined) error { return onPurpose }}); !errors.Is(err, onPurpose) {
		t.Errorf("joined with %v", err)
	}
	if len(a.Channels()) > 0 {
		t.Errorf("in %v", a.Channels())
	}
	n.say("room", "two")
	a.join("room", Join{Since: &at, Begin: func(j Joined) error {
		return a.Conn().SendText(fmt.Sprint("missed ", len(j.Missed), j.Recovered))
	}})
	n.say("room", "three")
	a.expect("missed 2 true", "room: 3 three")
	must(t, a.Leave(ctx, "room"))
	if j := a.join("room", Join{Since: &at}); j.Recovered || j.Missed != nil || j.Position.Offset != 3 {
		t.Errorf("more than RecoverMax: joined %+v", j)
	}
}

func TestErrors(t *testing.T) {
	n := start(t, Config{ChannelsPerClientMax: 2})
	a := n.client("anna")
	long := strings.Repeat("x", 256)
	a.join("one", Join{})
	a.join("two", Join{})
	gone := n.client("bob")
	must(t, (<-gone.far).Abort())
	until(t, "the end of bob", func() bool { return n.Client(gone.ID()) == nil })
	_, dead := n.dial()
	must(t, dead.Abort())
	<-dead.Context().Done()
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	join := func(ctx context.Context, c *peerConn, channel string) error {
		_, err := c.Join(ctx, channel, Join{})
		return err
	}
	connect := func(c *engine.Conn, user string) error {
		_, err := n.Connect(ctx, c, Connect{User: user})
		return err
	}
	publish := func(ctx context.Context, channel string) error {
		_, err := n.Publish(ctx, channel, Publication{})
		return err
	}
	check("joined twice", join(ctx, a, "one"), ErrJoined)
	check("too many", join(ctx, a, "three"), ErrLimit)
	check("no name", join(ctx, a, ""), ErrName)
	check("a long name", join(ctx, a, long), ErrName)
	check("a reserved name", join(ctx, a, everybodyName), ErrName)
	check("leave a reserved name", a.Leave(ctx, everybodyName), ErrName)
	check("stopped", join(stopped, a, "one"), context.Canceled)
	check("gone", join(ctx, gone, "one"), ErrGone)
	finished := n.client("finished")
	finished.finish()
	check("finished", join(ctx, finished, "one"), ErrGone)
	check("connected", connect(a.Conn(), "x"), ErrConnected)
	check("connect what has ended", connect(dead, "x"), ErrGone)
	check("a long user", connect(dead, long), ErrName)
	check("publish to no name", publish(ctx, ""), ErrName)
	check("publish, stopped", publish(stopped, "one"), context.Canceled)
	check("publish to no user", n.PublishUsers(ctx, []string{""}, Publication{}), ErrName)
	check("kick no user", only(n.Kick(ctx, Target{User: ""}, 3000, "")), ErrName)
	_, err := n.History(ctx, "one", broker.Query{})
	check("no history", err, broker.ErrUnavailable)
	check("remove no history", n.RemoveHistory(ctx, "one"), broker.ErrUnavailable)
	_, err = n.Present(ctx, "one")
	check("no presence", err, broker.ErrUnavailable)
	_, err = n.Count(ctx, "")
	check("count no name", err, ErrName)
	if only(n.Kick(ctx, Target{User: "anna"}, 1, "")) == nil {
		t.Error("kicked with a code that may not be sent")
	}

	errs := make(chan error, 10)
	must(t, a.Conn().Loop().Post(func() {
		errs <- join(ctx, a, "three")
		errs <- publish(ctx, "one")
		errs <- a.Leave(ctx, "one")
		errs <- n.PublishTo(ctx, everyone, Publication{})
		errs <- connect(a.Conn(), "x")
		errs <- n.Close(ctx)
		close(errs)
	}))
	for err := range errs {
		check("on a loop", err, ErrOnLoop)
	}
	n.stop()
	check("closed", publish(ctx, "one"), ErrClosed)
	check("closed", join(ctx, a, "three"), ErrClosed)

	for want, cfg := range map[string]Config{
		"Encode":               {},
		"Broker":               {Encode: text, History: &memory.Broker{}},
		"RingMax is -1":        {Encode: text, RingMax: -1},
		"Formats is -1":        {Encode: text, Formats: -1},
		"Formats is 17":        {Encode: text, Formats: 17},
		"WaitMax":              {Encode: text, WaitMax: -1},
		"RecoverMax":           {Encode: text, RecoverMax: -1},
		"ChannelsPerClientMax": {Encode: text, ChannelsPerClientMax: -1},
		"PresenceLifetime":     {Encode: text, PresenceLifetime: 1},
	} {
		if _, err := New(n.e, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %s", err, want)
		}
	}
	if _, err := New(n.e, Config{Encode: text}); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("New on an engine that has ended: %v", err)
	}
}

func TestPresence(t *testing.T) {
	n := start(t, Config{Channel: func(string) (Options, error) { return Options{Presence: true, JoinLeave: true}, nil }})
	a, b := n.client("anna"), n.client("bob")
	a.join("room", Join{Info: []byte("chair")})
	b.join("room", Join{})
	a.expect("room: anna joins", "room: bob joins")
	c := n.client("bob")
	c.join("room", Join{})
	all, err := n.Present(ctx, "room")
	must(t, err)
	i := slices.IndexFunc(all, func(x broker.Info) bool { return x.Client == a.ID() })
	if len(all) != 3 || i < 0 || string(all[i].Conn) != "info of anna" || string(all[i].Channel) != "chair" || all[i].User != "anna" {
		t.Errorf("present: %+v", all)
	}
	if got, err := n.Count(ctx, "room"); err != nil || got != (broker.Counts{Clients: 3, Users: 2}) {
		t.Errorf("count %+v %v", got, err)
	}
	must(t, c.Leave(ctx, "room"))
	must(t, (<-b.far).Abort()) // nobody says that it leaves
	a.expect("room: bob joins", "room: bob leaves", "room: bob leaves")
	until(t, "one", func() bool { got, _ := n.Count(ctx, "room"); return got.Clients == 1 })
	c.expect("room: bob joins") // its own
	c.nothing()
}

// Joins and leaves come to those members who want them, in each format; to who joins behind its Begin; and never to others.
func TestJoinLeave(t *testing.T) {
	for _, o := range []Options{{JoinLeave: true}, {JoinLeave: true, History: 10}} {
		var r recorder
		n := start(t, Config{Formats: 2, Channel: all(o), Encode: r.encode})
		var loud, quiet []*peerConn
		for i := range 4 {
			loud = append(loud, n.connect(Connect{User: fmt.Sprint("loud ", i), Format: i % 2}))
			quiet = append(quiet, n.connect(Connect{User: fmt.Sprint("quiet ", i), Format: i % 2}))
			quiet[i].join("room", Join{NoJoinLeave: true})
		}
		prefix := []string{"room: ", "1|room: "}
		for i, c := range loud {
			c.join("room", Join{Begin: func(Joined) error { return c.Conn().SendText("begin") }})
			c.expect("begin")
			for _, x := range loud[:i+1] {
				x.expect(prefix[x.Format()] + fmt.Sprint("loud ", i, " joins"))
			}
		}
		must(t, quiet[0].Leave(ctx, "room"))
		loud[0].expect("room: quiet 0 leaves")
		must(t, loud[0].Leave(ctx, "room"))
		_, err := n.Publish(ctx, "room", Publication{Data: []byte("to all"), Except: []string{loud[1].ID(), quiet[1].ID(), quiet[3].ID()}})
		must(t, err)
		data := "to all"
		if o.History > 0 {
			data = "1 " + data
		}
		for _, x := range loud[1:] {
			x.expect(prefix[x.Format()]+"quiet 0 leaves", prefix[x.Format()]+"loud 0 leaves")
		}
		for _, x := range []*peerConn{loud[2], loud[3], quiet[2]} {
			x.expect(prefix[x.Format()] + data)
		}
		loud[0].join("room", Join{NoJoinLeave: true})
		must(t, loud[0].Leave(ctx, "room"))
		for _, x := range loud[1:] {
			x.expect(prefix[x.Format()]+"loud 0 joins", prefix[x.Format()]+"loud 0 leaves")
		}
		for _, x := range append(loud, quiet...) {
			x.nothing()
		}
		for _, x := range loud[1:] {
			must(t, x.Leave(ctx, "room"))
		}
		r.take()
		quiet[0].join("room", Join{NoJoinLeave: true})
		for _, x := range quiet {
			must(t, x.Leave(ctx, "room"))
		}
		if all := r.take(); len(all) > 0 {
			t.Errorf("encoded for nobody: %q", all)
		}
		until(t, "the end of all subscriptions", func() bool { return n.subscribers() == len(loud)+len(quiet) })
	}
}

// Who has left and is there again does not get that it left, however late that comes; others do.
func TestOwnLeaveIsLate(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		b := newLossy(t)
		cfg := b.config()
		cfg.Channel = all(Options{JoinLeave: true})
		n := start(t, cfg)
		a, other := n.client("anna"), n.client("bob")
		a.join("room", Join{NoJoinLeave: quiet})
		other.join("room", Join{})
		other.expect("room: bob joins")
		var late broker.Publication
		b.set(func(p broker.Publication) bool {
			if p.Kind != KindLeave {
				return false
			}
			late = p
			return true
		}, nil)
		must(t, a.Leave(ctx, "room"))
		a.join("room", Join{NoJoinLeave: quiet})
		b.set(nil, nil)
		n.mu.Lock()
		ch := n.channels["room"]
		n.mu.Unlock()
		ch.Deliver("room", late)
		other.expect("room: anna joins", "room: anna leaves")
		if !quiet {
			a.expect("room: anna joins", "room: bob joins", "room: anna joins")
		}
		a.nothing()
	}
}

// What is present is renewed, and stays no longer than its lifetime otherwise.
func TestRenew(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	pass := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	b, err := memory.New(memory.Config{Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	must(t, err)
	n := start(t, Config{Broker: b, History: b, Presence: b, Channel: func(name string) (Options, error) {
		return Options{Presence: name == "room", History: 10, Lifetime: time.Minute}, nil
	}})
	a := n.client("anna")
	a.join("room", Join{})
	a.join("without", Join{})
	n.say("room", "one")
	count := func() int { got, _ := n.Count(ctx, "room"); return got.Clients }
	pass(40 * time.Second)
	n.renewAll()
	if pass(40 * time.Second); count() != 1 {
		t.Error("not renewed")
	}
	if all, err := b.Present(ctx, "without"); err != nil || len(all) > 0 {
		t.Errorf("renewed without presence: %v %v", all, err)
	}
	if page, err := n.History(ctx, "room", broker.Query{Limit: broker.NoLimit}); err != nil || len(page.Publications) > 0 {
		t.Errorf("after their lifetime: %v %v", page, err)
	}
	if pass(time.Minute); count() != 0 {
		t.Error("it stays for ever")
	}
	m := a.listed("room")
	must(t, a.Leave(ctx, "room"))
	a.in, m.next = m, a.in // as if it was listed before
	if n.renewAll(); count() != 0 {
		t.Error("renewed after it has left")
	}
}

func TestKey(t *testing.T) {
	n := start(t, Config{Channel: kept})
	a := n.client("anna")
	a.join("room", Join{})
	var all []broker.Position
	for _, key := range []string{"k", "k", "l"} {
		at, err := n.Publish(ctx, "room", Publication{Data: []byte(key), Key: key})
		must(t, err)
		all = append(all, at)
	}
	if all[0] != all[1] || all[2].Offset != 2 {
		t.Errorf("positions %v", all)
	}
	a.expect("room: 1 k", "room: 2 l")
	at, err := n.Publish(ctx, "room", Publication{Data: []byte("not kept"), NoHistory: true})
	if must(t, err); at != (broker.Position{}) {
		t.Errorf("it has the position %v", at)
	}
	n.say("room", "three")
	a.expect("room: not kept", "room: 3 three")
	must(t, a.Leave(ctx, "room"))
	if j := a.join("room", Join{Since: &all[0]}); !j.Recovered || len(j.Missed) != 2 {
		t.Errorf("joined %+v", j)
	}
	a.expect("room: 2 l", "room: 3 three")
}

// A Broker alone is enough for channels without history and presence.
func TestBrokerAlone(t *testing.T) {
	b, err := memory.New(memory.Config{})
	must(t, err)
	n := start(t, Config{Broker: b, Channel: func(string) (Options, error) { return Options{History: 1, Presence: true, JoinLeave: true}, nil }})
	a := n.client("anna")
	if j := a.join("room", Join{Since: &broker.Position{}}); j.Recovered {
		t.Error("recovered without a history")
	}
	n.say("room", "one")
	a.expect("room: anna joins", "room: one")
	if _, err := n.Present(ctx, "room"); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("present: %v", err)
	}
}

func TestLists(t *testing.T) {
	n := start(t, Config{})
	a, b, c := n.client("anna"), n.client("bob"), n.client("bob")
	nobody := n.client("")
	a.join("y", Join{})
	a.join("x", Join{})
	b.join("x", Join{})
	if got := a.Channels(); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("anna is in %v", got)
	}
	if got := n.Channels(); len(got) != 2 || got["x"] != 2 || got["y"] != 1 {
		t.Errorf("channels %v", got)
	}
	if got := n.Users(); !slices.Equal(got, []string{"anna", "bob"}) {
		t.Errorf("users %v", got)
	}
	if got := n.Clients(); len(got) != 4 {
		t.Errorf("%d clients", len(got))
	}
	if got := n.Clients("bob"); len(got) != 2 || !slices.Contains(got, b.Client) || !slices.Contains(got, c.Client) {
		t.Errorf("bob has %d clients", len(got))
	}
	if n.Client(a.ID()) != a.Client || n.ClientOf(a.Conn()) != a.Client || n.Client("?") != nil || n.ClientOf(nil) != nil {
		t.Error("a client is not found")
	}
	if a.User() != "anna" || nobody.User() != "" || a.ID() == b.ID() || a.ID() == "" {
		t.Error("the identity is another")
	}
	if a.Get("k") != nil {
		t.Error("a value that was not set")
	}
	a.Set("k", 1)
	if a.Get("k") != 1 || b.Get("k") != nil {
		t.Error("the value is another")
	}
	if a.Set("k", nil); a.Get("k") != nil {
		t.Error("the value was not removed")
	}
	a.Merge(map[string]any{"k": 1, "l": 2})
	a.Merge(map[string]any{"k": nil, "m": 3})
	data := a.Data()
	if len(data) != 2 || data["l"] != 2 || data["m"] != 3 || len(b.Data()) > 0 {
		t.Errorf("data %v", data)
	}
	if data["n"] = 4; a.Get("n") != nil {
		t.Error("Data is no copy")
	}
	must(t, (<-c.far).Abort())
	must(t, (<-a.far).Abort())
	until(t, "the ends", func() bool {
		return slices.Equal(n.Users(), []string{"bob"}) && len(n.Clients()) == 2 && len(n.Channels()) == 1
	})
}

func TestKick(t *testing.T) {
	b, err := memory.New(memory.Config{})
	must(t, err)
	cfg := Config{Broker: b, History: b, Presence: b}
	n, other := start(t, cfg), start(t, cfg)
	a, b1, b2, b3 := n.client("anna"), n.client("bob"), n.client("bob"), other.client("bob")
	must(t, only(n.Kick(ctx, Target{Client: b1.ID()}, 3500, "you")))
	if e := wait(t, b1.over, "the end"); e.Code != 3500 || e.Reason != "you" {
		t.Errorf("closed with %v", e)
	}
	must(t, only(other.Kick(ctx, Target{User: "bob"}, 3501, "all of you")))
	for _, x := range []*peerConn{b2, b3} {
		if e := wait(t, x.over, "the end"); e.Code != 3501 || e.Reason != "all of you" {
			t.Errorf("closed with %v", e)
		}
	}
	must(t, only(other.Kick(ctx, Target{Client: "nobody"}, 3502, "")))
	must(t, other.PublishTo(ctx, everyone, Publication{Data: []byte("still there")}))
	a.expect(": still there")
	must(t, only(other.Kick(ctx, Target{Client: a.ID()}, 3502, "")))
	if e := wait(t, a.over, "the end"); e.Code != 3502 {
		t.Errorf("closed with %v", e)
	}
}

// Close takes the clients out and leaves the connections open; what is called afterwards fails.
func TestClose(t *testing.T) {
	b, err := memory.New(memory.Config{})
	must(t, err)
	n := start(t, Config{Broker: b, History: b, Presence: b, Channel: func(string) (Options, error) { return Options{Presence: true}, nil }})
	a := n.client("anna")
	a.join("room", Join{})
	must(t, n.Close(ctx))
	if got, err := b.Count(ctx, "room"); err != nil || got.Clients != 0 {
		t.Errorf("present after Close: %+v %v", got, err)
	}
	if len(n.Clients())+len(n.Channels()) > 0 {
		t.Error("clients or channels are left")
	}
	if _, err := a.Join(ctx, "room", Join{}); !errors.Is(err, ErrClosed) {
		t.Errorf("joined: %v", err)
	}
	a.nothing()
	must(t, n.Close(ctx)) // again
}
