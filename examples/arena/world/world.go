// Package world is the arena's simulation: cells that eat, grow and split. It
// is pure: no clock, no network, no goroutine. The same seed and the same calls
// give the same world, tick by tick.
//
// Mass is counted in hundredths, in integers, and neither made nor lost but by
// the budget: what all entities have and what lies in the reservoir is the
// budget, always. Food, spikes and newborn cells come from the reservoir; what
// decays or vanishes returns to it.
package world

import (
	"math"
	"math/rand/v2"
)

// Rate is how many ticks make a second.
const Rate = 30

// The rules. Masses are in hundredths, lengths in units, speeds in units a
// second.
const (
	unit = 100 // of mass

	birthMass = 10 * unit
	slotMass  = 140 * unit // of the budget, for each player
	slotArea  = 600_000.0  // square units of the world for each player
	slotFood  = 6          // pieces of food for each player
	slotSpike = 8          // players for each spike

	foodMassMax   = 3 * unit
	spikeMass     = 60 * unit
	burstMass     = 80 * unit // of a cell that a spike can burst
	splitMass     = 40 * unit
	ejectMassMin  = 30 * unit
	ejectMass     = 6 * unit
	ejectInterval = Rate / 8 // ticks
	ejectedMax    = 4        // blobs for each player
	decayMassMin  = 20 * unit

	cellsMax   = 8 // of a player
	mergeAfter = 12 * Rate

	speedFactor = 600
	splitBoost  = 700
	ejectBoost  = 900
	boostKept   = 0.9 // of its boost, from tick to tick
	bite        = 1.2 // how much heavier than its prey a cell must be
)

// World is the state of the game. It is for one goroutine.
type World struct {
	Tick uint32
	Size float32 // units on a side; changes while players come and go

	// Entities by id. Those with Kind None are free; 0 is no entity.
	Entities []Entity

	// Deaths are the players whose last cell was eaten in this tick.
	Deaths []Death

	random    *rand.Rand
	free      []int32 // ids
	grid      grid
	players   []*Player // in order of joining, until they leave
	npcs      int
	lastID    uint32
	slotsMin  int
	budget    int64
	reservoir int64
	count     [kinds]int
	seen      []candidate // scratch of Visible
	hungry    []int32     // scratch of eat
	looked    []int32     // scratch of look
}

// Death is the end of a player's last cell.
type Death struct{ Victim, By *Player }

// New makes a world in which at least npcs players move: who is missing is
// played by the world itself. It is furnished for as many.
func New(seed uint64, npcs int) *World {
	w := &World{random: rand.New(rand.NewPCG(seed, 0x6172656e61)), slotsMin: max(npcs, 16), npcs: npcs, Entities: make([]Entity, 1)}
	w.Size = w.wanted()
	w.settleBudget()
	for range w.slots() * slotFood {
		w.feed()
	}
	w.grid.build(w)
	w.crowd()
	return w
}

// Step is one tick.
func (w *World) Step() {
	w.Tick++
	w.Deaths = w.Deaths[:0]
	if w.Tick%Rate == 0 {
		w.shrink()
		w.settleBudget()
		w.crowd()
	}
	for _, p := range w.players {
		if p.npc {
			w.think(p)
		}
		w.act(p)
	}
	w.move()
	w.furnish()
	w.grid.build(w)
	w.eat()
	w.measure()
}

// Players returns all players, in the order of their joining, the world's own
// included. The slice is the world's.
func (w *World) Players() []*Player { return w.players }

// NPCs is how many of the players the world plays itself.
func (w *World) NPCs() (n int) {
	for _, p := range w.players {
		if p.npc {
			n++
		}
	}
	return n
}

// Count is how many entities there are.
func (w *World) Count() (n int) {
	for _, c := range w.count {
		n += c
	}
	return n
}

// slots is for how many players the world is furnished.
func (w *World) slots() int { return max(len(w.players), w.slotsMin) }

// wanted is the size for as many players as there are.
func (w *World) wanted() float32 {
	return float32(math.Sqrt(float64(w.slots()) * slotArea))
}

// grow makes room, by more than is needed now, so that it need not be often.
func (w *World) grow() {
	if want := w.wanted(); want > w.Size {
		w.Size = float32(math.Ceil(float64(want) * 1.1))
	}
}

// shrink takes a fiftieth off a world that is too large: its walls push what
// they meet.
func (w *World) shrink() {
	if w.wanted()*1.3 >= w.Size {
		return
	}
	w.Size = float32(math.Floor(float64(w.Size) * 0.98))
	for id := range w.Entities {
		e := &w.Entities[id]
		if e.Kind != None && e.Kind != Cell && (e.X+e.R > w.Size || e.Y+e.R > w.Size) {
			w.remove(int32(id))
		}
	}
}
