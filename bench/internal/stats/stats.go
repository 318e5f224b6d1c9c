// Package stats says what repetitions tell: a median, and between which values the
// true one lies.
package stats

import (
	"math"
	"slices"
)

// Level is the confidence of intervals.
const Level = 0.90

// Estimate is a median and its interval.
type Estimate struct {
	N        int     `json:"n"`
	Median   float64 `json:"median"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Coverage float64 `json:"coverage"` // of Low to High: Level, or less if N is below 5
	Minimum  float64 `json:"min"`
	Maximum  float64 `json:"max"`
}

// Of estimates the median of what xs were drawn from. The interval is made of
// order statistics and holds for any distribution: that the median lies between the
// d-th value from below and the d-th from above has a binomial probability.
// Between the two d around Level it is interpolated as by Hettmansperger and Sheather
// (1986). It is the whole range where even that does not reach Level.
func Of(xs []float64) Estimate {
	n := len(xs)
	if n == 0 {
		nan := math.NaN()
		return Estimate{Median: nan, Low: nan, High: nan, Minimum: nan, Maximum: nan}
	}
	xs = slices.Sorted(slices.Values(xs))
	e := Estimate{N: n, Median: (xs[(n-1)/2] + xs[n/2]) / 2, Minimum: xs[0], Maximum: xs[n-1]}
	if all := coverage(n, 1); all <= Level {
		e.Low, e.High, e.Coverage = xs[0], xs[n-1], all
		return e
	}
	d := 1
	for d+1 <= n/2 && coverage(n, d+1) >= Level {
		d++
	}
	inner := 0.0 // of the interval that is too narrow
	if d+1 <= n/2 {
		inner = coverage(n, d+1)
	}
	i := (coverage(n, d) - Level) / (coverage(n, d) - inner)
	w := float64(n-d) * i / (float64(d) + float64(n-2*d)*i)
	e.Low = (1-w)*xs[d-1] + w*xs[d]
	e.High = (1-w)*xs[n-d] + w*xs[n-d-1]
	e.Coverage = Level
	return e
}

// coverage is the probability that the median lies between the d-th value from
// below and the d-th from above, of n.
func coverage(n, d int) float64 {
	below := 0.0 // fewer than d of n values lie below the median
	choose := 1.0
	for k := range d {
		below += choose
		choose = choose * float64(n-k) / float64(k+1)
	}
	return 1 - 2*below/math.Pow(2, float64(n))
}

// Paired are the ratios of what was measured in the same repetition; what is
// missing on either side is left out.
func Paired(of, to map[int]float64) (ratios []float64) {
	for repetition, x := range of {
		if y, ok := to[repetition]; ok && y > 0 {
			ratios = append(ratios, x/y)
		}
	}
	return ratios
}
