package world

import "math"

// thinkEvery is how many ticks lie between two thoughts of an npc.
const thinkEvery = 6

var npcNames = []string{
	"Alba", "Bruno", "Cleo", "Dario", "Edda", "Fritz", "Gala", "Hugo", "Ilse", "Juno", "Kiki", "Leif", "Mila", "Nino",
	"Otto", "Pia", "Quinn", "Rosa", "Sven", "Tilda", "Uwe", "Vera", "Wim", "Xenia", "Yuri", "Zoe",
}

// crowd keeps as many npcs as players are missing. One too many leaves when it
// has died; a dead one that is wanted lives again.
func (w *World) crowd() {
	spare := len(w.players) - w.npcs
	for i := len(w.players) - 1; i >= 0; i-- {
		p := w.players[i]
		switch {
		case !p.npc || p.Alive():
		case spare > 0:
			w.Leave(p)
			spare--
		default:
			w.Spawn(p)
		}
	}
	for ; spare < 0; spare++ {
		w.Join(npcNames[w.random.IntN(len(npcNames))]).npc = true
	}
}

// think decides where an npc goes: away from who can eat it, else after whom
// it can eat, else to food.
func (w *World) think(p *Player) {
	if !p.Alive() || (w.Tick+p.ID)%thinkEvery != 0 {
		return
	}
	own := &w.Entities[p.cells[0]]
	for _, id := range p.cells {
		if w.Entities[id].Mass > own.Mass {
			own = &w.Entities[id]
		}
	}
	var dx, dy float64
	best, split := math.Inf(1), false
	w.look(p, func(e *Entity) {
		x, y := float64(e.X-own.X), float64(e.Y-own.Y)
		d := math.Hypot(x, y) + 1
		switch {
		case e.Kind == Cell && e.Mass > own.Mass*5/4 && d < 500+float64(e.R):
			flee := 200 * 200 / (d * d)
			if best > -1 { // the first danger: forget all prey
				best, dx, dy, split = -1, 0, 0, false
			}
			dx, dy = dx-x/d*flee, dy-y/d*flee
		case best < 0:
		case e.Kind == Cell && own.Mass > e.Mass*5/4 && d/4 < best:
			best, dx, dy = d/4, x, y
			split = own.Mass > e.Mass*3 && own.Mass > 2*splitMass && d < 250 && len(p.cells) == 1
		case (e.Kind == Food || e.Kind == Ejected) && d < best:
			best, dx, dy, split = d, x, y, false
		}
	})
	if dx == 0 && dy == 0 { // nothing in sight: to the middle
		dx, dy = float64(w.Size/2-own.X), float64(w.Size/2-own.Y)
	}
	d := math.Hypot(dx, dy) + 1e-9
	w.Steer(p, Intent{DX: float32(dx / d), DY: float32(dy / d), Split: split && w.random.IntN(8) == 0})
}

// look calls f for what an npc sees and does not own.
func (w *World) look(p *Player, f func(*Entity)) {
	w.looked = w.Visible(p, w.looked[:0])
	for _, id := range w.looked {
		if e := &w.Entities[id]; e.Owner != p {
			f(e)
		}
	}
}
