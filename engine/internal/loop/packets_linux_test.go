package loop

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNothingIsLeftOfAPacketSocket: no registration, though a duplicate of the
// descriptor lives on, no descriptor, no goroutine.
func TestNothingIsLeftOfAPacketSocket(t *testing.T) {
	_, drivers := start(t, 2)
	readPackets(t, drivers[:1], nil)[0].s.Close()
	fds, goroutines := len(descriptors(t)), runtime.NumGoroutine()
	for range 20 {
		for _, o := range readPackets(t, drivers, nil) {
			kept, err := unix.FcntlInt(uintptr(o.s.fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n := registered(t, o.l); n != 1 {
				t.Errorf("the poller has %d descriptors", n)
			}
			o.s.Close()
			if n := registered(t, o.l); n != 0 || len(o.l.packets.list) != 0 {
				t.Errorf("the poller still has %d descriptors, the loop %d", n, len(o.l.packets.list))
			}
			_ = unix.Close(kept)
		}
		if _, err := ListenPackets("203.0.113.1:1", 2); err == nil {
			t.Fatal("an address that is not ours was bound")
		}
	}
	if n := len(descriptors(t)); n != fds {
		t.Errorf("%d descriptors, there were %d", n, fds)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, there were %d", n, goroutines)
	}
}
