// Package gid tells goroutines apart, so that a Send can know in a nanosecond
// whether it runs on its connection's loop (where it is corked, without a lock)
// or elsewhere (where it goes through the loop's queue).
package gid

// Current returns a value that no two live goroutines share: the address of
// the goroutine's descriptor. A value is only to be compared while its goroutine
// lives. There is an implementation for each processor on which Go runs under
// Unix; for another one, this package does not compile.
func Current() uintptr { return current() }

func current() uintptr
