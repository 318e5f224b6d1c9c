package loop

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"weak"

	"golang.org/x/sys/unix"
)

// A life is one way for a socket to be used and to end.
type life struct {
	awaited   events // what is awaited
	congested bool   // the kernel takes no more when the socket ends
	paused    bool
	unix      bool
	ended     string // what the peer does: "half-close", "close", "reset", or nothing
	late      bool   // the peer does that before, so that it is so when it is awaited
	resumed   bool   // reading resumes after that
	kept      bool   // a duplicate of the descriptor outlives the socket
}

func lives() (all []life) {
	either := []bool{false, true}
	for _, awaited := range []events{0, writable, hangup, writable | hangup} {
		for _, ended := range []string{"", "half-close", "close", "reset"} {
			for i := range 1 << 6 {
				bit := func(n int) bool { return either[i>>n&1] }
				if x := (life{awaited, bit(0), bit(1), bit(5), ended, bit(2), bit(3), bit(4)}); !x.unix || ended != "reset" {
					all = append(all, x)
				}
			}
		}
	}
	return all
}

// live leads a socket through its life, until it has ended.
func (x life) live(t *testing.T, g *Group, d *driver) weak.Pointer[owner] {
	o, peer := x.begin(t, g)
	<-o.opened
	s, kept := &o.sock, -1
	act := func() {
		if x.paused {
			s.Pause()
		}
		for x.congested {
			if n, err := s.Write(make([]byte, 1<<20)); err != nil || n < 1<<20 {
				break
			}
		}
		if x.awaited&hangup != 0 {
			_ = s.WatchHangup()
		}
		if x.awaited&writable != 0 {
			_ = s.Watch()
		}
		if x.kept {
			kept, _ = s.Dup()
		}
	}
	if x.late {
		d.on(func() { x.endPeer(peer); act() })
	} else {
		d.on(act)
		x.endPeer(peer)
	}
	d.on(func() {
		if x.resumed && !s.closing {
			s.Resume()
		}
	})
	d.on(func() {
		if !s.closing {
			s.Close()
		}
	})
	why := <-o.closed
	for len(o.told) > 0 {
		<-o.told
	}
	_ = peer.Close()
	d.on(func() {})
	if len(o.told)+len(o.closed) != 0 {
		t.Errorf("%+v: the owner was called after Closed, which said %v", x, why)
	}
	if n := registered(t, d.l); n != 0 {
		t.Errorf("%+v: the poller still has %d descriptors", x, n)
	}
	if kept >= 0 {
		_ = unix.Close(kept)
	}
	return weak.Make(o)
}

func (x life) begin(t *testing.T, g *Group) (*owner, net.Conn) {
	if x.unix {
		return enrollPair(t, g, nil)
	}
	o, peer := enroll(t, g, nil)
	return o, peer
}

func (x life) endPeer(peer net.Conn) {
	switch x.ended {
	case "half-close":
		_ = peer.(interface{ CloseWrite() error }).CloseWrite()
	case "close":
		_ = peer.Close()
	case "reset":
		_ = peer.(*net.TCPConn).SetLinger(0)
		_ = peer.Close()
	}
}

// registered counts what the loop's poller watches beside what wakes it.
func registered(t *testing.T, l *Loop) int {
	t.Helper()
	_, watched := epoll(t, l)
	return watched - 2 // the bell, and the poller's own
}

// epoll finds the descriptor of a loop's epoll, and how many others it watches.
func epoll(t *testing.T, l *Loop) (fd, watched int) {
	t.Helper()
	bell := fmt.Sprintf("tfd: %8d ", l.bell.fd)
	for _, name := range descriptors(t) {
		info, err := os.ReadFile("/proc/self/fdinfo/" + name)
		if err == nil && strings.Contains(string(info), bell) {
			fd, _ = strconv.Atoi(name)
			return fd, strings.Count(string(info), "tfd:")
		}
	}
	t.Fatal("the loop's epoll is not to be found")
	return 0, 0
}

func descriptors(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestNothingIsLeftOfASocket: whatever a socket awaited, and however it ended,
// nothing of it stays: no registration, no place in the table, no descriptor, no
// goroutine, and nobody refers to its memory.
func TestNothingIsLeftOfASocket(t *testing.T) {
	g, drivers := start(t, 1)
	d := drivers[0]
	life{}.live(t, g, d) // the runtime's own poller begins
	fds, goroutines := len(descriptors(t)), runtime.NumGoroutine()
	var owners []weak.Pointer[owner]
	for _, x := range lives() {
		owners = append(owners, x.live(t, g, d))
	}
	if left := g.sockets.of(d.l); len(left) != 0 {
		t.Errorf("%d sockets have a place in the table", len(left))
	}
	if d.l.calling != nil || d.l.load.Load() != 0 || d.l.arriving.Load() != 0 {
		t.Errorf("calling %v, load %d, arriving %d", d.l.calling, d.l.load.Load(), d.l.arriving.Load())
	}
	for tries := 0; tries < 10 && len(owners) > 0; tries++ {
		runtime.GC()
		owners = slices.DeleteFunc(owners, func(p weak.Pointer[owner]) bool { return p.Value() == nil })
	}
	if len(owners) > 0 {
		t.Errorf("%d owners are still referred to", len(owners))
	}
	if n := len(descriptors(t)); n != fds {
		t.Errorf("%d descriptors, there were %d", n, fds)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, there were %d", n, goroutines)
	}
}
