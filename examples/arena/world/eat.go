package world

// eat lets every cell eat what lies in it.
func (w *World) eat() {
	w.hungry = w.hungry[:0]
	for _, p := range w.players {
		w.hungry = append(w.hungry, p.cells...)
	}
	for _, id := range w.hungry {
		if w.Entities[id].Kind == Cell { // not eaten meanwhile
			w.eatFrom(id)
		}
	}
}

// eatFrom lets one cell eat.
func (w *World) eatFrom(id int32) {
	e := &w.Entities[id]
	x, y, r, mass := e.X, e.Y, e.R, e.Mass
	for row := w.grid.line(y - r); row <= w.grid.line(y+r); row++ {
		for _, it := range w.grid.row(row, x-r, x+r) {
			o := &w.Entities[it.id]
			if it.id == id || o.Kind == None {
				continue
			}
			reach := r - 0.4*o.R
			if dx, dy := it.x-x, it.y-y; reach <= 0 || dx*dx+dy*dy >= reach*reach {
				continue
			}
			if w.edible(e, o, mass) {
				w.swallow(id, it.id)
			}
		}
	}
}

// edible tells whether a cell that weighed mass at the start of its meal may
// eat o.
func (w *World) edible(e, o *Entity, mass int32) bool {
	switch o.Kind {
	case Food, Ejected:
		return float32(mass) >= bite*float32(o.Mass)
	case Spike:
		return mass >= burstMass
	}
	return o.Owner != e.Owner && float32(mass) >= bite*float32(o.Mass)
}

// swallow moves the mass of one entity into a cell.
func (w *World) swallow(eater, id int32) {
	e, o := &w.Entities[eater], &w.Entities[id]
	narrow := e.R <= wide
	if e.setMass(e.Mass + o.Mass); narrow && e.R > wide {
		w.grid.wide = append(w.grid.wide, eater)
	}
	if o.Kind == Spike && len(e.Owner.cells) < cellsMax {
		e.burst = true // in the next tick: the grid does not know the parts
	}
	victim := o.Owner
	w.drop(id)
	if victim != nil && !victim.Alive() {
		w.Deaths = append(w.Deaths, Death{victim, e.Owner})
	}
}
