//go:build !race

package nats

// atOnce is how many tests run at once: they wait most of the time.
const atOnce = "8"
