//go:build !race

package conformance

// raced is true under the race detector, where bytes cost twenty times as much.
const raced = false
