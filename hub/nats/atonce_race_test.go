//go:build race

package nats

// atOnce is how many tests run at once: with the race detector they do not wait, but work.
const atOnce = "2"
