package centrifugal

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// patience is how long an event may take before a test gives up on it.
const patience = 30 * time.Second

var ctx = context.Background()

// open is a hub where everybody may do everything.
func open() hub.Options {
	return hub.Options{History: 100, Presence: true, JoinLeave: true, Join: hub.Everybody, Publish: hub.Members, ReadHistory: hub.Members, ReadPresence: hub.Members}
}

// node is an engine with a Server, and clients that dial it.
type node struct {
	*Server
	t    testing.TB
	e    *engine.Engine
	url  string
	stop func()

	mu  sync.Mutex
	now time.Time // on the clock of the Server, which only advance moves
}

func serve(t testing.TB, cfg Config, more ...engine.Config) *node {
	t.Helper()
	n := &node{t: t, now: time.Now().Truncate(time.Second)}
	var err error
	if n.e, err = engine.New(engine.Config{Loops: 2, Logger: zap.NewNop()}, engine.Handler{}); err != nil {
		t.Fatal(err)
	}
	if cfg.Hub.Channel == nil {
		cfg.Hub.Channel = func(string) (hub.Options, error) { return open(), nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if n.Server, err = New(n.e, cfg); err != nil {
		t.Fatal(err)
	}
	n.Server.now, n.made, n.began = n.clock, n.now, n.now.UnixNano()
	listen := engine.Config{Addr: "ws://127.0.0.1:0", SlowCode: DisconnectSlow.Code}
	if len(more) > 0 {
		listen = more[0]
		listen.Addr, listen.SlowCode = "ws://127.0.0.1:0", DisconnectSlow.Code
	}
	l, err := n.e.Listen(listen, n.Handler())
	if err != nil {
		t.Fatal(err)
	}
	n.url = "ws://" + l.Addr().String() + "/connection/websocket"
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
	})
	t.Cleanup(n.stop)
	return n
}

func (n *node) clock() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// advance moves the clock on, and has every session do what is due.
func (n *node) advance(d time.Duration) {
	n.t.Helper()
	n.move(d)
	n.tick()
}

// move moves the clock on.
func (n *node) move(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = n.now.Add(d)
}

// tick has every session do what is due.
func (n *node) tick() {
	n.t.Helper()
	done, posted := make(chan struct{}, 1000), 0
	for c := range n.e.Conns() {
		if x := sessionOf(c); x != nil {
			must(n.t, c.Loop().Post(func() {
				x.tick()
				done <- struct{}{}
			}))
			posted++
		}
	}
	for range posted {
		wait(n.t, done, "the timers")
	}
}

// peer is a client that speaks the protocol.
type peer struct {
	t      testing.TB
	n      *node
	f      format
	conn   *engine.Conn // its own end
	frames chan []byte
	closed chan *engine.CloseError
	queue  []*cf.Reply // decoded, and not looked at
	id     uint32
	client string // after connect
}

func (n *node) dial(f format) *peer {
	n.t.Helper()
	p := &peer{t: n.t, n: n, f: f, frames: make(chan []byte, 10000), closed: make(chan *engine.CloseError, 1)}
	opened := make(chan *engine.Conn, 1)
	d := engine.Dial{URL: n.url, Handler: &engine.Handler{
		OnOpen:    func(c *engine.Conn) { opened <- c },
		OnMessage: func(_ *engine.Conn, m engine.Message) { p.frames <- m.Clone().Data },
		OnClose:   func(_ *engine.Conn, e *engine.CloseError) { p.closed <- e },
	}}
	if f == formatProtobuf {
		d.Subprotocols = []string{subprotocolProtobuf}
	}
	if err := n.e.Dial(ctx, d); err != nil {
		n.t.Fatal(err)
	}
	p.conn = wait(n.t, opened, "a connection")
	return p
}

// client dials and connects.
func (n *node) client(f format) *peer {
	n.t.Helper()
	p := n.dial(f)
	p.connect(&cf.ConnectRequest{})
	return p
}

func wait[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("gave up waiting for %s", what)
	}
	return v
}

// only is what an order failed with.
func only(_ hub.Reach, err error) error { return err }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// frame encodes commands.
func (f format) frame(all ...*cf.Command) (frame []byte) {
	for _, c := range all {
		if f == formatJSON {
			if len(frame) > 0 {
				frame = append(frame, '\n')
			}
			frame = c.AppendJSON(frame)
			continue
		}
		data, err := c.MarshalCF()
		if err != nil {
			panic(err)
		}
		frame = append(binary.AppendUvarint(frame, uint64(len(data))), data...)
	}
	return frame
}

// send sends commands in one frame, each with an id of its own if it has none.
func (p *peer) send(all ...*cf.Command) {
	p.t.Helper()
	for _, c := range all {
		if c.Id == 0 && c.Send == nil {
			p.id++
			c.Id = p.id
		}
	}
	p.write(p.f.frame(all...))
}

