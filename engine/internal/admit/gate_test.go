package admit

import (
	"net/netip"
	"sync"
	"testing"
)

var (
	alice = netip.MustParseAddr("203.0.113.1")
	bob   = netip.MustParseAddr("203.0.113.2")
	proxy = netip.MustParseAddr("10.0.0.1")
)

// gate makes a Gate with small bounds; spent is what Config.Spent says.
func gate(spent *bool) *Gate {
	return NewGate(Config{ConnectionsMax: 4, HalfOpenMax: 3, ConnectionsPerAddressMax: 2, AcceptsPerAddressPerSecond: 3,
		Exempt: func(a netip.Addr) bool { return !a.IsValid() || a == proxy },
		Spent:  func() bool { return spent != nil && *spent }})
}

// enter fails the test unless the answer is want.
func enter(t *testing.T, g *Gate, addr netip.Addr, now int64, want Refusal) *Pass {
	t.Helper()
	p, why := g.Enter(addr, now)
	if why != want {
		t.Fatalf("Enter(%v): %q, want %q", addr, why.Name(), want.Name())
	}
	if why == Admitted {
		g.Arrived()
	}
	return &p
}

func counts(t *testing.T, g *Gate, inside, half int) {
	t.Helper()
	if n := g.Counts(); n.Inside != inside || n.Half != half {
		t.Errorf("%d inside, %d half open; want %d, %d", n.Inside, n.Half, inside, half)
	}
}

func TestRefusals(t *testing.T) {
	spent := false
	g := gate(&spent)
	first := enter(t, g, alice, 0, Admitted)
	second := enter(t, g, alice, 0, Admitted)
	enter(t, g, alice, 0, Address)
	g.Leave(second)
	third := enter(t, g, alice, 999, Admitted)
	g.Leave(third)
	enter(t, g, alice, 999, AddressRate)
	enter(t, g, bob, 999, Admitted)
	spent = true
	enter(t, g, bob, 999, Memory)
	spent = false
	enter(t, g, proxy, 999, Admitted)
	enter(t, g, proxy, 999, HalfOpen)
	g.Opened(first)
	g.Opened(first)
	enter(t, g, alice, 1000, Admitted) // in the next second
	counts(t, g, 4, 3)
	g.Opened(first)
	g.Opened(enter(t, g, alice, 1000, Address))
	counts(t, g, 4, 3)
	if _, why := g.Reserve(); why != Full {
		t.Errorf("Reserve: %q", why.Name())
	}
	if n := g.Of(bob); n != 1 {
		t.Errorf("%d of bob: who was refused is counted", n)
	}
	g.Close()
	enter(t, g, bob, 5000, Closed)
	if _, why := g.Reserve(); why != Closed {
		t.Errorf("Reserve: %q", why.Name())
	}
	if g.Depart() != Closed {
		t.Error("somebody departs from a closed gate")
	}
	if n := g.Counts().Refused; n != 6 {
		t.Errorf("%d are counted as refused", n)
	}
}

func TestFullIsRefused(t *testing.T) {
	g := gate(nil)
	for range 4 {
		g.Opened(enter(t, g, proxy, 0, Admitted))
	}
	enter(t, g, proxy, 0, Full)
	counts(t, g, 4, 0)
}

// TestGivenBackOnce: a pass goes from holder to holder; whoever gives it back,
// and how often, it counts once.
func TestGivenBackOnce(t *testing.T) {
	g := gate(nil)
	loop := enter(t, g, proxy, 0, Admitted)
	if why := g.Identify(loop, alice, 0); why != Admitted || g.Of(alice) != 1 {
		t.Fatalf("%q, %d of alice", why.Name(), g.Of(alice))
	}
	g.Opened(loop)
	http, ok := g.Move(loop)
	if !ok || http.Client() != alice || loop.Client() != alice {
		t.Fatalf("%v %v %v", ok, http.Client(), loop.Client())
	}
	g.Leave(loop)
	g.Opened(loop)
	counts(t, g, 1, 0)
	if why := g.Identify(&http, bob, 0); why != Admitted || http.Client() != alice || g.Of(bob) != 0 {
		t.Errorf("another name is believed: %v", http.Client())
	}
	if why := g.Return(&http); why != Admitted {
		t.Fatal(why.Name())
	}
	g.Arrived()
	counts(t, g, 1, 1)
	back, ok := g.Move(&http)
	if _, again := g.Move(&http); !ok || again {
		t.Error("it is moved twice, or not at all")
	}
	if g.Of(alice) != 1 {
		t.Errorf("%d of alice", g.Of(alice))
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { g.Leave(&back) })
	}
	all.Wait()
	counts(t, g, 0, 0)
	if g.Of(alice) != 0 {
		t.Errorf("%d of alice at the end", g.Of(alice))
	}
}

// TestIdentifiedIsRefused: who is refused by the name that a proxy gave keeps
// its place until it leaves.
func TestIdentifiedIsRefused(t *testing.T) {
	g := gate(nil)
	for range 2 {
		enter(t, g, alice, 0, Admitted)
	}
	p := enter(t, g, proxy, 0, Admitted)
	if why := g.Identify(p, alice, 0); why != Address || why.Status() != 429 {
		t.Errorf("%q", why.Name())
	}
	counts(t, g, 3, 3)
	g.Leave(p)
	counts(t, g, 2, 2)
	if g.Of(alice) != 2 {
		t.Errorf("%d of alice", g.Of(alice))
	}
}

