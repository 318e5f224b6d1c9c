package main

import (
	"slices"
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	ms := time.Millisecond
	r := result{Buckets: count([]time.Duration{50 * ms, 51 * ms, 149 * ms, 150 * ms, 380 * ms, 379 * ms})}
	if want := []int{3, 1, 0, 2}; !slices.Equal(r.Buckets, want) {
		t.Errorf("%v, want %v", r.Buckets, want)
	}
	if peak, mean := r.figures(); peak != 3 || mean != 1.5 {
		t.Errorf("peak %d, mean %v", peak, mean)
	}
}
