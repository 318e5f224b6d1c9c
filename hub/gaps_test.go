package hub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
	"github.com/sockmill/sockmill/protocol"
)

// lossy is a memory.Broker that loses and delays what a test says.
type lossy struct {
	*memory.Broker

	mu        sync.Mutex // guards what follows
	receivers map[broker.Receiver]*lossyReceiver
	lose      func(p broker.Publication) bool
	reading   func(channel string) error // before each Read
	hanging   chan string                // each Read says its channel, and waits for the end of its context; nil: it does not
	refusing  func(channel string) error // before each Subscribe
}

func newLossy(t *testing.T) *lossy {
	b, err := memory.New(memory.Config{})
	must(t, err)
	return newLossyOf(b)
}

func newLossyOf(b *memory.Broker) *lossy {
	return &lossy{Broker: b, receivers: map[broker.Receiver]*lossyReceiver{}}
}

func (b *lossy) config() Config {
	return Config{Broker: plain{b}, History: b, Presence: b, Channel: func(string) (Options, error) { return Options{History: 1000}, nil }}
}

// plain is a Broker that is nothing else.
type plain struct{ broker.Broker }

type lossyReceiver struct {
	broker.Receiver
	b *lossy
}

func (r *lossyReceiver) Deliver(channel string, p broker.Publication) {
	r.b.mu.Lock()
	lost := r.b.lose != nil && r.b.lose(p)
	r.b.mu.Unlock()
	if !lost {
		r.Receiver.Deliver(channel, p)
	}
}

func (b *lossy) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	b.mu.Lock()
	refusing := b.refusing
	b.mu.Unlock()
	if refusing != nil {
		if err := refusing(channel); err != nil {
			return err
		}
	}
	b.mu.Lock()
	x := &lossyReceiver{r, b}
	b.receivers[r] = x
	b.mu.Unlock()
	return b.Broker.Subscribe(ctx, channel, x)
}

func (b *lossy) Unsubscribe(ctx context.Context, channel string, r broker.Receiver) error {
	b.mu.Lock()
	x := b.receivers[r]
	delete(b.receivers, r)
	b.mu.Unlock()
	return b.Broker.Unsubscribe(ctx, channel, x)
}

func (b *lossy) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	b.mu.Lock()
	reading, hanging := b.reading, b.hanging
	b.mu.Unlock()
	if hanging != nil {
		hanging <- channel
		<-ctx.Done()
		return broker.Page{}, ctx.Err()
	}
	if reading != nil {
		if err := reading(channel); err != nil {
			return broker.Page{}, err
		}
	}
	return b.Broker.Read(ctx, channel, q)
}

func (b *lossy) set(lose func(broker.Publication) bool, reading func(string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose, b.reading = lose, reading
}

// interrupt tells the receivers of all channels.
func (b *lossy) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range b.receivers {
		r.Interrupted("")
	}
}

func holds(data string) func(broker.Publication) bool {
	return func(p broker.Publication) bool { return string(p.Data) == data }
}

// A gap is filled from the history before what follows it.
func TestGapIsFilled(t *testing.T) {
	b := newLossy(t)
	n := start(t, b.config())
	a := n.client("anna")
	a.join("room", Join{})
	n.say("room", "one")
	b.set(holds("two"), nil)
	n.say("room", "two")
	n.say("room", "three")
	a.expect("room: 1 one", "room: 2 two", "room: 3 three")
	b.set(holds("four"), nil)
	n.say("room", "four")
	a.nothing()
	b.interrupt()
	a.expect("room: 4 four")
}

// If a gap cannot be filled, the client is told, and may come back.
func TestInsufficient(t *testing.T) {
	b := newLossy(t)
	cfg := b.config()
	told := make(chan *Client, 10)
	cfg.OnLeft = func(c *Client, channel string, _ protocol.CloseCode, _ string) {
		if channel != "room" || c.member("room") != nil {
			t.Errorf("insufficient in %s, still in %v", channel, c.Channels())
		}
		told <- c
	}
	n := start(t, cfg)
	a := n.client("anna")
	a.join("elsewhere", Join{})
	a.join("room", Join{})
	at := n.say("room", "one")
	down := errors.New("down")
	b.set(holds("two"), func(string) error { return down })
	n.say("room", "two")
	n.say("room", "three")
	if c := wait(t, told, "the hook"); c != a.Client {
		t.Error("told another")
	}
	a.expect("room: 1 one")
	n.say("room", "four")
	a.nothing()
	if _, err := a.Join(ctx, "room", Join{}); !errors.Is(err, down) {
		t.Errorf("joined: %v", err)
	}
	b.set(nil, nil)
	if j := a.join("room", Join{Since: &at}); !j.Recovered || len(j.Missed) != 3 {
		t.Errorf("joined %+v", j)
	}
	a.expect("room: 2 two", "room: 3 three", "room: 4 four")

	// What was lost is not in the history any more.
	b.set(holds("five"), nil)
	n.say("room", "five")
	must(t, n.RemoveHistory(ctx, "room"))
	n.say("room", "six")
	wait(t, told, "the hook")
	if j := a.join("room", Join{Since: &at}); j.Recovered || j.Position.Offset != 6 {
		t.Errorf("joined %+v", j)
	}
	n.say("room", "seven")
	a.expect("room: 7 seven")
}

