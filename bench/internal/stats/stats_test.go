package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		xs                []float64
		median, low, high float64
		coverage          float64
	}{
		{[]float64{3}, 3, 3, 3, 0},
		{[]float64{3, 1}, 2, 1, 3, 0.5},
		{[]float64{3, 1, 2}, 2, 1, 3, 0.75},
		{[]float64{4, 3, 1, 2}, 2.5, 1, 4, 0.875},
		{[]float64{7, 6, 5, 4, 3, 2, 1}, 4, 1 + w7, 7 - w7, 0.9},
		{[]float64{100, 6, 5, 4, 3, 2, 1}, 4, 1 + w7, 100*(1-w7) + 6*w7, 0.9},
	} {
		e := Of(c.xs)
		near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
		if !near(e.Median, c.median) || !near(e.Low, c.low) || !near(e.High, c.high) || !near(e.Coverage, c.coverage) {
			t.Errorf("%v: %+v, want %v", c.xs, e, c)
		}
		if e.N != len(c.xs) || e.Minimum != slices.Min(c.xs) || e.Maximum != slices.Max(c.xs) {
			t.Errorf("%v: %+v", c.xs, e)
		}
	}
	if e := Of(nil); e.N != 0 || !math.IsNaN(e.Median) {
		t.Errorf("of nothing: %+v", e)
	}
}

// By hand from Hettmansperger and Sheather: w7 is the weight of the second of seven values: with I = (0.984375-0.9)/(0.984375-0.875),
// 6 I / (1 + 5 I).
const w7 = 6 * i7 / (1 + 5*i7)

const i7 = (0.984375 - 0.9) / (0.984375 - 0.875)

// The interval holds the true median about as often as it says, for distributions
// that have nothing in common, and is not much wider than need be.
func TestCoverage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, c := range map[string]struct {
		draw   func() float64
		median float64
	}{
		"normal":      {r.NormFloat64, 0},
		"uniform":     {r.Float64, 0.5},
		"exponential": {r.ExpFloat64, math.Ln2},
		"with outliers": {func() float64 {
			if r.IntN(10) == 0 {
				return 1000 * r.NormFloat64()
			}
			return r.NormFloat64()
		}, 0},
	} {
		for _, n := range []int{7, 8, 15, 30} {
			const rounds = 20000
			held := 0
			for range rounds {
				xs := make([]float64, n)
				for i := range xs {
					xs[i] = c.draw()
				}
				if e := Of(xs); e.Low <= c.median && c.median <= e.High {
					held++
				}
			}
			if share := float64(held) / rounds; share < 0.88 || share > 0.93 {
				t.Errorf("%s, %d values: the interval holds the median in %.3f of the runs, want 0.90", name, n, share)
			}
		}
	}
}

func TestPaired(t *testing.T) {
	got := Paired(map[int]float64{0: 2, 1: 9, 2: 3, 4: 1}, map[int]float64{0: 4, 2: 6, 3: 5, 4: 0})
	slices.Sort(got)
	if !slices.Equal(got, []float64{0.5, 0.5}) {
		t.Errorf("%v: want the ratios of repetitions 0 and 2", got)
	}
}
