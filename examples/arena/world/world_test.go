package world

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// crowded makes a world with players that do as chance wills: they come, go,
// fall silent, steer, split and eject.
type crowded struct {
	w    *World
	r    *rand.Rand
	mine []*Player
	most int
}

func newCrowded(seed uint64, players, npcs int) *crowded {
	return &crowded{w: New(seed, npcs), r: rand.New(rand.NewPCG(seed, 1)), most: players}
}

func (c *crowded) step() {
	for range c.r.IntN(3) {
		switch n := len(c.mine); {
		case n < c.most && c.r.IntN(4) > 0:
			c.mine = append(c.mine, c.w.Join(fmt.Sprint("p", n)))
		case n > 0 && c.r.IntN(20) == 0:
			i := c.r.IntN(n)
			c.w.Leave(c.mine[i])
			c.mine = slices.Delete(c.mine, i, i+1)
		case n > 0:
			p := c.mine[c.r.IntN(n)]
			p.Idle = c.r.IntN(4) == 0
			c.w.Spawn(p)
		}
	}
	for range len(c.mine) / 4 {
		p := c.mine[c.r.IntN(len(c.mine))]
		a := c.r.Float64() * 2 * math.Pi
		in := Intent{Seq: p.intent.Seq + 1, DX: float32(3 * math.Cos(a)), DY: float32(3 * math.Sin(a)), Split: c.r.IntN(10) == 0, Eject: c.r.IntN(10) == 0}
		switch c.r.IntN(20) {
		case 0:
			in.DX = float32(math.NaN())
		case 1:
			in.DY = float32(math.Inf(-1))
		case 2:
			in.DX = math.MaxFloat32
		}
		c.w.Steer(p, in)
	}
	c.w.Step()
}

// check demands what must hold after every tick.
func check(t *testing.T, w *World) {
	t.Helper()
	mass, count := w.reservoir, 0
	owned := map[int32]*Player{}
	for _, p := range w.players {
		sum := int64(0)
		for _, id := range p.cells {
			owned[id] = p
			sum += int64(w.Entities[id].Mass)
		}
		if p.Alive() && p.mass != sum {
			t.Fatalf("tick %d: player %d has a mass of %d in its cells and %d in its account", w.Tick, p.ID, sum, p.mass)
		}
		if len(p.cells) > cellsMax {
			t.Fatalf("tick %d: player %d has %d cells", w.Tick, p.ID, len(p.cells))
		}
	}
	for id := range w.Entities[1:] {
		id := int32(id + 1)
		e := &w.Entities[id]
		if (e.Kind == Cell) != (owned[id] != nil) || e.Owner != owned[id] {
			t.Fatalf("tick %d: entity %d is of kind %d and owned by %v", w.Tick, id, e.Kind, owned[id])
		}
		if e.Kind == None {
			continue
		}
		count++
		mass += int64(e.Mass)
		if e.Mass < unit || math.Abs(float64(e.R-4*sqrt(float32(e.Mass)/100))) > 0.01 {
			t.Fatalf("tick %d: %+v", w.Tick, e)
		}
		// A cell that has just grown reaches into the wall until it moves.
		const grown = 60
		if !(e.X >= 0 && e.X <= w.Size && e.Y >= 0 && e.Y <= w.Size) ||
			!(e.X-e.R > -grown && e.X+e.R < w.Size+grown && e.Y-e.R > -grown && e.Y+e.R < w.Size+grown) {
			t.Fatalf("tick %d: outside of %v: %+v", w.Tick, w.Size, e)
		}
	}
	if mass != w.budget {
		t.Fatalf("tick %d: the mass is %d, the budget %d", w.Tick, mass, w.budget)
	}
	if count != w.Count() {
		t.Fatalf("tick %d: %d entities, counted as %d", w.Tick, count, w.Count())
	}
}

// bruteVisible is Visible by looking at everything.
func bruteVisible(w *World, p *Player) (ids []int32) {
	var seen []candidate
	for id := range w.Entities[1:] {
		id := int32(id + 1)
		e := &w.Entities[id]
		half := Sight*p.Zoom + e.R
		if e.Kind != None && math.Abs(float64(e.X-p.X)) < float64(half) && math.Abs(float64(e.Y-p.Y)) < float64(half) {
			d := (e.X-p.X)*(e.X-p.X) + (e.Y-p.Y)*(e.Y-p.Y)
			if e.Kind != Food { // a quarter as far
				d /= 16
			}
			if e.Owner == p {
				d = -1
			}
			seen = append(seen, candidate{id, d})
		}
	}
	slices.SortFunc(seen, func(a, b candidate) int {
		if a.rank != b.rank {
			return map[bool]int{true: -1, false: 1}[a.rank < b.rank]
		}
		return int(a.id - b.id)
	})
	for _, c := range seen[:min(len(seen), VisibleMax)] {
		ids = append(ids, c.id)
	}
	slices.Sort(ids)
	return ids
}

func checkVisible(t *testing.T, w *World, p *Player) (n int) {
	t.Helper()
	got := w.Visible(p, nil)
	slices.Sort(got)
	if want := bruteVisible(w, p); !slices.Equal(got, want) {
		t.Fatalf("tick %d: player %d at %v,%v sees %v, want %v", w.Tick, p.ID, p.X, p.Y, got, want)
	}
	return len(got)
}

