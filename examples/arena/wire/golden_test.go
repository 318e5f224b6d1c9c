package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden.json")

const goldenFile = "../testdata/golden.json"

// vector is a message as bytes and as what they mean, or why they mean nothing:
// "truncated", "trailing", "unknown", "malformed"; of a sequence also "base"
// or "unknown entity".
type vector struct {
	Name    string         `json:"name"`
	Hex     string         `json:"hex"`
	Message map[string]any `json:"message,omitempty"`
	Error   string         `json:"error,omitempty"`
	View    map[string]any `json:"view,omitempty"` // after the message, of a sequence
}

// golden is testdata/golden.json. Numbers that JSON lacks are the strings
// "NaN", "Infinity" and "-Infinity"; tokens are hexadecimal.
type golden struct {
	Client   []vector `json:"client"`
	Server   []vector `json:"server"`
	Sequence []vector `json:"sequence"` // applied in order to one view
}

func number(f float64) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return f
}

func describeError(err error) string {
	for name, e := range map[string]error{"truncated": ErrTruncated, "trailing": ErrTrailing, "unknown": ErrUnknown, "malformed": ErrMalformed, "base": ErrBase} {
		if errors.Is(err, e) {
			return name
		}
	}
	return "unknown entity"
}

func describeClient(b []byte) (map[string]any, error) {
	var m Client
	if err := m.Parse(b); err != nil {
		return nil, err
	}
	d := map[string]any{"kind": m.Kind}
	switch m.Kind {
	case KindHello:
		d["version"], d["name"], d["token"] = m.Hello.Version, string(m.Hello.Name), hex.EncodeToString(m.Hello.Token)
	case KindInput:
		d["seq"], d["dx"], d["dy"], d["flags"] = m.Input.Seq, number(float64(m.Input.DX)), number(float64(m.Input.DY)), m.Input.Flags
	case KindPing:
		d["clock"] = number(m.Clock)
	}
	return d, nil
}

func describeRecord(r *Record) map[string]any {
	d := map[string]any{"id": r.ID, "mask": r.Mask}
	if r.Mask&HasLook != 0 {
		d["kind"], d["owner"], d["hue"] = r.Kind, r.Owner, r.Hue
	}
	if r.Mask&HasPlace != 0 {
		d["x"], d["y"] = r.X, r.Y
	}
	if r.Mask&HasRadius != 0 {
		d["radius"] = r.Radius
	}
	if r.Mask&HasName != 0 {
		d["name"] = r.Name
	}
	return d
}