// Without a hook, the connection is closed.
func TestInsufficientCloses(t *testing.T) {
	b := newLossy(t)
	n := start(t, b.config())
	a, other := n.client("anna"), n.client("bob")
	a.join("room", Join{})
	other.join("another", Join{})
	b.set(holds("one"), func(string) error { return broker.ErrUnrecoverable })
	n.say("room", "one")
	n.say("room", "two")
	if e := wait(t, a.over, "the end"); e.Code != 3010 {
		t.Errorf("closed with %v", e)
	}
	b.set(nil, nil)
	n.say("another", "still here")
	other.expect("another: 1 still here")
}

// A client that is ahead of this node makes the node read, and waits for it.
func TestAheadOfTheNode(t *testing.T) {
	b := newLossy(t)
	n := start(t, b.config())
	a, ahead := n.client("anna"), n.client("bob")
	a.join("room", Join{})
	b.set(func(broker.Publication) bool { return true }, nil)
	at := n.say("room", "one")
	if j := ahead.join("room", Join{Since: &at}); !j.Recovered || len(j.Missed) > 0 || j.Position != at {
		t.Errorf("joined %+v", j)
	}
	b.set(nil, nil)
	n.say("room", "two")
	a.expect("room: 1 one", "room: 2 two")
	ahead.expect("room: 2 two")
}

// A connection that ends while it joins leaves nothing behind.
func TestEndWhileJoining(t *testing.T) {
	b := newLossy(t)
	n := start(t, b.config())
	a := n.client("anna")
	reading, goOn := make(chan string), make(chan struct{})
	b.set(nil, func(channel string) error {
		reading <- channel
		<-goOn
		return nil
	})
	joined := make(chan error)
	go func() {
		_, err := a.Join(ctx, "room", Join{})
		joined <- err
	}()
	<-reading
	must(t, (<-a.far).Abort())
	until(t, "the end", func() bool { return len(n.Clients()) == 0 })
	b.set(nil, nil)
	close(goOn)
	if err := <-joined; err != nil && !errors.Is(err, ErrGone) {
		t.Errorf("joined: %v", err)
	}
	until(t, "no channel", func() bool { return len(n.Channels()) == 0 })

	// One that gives up is no longer in the way of others.
	c := n.client("carol")
	goOn = make(chan struct{})
	b.set(nil, func(channel string) error {
		reading <- channel
		<-goOn
		return nil
	})
	short, cancel := context.WithCancel(ctx)
	go func() {
		_, err := c.Join(short, "room", Join{})
		joined <- err
	}()
	<-reading
	cancel()
	if err := <-joined; !errors.Is(err, context.Canceled) {
		t.Errorf("joined: %v", err)
	}
	b.set(nil, nil)
	close(goOn)
	c.join("room", Join{})
}

// TestJoinWhilePublishing: two publishers, clients that come and go with their position, and a broker that loses
// some: nobody misses anything or gets it twice, unless he is told.
func TestJoinWhilePublishing(t *testing.T) {
	const publishers, each, clients = 2, 200, 4
	b := newLossy(t)
	cfg := b.config()
	cfg.RingMax = 8
	cfg.OnLeft = func(c *Client, channel string, _ protocol.CloseCode, _ string) {
		t.Error("insufficient, and all is in the history")
	}
	n := start(t, cfg)
	begin := n.say("room", "begin")
	b.set(func(broker.Publication) bool { return rand.IntN(20) == 0 }, nil)
	var publishing, coming sync.WaitGroup
	for i := range publishers {
		publishing.Go(func() {
			for j := range each {
				n.say("room", fmt.Sprint(i, " ", j))
			}
		})
	}
	peers, ends, over := make([]*peerConn, clients), make([]uint64, clients), make(chan struct{})
	for i := range peers {
		c := n.client(fmt.Sprint("user ", i))
		peers[i] = c
		coming.Go(func() {
			since := begin
			for range 20 {
				// The position is that of the last that the client was sent, which is known once it has left.
				if j := c.join("room", Join{Since: &since}); !j.Recovered {
					t.Error("not recovered, and all is in the history")
				}
				select {
				case s := <-c.got: // something came
					c.follows(s, &since.Offset)
				case <-over:
				}
				must(t, c.Leave(ctx, "room"))
				must(t, c.Conn().SendText("mark"))
				for s := wait(t, c.got, "the mark"); s != "mark"; s = wait(t, c.got, "the mark") {
					c.follows(s, &since.Offset)
				}
			}
			c.join("room", Join{Since: &since})
			ends[i] = since.Offset
		})
	}
	publishing.Wait()
	b.set(nil, nil)
	n.say("room", "end")
	close(over)
	coming.Wait()
	last := begin.Offset + publishers*each + 1
	for i, c := range peers {
		for at := ends[i]; at != last; {
			c.follows(wait(t, c.got, "the end"), &at)
		}
	}
}

