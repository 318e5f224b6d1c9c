package world

import (
	"cmp"
	"slices"
)

const (
	// Sight is half the side of the square that a newborn player sees.
	Sight   = 700
	zoomMax = 2.2

	// VisibleMax bounds what one player sees.
	VisibleMax = 72
)

// candidate is an entity that may be seen, and how much it matters: the square
// of its distance, less for cells.
type candidate struct {
	id   int32
	rank float32
}

// Visible appends the ids of what a player sees to dst, in no order: the
// entities of which a part is in the square around its middle, at most
// VisibleMax, the nearest first and cells before food. It is for the time
// between two ticks.
func (w *World) Visible(p *Player, dst []int32) []int32 {
	half := Sight * p.Zoom
	begin := len(dst)
	reach := half + wide
	for row := w.grid.line(p.Y - reach); row <= w.grid.line(p.Y+reach); row++ {
		for _, it := range w.grid.row(row, p.X-reach, p.X+reach) {
			if e := &w.Entities[it.id]; e.Kind != None && e.R <= wide && sees(p, half, e) {
				dst = append(dst, it.id)
			}
		}
	}
	for _, id := range w.grid.wide {
		if e := &w.Entities[id]; e.Kind != None && e.R > wide && sees(p, half, e) {
			dst = append(dst, id)
		}
	}
	if len(dst)-begin > VisibleMax {
		dst = w.nearest(p, dst, begin)
	}
	return dst
}

func sees(p *Player, half float32, e *Entity) bool {
	half += e.R
	dx, dy := e.X-p.X, e.Y-p.Y
	return dx < half && dx > -half && dy < half && dy > -half
}

// nearest keeps VisibleMax of what is behind begin.
func (w *World) nearest(p *Player, dst []int32, begin int) []int32 {
	w.seen = w.seen[:0]
	for _, id := range dst[begin:] {
		w.seen = append(w.seen, candidate{id, w.rank(p, id)})
	}
	slices.SortFunc(w.seen, func(a, b candidate) int {
		if c := cmp.Compare(a.rank, b.rank); c != 0 {
			return c
		}
		return cmp.Compare(a.id, b.id)
	})
	dst = dst[:begin]
	for _, c := range w.seen[:VisibleMax] {
		dst = append(dst, c.id)
	}
	return dst
}

func (w *World) rank(p *Player, id int32) float32 {
	e := &w.Entities[id]
	dx, dy := e.X-p.X, e.Y-p.Y
	switch d := dx*dx + dy*dy; {
	case e.Owner == p:
		return -1
	case e.Kind == Food:
		return d
	default:
		return d / 16
	}
}
