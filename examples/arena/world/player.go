package world

import "math"

// Player is who owns cells. Its methods are the world's.
type Player struct {
	ID   uint32
	Name string
	Hue  uint8

	// Idle: nobody steers; its cells stay where they are.
	Idle bool

	// Ack is the number of the last intent that a tick carried out.
	Ack uint32

	// X, Y and Zoom are what the player looks at: the middle of its cells, and
	// how far around it. They stay when it has died.
	X, Y, Zoom float32

	MaxMass int32  // the most it had since its birth, in hundredths
	Born    uint32 // tick

	cells   []int32
	mass    int64
	intent  Intent
	lastX   float32 // the last direction that was one
	lastY   float32
	ejected uint32 // tick of the last eject
	npc     bool
}

// Intent is what a player wants.
type Intent struct {
	Seq    uint32
	DX, DY float32 // of any length: it is clamped to 1; NaN and infinity are 0
	Split  bool
	Eject  bool
}

// NPC tells that the world plays this player itself.
func (p *Player) NPC() bool { return p.npc }

// Alive tells that it has a cell.
func (p *Player) Alive() bool { return len(p.cells) > 0 }

// Mass is that of all its cells, in hundredths.
func (p *Player) Mass() int64 { return p.mass }

// Cells are the ids of its cells. The slice is the player's.
func (p *Player) Cells() []int32 { return p.cells }

// Join makes a player and gives it a cell.
func (w *World) Join(name string) *Player {
	w.lastID++
	p := &Player{ID: w.lastID, Name: name, Hue: uint8(w.random.Uint32()), lastX: 1}
	w.players = append(w.players, p)
	w.grow()
	w.Spawn(p)
	return p
}

// Spawn gives a player without a cell a new one, in the quietest of a few
// places.
func (w *World) Spawn(p *Player) {
	if p.Alive() {
		return
	}
	r := radius(birthMass)
	for try, least := 0, 0; try < 8; try++ {
		x, y := w.place(r), w.place(r)
		if near := w.company(x, y); try == 0 || near < least {
			p.X, p.Y, least = x, y, near
		}
	}
	w.reservoir -= birthMass
	p.intent, p.MaxMass, p.Born, p.mass = Intent{Seq: p.intent.Seq}, birthMass, w.Tick, birthMass
	p.Zoom = 1
	p.cells = append(p.cells, w.add(Entity{X: p.X, Y: p.Y, Mass: birthMass, Kind: Cell, Owner: p, Hue: p.Hue}))
}

// place is a coordinate of chance for a circle.
func (w *World) place(r float32) float32 { return r + w.random.Float32()*(w.Size-2*r) }

// company is how many cells are around a place; those who could eat a newborn
// one at once count most.
func (w *World) company(x, y float32) (n int) {
	const around, near = Sight, 300
	for row := w.grid.line(y - around); row <= w.grid.line(y+around); row++ {
		for _, it := range w.grid.row(row, x-around, x+around) {
			e := &w.Entities[it.id]
			switch {
			case e.Kind != Cell:
			case e.Mass > birthMass && max(it.x-x, x-it.x, it.y-y, y-it.y) < near+e.R:
				n += 10
			default:
				n++
			}
		}
	}
	return n
}

// Leave takes a player out of the world. Its mass returns to the reservoir, to
// come again as food.
func (w *World) Leave(p *Player) {
	for p.Alive() {
		w.remove(p.cells[0])
	}
	for i, q := range w.players {
		if q == p {
			w.players = append(w.players[:i], w.players[i+1:]...)
			return
		}
	}
}

// Steer notes what a player wants from the next tick on. The latest intent
// counts; a split or an eject is not forgotten until it is carried out.
func (w *World) Steer(p *Player, in Intent) {
	if !p.Idle {
		in.Split = in.Split || p.intent.Split
		in.Eject = in.Eject || p.intent.Eject
	}
	if in.DX, in.DY = direction(in.DX, in.DY); in.DX != 0 || in.DY != 0 {
		p.lastX, p.lastY = in.DX, in.DY
	}
	p.intent = in
}

// Finite tells that a vector is one: see Intent.
func Finite(x, y float32) bool {
	sum := float64(x) - float64(y)
	return !math.IsNaN(sum) && !math.IsInf(sum, 0)
}

// direction clamps a vector to the length 1.
func direction(x, y float32) (float32, float32) {
	if !Finite(x, y) {
		return 0, 0
	}
	if d := math.Hypot(float64(x), float64(y)); d > 1 {
		return float32(float64(x) / d), float32(float64(y) / d)
	}
	return x, y
}

// lose takes a cell off its player.
func (p *Player) lose(id int32) {
	for i, c := range p.cells {
		if c == id {
			p.cells = append(p.cells[:i], p.cells[i+1:]...)
			return
		}
	}
}

// act carries out what a player wants, but for its moving.
func (w *World) act(p *Player) {
	in := &p.intent
	p.Ack = in.Seq
	for i := len(p.cells) - 1; i >= 0; i-- {
		if id := p.cells[i]; w.Entities[id].burst {
			w.burst(p, id)
		}
	}
	if p.Idle {
		return
	}
	if in.Split {
		in.Split = false
		for i := len(p.cells) - 1; i >= 0; i-- {
			w.split(p, p.cells[i], p.lastX, p.lastY)
		}
	}
	if in.Eject && w.Tick-p.ejected >= ejectInterval {
		in.Eject = false
		p.ejected = w.Tick
		for _, id := range p.cells {
			w.eject(p, id)
		}
	}
}

// split halves a cell; the new half flies off.
func (w *World) split(p *Player, id int32, dx, dy float32) {
	e := &w.Entities[id]
	if e.Mass < splitMass || len(p.cells) >= cellsMax {
		return
	}
	half := e.Mass / 2
	w.divide(p, id, half, dx, dy)
}

// divide takes mass off a cell and makes another of it.
func (w *World) divide(p *Player, id, mass int32, dx, dy float32) {
	e := &w.Entities[id]
	e.setMass(e.Mass - mass)
	e.Merge = w.Tick + mergeAfter
	part := Entity{X: e.X, Y: e.Y, VX: dx * splitBoost, VY: dy * splitBoost, Mass: mass, Merge: e.Merge, Owner: p, Kind: Cell, Hue: p.Hue}
	p.cells = append(p.cells, w.add(part))
}

// burst breaks a cell that touched a spike into as many as it may be.
func (w *World) burst(p *Player, id int32) {
	w.Entities[id].burst = false
	parts := int32(cellsMax - len(p.cells) + 1)
	share := w.Entities[id].Mass / parts
	turn := w.random.Float64() * 2 * math.Pi
	for i := int32(1); i < parts; i++ {
		a := turn + 2*math.Pi*float64(i)/float64(parts)
		w.divide(p, id, share, float32(math.Cos(a)), float32(math.Sin(a)))
	}
}

// eject throws a piece of a cell ahead.
func (w *World) eject(p *Player, id int32) {
	e := &w.Entities[id]
	if e.Mass < ejectMassMin || w.count[Ejected] >= ejectedMax*w.slots() {
		return
	}
	e.setMass(e.Mass - ejectMass)
	length := max(float32(math.Hypot(float64(p.lastX), float64(p.lastY))), 0.001)
	dx, dy := p.lastX/length, p.lastY/length
	r := radius(ejectMass)
	w.add(Entity{
		X: w.within(e.X+dx*(e.R+r), r), Y: w.within(e.Y+dy*(e.R+r), r),
		VX: dx * ejectBoost, VY: dy * ejectBoost, Mass: ejectMass, Kind: Ejected, Hue: p.Hue,
	})
}