// follows expects that a message is the publication behind an offset, which it sets.
func (p *peerConn) follows(s string, at *uint64) {
	*at++
	if !strings.HasPrefix(s, fmt.Sprintf("room: %d ", *at)) {
		p.t.Errorf("%s received %q in place of number %d", p.User(), s, *at)
	}
}

// A publication is encoded once, however many get it, also later from the ring; nothing is encoded that nobody gets.
func TestEncodedOnce(t *testing.T) {
	var mu sync.Mutex
	var encoded []string
	n := start(t, Config{Channel: kept, Encode: func(format int, channel string, p *broker.Publication) engine.Message {
		mu.Lock()
		defer mu.Unlock()
		encoded = append(encoded, string(p.Data))
		if len(p.Tags) != 1 || p.Tags["mine"] != "x" {
			t.Errorf("tags %q", p.Tags)
		}
		return text(format, channel, p)
	}})
	a, c, d := n.client("anna"), n.client("carol"), n.client("dave")
	since := a.join("room", Join{}).Position
	c.join("room", Join{})
	e := n.client("eve")
	e.join("room", Join{})
	tags := map[string]string{"mine": "x"}
	publish := func(data string, but ...string) {
		_, err := n.Publish(ctx, "room", Publication{Data: []byte(data), Tags: tags, Except: but})
		must(t, err)
	}
	publish("one")
	publish("two", c.ID())
	publish("three", c.ID(), a.ID(), "unknown")
	publish("four", c.ID(), e.ID())
	publish("five", c.ID(), a.ID())
	publish("six", c.ID(), e.ID())
	d.join("room", Join{Since: &since})
	a.expect("room: 1 one", "room: 2 two", "room: 4 four", "room: 6 six")
	c.expect("room: 1 one")
	d.expect("room: 1 one", "room: 2 two", "room: 3 three", "room: 4 four", "room: 5 five", "room: 6 six")
	e.expect("room: 1 one", "room: 2 two", "room: 3 three", "room: 5 five")
	must(t, c.Leave(ctx, "room"))
	if j := c.join("room", Join{Since: &since}); !j.Recovered || len(j.Missed) != 1 || len(j.Missed[0].Tags) != 1 {
		t.Errorf("joined %+v", j)
	}
	c.expect("room: 1 one")
	c.nothing()
	if len(tags) != 1 {
		t.Error("the program's tags were changed")
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(encoded, []string{"one", "two", "three", "four", "five", "six"}) {
		t.Errorf("encoded %v", encoded)
	}
}

// A reader that is too slow is closed in a channel with a history, whatever the policy; in another one it misses something.
func TestSlowReader(t *testing.T) {
	n := startWith(t, engine.Config{CloseTimeout: patience, WriteStallTimeout: patience}, Config{Hooks: Hooks{Join: joins}, Channel: func(name string) (Options, error) {
		return Options{History: len(name) - 1, Policy: engine.PolicyDropNewest}, nil
	}})
	data := strings.Repeat("x", 1<<20)
	for _, channel := range []string{"x", "xx"} {
		a := n.client("anna")
		a.join(channel, Join{})
		n.mu.Lock()
		topic := n.channels[channel].rosters[0].topic
		n.mu.Unlock()
		far := <-a.far
		must(t, far.PauseReading())
		for range 40 {
			n.say(channel, data)
		}
		if channel == "x" {
			until(t, "a drop", func() bool { return a.Conn().Stats().Dropped > 0 })
			must(t, far.ResumeReading())
			until(t, "all", func() bool { return a.Conn().QueuedBytes() == 0 })
			for len(a.got) > 0 {
				<-a.got
			}
		} else {
			until(t, "the close", func() bool { return n.e.Subscribers(topic) == 0 })
			must(t, far.ResumeReading())
			if e := wait(t, a.over, "the end"); e.Code != 1013 {
				t.Errorf("closed with %v", e)
			}
		}
	}
}

// A broker that fails leaves nothing behind, and the next one to come asks it anew.
func TestBrokerFails(t *testing.T) {
	b := newLossy(t)
	n := start(t, b.config())
	a, down := n.client("anna"), errors.New("down")
	var held *channel
	b.set(nil, func(name string) error { // somebody else waits too
		n.mu.Lock()
		held = n.channels[name]
		held.uses++
		n.mu.Unlock()
		return down
	})
	if _, err := a.Join(ctx, "room", Join{}); !errors.Is(err, down) {
		t.Errorf("joined: %v", err)
	}
	if got := n.Channels(); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	held.release()
	b.set(nil, nil)
	b.mu.Lock()
	b.refusing = func(name string) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		held = n.channels[name]
		held.uses++
		return down
	}
	b.mu.Unlock()
	if _, err := a.Join(ctx, "room", Join{}); !errors.Is(err, down) {
		t.Errorf("joined: %v", err)
	}
	if got := n.Channels(); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	held.release()
	b.mu.Lock()
	if len(b.receivers) != 2 { // all, and anna
		t.Errorf("%d subscriptions are left", len(b.receivers))
	}
	b.refusing = func(string) error { return down }
	b.mu.Unlock()
	_, c := n.dial()
	if _, err := n.Connect(ctx, c, Connect{User: "bob"}); !errors.Is(err, down) || len(n.Clients()) != 1 {
		t.Errorf("connected: %v, %d clients", err, len(n.Clients()))
	}
	b.mu.Lock()
	b.refusing = nil
	b.mu.Unlock()
	if _, err := n.Connect(ctx, c, Connect{User: "bob"}); err != nil {
		t.Error(err)
	}
	a.join("room", Join{})
}

