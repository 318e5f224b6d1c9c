package loop

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// packetOwner takes what one socket receives.
type packetOwner struct {
	s    *PacketSocket
	l    *Loop
	read chan string
	came chan bool // if it is not nil: in place of read
}

func (o *packetOwner) Arrived() {
	for {
		data, _, ok := o.s.Receive()
		if !ok {
			return
		}
		if o.came != nil {
			select {
			case o.came <- true:
			default:
			}
			return
		}
		if &data[:1][0] != &o.l.buf[0] {
			o.read <- "elsewhere than in the loop's buffer"
		}
		o.read <- string(data)
	}
}

// readPackets opens sockets, and has a loop read each of them.
func readPackets(t *testing.T, drivers []*driver, came chan bool) (all []*packetOwner) {
	t.Helper()
	sockets, err := ListenPackets("127.0.0.1:0", len(drivers))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range sockets {
		o := &packetOwner{s: s, l: drivers[i].l, read: make(chan string, 100), came: came}
		all = append(all, o)
		if err := s.Read(o.l, o); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func (o *packetOwner) addr() netip.AddrPort { return o.s.Addr().(*net.UDPAddr).AddrPort() }

// TestPacketSocketOfOneLoop receives what it is sent, by itself too, and no more
// after Close.
func TestPacketSocketOfOneLoop(t *testing.T) {
	_, drivers := start(t, 1)
	a, b := readPackets(t, drivers, nil)[0], readPackets(t, drivers, nil)[0]
	for _, want := range []string{"x", "", "yz"} {
		if err := a.s.Send([]byte(want), b.addr()); err != nil {
			t.Fatal(err)
		}
		if got := <-b.read; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := b.s.Send([]byte("back"), a.addr()); err != nil || <-a.read != "back" {
		t.Error(err)
	}
	b.s.Close()
	if err := a.s.Send([]byte("lost"), b.addr()); err != nil {
		t.Error(err)
	}
	if err := b.s.Send(nil, a.addr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	if err := b.s.Read(b.l, b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	drivers[0].on(b.Arrived) // an event that comes late
	if err := a.s.Send([]byte("still"), a.addr()); err != nil || <-a.read != "still" {
		t.Error(err)
	}
	if len(b.read) > 0 {
		t.Errorf("received %q after Close", <-b.read)
	}
	a.s.Close()
}

// TestPacketSocketsEndWithTheirLoop: those that are read, and those that come too
// late.
func TestPacketSocketsEndWithTheirLoop(t *testing.T) {
	g, drivers := start(t, 2)
	all := readPackets(t, drivers, nil)
	late, err := ListenPackets("127.0.0.1:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	for _, o := range all {
		if err := o.s.Send(nil, o.addr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Stop: %v", err)
		}
		if n := len(o.l.packets.list); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	}
	if err := late[0].Read(drivers[0].l, all[0]); !errors.Is(err, errEnded) {
		t.Errorf("Read: %v", err)
	}
	late[0].Close()
}

// TestPortIsNotShared: neither with another group of sockets, nor with a socket of
// any other kind.
func TestPortIsNotShared(t *testing.T) {
	first, err := ListenPackets("127.0.0.1:0", 2)
	if err != nil {
		t.Fatal(err)
	}
	addr := first[0].Addr().String()
	for _, n := range []int{1, 2} {
		if _, err := ListenPackets(addr, n); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%d more: %v", n, err)
		}
	}
	for _, s := range first {
		s.Close()
	}
	again, err := ListenPackets(addr, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range again {
		s.Close()
	}
}

// TestPacketSocketsAreClosedBesideTheirUse: whoever comes too late gets an error,
// and not the descriptor's next owner.
func TestPacketSocketsAreClosedBesideTheirUse(t *testing.T) {
	_, drivers := start(t, 2)
	for range 50 {
		came := make(chan bool, 1)
		all := readPackets(t, drivers, came)
		var users sync.WaitGroup
		for _, o := range all {
			users.Go(func() {
				for {
					switch err := o.s.Send(nil, o.addr()); {
					case errors.Is(err, net.ErrClosed):
						return
					case err != nil && !errors.Is(err, unix.EAGAIN):
						t.Error(err)
						return
					}
				}
			})
		}
		<-came // to one of them: the sender's address is the same
		for _, o := range all {
			o.s.Close()
		}
		users.Wait()
	}
}
