package main

import "testing"

// TestTogether: one bad moment of the machine does not count, anything else does.
func TestTogether(t *testing.T) {
	run := func(p99 float64, slow int) *measured {
		return &measured{N: 1000, Slow: slow, P99Ms: p99, Visible: 20, InputsPerS: 20000, ServerDrops: 5, peakMB: 20}
	}
	for name, tt := range map[string]struct {
		change func(plain, slow []*measured)
		short  int
	}{
		"all well":          {func(_, _ []*measured) {}, 0},
		"one bad moment":    {func(plain, slow []*measured) { plain[1].P99Ms, slow[1].P99Ms = 60, 70 }, 0},
		"slow players cost": {func(_, slow []*measured) { slow[0].P99Ms, slow[2].P99Ms = 26, 26 }, 1},
		"late": {func(plain, slow []*measured) {
			for i := range 2 {
				plain[i].P99Ms, slow[i].P99Ms = 33.1, 34
			}
		}, 1},
		"ticks missed once": {func(plain, slow []*measured) { plain[2].MissedPct, slow[2].MissedPct = 1, 1 }, 2},
		"memory once":       {func(plain, slow []*measured) { plain[2].peakMB, slow[1].peakMB = 100, 100 }, 2},
		"few in sight once": {func(plain, _ []*measured) { plain[2].Visible = 14 }, 1},
		"few inputs once":   {func(plain, _ []*measured) { plain[1].InputsPerS = 18000 }, 1},
		"an error":          {func(plain, slow []*measured) { plain[2].Errors, slow[2].Errors = 1, 1 }, 2},
		"nobody was slow": {func(_, slow []*measured) {
			for _, m := range slow {
				m.ServerDrops = 0
			}
		}, 1},
		"the others' snapshots, too": {func(_, slow []*measured) {
			for _, m := range slow {
				m.Drops = 5
			}
		}, 1},
	} {
		plain, slow := []*measured{run(20, 0), run(19, 0), run(21, 0)}, []*measured{run(20, 50), run(22, 50), run(21, 50)}
		tt.change(plain, slow)
		short := 0
		for _, r := range append(rows(plain), slowRows(plain, slow)...) {
			if !r.ok {
				short++
			}
		}
		if short != tt.short {
			t.Errorf("%s: %d rows fall short, want %d", name, short, tt.short)
		}
	}
}
