package wire

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// ErrBase says that a snapshot changes one that the view has not got.
var ErrBase = errors.New("snapshot of another base")

// View is what a client knows of the world: snapshots applied in turn.
type View struct {
	Tick     uint32
	Entities []Entity // by ID
	began    bool
}

// Entity is what a client knows of one entity.
type Entity struct {
	ID     uint32
	Owner  uint32
	X, Y   uint16
	Radius uint16
	Kind   uint8
	Hue    uint8
	Name   string
}

// Find returns where an entity is in Entities, or would be.
func (v *View) Find(id uint32) (at int, known bool) {
	return slices.BinarySearchFunc(v.Entities, id, func(e Entity, id uint32) int { return cmp.Compare(e.ID, id) })
}

// Apply brings the view to the snapshot's tick. After an error the view is of
// no use until the next keyframe.
func (v *View) Apply(s *Snapshot) error {
	if s.Flags&Keyframe != 0 {
		v.Entities, v.began = v.Entities[:0], true
	} else if !v.began || s.Base != v.Tick {
		return fmt.Errorf("%w: %d, not %d", ErrBase, s.Base, v.Tick)
	}
	for _, id := range s.Removed {
		at, known := v.Find(id)
		if !known {
			return fmt.Errorf("entity %d is removed, but not known", id)
		}
		v.Entities = slices.Delete(v.Entities, at, at+1)
	}
	for i := range s.Changed {
		r := &s.Changed[i]
		at, known := v.Find(r.ID)
		const first = HasLook | HasPlace | HasRadius
		switch {
		case known:
		case r.Mask&first != first:
			return fmt.Errorf("entity %d appears with the fields %#x only", r.ID, r.Mask)
		default:
			v.Entities = slices.Insert(v.Entities, at, Entity{ID: r.ID})
		}
		v.Entities[at].change(r)
	}
	v.Tick = s.Tick
	return nil
}

func (e *Entity) change(r *Record) {
	if r.Mask&HasLook != 0 {
		e.Kind, e.Owner, e.Hue = r.Kind, r.Owner, r.Hue
	}
	if r.Mask&HasPlace != 0 {
		e.X, e.Y = r.X, r.Y
	}
	if r.Mask&HasRadius != 0 {
		e.Radius = r.Radius
	}
	if r.Mask&HasName != 0 {
		e.Name = r.Name
	}
}
