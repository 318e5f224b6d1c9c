package loop

import (
	"errors"
	"net"
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

// TestAClosedPacketSocketHasNoDescriptor: the next owner of its descriptor is left
// alone.
func TestAClosedPacketSocketHasNoDescriptor(t *testing.T) {
	_, drivers := start(t, 1)
	closed := readPackets(t, drivers, nil)[0]
	closed.s.Close()
	next, err := ListenPackets("127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer next[0].Close()
	own := closed.s.fd
	if next[0].fd != own {
		if err := unix.Dup3(next[0].fd, own, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(own)
	}
	if err := next[0].Send([]byte("x"), next[0].Addr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	drivers[0].on(closed.Arrived)
	if len(closed.read) > 0 {
		t.Errorf("received %q, which was for the other", <-closed.read)
	}
	closed.s.Close()
	if _, err := unix.FcntlInt(uintptr(own), unix.F_GETFD, 0); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// TestListenPacketsWithoutDescriptors: if there are not enough, the address is free
// again.
func TestListenPacketsWithoutDescriptors(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	before, free, fd := len(descriptors(t)), 0, -1
	for free < 2 { // the first socket needs so many for a moment, the second one more
		fd++
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			free++
		}
	}
	few := was
	few.Cur = uint64(fd + 1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	all, err := ListenPackets("127.0.0.1:0", 2)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EMFILE) || all != nil {
		t.Errorf("%v %v", all, err)
	}
	if n := len(descriptors(t)); n != before {
		t.Errorf("%d descriptors, there were %d", n, before)
	}
}
