package memory

import (
	"fmt"
	"testing"
)

// TestHandGoesOn: what is used or removed under the hand does not stop it.
func TestHandGoesOn(t *testing.T) {
	var o order
	for i := range 12 {
		o.PushFront(i)
	}
	var seen []any
	look := func(v any) bool {
		seen = append(seen, v)
		return false
	}
	o.sweep(look) // 0 to 3
	o.use(o.hand) // 4
	o.sweep(look)
	o.drop(o.hand) // 9
	o.sweep(look)  // 10, 11, 4, and from the back again
	if got := fmt.Sprint(seen); got != "[0 1 2 3 5 6 7 8 10 11 4 0]" {
		t.Error(got)
	}
	n := 0
	o.sweep(func(any) bool { n++; return true }) // who removes is asked again
	if want := sweepSteps; n != want {
		t.Errorf("asked %d times, want %d", n, want)
	}
	new(order).sweep(look) // an empty one
}