// Those who are told may have the hub join them again, while others are not told yet.
func TestRejoinInTheHook(t *testing.T) {
	b := newLossy(t)
	cfg, told := b.config(), make(chan bool, 10)
	cfg.OnLeft = func(c *Client, channel string, _ protocol.CloseCode, _ string) {
		told <- only(c.h.Subscribe(ctx, Target{Client: c.ID()}, channel, Join{})) == nil
	}
	n := start(t, cfg)
	a, c := n.client("anna"), n.client("carol")
	a.join("room", Join{})
	c.join("room", Join{})
	b.set(holds("one"), nil)
	n.say("room", "one")
	must(t, n.RemoveHistory(ctx, "room"))
	n.say("room", "two")
	if !wait(t, told, "the first") || !wait(t, told, "the second") {
		t.Error("one could not join")
	}
	until(t, "both to be back", func() bool { return a.member("room") != nil && c.member("room") != nil })
	n.say("room", "three")
	a.expect("room: 3 three")
	c.expect("room: 3 three")
}

// When a loop cannot take a publication, members of a channel that may miss nothing are told, or closed if even that cannot
// be done.
func TestLoopIsOverwhelmed(t *testing.T) {
	told := make(chan *Client, 10)
	n := start(t, Config{
		OnLeft: func(c *Client, channel string, _ protocol.CloseCode, _ string) { told <- c },
		Channel: func(name string) (Options, error) {
			return Options{Policy: engine.PolicyDropNewest, History: len(strings.TrimPrefix(name, "lossy"))}, nil
		},
	})
	a, other := n.client("anna"), n.client("bob")
	for a.Conn().Loop() == other.Conn().Loop() {
		other = n.client("bob")
	}
	for _, c := range []*peerConn{a, other} {
		c.join("lossy", Join{})
		c.join("room", Join{})
	}
	gate, held := make(chan struct{}), make(chan struct{})
	must(t, a.Conn().Loop().Post(func() { close(held); <-gate }))
	<-held
	data := strings.Repeat("x", 8<<20)
	for range 12 {
		n.say("lossy", data)
	}
	n.say("lossy", "small")
	select {
	case <-told:
		t.Error("told in a channel that may miss something")
	default:
	}
	n.say("room", "one")
	if x, y := wait(t, told, "one"), wait(t, told, "the other"); x == y || x != a.Client && y != a.Client {
		t.Error("told others")
	}
	close(gate)
	if e := wait(t, a.over, "the end"); e.Code != 3010 && e.Code != 1013 && e.Code != 1006 {
		t.Errorf("closed with %v", e)
	}
}
