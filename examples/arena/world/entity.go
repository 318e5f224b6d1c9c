package world

import "math"

// Kind tells entities apart. The values are those of the wire, but for None.
type Kind uint8

// The kinds.
const (
	Food Kind = iota
	Cell
	Ejected
	Spike
	None // a free id
	kinds
)

// Entity is a circle in the world.
type Entity struct {
	X, Y, R float32
	VX, VY  float32 // what a split or an eject gave it; it fades
	Mass    int32   // in hundredths
	Merge   uint32  // the tick from which a cell merges with others of its player
	Owner   *Player // of a cell
	Kind    Kind
	Hue     uint8
	Gen     uint8 // counts who had this id
	burst   bool  // touched a spike
}

// add makes an entity whose mass the caller took from somewhere.
func (w *World) add(e Entity) int32 {
	e.R = radius(e.Mass)
	w.count[e.Kind]++
	if n := len(w.free); n > 0 {
		id := w.free[n-1]
		w.free = w.free[:n-1]
		e.Gen = w.Entities[id].Gen + 1
		w.Entities[id] = e
		return id
	}
	w.Entities = append(w.Entities, e)
	return int32(len(w.Entities) - 1)
}

// remove gives the mass of an entity back to the reservoir.
func (w *World) remove(id int32) {
	w.reservoir += int64(w.Entities[id].Mass)
	w.drop(id)
}

// drop frees an id; its mass is somebody else's already.
func (w *World) drop(id int32) {
	e := &w.Entities[id]
	w.count[e.Kind]--
	if p := e.Owner; p != nil {
		p.lose(id)
	}
	*e = Entity{Kind: None, Gen: e.Gen}
	w.free = append(w.free, id)
}

// setMass changes mass and radius together.
func (e *Entity) setMass(m int32) { e.Mass, e.R = m, radius(m) }

func radius(mass int32) float32 { return 0.4 * sqrt(float32(mass)) }

// speed is how fast a cell goes at full throttle.
func speed(mass int32) float32 {
	return speedFactor / sqrt(sqrt(float32(mass)/unit))
}

func sqrt(v float32) float32 { return float32(math.Sqrt(float64(v))) }

func clamp(v, low, high float32) float32 { return max(min(v, high), low) }

// within keeps a circle inside the walls; one that has no room is in the middle.
func (w *World) within(v, r float32) float32 {
	if 2*r > w.Size {
		return w.Size / 2
	}
	return clamp(v, r, w.Size-r)
}
