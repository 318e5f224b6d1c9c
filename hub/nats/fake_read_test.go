package nats

import (
	"errors"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/hub/broker"
)

// TestBatches: what comes in several answers has no holes between them, also if different servers give them.
func TestBatches(t *testing.T) {
	t.Parallel()
	f, b := newFake(t)
	f.mu.Lock()
	f.leader = roomOf(b, 1, 9, 2, 3, 5, 7, 9)
	f.near, f.most = f.leader, 2
	f.mu.Unlock()
	at := broker.Position{Offset: 2, Epoch: f.name}
	expect(t, "since 2", since(t, b, "room", at), "3", "5", "7", "9")
	f.mu.Lock()
	direct := 0
	f.directly = func() {
		if direct++; direct == 2 { // the newest, and the first batch
			f.near = roomOf(b, 7, 9, 7, 9)
		}
	}
	f.mu.Unlock()
	if page, err := b.history.parts[0].read(ctx, "room", broker.Query{Since: &at, Limit: broker.NoLimit}); !errors.Is(err, errBehind) {
		t.Errorf("%+v, error %v", page, err)
	}
	f.mu.Lock()
	f.near, f.directly = f.leader, nil
	f.mu.Unlock()
	all, err := b.Read(ctx, "room", broker.Query{Limit: 2, Reverse: true})
	must(t, err)
	if ps := all.Publications; len(ps) != 2 || ps[0].Offset != 9 || ps[1].Offset != 7 || ps[0].Prev != 7 || ps[1].Prev != 5 {
		t.Errorf("the newest two: %+v", ps)
	}
}

// TestTopOfOneBehind: a server that does not know yet what the leader knew does not say where a channel is.
func TestTopOfOneBehind(t *testing.T) {
	t.Parallel()
	f, b := newFake(t)
	f.mu.Lock()
	f.leader, f.near = roomOf(b, 1, 9, 2, 8), roomOf(b, 1, 6, 2)
	direct := 0
	f.directly = func() {
		if direct++; direct == 3 {
			f.near = f.leader
		}
	}
	f.mu.Unlock()
	if top := topOf(t, b, "room"); top.Offset != 8 {
		t.Errorf("%+v", top)
	}
	f.mu.Lock()
	f.near, f.directly = roomOf(b, 1, 6, 2), nil
	f.mu.Unlock()
	if page, err := b.Read(ctx, "room", broker.Query{}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("%+v, error %v", page, err)
	}
}

// TestAskedAgain: what a server drops because it has just left the stream is asked again.
func TestAskedAgain(t *testing.T) {
	t.Parallel()
	f, b := newFakeWithin(t, patience)
	f.mu.Lock()
	f.leader = roomOf(b, 1, 9, 2, 8)
	f.near = f.leader
	f.silent, f.deaf = 1, 1
	f.mu.Unlock()
	if top := topOf(t, b, "room"); top.Offset != 8 {
		t.Errorf("%+v", top)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent != 0 || f.deaf != 0 {
		t.Errorf("%d questions for the state and %d direct ones were never asked", f.silent, f.deaf)
	}
}

// TestLeaderBehind: a leader that does not know what it has acknowledged, because its disk was full or it leads no more, is not believed.
func TestLeaderBehind(t *testing.T) {
	t.Parallel()
	f, b := newFake(t)
	f.mu.Lock()
	f.leader = roomOf(b, 1, 9, 2, 9)
	f.near = f.leader
	f.mu.Unlock()
	at, future := broker.Position{Offset: 9, Epoch: f.name}, broker.Position{Offset: 10, Epoch: f.name}
	expect(t, "since 9", since(t, b, "room", at))
	expect(t, "since 10", since(t, b, "room", future), "refused")
	f.mu.Lock()
	f.leader = roomOf(b, 1, 6, 2)
	f.near = f.leader
	f.mu.Unlock()
	for _, q := range []broker.Query{{Since: &at, Limit: 1}, {}, {Limit: 1}} {
		if page, err := b.Read(ctx, "room", q); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%+v, error %v", page, err)
		}
	}
	eventually(t, "Health says so", func() bool { return b.Health() != nil })
	soon := time.AfterFunc(100*time.Millisecond, func() { // another one leads, which knows what came meanwhile
		f.mu.Lock()
		defer f.mu.Unlock()
		f.leader = roomOf(b, 1, 10, 2, 9, 10)
		f.near = f.leader
	})
	defer soon.Stop()
	expect(t, "since 10", since(t, b, "room", future))
}

// TestSentAgain: a publication with a key to which no answer comes is sent again, with the same key; one without is not.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	f, b := newFake(t)
	came := make(chan string, 10)
	_, err := f.conn.Subscribe(b.history.parts[0].subjects("h"), func(m *natsgo.Msg) {
		if came <- m.Header.Get(natsgo.MsgIdHdr); len(came) == 2 {
			f.answer(m, map[string]any{"stream": f.name, "seq": 7})
		}
	})
	must(t, err)
	must(t, f.conn.Flush())
	at, err := b.Append(ctx, "room", broker.Publication{}, broker.Keep{Publications: 1, Key: "k"})
	if err != nil || at != (broker.Position{Offset: 7, Epoch: f.name}) {
		t.Errorf("%+v, error %v", at, err)
	}
	if first, second := <-came, <-came; first == "" || first != second {
		t.Errorf("%q and %q came", first, second)
	}
	if _, err := b.Append(ctx, "room", broker.Publication{}, plenty); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if n := len(came); n != 1 {
		t.Errorf("%d came", n)
	}
}

// TestHeardWhileAsking: what this node hears while the leader answers does not make the leader one that is behind.
func TestHeardWhileAsking(t *testing.T) {
	t.Parallel()
	f, b := newFake(t)
	p := newPart(b, 0) // nobody else asks for it
	p.is(f.name)
	f.mu.Lock()
	f.leader = roomOf(b, 1, 9, 9)
	result := make(chan error, 1)
	go func() {
		_, err := p.look(ctx)
		result <- err
	}()
	eventually(t, "it is asked", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.next == nil && len(p.looking) == 1
	})
	p.heard(broker.Position{Offset: 12, Epoch: f.name})
	f.mu.Unlock()
	must(t, <-result)
	if _, err := p.look(ctx); !errors.Is(err, errBehind) {
		t.Errorf("a leader at 9, after 12 was heard: %v", err)
	}
}

// TestDown: Append fails at once when the leader has not answered twice, not when it has once, and not any more when it answers.
func TestDown(t *testing.T) {
	t.Parallel()
	f, b := newFake(t)
	p := b.history.parts[0]
	var seen []bool // what down was with each question, from the first one that is not answered
	f.mu.Lock()
	f.silent = 2
	f.looked = func() { seen = append(seen, p.down.Load()) }
	f.mu.Unlock()
	eventually(t, "it was asked three times, and is not down", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(seen) >= 3 && !p.down.Load()
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if seen[0] || seen[1] || !seen[2] {
		t.Errorf("down: %v", seen)
	}
	f.silent = 1 << 30
	f.mu.Unlock()
	eventually(t, "it is down for good", p.down.Load)
	began := time.Now()
	_, err := b.Append(ctx, "room", broker.Publication{}, broker.Keep{Publications: 1})
	f.mu.Lock()
	if d := time.Since(began); !errors.Is(err, broker.ErrUnavailable) || d >= b.cfg.PublishTimeout || b.Health() == nil {
		t.Errorf("%v after %v, Health %v", err, d, b.Health())
	}
}
