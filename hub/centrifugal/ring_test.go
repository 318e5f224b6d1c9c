package centrifugal

import (
	"math/rand/v2"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// inRings counts the sessions that the rings have, and checks their places.
func (n *node) inRings() (sum int) {
	n.t.Helper()
	for _, r := range n.rings {
		done := make(chan int)
		must(n.t, r.loop.Post(func() {
			found := 0
			for i, list := range r.slots {
				for j, x := range list {
					if found++; int(x.index) != j || x.slot%ringSlots != uint32(i) {
						n.t.Errorf("a session in place %d of slot %d believes that it is in %d of %d", j, i, x.index, x.slot)
					}
					if ahead := int32(x.slot - r.done); ahead < 1 || ahead > ringSlots {
						n.t.Errorf("a session is in slot %d, and %d is done", x.slot, r.done)
					}
				}
			}
			if found != r.n {
				n.t.Errorf("%d sessions, and %d are counted", found, r.n)
			}
			done <- r.n
		}))
		sum += wait(n.t, done, "a loop")
	}
	return sum
}

// pass moves the clock on, and waits until the timers have noticed, twice: what they find due at first may have to be looked at again.
func (n *node) pass(d time.Duration) {
	n.t.Helper()
	for _, d := range []time.Duration{d, n.step} {
		n.move(d)
		until(n.t, "the timers have noticed", func() bool {
			all := true
			for _, r := range n.rings {
				done := make(chan bool)
				must(n.t, r.loop.Post(func() { done <- !r.armed || r.done == n.slot(n.time()) }))
				all = wait(n.t, done, "a loop") && all
			}
			return all
		})
	}
}

// The rings do what is due, without a timer for each session. Here only the clock is moved.
func TestRing(t *testing.T) {
	n := serve(t, Config{Anonymous: true, ExpiryGrace: time.Millisecond}) // a step of 10 ms
	p := n.client(formatJSON)
	var stale []*peer
	for range 2*ringTurn + 100 { // on two loops: more than a turn does
		stale = append(stale, n.dial(formatJSON))
	}
	until(t, "all are there", func() bool { return n.inRings() == len(stale)+1 })
	gone := stale[:50]
	stale = stale[50:]
	for _, q := range gone {
		_ = q.conn.Abort()
	}
	until(t, "some have gone", func() bool { return n.inRings() == len(stale)+1 })
	n.move(9 * time.Second)
	n.move(time.Second)
	for _, q := range stale {
		q.over(DisconnectStale)
	}
	until(t, "one is left", func() bool { return n.inRings() == 1 })
	for _, d := range []time.Duration{15 * time.Second, time.Hour} { // the last is more than the ring has slots for
		n.pass(d)
		if r := p.next(); show(r) != "{}" {
			t.Fatalf("%s, want a ping", show(r))
		}
		p.write([]byte("{}"))
		p.quiet()
		n.pass(10 * time.Second)
	}
	n.pass(15 * time.Second)
	p.next()
	n.pass(10 * time.Second)
	p.over(DisconnectNoPong)
	until(t, "nobody is left", func() bool { return n.inRings() == 0 })
	q := n.client(formatJSON) // the ring begins anew
	n.move(25 * time.Second)
	if r := q.next(); show(r) != "{}" {
		t.Fatalf("%s, want a ping", show(r))
	}
}

// What is due earlier than what the session waits for is done in time.
func TestSooner(t *testing.T) {
	n := serve(t, Config{Tokens: tokens(t), Anonymous: true, PingInterval: engine.NoLimit, ExpiryGrace: time.Second, Hub: hub.Config{
		Channel: func(string) (hub.Options, error) { return hub.Options{}, nil }}})
	p, q := n.client(formatJSON), n.client(formatJSON)
	n.pass(20 * time.Second)
	for _, id := range []string{p.client, q.client} {
		x := sessionOf(n.hub.Client(id).Conn())
		x.mu.Lock()
		if x.slot-n.slot(n.time()) < 300 {
			t.Errorf("something is due in slot %d, and now is %d", x.slot, n.slot(n.time()))
		}
		x.mu.Unlock()
	}
	soon := n.at(10 * time.Second)
	p.subscribe(&cf.SubscribeRequest{Channel: "$a", Token: sign(jwt.MapClaims{"channel": "$a", "exp": soon})})
	q.good(&cf.Command{Refresh: &cf.RefreshRequest{Token: sign(jwt.MapClaims{"exp": soon})}})
	n.move(11 * time.Second)
	p.expect("$a: unsubscribe 2501 subscription expired")
	q.over(DisconnectExpired)
}

// Whatever the clock does, each session is in the slot where it has to be, and the turns come to an end.
func TestRingAtRandom(t *testing.T) {
	n := serve(t, Config{Anonymous: true, PongTimeout: engine.NoLimit, ExpiryGrace: time.Millisecond}) // a step of 10 ms
	for range 20 {
		n.client(formatJSON)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		n.pass(time.Duration(r.Int64N(int64([]time.Duration{time.Second, time.Minute, time.Hour}[r.IntN(3)]))))
		if got := n.inRings(); got != 20 {
			t.Fatalf("%d sessions", got)
		}
	}
}

// Slots are numbered for ever: the numbers wrap.
func TestSlots(t *testing.T) {
	s := &Server{step: 100}
	for now := int64(0); now < 100_000; now += 37 {
		for _, after := range []time.Duration{-5, 0, 1, 99, 100, 101, 5000, ringSlots * 100, 1 << 60} {
			got := int64(s.slotAfter(now, after))
			if begins := got * 100; begins <= now || begins < now+int64(min(after, ringSlots*100)) || begins >= now+int64(max(after, 1))+100 || got-int64(s.slot(now)) > ringSlots+1 {
				t.Fatalf("at %d, after %d: slot %d", now, after, got)
			}
		}
	}
	s.began = -(1<<32 - 3) * 100
	if a, b := s.slot(200), s.slotAfter(200, 1000); b-a != 10 || b > a {
		t.Errorf("slots %d and %d", a, b)
	}
}
