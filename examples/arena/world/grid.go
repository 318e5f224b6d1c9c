package world

// bucket is the side of a square of the grid, in units.
const bucket = 128

// wide: circles of a larger radius are also in a list of their own, so that
// who looks for what reaches into a rectangle need look no further than this
// around it.
const wide = 64

// grid sorts the entities by where their centres are: row by row, and within
// a row bucket by bucket, so that the buckets of a rectangle that lie in one
// row are one piece of items.
type grid struct {
	n      int // buckets on a side
	starts []int32
	items  []item
	at     []int32 // scratch: the bucket of each entity
	wide   []int32
}

type item struct {
	x, y float32
	id   int32
}

// build sorts anew, by counting.
func (g *grid) build(w *World) {
	g.n = int(w.Size)/bucket + 1
	if cells := g.n*g.n + 1; cap(g.starts) < cells {
		g.starts = make([]int32, cells)
	} else {
		g.starts = g.starts[:cells]
		clear(g.starts)
	}
	if n := len(w.Entities); cap(g.at) < n {
		g.at = make([]int32, n, n+n/4)
		g.items = make([]item, n, n+n/4)
	}
	g.at, g.wide = g.at[:len(w.Entities)], g.wide[:0]
	total := int32(0)
	for id := range w.Entities {
		e := &w.Entities[id]
		if e.Kind == None || id == 0 {
			continue
		}
		b := int32(g.line(e.Y)*g.n + g.line(e.X))
		g.at[id] = b
		g.starts[b]++
		total++
		if e.R > wide {
			g.wide = append(g.wide, int32(id))
		}
	}
	sum := int32(0)
	for b, n := range g.starts { // from here to the end of its bucket, filled backwards
		sum += n
		g.starts[b] = sum
	}
	g.items = g.items[:total]
	for id := len(w.Entities) - 1; id > 0; id-- {
		if e := &w.Entities[id]; e.Kind != None {
			b := g.at[id]
			g.starts[b]--
			g.items[g.starts[b]] = item{e.X, e.Y, int32(id)}
		}
	}
}

// line is the row or column of a coordinate.
func (g *grid) line(v float32) int { return max(min(int(v)/bucket, g.n-1), 0) }

// row is the part of a row of buckets from x0 to x1.
func (g *grid) row(row int, x0, x1 float32) []item {
	first := row * g.n
	return g.items[g.starts[first+g.line(x0)]:g.starts[first+g.line(x1)+1]]
}
