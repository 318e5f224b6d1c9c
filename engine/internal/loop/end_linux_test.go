package loop

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestALoopThatTheKernelRefuses ends with its sockets, says so, and takes no
// others; the group goes on without it.
func TestALoopThatTheKernelRefuses(t *testing.T) {
	failed := make(chan error, 1)
	var drivers []*driver
	g, err := Start(2, func(err error) { failed <- err }, func(l *Loop) Driver {
		d := &driver{l: l, do: make(chan func(), 100)}
		drivers = append(drivers, d)
		return d
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	a, _ := enrollPair(t, g, nil)
	b, peer := enrollPair(t, g, nil)
	victim := <-a.opened
	<-b.opened
	fd, _ := epoll(t, victim)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, d := range drivers {
		if d.l == victim {
			d.do <- func() { err = unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC) } // no epoll any more
			victim.Wake()
		}
	}
	if why := <-failed; err != nil || why == nil {
		t.Errorf("%v; it says %v", err, why)
	}
	if err := <-a.closed; err != nil {
		t.Errorf("closed with %v", err)
	}
	<-victim.ended
	for range 5 {
		if o, _ := enrollPair(t, g, nil); <-o.opened == victim {
			t.Fatal("the loop that ended was chosen")
		}
	}
	_, _ = peer.Write([]byte("x"))
	if s := <-b.read; s != "x" {
		t.Errorf("read %q", s)
	}
	victim.Wake() // late: nobody hears it
}

// TestEnrollAfterTheEnd fails, and closes the connection.
func TestEnrollAfterTheEnd(t *testing.T) {
	g, _ := start(t, 1)
	g.Stop()
	before := len(descriptors(t))
	inner, peer := unixPair(t)
	o := newOwner(nil)
	if err := g.Enroll(inner, &o.sock, o); !errors.Is(err, errEnded) {
		t.Errorf("enrolled: %v", err)
	}
	if _, err := peer.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	_ = peer.Close()
	if n := len(descriptors(t)); n != before || len(o.opened)+len(o.closed) != 0 || g.loops[0].load.Load() != 0 {
		t.Errorf("%d descriptors, there were %d", n, before)
	}
}

// TestTable: every loop finds its own sockets, however high their descriptors.
func TestTable(t *testing.T) {
	var g table
	loops := []*Loop{{sockets: &g}, {sockets: &g}}
	if loops[0].at(5) != nil || len(g.of(loops[0])) != 0 {
		t.Error("a socket in an empty table")
	}
	done := make(chan int)
	for i, l := range loops {
		go func() {
			for fd := i; fd < 10*len(page{}); fd += 2 {
				s := &Socket{loop: l, fd: int32(fd)}
				g.put(fd, s)
				if l.at(fd) != s || loops[1-i].at(fd) != nil {
					t.Errorf("loop %d: another socket at %d", i, fd)
				}
				if fd%3 == 0 {
					g.put(fd, nil)
				}
			}
			done <- i
		}()
	}
	<-done
	<-done
	for i, l := range loops {
		n := 0
		for fd := i; fd < 10*len(page{}); fd += 2 {
			if s := l.at(fd); (s == nil) != (fd%3 == 0) || s != nil && int(s.fd) != fd {
				t.Fatalf("loop %d has %v at %d", i, s, fd)
			} else if s != nil {
				n++
			}
		}
		if got := len(g.of(l)); got != n {
			t.Errorf("loop %d has %d sockets, the table lists %d", i, n, got)
		}
	}
}
