package main

import (
	"cmp"
	"math"
	"slices"

	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/examples/arena/world"
)

const (
	leadersMax = 10
	dotsMax    = 40
)

// board is the leaderboard and the minimap. What is the same for all is made
// once a second.
type board struct {
	order   []*world.Player // those alive, the heaviest first
	rank    map[uint32]uint16
	players uint16
	leaders []byte
	dots    []byte
	out     []byte
}

func (b *board) draw(w *world.World) {
	b.order = b.order[:0]
	for _, p := range w.Players() {
		if p.Alive() {
			b.order = append(b.order, p)
		}
	}
	slices.SortStableFunc(b.order, func(a, b *world.Player) int { return cmp.Compare(b.Mass(), a.Mass()) })
	if b.rank == nil {
		b.rank = map[uint32]uint16{}
	}
	clear(b.rank)
	var leaders []wire.Leader
	var dots []wire.Dot
	scale := math.MaxUint8 / w.Size
	for i, p := range b.order {
		b.rank[p.ID] = uint16(min(i+1, math.MaxUint16))
		if i < leadersMax {
			leaders = append(leaders, wire.Leader{Player: p.ID, Mass: uint32(p.Mass() / 100), Name: p.Name})
		}
		if i < dotsMax {
			size := min(math.Sqrt(float64(p.Mass())/100), math.MaxUint8)
			dots = append(dots, wire.Dot{X: uint8(p.X * scale), Y: uint8(p.Y * scale), Size: uint8(size)})
		}
	}
	b.players = uint16(min(len(w.Players()), math.MaxUint16))
	b.leaders = wire.AppendLeaders(b.leaders[:0], b.players, leaders)
	b.dots = wire.AppendDots(b.dots[:0], dots)
}

// of is the board for one player, valid until the next call.
func (b *board) of(p *world.Player) []byte {
	mass := int64(0)
	if p.Alive() {
		mass = p.Mass()
	}
	b.out = wire.AppendStanding(append(b.out[:0], b.leaders...), b.rank[p.ID], uint32(mass/100))
	b.out = append(b.out, b.dots...)
	return b.out
}
