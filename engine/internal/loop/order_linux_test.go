package loop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// unixPair makes a connection of which epoll is told of a write before the write
// returns.
func unixPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socketpair", err))
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		if ends[i], err = FileConn(fd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends[0], ends[1]
}

// enrollPair puts one end of a unixPair on a loop and returns the other.
func enrollPair(t *testing.T, g *Group, act func(o *owner, b []byte)) (*owner, net.Conn) {
	t.Helper()
	inner, peer := unixPair(t)
	o := newOwner(act)
	if err := g.Enroll(inner, &o.sock, o); err != nil {
		t.Fatal(err)
	}
	return o, peer
}

// TestWokenComesAfterWhatWasReady: a loop that was held up and wakes itself is
// not woken again before it has served every socket that was ready, however many
// batches of the poller that takes.
func TestWokenComesAfterWhatWasReady(t *testing.T) {
	const sockets = 700
	g, drivers := start(t, 1)
	d := drivers[0]
	var peers []net.Conn
	served := 0
	for range sockets {
		_, p := enrollPair(t, g, func(*owner, []byte) { served++ })
		peers = append(peers, p)
	}
	at := make(chan int, 3)
	d.on(func() {
		d.woken = func() {
			at <- served
			if served = 0; len(at) < cap(at) {
				for _, p := range peers {
					_, _ = p.Write([]byte("x"))
				}
				d.l.Wake()
			} else {
				d.woken = nil
			}
		}
		d.l.Wake()
	})
	if got := []int{<-at, <-at, <-at}; !slices.Equal(got, []int{0, sockets, sockets}) {
		t.Errorf("when the loop was woken, it had served %v of %d", got, sockets)
	}
}

// TestABatchIsServedWhole: whatever the owners do to their sockets and to those
// of others, everybody else in the same batch is served.
func TestABatchIsServedWhole(t *testing.T) {
	const sockets = 100 // fewer than the poller's smallest batch that can be full
	g, drivers := start(t, 1)
	d := drivers[0]
	var owners []*owner
	var peers []net.Conn
	first := true
	for range sockets {
		o, p := enrollPair(t, g, func(o *owner, _ []byte) {
			if !first {
				return
			}
			first = false
			for i, other := range owners {
				switch i % 4 {
				case 0:
					other.sock.Close()
				case 1:
					other.sock.Pause()
				}
			}
			o.sock.Close()
		})
		owners, peers = append(owners, o), append(peers, p)
	}
	d.on(func() {
		for i, p := range peers {
			_, _ = p.Write([]byte("x"))
			if i%8 == 2 {
				_ = p.Close()
			}
		}
	})
	for i, o := range owners[1:] {
		switch i := i + 1; i % 4 {
		case 0:
			if err := <-o.closed; err != nil {
				t.Errorf("%d: closed with %v", i, err)
			}
		case 1:
			if d.on(func() { o.sock.Resume() }); <-o.read != "x" {
				t.Errorf("%d: it lost what it was sent", i)
			}
		default:
			if <-o.read != "x" {
				t.Errorf("%d: it lost what it was sent", i)
			}
			if i%8 == 2 {
				if err := <-o.closed; !errors.Is(err, io.EOF) {
					t.Errorf("%d: closed with %v", i, err)
				}
			}
		}
	}
}

// TestCloseInWritable: a socket that its owner closes there is not read, though
// the same event says that there is input.
func TestCloseInWritable(t *testing.T) {
	for _, e := range []events{writable, hangup, writable | hangup} {
		g, drivers := start(t, 1)
		o, peer := enrollPair(t, g, nil)
		o.heard = func(o *owner) {
			o.sock.Resume()
			o.sock.Close()
			if len(o.closed) != 0 {
				t.Error("Closed ran inside")
			}
		}
		drivers[0].on(func() {
			_, _ = peer.Write([]byte("x"))
			if e&hangup != 0 {
				o.sock.Pause()
				_ = peer.(*net.UnixConn).CloseWrite()
			}
			if err := o.sock.await(e); err != nil {
				t.Error(err)
			}
		})
		if got := <-o.told; got&e == 0 {
			t.Errorf("told %v", got)
		}
		if err := <-o.closed; err != nil {
			t.Errorf("closed with %v", err)
		}
		drivers[0].on(func() {})
		if len(o.read)+len(o.told)+len(o.closed) != 0 {
			t.Error("it was called after the end")
		}
	}
}

// TestWritableIsReportedOnce: when nobody awaits it any more, the poller is not
// asked to report it, or the loop would never rest.
func TestWritableIsReportedOnce(t *testing.T) {
	g, drivers := start(t, 1)
	d := drivers[0]
	o, _ := enrollPair(t, g, nil)
	for _, paused := range []bool{false, true} {
		d.on(func() {
			if paused {
				o.sock.Pause()
			}
			if err := o.sock.Watch(); err != nil {
				t.Error(err)
			}
		})
		if e := <-o.told; e != writable {
			t.Fatalf("told %v", e)
		}
		d.on(o.sock.Resume)
		mask := watchedFor(t, d.l, o.sock.fd)
		if mask&unix.EPOLLOUT != 0 || mask&unix.EPOLLIN == 0 || mask&unix.EPOLLET != 0 {
			t.Errorf("the poller reports %#x", mask)
		}
	}
	if len(o.told) != 0 {
		t.Error("told again")
	}
}

// watchedFor returns the events for which a loop's epoll watches a descriptor.
func watchedFor(t *testing.T, l *Loop, fd int32) (mask uint32) {
	t.Helper()
	ep, _ := epoll(t, l)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", ep))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		var n int32
		if _, err := fmt.Sscanf(line, "tfd: %d events: %x", &n, &mask); err == nil && n == fd {
			return mask
		}
	}
	t.Fatal("it is not watched")
	return 0
}
