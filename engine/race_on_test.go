//go:build race

package engine

// raceFactor is by how much the race detector multiplies memory.
const raceFactor = 4
