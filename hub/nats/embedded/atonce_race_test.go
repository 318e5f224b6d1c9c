//go:build race

package embedded

// atOnce is how many tests run at once: with the race detector they do not wait, but work.
const atOnce = "2"
