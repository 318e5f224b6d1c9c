package wire

import "encoding/binary"

// Flags of a Snapshot.
const (
	Keyframe = 1 << iota // all that is visible, and nothing else is
	Dead                 // the player has no cell
)

// The kinds of entities.
const (
	Food uint8 = iota
	Cell
	Ejected
	Spike
)

// Fields of a Record.
const (
	HasLook = 1 << iota // kind, owner, hue: always on the first appearance
	HasPlace
	HasRadius
	HasName

	maskAll = 1<<iota - 1
)

// Header is how a snapshot begins.
type Header struct {
	Flags   uint8
	Tick    uint32
	Due     float64 // when this tick was scheduled for, in milliseconds since 1970
	Base    uint32  // the tick of the snapshot that this one changes; 0 in a keyframe
	Ack     uint32  // the last input that was processed
	Cost    uint16  // of the tick before, in 10 µs
	Dropped uint32  // snapshots that never left for this player
}

// Record is an entity of which something changed. What its Mask does not name
// is zero.
type Record struct {
	ID     uint32
	Mask   uint8
	Kind   uint8
	Owner  uint32 // player, 0 none
	Hue    uint8
	X, Y   uint16
	Radius uint16
	Name   string
}

// Snapshot is what a player sees of one tick.
type Snapshot struct {
	Header
	Removed []uint32
	Changed []Record
}

// AppendHeader begins a snapshot. The removed follow: a varint for how many and
// one for each; then the changed: their number and an AppendRecord for each.
func AppendHeader(b []byte, h Header) []byte {
	b = order.AppendUint32(append(b, KindSnapshot, h.Flags), h.Tick)
	b = order.AppendUint32(appendF64(b, h.Due), h.Base)
	b = order.AppendUint16(order.AppendUint32(b, h.Ack), h.Cost)
	return order.AppendUint32(b, h.Dropped)
}

// AppendVarint appends a varint.
func AppendVarint(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// AppendRecord appends an entity with the fields that its Mask names.
func AppendRecord(b []byte, r *Record) []byte {
	b = append(AppendVarint(b, r.ID), r.Mask)
	if r.Mask&HasLook != 0 {
		b = append(AppendVarint(append(b, r.Kind), r.Owner), r.Hue)
	}
	if r.Mask&HasPlace != 0 {
		b = order.AppendUint16(order.AppendUint16(b, r.X), r.Y)
	}
	if r.Mask&HasRadius != 0 {
		b = order.AppendUint16(b, r.Radius)
	}
	if r.Mask&HasName != 0 {
		b = appendStr(b, r.Name)
	}
	return b
}

// AppendSnapshot appends all of a snapshot.
func AppendSnapshot(b []byte, s *Snapshot) []byte {
	b = AppendVarint(AppendHeader(b, s.Header), uint32(len(s.Removed)))
	for _, id := range s.Removed {
		b = AppendVarint(b, id)
	}
	b = AppendVarint(b, uint32(len(s.Changed)))
	for i := range s.Changed {
		b = AppendRecord(b, &s.Changed[i])
	}
	return b
}

// Parse reads a snapshot into the slices that s has.
func (s *Snapshot) Parse(b []byte) error {
	r := open(b, KindSnapshot)
	s.Header = Header{r.u8(), r.u32(), r.f64(), r.u32(), r.u32(), r.u16(), r.u32()}
	s.Removed, s.Changed = s.Removed[:0], s.Changed[:0]
	for n := r.varint(); n > 0 && r.err == nil; n-- { // each takes a byte at least: n cannot make it grow
		s.Removed = append(s.Removed, r.varint())
	}
	for n := r.varint(); n > 0 && r.err == nil; n-- {
		s.Changed = append(s.Changed, r.record())
	}
	return r.end()
}

func (r *reader) record() (rec Record) {
	rec.ID, rec.Mask = r.varint(), r.u8()
	if rec.Mask&^maskAll != 0 {
		r.fail(ErrMalformed)
	}
	if rec.Mask&HasLook != 0 {
		rec.Kind, rec.Owner, rec.Hue = r.u8(), r.varint(), r.u8()
		if rec.Kind > Spike {
			r.fail(ErrMalformed)
		}
	}
	if rec.Mask&HasPlace != 0 {
		rec.X, rec.Y = r.u16(), r.u16()
	}
	if rec.Mask&HasRadius != 0 {
		rec.Radius = r.u16()
	}
	if rec.Mask&HasName != 0 {
		rec.Name = r.str()
	}
	return rec
}
