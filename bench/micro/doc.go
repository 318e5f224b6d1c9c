// Package micro holds Go benchmarks over the public API of sockmill: one
// engine with one loop and its clients in one process, over loopback TCP.
//
// Time and allocations are those of both ends together. The clients are
// written to cost little: frames are encoded beforehand, buffers are fixed,
// nothing is allocated for a message. What comes back is compared byte by byte.
package micro
