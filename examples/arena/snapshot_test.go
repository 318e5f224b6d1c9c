package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/examples/arena/world"
)

// still is a game without an engine, with n players who have no connection.
func still(n int) (g *game, players []*seat) {
	g = newGame(options{npcs: 10, seed: 1, grace: time.Minute}, zap.NewNop())
	for i := range n {
		s := &seat{player: g.world.Join(fmt.Sprint("player ", i))}
		s.sight.begin()
		players = append(players, s)
	}
	return g, players
}

// advance is a tick, with players who go where chance wills.
func advance(g *game, players []*seat, r *rand.Rand) {
	g.tick++
	g.now = time.UnixMilli(1.7e12 + int64(g.tick)*33)
	for _, s := range players {
		if r.IntN(20) == 0 {
			a := r.Float64() * 2 * math.Pi
			g.world.Steer(s.player, world.Intent{Seq: g.tick, DX: float32(math.Cos(a)), DY: float32(math.Sin(a)), Split: r.IntN(5) == 0, Eject: r.IntN(3) == 0})
		}
	}
	g.world.Step()
	if g.world.Tick%world.Rate == 0 {
		for _, s := range players {
			g.world.Spawn(s.player) // those who died
		}
	}
	g.resized()
	g.lens.focus(g)
}

// seen is what a player should know after a snapshot.
func seen(g *game, p *world.Player) (all []wire.Entity) {
	scale := math.MaxUint16 / g.world.Size
	ids := g.world.Visible(p, nil)
	slices.Sort(ids)
	for _, id := range ids {
		e := &g.world.Entities[id]
		k := wire.Entity{ID: uint32(id), Kind: uint8(e.Kind), Hue: e.Hue, X: uint16(e.X*scale + 0.5), Y: uint16(e.Y*scale + 0.5), Radius: uint16(e.R*16 + 0.5)}
		if e.Owner != nil {
			k.Owner, k.Name = e.Owner.ID, e.Owner.Name
		}
		all = append(all, k)
	}
	return all
}

// TestSnapshotsShowTheWorld: whatever is lost, a player who applies what it
// gets knows exactly what it may see.
func TestSnapshotsShowTheWorld(t *testing.T) {
	g, players := still(30)
	r := rand.New(rand.NewPCG(5, 6))
	views := make([]wire.View, len(players))
	whole, deltas, bytes := 0, 0, 0
	for range 1500 {
		advance(g, players, r)
		for i, s := range players {
			g.size = g.world.Size
			waiting := r.IntN(100) == 0
			lost := false
			if waiting { // PolicyReplace puts the next one in the place of this one
				g.lens.snapshot(g, s, false)
				lost = true
				advance(g, players, r)
			}
			b := g.lens.snapshot(g, s, waiting)
			var snap wire.Snapshot
			if err := snap.Parse(b); err != nil {
				t.Fatal(err)
			}
			if lost && snap.Flags&wire.Keyframe == 0 {
				t.Fatal("a delta is to take the place of a snapshot that waits")
			}
			if err := views[i].Apply(&snap); err != nil {
				t.Fatalf("tick %d: %v", g.tick, err)
			}
			if want := seen(g, s.player); !slices.Equal(want, views[i].Entities) {
				t.Fatalf("tick %d: the player knows %+v, want %+v", g.tick, views[i].Entities, want)
			}
			if snap.Tick != g.tick || snap.Ack != s.player.Ack || (snap.Flags&wire.Dead != 0) == s.player.Alive() || snap.Due != float64(1.7e12+int64(g.tick)*33) {
				t.Fatalf("tick %d: %+v", g.tick, snap.Header)
			}
			if bytes += len(b); snap.Flags&wire.Keyframe != 0 {
				whole++
			} else {
				deltas++
			}
		}
	}
	t.Logf("%d keyframes, %d deltas, %d bytes each", whole, deltas, bytes/(whole+deltas))
	if whole < len(players)*1500/world.Rate || deltas < 10*whole {
		t.Errorf("%d keyframes, %d deltas: want one keyframe a second and some more", whole, deltas)
	}
}

// TestKeyframes: one a second, one after a drop, one for a reader who is slow,
// and not all players at once.
func TestKeyframes(t *testing.T) {
	g, players := still(60)
	r := rand.New(rand.NewPCG(1, 1))
	key := func(s *seat, waiting bool) bool {
		var snap wire.Snapshot
		if err := snap.Parse(g.lens.snapshot(g, s, waiting)); err != nil {
			t.Fatal(err)
		}
		return snap.Flags&wire.Keyframe != 0
	}
	most := 0
	for tick := range 3 * world.Rate {
		advance(g, players, r)
		n := 0
		for _, s := range players {
			if key(s, false) {
				n++
			}
		}
		if tick == 0 && n != len(players) {
			t.Errorf("%d of %d players begin with a keyframe", n, len(players))
		}
		if tick > world.Rate {
			most = max(most, n)
		}
	}
	if most > len(players)/world.Rate+1 {
		t.Errorf("%d of %d players get a keyframe in one tick", most, len(players))
	}
	s := players[0]
	for advance(g, players, r); s.sight.whole-g.tick < 10; {
		key(s, false)
		advance(g, players, r)
	}
	if key(s, false) {
		t.Error("a keyframe for no reason")
	}
	if !key(s, true) {
		t.Error("no keyframe while an older snapshot waits")
	}
	if s.sight.force(); !key(s, false) || key(s, false) {
		t.Error("a drop is followed by one keyframe, and then by deltas")
	}
}

// TestNothingAllocated: in the steady state a tick allocates nothing.
func TestNothingAllocated(t *testing.T) {
	g, players := still(200)
	r := rand.New(rand.NewPCG(1, 1))
	round := func() {
		g.tick++
		g.world.Step()
		g.lens.focus(g)
		for _, s := range players {
			g.lens.snapshot(g, s, false)
		}
	}
	for range 600 {
		advance(g, players, r)
		round()
	}
	if n := testing.AllocsPerRun(300, round); n > 1 { // a slice may grow to a new length now and then
		t.Errorf("a tick with %d snapshots allocates %v times", len(players), n)
	}
}