// TestWithin: who enters by the gate of a listener counts there and for the
// engine, and each of the two may refuse.
func TestWithin(t *testing.T) {
	outer := gate(nil)
	exempt := func(a netip.Addr) bool { return !a.IsValid() }
	small := outer.Within(Config{ConnectionsMax: 2, HalfOpenMax: 1, ConnectionsPerAddressMax: 1, Exempt: exempt})
	plain := outer.Within(Config{Exempt: exempt})
	first := enter(t, small, alice, 0, Admitted)
	enter(t, small, bob, 0, HalfOpen)
	small.Opened(first)
	enter(t, small, alice, 0, Address)
	second := enter(t, small, bob, 0, Admitted)
	small.Opened(second)
	enter(t, small, netip.Addr{}, 0, Full)
	third := enter(t, plain, alice, 0, Admitted)
	enter(t, plain, alice, 0, Address) // the engine's bound is 2
	counts(t, small, 2, 0)
	counts(t, plain, 1, 1)
	counts(t, outer, 3, 1)
	if n := [3]uint64{small.Counts().Refused, plain.Counts().Refused, outer.Counts().Refused}; n != [3]uint64{3, 1, 4} {
		t.Errorf("refused: %d", n)
	}
	small.Leave(first)
	if outer.Of(alice) != 1 || small.Of(alice) != 0 {
		t.Errorf("%d and %d of alice", outer.Of(alice), small.Of(alice))
	}
	plain.Retire()
	plain.Opened(third)
	if why := plain.Return(third); why != Admitted {
		t.Errorf("who is inside may not come back: %q", why.Name())
	}
	plain.Arrived()
	plain.WaitArrived()
	isEmpty := func(g *Gate) bool {
		select {
		case <-g.Empty():
			return true
		default:
			return false
		}
	}
	small.Close()
	enter(t, small, proxy, 5000, Closed)
	if isEmpty(plain) || isEmpty(small) {
		t.Error("empty with one inside")
	}
	plain.Leave(third)
	small.Leave(second)
	if !isEmpty(plain) || !isEmpty(small) || isEmpty(outer) {
		t.Error("not empty, or the engine's gate is closed by that of a listener")
	}
	for range 4 {
		all := outer.Within(Config{Exempt: exempt})
		all.Opened(enter(t, all, netip.Addr{}, 5000, Admitted))
	}
	enter(t, outer.Within(Config{ConnectionsMax: 1, Exempt: exempt}), netip.Addr{}, 5000, Full) // for the engine is
	outer = gate(nil)
	outer.WaitArrived()
	outer.Close()
	if !isEmpty(outer) {
		t.Error("the engine's gate is not empty")
	}
}

func TestEmpty(t *testing.T) {
	g := gate(nil)
	p := enter(t, g, alice, 0, Admitted)
	g.Close()
	g.Close()
	g.WaitArrived()
	select {
	case <-g.Empty():
		t.Error("empty with one inside")
	default:
	}
	g.Leave(p)
	<-g.Empty()
	g = gate(nil)
	g.Close()
	<-g.Empty()
	g = gate(nil)
	p = enter(t, g, alice, 0, Admitted)
	g.Retire()
	enter(t, g, bob, 0, Closed)
	g.Opened(p)
	if why := g.Return(p); why != Admitted {
		t.Errorf("back to a loop of a retired gate: %v", why)
	}
	g.Leave(p)
	<-g.Empty()
}

func TestForgotten(t *testing.T) {
	g := gate(nil)
	g.Leave(enter(t, g, alice, 0, Admitted))
	enter(t, g, bob, 5000, Admitted)
	if len(g.clients) != 1 {
		t.Errorf("%d addresses are remembered", len(g.clients))
	}
}

// TestUnbalanced: what does not add up is a bug, and panics.
func TestUnbalanced(t *testing.T) {
	for name, broken := range map[string]func(g *Gate, p Pass){
		"a copy leaves":               func(g *Gate, p Pass) { second := p; g.Leave(&p); g.Leave(&second) },
		"a copy's handshake":          func(g *Gate, p Pass) { p.holds = half; second := p; g.Opened(&p); g.Opened(&second) },
		"a handshake within another":  func(g *Gate, p Pass) { g.Return(&p) },
		"a handshake without a place": func(g *Gate, _ Pass) { g.Return(new(Pass)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			g := gate(nil)
			broken(g, *enter(t, g, alice, 0, Admitted))
		})
	}
}

// TestTable: every reason can be told to a peer and counted under a name.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for r := Admitted + 1; r < refusals; r++ {
		if r.Status() != 429 && r.Status() != 503 || r.Text() == "" || r.Name() == "" || names[r.Name()] {
			t.Errorf("reason %d: %d %q %q", r, r.Status(), r.Name(), r.Text())
		}
		names[r.Name()] = true
	}
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{"1.2.3.4": "1.2.3.4", "::ffff:1.2.3.4": "1.2.3.4", "2001:db8::1": "2001:db8::1", "fe80::1%eth0": "fe80::1"} {
		var p Pass
		if p.setClient(netip.MustParseAddr(in)); p.Client().String() != want {
			t.Errorf("%s: %v", in, p.Client())
		}
	}
	if p := (Pass{}); p.Client().IsValid() {
		t.Errorf("the client of no address is %v", p.Client())
	}
}