func (p *peer) write(frame []byte) {
	p.t.Helper()
	must(p.t, p.conn.Send(p.f.message(frame)))
}

// next is the next reply or push.
func (p *peer) next() *cf.Reply {
	p.t.Helper()
	for len(p.queue) == 0 {
		select {
		case frame := <-p.frames:
			p.queue = p.f.replies(p.t, frame)
		case e := <-p.closed:
			p.closed <- e
			if len(p.frames) == 0 {
				p.t.Fatalf("the connection was closed with %d %s", e.Code, e.Reason)
			}
		case <-time.After(patience):
			p.t.Fatal("gave up waiting for a reply")
		}
	}
	r := p.queue[0]
	p.queue = p.queue[1:]
	return r
}

func (f format) replies(t testing.TB, frame []byte) (all []*cf.Reply) {
	t.Helper()
	var d cf.ReplyDecoder = cf.NewJSONReplyDecoder(frame)
	if f == formatProtobuf {
		d = cf.NewProtobufReplyDecoder(frame)
	}
	for {
		r, err := d.Decode()
		if r == nil {
			if len(all) == 0 {
				t.Fatalf("a frame without replies: %q: %v", frame, err)
			}
			return all
		}
		all = append(all, r)
	}
}

// ask sends a command and returns its reply, which has to be the next thing that comes.
func (p *peer) ask(c *cf.Command) *cf.Reply {
	p.t.Helper()
	p.send(c)
	r := p.next()
	if r.Id != c.Id {
		p.t.Fatalf("received %s, want the reply to %s", show(r), show(c))
	}
	return r
}

// good is ask of a command that must not fail.
func (p *peer) good(c *cf.Command) *cf.Reply {
	p.t.Helper()
	r := p.ask(c)
	if r.Error != nil {
		p.t.Fatalf("%s failed: %s", show(c), show(r))
	}
	return r
}

func (p *peer) connect(r *cf.ConnectRequest) *cf.ConnectResult {
	p.t.Helper()
	got := p.good(&cf.Command{Connect: r}).Connect
	p.client = got.Client
	return got
}

func (p *peer) subscribe(r *cf.SubscribeRequest) *cf.SubscribeResult {
	p.t.Helper()
	return p.good(&cf.Command{Subscribe: r}).Subscribe
}

func (p *peer) publish(channel, data string) {
	p.t.Helper()
	p.good(&cf.Command{Publish: &cf.PublishRequest{Channel: channel, Data: cf.Raw(data)}})
}

// expect expects pushes, as the tests write them.
func (p *peer) expect(all ...string) {
	p.t.Helper()
	for _, want := range all {
		r := p.next()
		if r.Push == nil {
			p.t.Fatalf("received %s, want the push %s", show(r), want)
		}
		if got := describe(r.Push); got != want {
			p.t.Fatalf("received the push %s, want %s", got, want)
		}
	}
}

// quiet expects that nothing has been sent: the next that comes is the answer to what is asked now.
func (p *peer) quiet() {
	p.t.Helper()
	p.ask(&cf.Command{Ping: &cf.PingRequest{}})
}

func (p *peer) over(want Disconnect) {
	p.t.Helper()
	e := wait(p.t, p.closed, "the close of the connection")
	if e.Code != want.Code || e.Reason != want.Reason {
		p.t.Fatalf("closed with %d %s, want %d %s", e.Code, e.Reason, want.Code, want.Reason)
	}
}

func describe(p *cf.Push) string {
	switch {
	case p.Pub != nil:
		s := fmt.Sprintf("%s: %s", p.Channel, p.Pub.Data)
		if p.Pub.Offset > 0 {
			s = fmt.Sprintf("%s: %d %s", p.Channel, p.Pub.Offset, p.Pub.Data)
		}
		return s
	case p.Join != nil:
		return p.Channel + ": join"
	case p.Leave != nil:
		return p.Channel + ": leave"
	case p.Unsubscribe != nil:
		return fmt.Sprintf("%s: unsubscribe %d %s", p.Channel, p.Unsubscribe.Code, p.Unsubscribe.Reason)
	case p.Subscribe != nil:
		return fmt.Sprintf("%s: subscribe %v %d", p.Channel, p.Subscribe.Recoverable, p.Subscribe.Offset)
	case p.Message != nil:
		return fmt.Sprintf("message %s", p.Message.Data)
	case p.Refresh != nil:
		return fmt.Sprintf("refresh %v %d", p.Refresh.Expires, p.Refresh.Ttl)
	}
	return show(p)
}

func show(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// both runs a test in both formats.
func both(t *testing.T, f func(t *testing.T, f format)) {
	t.Run("json", func(t *testing.T) { f(t, formatJSON) })
	t.Run("protobuf", func(t *testing.T) { f(t, formatProtobuf) })
}
