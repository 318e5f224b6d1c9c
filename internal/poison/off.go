//go:build !sockmill_debug

// Package poison marks memory that its owner has released, in programs that are
// built with the tag sockmill_debug.
package poison

// Fill does nothing without the build tag sockmill_debug.
func Fill([]byte) {}
