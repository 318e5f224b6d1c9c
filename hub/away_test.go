package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
	"github.com/sockmill/sockmill/protocol"
)

// far is a broker behind a network, without broker.Prefixes: what it is asked fails, or hangs, as a test says.
type far struct {
	*lossy
	b *memory.Broker

	mu    sync.Mutex // guards what follows
	how   func(ctx context.Context, method string) error
	calls map[string]int // that have succeeded or failed, by method
}

func newFar(t *testing.T) *far {
	b := shared(t)
	return &far{lossy: newLossyOf(b), b: b, calls: map[string]int{}}
}

func (f *far) config(o Options) Config {
	return Config{Broker: plain{f}, History: f, Presence: f, Channel: all(o)}
}

// set says what becomes of calls; nil: they succeed.
func (f *far) set(how func(ctx context.Context, method string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how = how
}

// cut has calls of some methods fail, or of all.
func (f *far) cut(methods ...string) {
	f.set(func(_ context.Context, method string) error {
		if len(methods) == 0 || slices.Contains(methods, method) {
			return broker.ErrUnavailable
		}
		return nil
	})
}

// hang has calls of some methods hang.
func (f *far) hang(methods ...string) {
	f.set(func(ctx context.Context, method string) error {
		if slices.Contains(methods, method) {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
}

func (f *far) heal() {
	f.set(nil)
	f.interrupt()
}

func (f *far) done(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *far) pass(ctx context.Context, method string) error {
	f.mu.Lock()
	how := f.how
	f.mu.Unlock()
	var err error
	if how != nil {
		err = how(ctx, method)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	return err
}

func (f *far) Publish(ctx context.Context, channel string, p broker.Publication) error {
	if err := f.pass(ctx, "Publish"); err != nil {
		return err
	}
	return f.lossy.Publish(ctx, channel, p)
}

func (f *far) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	if err := f.pass(ctx, "Subscribe"); err != nil {
		return err
	}
	return f.lossy.Subscribe(ctx, channel, r)
}

func (f *far) Unsubscribe(ctx context.Context, channel string, r broker.Receiver) error {
	if err := f.pass(ctx, "Unsubscribe"); err != nil {
		return err
	}
	return f.lossy.Unsubscribe(ctx, channel, r)
}

func (f *far) Read(ctx context.Context, channel string, q broker.Query) (broker.Page, error) {
	if err := f.pass(ctx, "Read"); err != nil {
		return broker.Page{}, err
	}
	return f.lossy.Read(ctx, channel, q)
}

func (f *far) Enter(ctx context.Context, channel string, info broker.Info, lifetime time.Duration) error {
	if err := f.pass(ctx, "Enter"); err != nil {
		return err
	}
	return f.b.Enter(ctx, channel, info, lifetime)
}

func (f *far) Leave(ctx context.Context, channel, client string) error {
	if err := f.pass(ctx, "Leave"); err != nil {
		return err
	}
	return f.b.Leave(ctx, channel, client)
}

func (f *far) subscriptions() int {
	f.lossy.mu.Lock()
	defer f.lossy.mu.Unlock()
	return len(f.receivers)
}

// While a history is away, a channel that has something to read waits, and goes on without a hole when it is back.
func TestHistoryAway(t *testing.T) {
	for _, away := range []string{"fails", "hangs"} {
		t.Run(away, func(t *testing.T) {
			f := newFar(t)
			cfg := f.config(Options{History: 1000})
			cfg.RingMax = 1
			cfg.OnLeft = func(_ *Client, channel string, _ protocol.CloseCode, _ string) { t.Error("taken out of", channel) }
			n := start(t, cfg)
			n.patience = 50 * time.Millisecond
			var clients []*peerConn
			var came []string
			names := make([]string, 3*readsAtOnce)
			for i := range names {
				names[i] = fmt.Sprint("room ", i)
			}
			a := n.client("anna")
			a.join(names[0], Join{})
			for range 2 {
				clients = append(clients, n.client("many"))
			}
			for i, name := range names[1:] {
				clients[i%2].join(name, Join{})
			}
			n.say(names[0], "one")
			first := n.say(names[0], "two")
			a.expect(names[0]+": 1 one", names[0]+": 2 two")

			// The network is cut: one publication is lost, and the next comes after it is back, but before the history is.
			f.lossy.set(func(broker.Publication) bool { return true }, nil)
			for _, name := range names {
				_, err := f.b.Append(ctx, name, broker.Publication{Data: []byte("lost")}, broker.Keep{Publications: 1000})
				must(t, err)
			}
			f.lossy.set(nil, nil)
			if away == "fails" {
				f.cut("Read")
			} else {
				f.hang("Read")
			}
			f.interrupt()
			until(t, "reads that fail", func() bool { return f.done("Read") > 2*len(names) })
			for _, name := range names {
				_, err := f.b.Append(ctx, name, broker.Publication{Data: []byte("next")}, broker.Keep{Publications: 1000})
				must(t, err)
			}
			a.nothing()

			// Who comes with an old position is not told a lie, and one who is where this node is may join.
			bob := n.client("bob")
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			_, err := bob.Join(short, names[0], Join{Since: &broker.Position{Epoch: first.Epoch}})
			cancel()
			if !temporary(err) {
				t.Errorf("joined with %v", err)
			}
			if j := bob.join(names[0], Join{Since: &first}); !j.Recovered || j.Position != first {
				t.Errorf("joined %+v", j)
			}

			f.set(nil) // nobody tells that it is back
			a.expect(names[0]+": 3 lost", names[0]+": 4 next")
			bob.expect(names[0]+": 3 lost", names[0]+": 4 next")
			for range 2 * (len(names) - 1) {
				select {
				case s := <-clients[0].got:
					came = append(came, s)
				case s := <-clients[1].got:
					came = append(came, s)
				case <-time.After(patience):
					t.Fatalf("only %d came: %q", len(came), came)
				}
			}
			for _, name := range names[1:] {
				if lost, next := slices.Index(came, name+": 1 lost"), slices.Index(came, name+": 2 next"); lost < 0 || next < lost {
					t.Errorf("%s: %d %d", name, lost, next)
				}
			}
			n.say(names[0], "last")
			a.expect(names[0] + ": 5 last")
			until(t, "nothing to be read", func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return n.later.reads == nil
			})
		})
	}
}

// While the broker is away, joins fail at once and leave nothing; later they succeed.
func TestJoinWhileAway(t *testing.T) {
	f := newFar(t)
	n := start(t, f.config(Options{History: 10, Presence: true, JoinLeave: true}))
	n.patience = 50 * time.Millisecond
	a, b := n.client("anna"), n.client("bob")
	a.join("here", Join{})
	a.expect("here: anna joins")
	for _, how := range []func(){func() { f.cut() }, func() { f.hang("Subscribe") }, func() { f.hang("Read") }, func() { f.hang("Enter") }, func() { f.cut("Enter") }} {
		how()
		begun := false
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := b.Join(short, "new", Join{Begin: func(Joined) error { begun = true; return nil }})
		if !temporary(err) || begun {
			t.Errorf("joined with %v, told %v", err, begun)
		}
		cancel()
		f.set(nil)
		n.payOwed()
		if all, err := f.b.Present(ctx, "new"); err != nil || len(all) > 0 || len(b.Channels()) > 0 {
			t.Errorf("left behind: %v %v %v", all, err, b.Channels())
		}
		until(t, "no channel and no subscription", func() bool { return n.Channels()["new"] == 0 && f.subscriptions() == 4 })
	}
	b.join("new", Join{})
	b.expect("new: bob joins")

	// A channel that this node has is joined without the others: they learn of it by presence.
	f.cut("Publish")
	b.join("here", Join{})
	if who, err := n.Present(ctx, "here"); err != nil || len(who) != 2 {
		t.Errorf("present: %v %v", who, err)
	}
	if err := b.Leave(ctx, "here"); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("left with %v", err)
	}
	if who, err := n.Present(ctx, "here"); err != nil || len(who) != 1 {
		t.Errorf("present: %v %v", who, err)
	}
	f.heal()
	n.say("here", "x")
	a.expect("here: 1 x")
	b.nothing()
}

// Who connects while the broker is away is refused, and may come again.
func TestConnectWhileAway(t *testing.T) {
	f := newFar(t)
	n := start(t, f.config(Options{}))
	n.patience = 50 * time.Millisecond
	for i, how := range []func(){func() { f.cut() }, func() { f.hang("Subscribe") }, func() { f.hang("Subscribe") }} {
		if i == 2 { // now it is about the user alone
			n.client("bob")
		}
		how()
		_, conn := n.dial()
		if _, err := n.Connect(ctx, conn, Connect{User: "anna"}); !temporary(err) {
			t.Errorf("connected with %v", err)
		}
		f.set(nil)
	}
	a := n.client("anna")
	must(t, n.PublishUsers(ctx, []string{"anna"}, Publication{Data: []byte("x")}))
	a.expect(": x")
}

// What cannot be ended at the broker is ended later; nobody waits for it.
func TestUnsubscribeLater(t *testing.T) {
	for _, away := range []string{"fails", "hangs"} {
		t.Run(away, func(t *testing.T) {
			f := newFar(t)
			n := start(t, f.config(Options{Presence: true, JoinLeave: true}))
			n.patience = 50 * time.Millisecond
			a := n.client("anna")
			for i := range 20 {
				a.join(fmt.Sprint("room ", i), Join{})
			}
			if away == "fails" {
				f.cut()
			} else {
				f.hang("Unsubscribe", "Publish", "Leave")
			}
			must(t, (<-a.far).Abort())
			until(t, "nothing here", func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return len(n.channels)+len(n.followed)+len(n.clients) == 0 && len(n.later.owed) == 21
			})
			n.payOwed() // in vain
			n.mu.Lock()
			owed := len(n.later.owed)
			n.mu.Unlock()
			if owed != 21 || f.subscriptions() != 22 {
				t.Errorf("%d are owed, of %d", owed, f.subscriptions())
			}
			f.set(nil)
			n.payOwed()
			if f.subscriptions() != 1 { // of everybody
				t.Errorf("%d subscriptions are left", f.subscriptions())
			}
		})
	}
}

// A hub ends, whatever the broker does.
func TestCloseWhileAway(t *testing.T) {
	f := newFar(t)
	n := start(t, f.config(Options{Presence: true, JoinLeave: true}))
	n.patience = 20 * time.Millisecond
	for i := range 2 * endsAtOnce {
		n.client(fmt.Sprint("user ", i)).join("room", Join{})
	}
	f.hang("Unsubscribe", "Publish", "Leave")
	n.stop()
}

// A renewal that hangs does not keep the others from theirs for longer than a round, and several go at once.
func TestRenewWhileSlow(t *testing.T) {
	f := newFar(t)
	n := start(t, f.config(Options{Presence: true}))
	a := n.client("anna")
	for i := range renewsAtOnce {
		a.join(fmt.Sprint("room ", i), Join{})
	}
	var mu sync.Mutex
	inside, all := 0, make(chan struct{})
	f.set(func(ctx context.Context, method string) error {
		mu.Lock()
		if inside++; inside == renewsAtOnce {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	n.renewAll()
	select {
	case <-all:
	default:
		t.Errorf("only %d renewals at once", inside)
	}
}
