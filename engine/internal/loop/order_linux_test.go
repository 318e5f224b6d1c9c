package loop

import (
	"net"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// enrollPair puts one end of a unix connection on a loop, whose other end makes
// the loop's poller know of a write before the write returns.
func enrollPair(t *testing.T, g *Group, act func(o *owner, b []byte)) (*owner, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socketpair", err))
	}
	inner, err := FileConn(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	peer, err := FileConn(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
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
