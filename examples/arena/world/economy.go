package world

// Reservoir is the mass, in hundredths, that no entity has. Below zero nothing
// new grows but newborn cells.
func (w *World) Reservoir() int64 { return w.reservoir }

// Budget is the mass of the whole world, in hundredths.
func (w *World) Budget() int64 { return w.budget }

// settleBudget follows the number of players: at once upwards, downwards as
// far as the reservoir has it.
func (w *World) settleBudget() {
	change := int64(w.slots())*slotMass - w.budget
	if change < 0 {
		change = max(change, -max(w.reservoir, 0))
	}
	w.budget += change
	w.reservoir += change
}

// furnish grows food and spikes where they are missing, and lets heavy cells
// decay: once a second each, in turn.
func (w *World) furnish() {
	slots := w.slots()
	// A tenth of what is missing at a time, so that it does not come in one tick.
	for range (slots*slotFood - w.count[Food] + 9) / 10 {
		if w.reservoir < foodMassMax {
			break
		}
		w.feed()
	}
	if w.count[Spike] < slots/slotSpike && w.reservoir >= spikeMass {
		w.reservoir -= spikeMass
		r := radius(spikeMass)
		w.add(Entity{X: w.place(r), Y: w.place(r), Mass: spikeMass, Kind: Spike})
	}
	for id := int(w.Tick % Rate); id < len(w.Entities); id += Rate {
		if e := &w.Entities[id]; e.Kind == Cell && e.Mass > decayMassMin {
			lost := decay(e.Mass)
			e.setMass(e.Mass - lost)
			w.reservoir += int64(lost)
		}
	}
}

// decay is what a cell loses in a second: the heavier, the greater the part.
func decay(mass int32) int32 {
	m := float64(mass) / unit
	return int32(min(m*(0.004+m*0.00003), m*0.04) * unit)
}

// feed grows a piece of food.
func (w *World) feed() {
	mass := int32(1+w.random.IntN(foodMassMax/unit)) * unit
	w.reservoir -= int64(mass)
	r := radius(mass)
	w.add(Entity{X: w.place(r), Y: w.place(r), Mass: mass, Kind: Food, Hue: uint8(w.random.Uint32())})
}

// measure sums up the players after a tick.
func (w *World) measure() {
	for _, p := range w.players {
		if !p.Alive() {
			continue
		}
		var x, y, mass float64
		for _, id := range p.cells {
			e := &w.Entities[id]
			m := float64(e.Mass)
			x, y, mass = x+float64(e.X)*m, y+float64(e.Y)*m, mass+m
		}
		p.mass = int64(mass)
		p.MaxMass = max(p.MaxMass, int32(p.mass))
		p.X, p.Y = float32(x/mass), float32(y/mass)
		p.Zoom = min(zoomMax, sqrt(sqrt(sqrt(float32(mass)/birthMass))))
	}
}
