package hub

import (
	"fmt"
	"testing"

	"github.com/sockmill/sockmill/hub/memory"
)

// Users are followed alike, whether the broker has broker.Prefixes or not: with one subscription, or one for each who is there.
func TestUsersAreFollowed(t *testing.T) {
	for _, prefixes := range []bool{false, true} {
		m, err := memory.New(memory.Config{})
		must(t, err)
		b := newLossyOf(m)
		cfg := Config{Broker: m}
		if !prefixes {
			cfg = b.config()
		}
		n, other := start(t, cfg), start(t, cfg)
		subscriptions := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.receivers) }
		a1, a2, bob := n.client("anna"), n.client("anna"), n.client("bob")
		far := other.client("anna")
		if want := 2 + 3; !prefixes && subscriptions() != want { // two of everybody
			t.Errorf("%d subscriptions, want %d", subscriptions(), want)
		}
		say := func(data string) {
			t.Helper()
			must(t, other.PublishUsers(ctx, []string{"anna", "bob", "carol"}, Publication{Data: []byte(data)}))
		}
		say("one")
		for _, c := range []*peerConn{a1, a2, bob, far} {
			c.expect(": one")
		}
		leave := func(c *peerConn) {
			must(t, (<-c.far).Abort())
			until(t, "its end", func() bool { return c.h.Client(c.ID()) == nil })
		}
		leave(a2)
		leave(bob)
		if want := 2 + 2; !prefixes {
			until(t, fmt.Sprint(want, " subscriptions"), func() bool { return subscriptions() == want })
		}
		say("two")
		a1.expect(": two")
		far.expect(": two")
		leave(a1)
		if !prefixes {
			until(t, "three subscriptions", func() bool { return subscriptions() == 3 })
		}
		again := n.client("anna")
		say("three")
		again.expect(": three")
		far.expect(": three")
		n.stop()
		say("four")
		far.expect(": four")
	}
}

// The clients of a user are a list from which any may go.
func TestClientsOfUser(t *testing.T) {
	n := start(t, Config{})
	var all []*peerConn
	for range 5 {
		all = append(all, n.client("anna"))
	}
	for _, i := range []int{2, 4, 0, 3, 1} { // from the middle, the newest, the oldest
		must(t, (<-all[i].far).Abort())
		gone := all[i].Client
		all[i] = nil
		until(t, "its end", func() bool { return n.Hub.Client(gone.ID()) == nil })
		left := map[*Client]bool{}
		for _, c := range n.Clients("anna") {
			left[c] = true
		}
		want := 0
		for _, c := range all {
			if c != nil {
				if want++; !left[c.Client] {
					t.Error("one is missing")
				}
			}
		}
		if len(left) != want || len(n.Users()) != min(want, 1) {
			t.Errorf("%d clients, want %d; users %v", len(left), want, n.Users())
		}
	}
}
