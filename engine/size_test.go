package engine

import (
	"testing"
	"unsafe"
)

// TestConnIsSmall: at a million connections, each 100 bytes are 100 MB.
func TestConnIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 384 {
		t.Errorf("a Conn has %d bytes: put what few connections need into extra", n)
	}
}
