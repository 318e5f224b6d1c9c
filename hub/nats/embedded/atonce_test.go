//go:build !race

package embedded

// atOnce is how many tests run at once: they wait most of the time.
const atOnce = "8"