// TestVisibleMax: in a crowd a player sees the nearest, and all of itself.
func TestVisibleMax(t *testing.T) {
	w := New(3, 0)
	for i := range 200 {
		w.Join(fmt.Sprint(i))
	}
	for id := range w.Entities { // into one corner
		e := &w.Entities[id]
		e.X, e.Y = e.X/8, e.Y/8
	}
	w.Step()
	full := 0
	for _, p := range w.players {
		if checkVisible(t, w, p) == VisibleMax {
			full++
		}
	}
	// A player in two far parts sees both, though much food is nearer.
	p := w.players[0]
	w.Entities[p.cells[0]].setMass(splitMass)
	w.divide(p, p.cells[0], splitMass/2, 0, 0)
	far := &w.Entities[p.cells[1]]
	p.X, p.Y = w.Size/16, w.Size/16
	w.Entities[p.cells[0]].X, w.Entities[p.cells[0]].Y = p.X, p.Y
	far.X, far.Y = p.X+Sight-50, p.Y
	w.grid.build(w)
	seen := w.Visible(p, nil)
	if n := checkVisible(t, w, p); n != VisibleMax || !slices.Contains(seen, p.cells[0]) || !slices.Contains(seen, p.cells[1]) {
		t.Errorf("of %v it sees %v", p.cells, seen)
	}
	if full < 50 {
		t.Errorf("%d of 200 views are full", full)
	}
}

// TestInvariants plays games of chance and checks every tick.
func TestInvariants(t *testing.T) {
	deaths, split, wides := 0, 0, 0
	for seed := range uint64(4) {
		c := newCrowded(seed, 40, int(seed)*10)
		for range 2000 {
			c.step()
			check(t, c.w)
			deaths += len(c.w.Deaths)
			for _, d := range c.w.Deaths {
				if d.Victim.Alive() || d.By == d.Victim {
					t.Fatalf("tick %d: %+v died by %+v", c.w.Tick, d.Victim, d.By)
				}
			}
			for i, p := range c.w.players {
				if (int(c.w.Tick)+i)%10 > 0 {
					continue
				}
				checkVisible(t, c.w, p)
				if len(p.cells) > 1 {
					split++
				}
			}
			wides += len(c.w.grid.wide)
		}
	}
	t.Logf("%d deaths, %d views of split players, %d wide entities", deaths, split, wides)
	if deaths < 100 || split < 100 || wides < 100 {
		t.Error("too little happened to mean anything")
	}
}

// TestSplit: the halves fly apart, stay two for their time, whatever they weigh,
// and become one again.
func TestSplit(t *testing.T) {
	w := New(1, 0)
	p := w.Join("Ada")
	for id := range w.Entities[1:] { // nothing to eat, nothing to meet
		if w.Entities[id+1].Kind != Cell {
			w.remove(int32(id + 1))
		}
	}
	e := &w.Entities[p.cells[0]]
	e.setMass(10 * birthMass)
	w.reservoir = -1 // nothing grows
	e.X, e.Y = w.Size/2, w.Size/2
	w.Steer(p, Intent{Split: true})
	w.Step()
	if len(p.cells) != 2 {
		t.Fatalf("%d cells after a split", len(p.cells))
	}
	heavy, light := &w.Entities[p.cells[0]], &w.Entities[p.cells[1]]
	heavy.setMass(heavy.Mass + 3000)
	light.setMass(light.Mass - 3000)
	apart := float32(0)
	for i := range mergeAfter - 1 {
		if i == mergeAfter/2 { // one in the other
			w.Entities[p.cells[1]].X = w.Entities[p.cells[0]].X + 1
		}
		w.Step()
		if len(p.cells) != 2 {
			t.Fatalf("%d cells at tick %d", len(p.cells), w.Tick)
		}
		apart = max(apart, w.Entities[p.cells[1]].X-w.Entities[p.cells[0]].X)
	}
	if apart < 150 {
		t.Errorf("the halves were %v apart at most", apart)
	}
	for range 5 * Rate {
		w.Step()
	}
	if len(p.cells) != 1 {
		t.Errorf("%d cells after their time", len(p.cells))
	}
}

// TestDeterministic: the same seed and the same calls, the same world.
func TestDeterministic(t *testing.T) {
	a, b, other := newCrowded(7, 30, 20), newCrowded(7, 30, 20), newCrowded(8, 30, 20)
	differed := false
	for range 1500 {
		a.step()
		b.step()
		other.step()
		if len(a.w.Entities) != len(b.w.Entities) || a.w.reservoir != b.w.reservoir {
			t.Fatalf("tick %d: the worlds differ", a.w.Tick)
		}
		for id := range a.w.Entities {
			x, y := a.w.Entities[id], b.w.Entities[id]
			if x.Owner, y.Owner = nil, nil; x != y {
				t.Fatalf("tick %d: entity %d is %+v here and %+v there", a.w.Tick, id, x, y)
			}
		}
		differed = differed || a.w.reservoir != other.w.reservoir
	}
	if !differed {
		t.Error("another seed made the same world")
	}
}

// BenchmarkStep is a tick of a full world.
func BenchmarkStep(b *testing.B) {
	w := New(1, 1000)
	for range 600 {
		w.Step()
	}
	seen, n := 0, 0
	var ids []int32
	for b.Loop() {
		w.Step()
		for _, p := range w.players {
			ids = w.Visible(p, ids[:0])
			seen, n = seen+len(ids), n+1
		}
	}
	b.ReportMetric(float64(seen)/float64(n), "visible/player")
}
