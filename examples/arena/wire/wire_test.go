package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestCut: no message of which a piece is missing, or that goes on, is taken
// for another.
func TestCut(t *testing.T) {
	parse := map[byte]func([]byte) error{
		KindHello: func(b []byte) error { return new(Client).Parse(b) }, KindWelcome: func(b []byte) error { return new(Welcome).Parse(b) },
		KindSnapshot: func(b []byte) error { return new(Snapshot).Parse(b) }, KindPong: func(b []byte) error { return new(Pong).Parse(b) },
		KindBoard: func(b []byte) error { return new(Board).Parse(b) }, KindDied: func(b []byte) error { return new(Died).Parse(b) },
	}
	parse[KindInput], parse[KindPing], parse[KindRespawn] = parse[KindHello], parse[KindHello], parse[KindHello]
	seen := 0
	for _, s := range append(clientSamples(), serverSamples()...) {
		if len(s.b) == 0 || parse[s.b[0]] == nil || parse[s.b[0]](s.b) != nil {
			continue
		}
		seen++
		for n := range len(s.b) {
			if err := parse[s.b[0]](s.b[:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%s, %d of %d bytes: %v, want ErrTruncated", s.name, n, len(s.b), err)
			}
		}
		if err := parse[s.b[0]](append(bytes.Clone(s.b), 7)); !errors.Is(err, ErrTrailing) {
			t.Errorf("%s and a byte more: %v, want ErrTrailing", s.name, err)
		}
	}
	if seen < 20 {
		t.Errorf("%d messages were cut, want 20 or more", seen)
	}
}

// TestSnapshotRoundTrip appends and parses snapshots of chance.
func TestSnapshotRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var got Snapshot
	for range 2000 {
		want := Snapshot{Header: Header{uint8(r.Uint32()), r.Uint32(), r.Float64(), r.Uint32(), r.Uint32(), uint16(r.Uint32()), r.Uint32()}}
		for range r.IntN(20) {
			want.Removed = append(want.Removed, r.Uint32()>>r.IntN(32))
		}
		for range r.IntN(20) {
			c := Record{ID: r.Uint32() >> r.IntN(32), Mask: uint8(r.IntN(16))}
			if c.Mask&HasLook != 0 {
				c.Kind, c.Owner, c.Hue = uint8(r.IntN(4)), r.Uint32()>>r.IntN(32), uint8(r.Uint32())
			}
			if c.Mask&HasPlace != 0 {
				c.X, c.Y = uint16(r.Uint32()), uint16(r.Uint32())
			}
			if c.Mask&HasRadius != 0 {
				c.Radius = uint16(r.Uint32())
			}
			if c.Mask&HasName != 0 {
				c.Name = string(make([]byte, r.IntN(256)))
			}
			want.Changed = append(want.Changed, c)
		}
		b := AppendSnapshot(nil, &want)
		if err := got.Parse(b); err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if got.Header != want.Header || len(got.Removed) != len(want.Removed) || len(got.Changed) != len(want.Changed) ||
			len(want.Removed) > 0 && !reflect.DeepEqual(got.Removed, want.Removed) ||
			len(want.Changed) > 0 && !reflect.DeepEqual(got.Changed, want.Changed) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
}

// FuzzClient: whatever a client sends, parsing neither panics nor allocates,
// and what is valid comes out again when it is appended.
func FuzzClient(f *testing.F) {
	for _, s := range clientSamples() {
		f.Add(s.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Client
		if err := m.Parse(b); err != nil {
			return
		}
		var again []byte
		switch m.Kind {
		case KindHello:
			again = AppendHello(nil, m.Hello)
		case KindInput:
			again = AppendInput(nil, m.Input)
		case KindPing:
			again = AppendPing(nil, m.Clock)
		case KindRespawn:
			again = AppendRespawn(nil)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// FuzzSnapshot: whatever a server sends, parsing and applying end.
func FuzzSnapshot(f *testing.F) {
	for _, s := range append(serverSamples(), sequenceSamples()...) {
		f.Add(s.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Snapshot
		if s.Parse(b) != nil {
			return
		}
		if n := len(s.Removed) + len(s.Changed); n > len(b) {
			t.Errorf("%d entities in %d bytes", n, len(b))
		}
		view := View{Tick: s.Base, began: true}
		if view.Apply(&s) == nil && len(view.Entities) > len(s.Changed) {
			t.Errorf("%d entities of %d", len(view.Entities), len(s.Changed))
		}
	})
}
