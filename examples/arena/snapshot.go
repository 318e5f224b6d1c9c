package main

import (
	"math"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/examples/arena/world"
)

// sight is what a player was sent last.
type sight struct {
	known   []known
	tick    uint32 // of the last snapshot
	whole   uint32 // tick of the next keyframe that comes for no other reason
	forced  bool   // the next is a keyframe
	dropped uint64 // of this connection
	before  uint64 // of the connections before
}

// known is an entity as a player knows it.
type known struct {
	id   int32
	look look
}

// look is an entity on the wire; gen tells who had the id.
type look struct {
	x, y, r uint16
	gen     uint8
	kind    world.Kind
}

// begin starts anew for another connection.
func (s *sight) begin() { s.known, s.dropped, s.forced = s.known[:0], 0, true }

// force makes the next snapshot a keyframe.
func (s *sight) force() { s.forced = true }

// drops counts the snapshots that never left, and returns how many are new.
// Nothing else that is sent to a player may be dropped.
func (s *sight) drops(c *engine.Conn) uint64 {
	stats := c.Stats()
	n := stats.Dropped + stats.Replaced
	fresh := n - s.dropped
	s.dropped = n
	return fresh
}

// leave is told that the connection is the player's no longer.
func (s *sight) leave(c *engine.Conn) uint64 {
	fresh := s.drops(c)
	s.before, s.dropped = s.before+s.dropped, 0
	return fresh
}

// lens makes snapshots. Its memory is used again for each, so that they
// allocate nothing.
type lens struct {
	looks   []look  // of this tick, by entity
	at      []int16 // by entity: 1 + its place in the sight at hand, while that is compared
	visible []int32
	changed []byte
	out     []byte
	count   uint32
}

// focus quantises the world, once for all players.
func (l *lens) focus(g *game) {
	entities := g.world.Entities
	if n := len(entities); n > len(l.at) {
		l.at = append(l.at, make([]int16, n-len(l.at))...)
		l.looks = append(l.looks, make([]look, n-len(l.looks))...)
	}
	scale := math.MaxUint16 / g.size
	for id := range entities {
		e := &entities[id]
		l.looks[id] = look{quantise(e.X * scale), quantise(e.Y * scale), quantise(e.R * 16), e.Gen, e.Kind}
	}
}

func quantise(v float32) uint16 { return uint16(max(min(v+0.5, math.MaxUint16), 0)) }

// snapshot is what a player sees: what changed since its last one, or all, if
// that was lost, still waits, or was the last of many. It is valid until the
// next call.
func (l *lens) snapshot(g *game, s *seat, waiting bool) []byte {
	v, p := &s.sight, s.player
	h := wire.Header{
		Tick: g.tick, Due: unixMs(g.now), Base: v.tick, Ack: p.Ack,
		Cost: uint16(min(g.cost/(10*time.Microsecond), math.MaxUint16)), Dropped: uint32(v.before + v.dropped),
	}
	if v.forced || waiting || g.tick >= v.whole {
		h.Flags, h.Base = wire.Keyframe, 0
		v.known, v.forced = v.known[:0], false
		v.whole = g.tick + world.Rate - (g.tick+p.ID)%world.Rate // for each player in another tick
		g.metrics.keyframes.Add(1)
	}
	if !p.Alive() {
		h.Flags |= wire.Dead
	}
	v.tick = g.tick
	l.visible = g.world.Visible(p, l.visible[:0])
	l.out = wire.AppendHeader(l.out[:0], h)
	l.compare(g, v)
	l.out = wire.AppendVarint(l.out, l.count)
	l.out = append(l.out, l.changed...)
	return l.out
}

// compare appends to out what is gone, gathers in changed what is new or
// different, and notes what the player knows from now on.
func (l *lens) compare(g *game, v *sight) {
	for i := range v.known {
		l.at[v.known[i].id] = int16(i + 1)
	}
	l.changed, l.count = l.changed[:0], 0
	before := len(v.known)
	for _, id := range l.visible {
		now := l.looks[id]
		at := l.at[id]
		if at == 0 || v.known[at-1].look.gen != now.gen {
			l.appear(g, id, now)
			v.known = append(v.known, known{id, now})
			continue // if another had the id, it is still marked, and removed below
		}
		l.at[id] = 0
		if was := &v.known[at-1]; was.look != now {
			l.change(id, was.look, now)
			was.look = now
		}
	}
	gone, kept := uint32(0), 0
	for i := range v.known[:before] {
		if l.at[v.known[i].id] != 0 {
			gone++
		}
	}
	l.out = wire.AppendVarint(l.out, gone)
	for i, k := range v.known {
		if i < before && l.at[k.id] != 0 {
			l.at[k.id] = 0
			l.out = wire.AppendVarint(l.out, uint32(k.id))
			continue
		}
		v.known[kept] = k
		kept++
	}
	v.known = v.known[:kept]
}

func (l *lens) appear(g *game, id int32, now look) {
	e := &g.world.Entities[id]
	r := wire.Record{
		ID: uint32(id), Mask: wire.HasLook | wire.HasPlace | wire.HasRadius,
		Kind: uint8(e.Kind), Hue: e.Hue, X: now.x, Y: now.y, Radius: now.r,
	}
	if e.Owner != nil {
		r.Owner, r.Name = e.Owner.ID, e.Owner.Name
		r.Mask |= wire.HasName
	}
	l.changed = wire.AppendRecord(l.changed, &r)
	l.count++
}

func (l *lens) change(id int32, was, now look) {
	r := wire.Record{ID: uint32(id), X: now.x, Y: now.y, Radius: now.r}
	if was.x != now.x || was.y != now.y {
		r.Mask |= wire.HasPlace
	}
	if was.r != now.r {
		r.Mask |= wire.HasRadius
	}
	l.changed = wire.AppendRecord(l.changed, &r)
	l.count++
}
