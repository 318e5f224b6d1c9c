package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Present returns what is wrong with who is said to be in a channel: those who are there and are not named, and those who are named and not there.
// It is empty if nothing is.
func Present(there, named map[string]bool) string {
	var wrong []string
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if !named[id] {
			wrong = append(wrong, id+" is there and is not named")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(named)) {
		if !there[id] {
			wrong = append(wrong, id+" is named and is not there")
		}
	}
	if n := len(wrong); n > 3 {
		wrong = append(wrong[:3], fmt.Sprintf("and %d more", n-3))
	}
	return strings.Join(wrong, "; ")
}