func describeServer(b []byte) (map[string]any, error) {
	kind := byte(0)
	if len(b) > 0 {
		kind = b[0]
	}
	d := map[string]any{"kind": kind}
	var err error
	switch kind {
	case KindWelcome:
		var w Welcome
		err = w.Parse(b)
		d["version"], d["player"], d["world"], d["period"] = w.Version, w.Player, w.World, w.Period
		d["grace"], d["flags"], d["token"] = w.Grace, w.Flags, hex.EncodeToString(w.Token)
	case KindSnapshot:
		var s Snapshot
		err = s.Parse(b)
		d["flags"], d["tick"], d["due"], d["base"], d["ack"], d["cost"], d["dropped"] = s.Flags, s.Tick, number(s.Due), s.Base, s.Ack, s.Cost, s.Dropped
		changed := []map[string]any{}
		for i := range s.Changed {
			changed = append(changed, describeRecord(&s.Changed[i]))
		}
		d["removed"], d["changed"] = append([]uint32{}, s.Removed...), changed
	case KindPong:
		var p Pong
		err = p.Parse(b)
		d["clock"], d["unixMs"] = number(p.Clock), number(p.UnixMs)
	case KindBoard:
		var o Board
		err = o.Parse(b)
		leaders, dots := []map[string]any{}, []map[string]any{}
		for _, l := range o.Leaders {
			leaders = append(leaders, map[string]any{"player": l.Player, "mass": l.Mass, "name": l.Name})
		}
		for _, p := range o.Dots {
			dots = append(dots, map[string]any{"x": p.X, "y": p.Y, "size": p.Size})
		}
		d["players"], d["leaders"], d["rank"], d["mass"], d["dots"] = o.Players, leaders, o.Rank, o.Mass, dots
	case KindDied:
		var e Died
		err = e.Parse(b)
		d["by"], d["byName"], d["mass"], d["ticks"] = e.By, e.ByName, e.Mass, e.Ticks
	default:
		if err = ErrUnknown; len(b) == 0 {
			err = ErrTruncated
		}
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func describeView(v *View) map[string]any {
	entities := []map[string]any{}
	for _, e := range v.Entities {
		entities = append(entities, map[string]any{"id": e.ID, "kind": e.Kind, "owner": e.Owner, "hue": e.Hue,
			"x": e.X, "y": e.Y, "radius": e.Radius, "name": e.Name})
	}
	return map[string]any{"tick": v.Tick, "entities": entities}
}

func bytesOf(v ...any) (b []byte) {
	for _, v := range v {
		switch v := v.(type) {
		case int:
			b = append(b, byte(v))
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

type sample struct {
	name string
	b    []byte
}

func clientSamples() []sample {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	return []sample{
		{"hello", AppendHello(nil, Hello{Version, []byte("Ada"), nil})},
		{"hello with token", AppendHello(nil, Hello{Version, []byte("Ada"), bytesOf(0, 1, 254, 255)})},
		{"hello of another alphabet", AppendHello(nil, Hello{Version, []byte("Żółw 🐢"), nil})},
		{"hello of another version", AppendHello(nil, Hello{7, []byte("Bob"), nil})},
		{"hello without a name", AppendHello(nil, Hello{Version, nil, nil})},
		{"input", AppendInput(nil, Input{1, 1, 0, 0})},
		{"input, split", AppendInput(nil, Input{2, -0.5, 0.25, Split})},
		{"input, all flags, greatest seq", AppendInput(nil, Input{math.MaxUint32, 0, -1, Split | Eject})},
		{"input, NaN", AppendInput(nil, Input{3, nan, 1, 0})},
		{"input, infinite", AppendInput(nil, Input{4, inf, -inf, Eject})},
		{"input, huge", AppendInput(nil, Input{5, math.MaxFloat32, -math.MaxFloat32, 0})},
		{"ping", AppendPing(nil, 1234.5)},
		{"respawn", AppendRespawn(nil)},
		{"nothing", nil},
		{"unknown kind", bytesOf(0)},
		{"kind of the server", bytesOf(KindSnapshot, 0, 0)},
		{"hello, cut in the name", AppendHello(nil, Hello{Version, []byte("Ada"), nil})[:4]},
		{"hello, cut in the token", AppendHello(nil, Hello{Version, []byte("Ada"), bytesOf("token")})[:10]},
		{"hello, more behind", append(AppendHello(nil, Hello{Version, []byte("Ada"), nil}), 0)},
		{"hello, token too long", AppendHello(nil, Hello{Version, []byte("Ada"), make([]byte, TokenBytesMax+1)})},
		{"input, cut", AppendInput(nil, Input{1, 1, 0, 0})[:13]},
		{"input, more behind", append(AppendInput(nil, Input{1, 1, 0, 0}), 0)},
		{"ping, cut", AppendPing(nil, 1)[:8]},
		{"respawn, more behind", append(AppendRespawn(nil), 1)},
	}
}

func serverSamples() []sample {
	key := keyframe()
	delta := AppendSnapshot(nil, &Snapshot{Header: Header{Tick: 101, Due: 1.7e12 + 1.0/3, Base: 100, Ack: 7, Cost: 1234, Dropped: 5}})
	return []sample{
		{"welcome", AppendWelcome(nil, Welcome{Version, 7, 3000, 333, 30, 0, bytesOf("secret")})},
		{"welcome back", AppendWelcome(nil, Welcome{Version, math.MaxUint32, 20000.5, 333, 30, Resumed, nil})},
		{"welcome to a world of another size", AppendWelcome(nil, Welcome{Version, 7, 4000, 333, 30, Resized, bytesOf("secret")})},
		{"pong", AppendPong(nil, Pong{1234.5, 1.7e12})},
		{"board", AppendBoard(nil, Board{300, []Leader{{7, 1500, "Ada"}, {9, 800, "Żółw 🐢"}}, 2, 800, []Dot{{0, 255, 9}, {128, 3, 1}}})},
		{"empty board", AppendBoard(nil, Board{})},
		{"died", AppendDied(nil, Died{9, "Żółw 🐢", 812, 900})},
		{"keyframe", AppendSnapshot(nil, key)},
		{"delta of nothing", delta},
		{"dead", AppendSnapshot(nil, &Snapshot{Header: Header{Flags: Keyframe | Dead, Tick: 5, Cost: math.MaxUint16}})},
		{"nothing", nil},
		{"unknown kind", bytesOf(200)},
		{"kind of a client", bytesOf(KindInput)},
		{"welcome, cut", AppendWelcome(nil, Welcome{Version, 7, 3000, 333, 30, 0, bytesOf("secret")})[:20]},
		{"snapshot, cut in the header", delta[:20]},
		{"snapshot, more behind", append(bytes.Clone(delta), 0)},
		{"snapshot, varint of 6 bytes", append(bytes.Clone(delta[:28]), 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0)},
		{"snapshot, varint above 32 bits", append(bytes.Clone(delta[:28]), 0xff, 0xff, 0xff, 0xff, 0x1f, 0)},
		{"snapshot, a billion removed", append(bytes.Clone(delta[:28]), 0x80, 0x94, 0xeb, 0xdc, 0x03)},
		{"snapshot, unknown field", append(bytes.Clone(delta[:28]), 0, 1, 1, 0x10)},
		{"snapshot, unknown kind of entity", append(bytes.Clone(delta[:28]), 0, 1, 1, HasLook, 4, 0, 0)},
		{"snapshot, cut in a name", append(bytes.Clone(delta[:28]), 0, 1, 1, HasName, 3, 'A', 'd')},
		{"board, cut", AppendBoard(nil, Board{Players: 3, Leaders: []Leader{{7, 1500, "Ada"}}})[:12]},
		{"died, more behind", append(AppendDied(nil, Died{}), 0)},
		{"pong, cut", AppendPong(nil, Pong{})[:16]},
	}
}

func keyframe() *Snapshot {
	return &Snapshot{Header: Header{Flags: Keyframe, Tick: 100, Due: 1.7e12, Ack: 6, Cost: 90}, Changed: []Record{
		{ID: 1, Mask: HasLook | HasPlace | HasRadius, Kind: Food, Hue: 200, X: 10, Y: 65535, Radius: 64},
		{ID: 130, Mask: maskAll, Kind: Cell, Owner: 7, Hue: 30, X: 300, Y: 400, Radius: 202, Name: "Ada"},
		{ID: 20000, Mask: maskAll, Kind: Cell, Owner: 300, Hue: 255, X: 500, Y: 600, Radius: 900, Name: "Żółw 🐢"},
		{ID: 4, Mask: HasLook | HasPlace | HasRadius, Kind: Spike, X: 1, Y: 2, Radius: 640},
	}}
}

func sequenceSamples() []sample {
	at := func(tick, base uint32, removed []uint32, changed ...Record) []byte {
		return AppendSnapshot(nil, &Snapshot{Header: Header{Tick: tick, Base: base, Due: 1.7e12}, Removed: removed, Changed: changed})
	}
	key := keyframe()
	again := &Snapshot{Header: Header{Flags: Keyframe, Tick: 110, Due: 1.7e12}, Changed: key.Changed[1:2]}
	return []sample{
		{"a delta before any keyframe", at(99, 98, nil)},
		{"keyframe", AppendSnapshot(nil, key)},
		{"a cell moves, food is eaten", at(101, 100, []uint32{1}, Record{ID: 130, Mask: HasPlace | HasRadius, X: 310, Y: 405, Radius: 208})},
		{"food appears in the place of another entity", at(102, 101, []uint32{4}, Record{ID: 4, Mask: HasLook | HasPlace | HasRadius, Kind: Food, Hue: 9, X: 77, Y: 78, Radius: 64})},
		{"a tick without a snapshot", at(104, 102, nil, Record{ID: 20000, Mask: HasPlace, X: 501, Y: 601})},
		{"a name changes", at(105, 104, nil, Record{ID: 130, Mask: HasName, Name: "Bob"})},
		{"a delta of another base", at(107, 106, nil)},
		{"keyframe again", AppendSnapshot(nil, again)},
		{"an unknown entity is removed", at(111, 110, []uint32{999})},
		{"keyframe after the error", AppendSnapshot(nil, again)},
		{"an unknown entity moves", at(111, 110, nil, Record{ID: 999, Mask: HasPlace})},
	}
}

func describe(samples []sample, parse func([]byte) (map[string]any, error)) (vectors []vector) {
	for _, s := range samples {
		v := vector{Name: s.name, Hex: hex.EncodeToString(s.b)}
		var err error
		if v.Message, err = parse(s.b); err != nil {
			v.Error = describeError(err)
		}
		vectors = append(vectors, v)
	}
	return vectors
}

// TestGolden holds the codec to testdata/golden.json, which the tests of the
// page read too.
func TestGolden(t *testing.T) {
	made := golden{Client: describe(clientSamples(), describeClient), Server: describe(serverSamples(), describeServer)}
	var view View
	for _, s := range sequenceSamples() {
		v := vector{Name: s.name, Hex: hex.EncodeToString(s.b)}
		var snap Snapshot
		if err := snap.Parse(s.b); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if err := view.Apply(&snap); err != nil {
			v.Error = describeError(err)
		} else {
			v.View = describeView(&view)
		}
		made.Sequence = append(made.Sequence, v)
	}
	want, err := json.MarshalIndent(made, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(goldenFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the codec and %s disagree; if the format is to change: go test ./examples/arena/wire -run Golden -update\nmade: %s", goldenFile, want)
	}
	seen := map[string]bool{}
	for _, v := range slices.Concat(made.Client, made.Server, made.Sequence) {
		seen[v.Error] = true
	}
	if len(seen) != 7 {
		t.Errorf("the vectors show %v, want each error and none", seen)
	}
}
