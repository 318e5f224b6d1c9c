package world

import "math"

const dt = 1.0 / Rate

// move moves everything by one tick.
func (w *World) move() {
	for _, p := range w.players {
		w.drive(p)
		if len(p.cells) > 1 {
			w.gather(p)
		}
	}
	for id := range w.Entities {
		switch e := &w.Entities[id]; {
		case e.Kind == Ejected && (e.VX != 0 || e.VY != 0):
			w.coast(e)
			e.X, e.Y = w.within(e.X, e.R), w.within(e.Y, e.R)
		case e.Kind == Cell: // the walls are last: nothing pushes through them
			e.X, e.Y = w.within(e.X, e.R), w.within(e.Y, e.R)
		}
	}
}

// drive moves the cells of a player as it wants.
func (w *World) drive(p *Player) {
	dx, dy := p.intent.DX, p.intent.DY
	if p.Idle {
		dx, dy = 0, 0
	}
	for _, id := range p.cells {
		e := &w.Entities[id]
		v := speed(e.Mass) * dt
		e.X += dx * v
		e.Y += dy * v
		if e.VX != 0 || e.VY != 0 {
			w.coast(e)
		}
	}
}

// coast moves by the boost, which fades.
func (w *World) coast(e *Entity) {
	e.X += e.VX * dt
	e.Y += e.VY * dt
	if e.VX, e.VY = e.VX*boostKept, e.VY*boostKept; e.VX*e.VX+e.VY*e.VY < 100 {
		e.VX, e.VY = 0, 0
	}
}

// gather lets the cells of one player merge, or attract or push one another.
func (w *World) gather(p *Player) {
	for i := 0; i < len(p.cells); i++ {
		for j := i + 1; j < len(p.cells); j++ {
			a, b := &w.Entities[p.cells[i]], &w.Entities[p.cells[j]]
			dx, dy := b.X-a.X, b.Y-a.Y
			d := float32(math.Hypot(float64(dx), float64(dy)))
			free := w.Tick >= a.Merge && w.Tick >= b.Merge
			switch {
			case free && d < max(a.R, b.R):
				a.setMass(a.Mass + b.Mass)
				w.drop(p.cells[j])
				j--
			case free: // towards each other, whatever is wanted
				pull := 60 * dt / d
				a.X, a.Y, b.X, b.Y = a.X+dx*pull, a.Y+dy*pull, b.X-dx*pull, b.Y-dy*pull
			case d < a.R+b.R && a.VX == 0 && a.VY == 0 && b.VX == 0 && b.VY == 0:
				if d < 0.01 {
					dx, dy, d = 1, 0, 1
				}
				push := min((a.R+b.R-d)/2, 300*dt) / d
				a.X, a.Y, b.X, b.Y = a.X-dx*push, a.Y-dy*push, b.X+dx*push, b.Y+dy*push
			}
		}
	}
}
