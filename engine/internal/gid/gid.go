// Package gid tells goroutines apart, so that a Send can know in a nanosecond
// whether it runs on its connection's loop (where it is corked, without a lock)
// or elsewhere (where it goes through the loop's queue).
package gid

// Current returns a value that no two live goroutines share: the address of
// the goroutine's descriptor. It is 0 on processors without an implementation
// here, where every caller is then treated as "elsewhere": slower, still right.
// A value is only to be compared while its goroutine lives.
func Current() uintptr { return current() }
