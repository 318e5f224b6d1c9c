// Package loop holds everything of the engine that touches gnet or a
// descriptor: the event loops, taking sockets into them, waking a loop, reading
// and writing, awaiting writability, pausing. It knows nothing of protocols. Of
// gnet it uses the poller alone, package netpoll. Where the poller's behaviour
// shaped the code, a comment says so.
package loop

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// LoopsMax is how many loops a group has at most.
const LoopsMax = 256

// Group is a set of running loops.
type Group struct {
	loops   []*Loop
	sockets table
}

// Start runs n loops; driver is asked for the owner of each. failed is called on a loop's goroutine if the
// kernel refuses its poller: then the loop ends.
func Start(n int, failed func(error), driver func(*Loop) Driver) (*Group, error) {
	g := new(Group)
	for range n {
		l := &Loop{sockets: &g.sockets}
		if err := l.open(); err != nil {
			g.Stop()
			return nil, fmt.Errorf("starting an event loop: %w", err)
		}
		g.loops = append(g.loops, l)
		l.sys, l.driver = kernel{l}, driver(l)
		go l.run(failed)
	}
	return g, nil
}

// FileConn makes a net.Conn of a descriptor and owns it from then on, also
// when it fails.
func FileConn(fd int) (net.Conn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() // FileConn has its own duplicate
	return net.FileConn(f)
}

// Pair makes two unix sockets that are connected to each other.
func Pair() (a, b net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	a, err = FileConn(fds[0])
	b, other := FileConn(fds[1])
	if err = errors.Join(err, other); err != nil {
		for _, c := range []net.Conn{a, b} {
			if c != nil {
				_ = c.Close()
			}
		}
		return nil, nil, err
	}
	return a, b, nil
}

// arrivingMax bounds the connections that wait for one loop to take them, so
// that a loop which is held up does not hold up those that feed all loops.
const arrivingMax = 2

// Enroll hands a TCP or unix connection to the loop with the fewest
// connections and returns after owner.Opened ran there. The net.Conn is closed
// in any case; the loop has its own duplicate of the descriptor. It must not be
// called on a loop. It fails after Stop.
func (g *Group) Enroll(c net.Conn, s *Socket, owner Owner) error {
	return g.pick().Enroll(c, s, owner)
}

// Enroll is Group.Enroll for this loop.
func (l *Loop) Enroll(c net.Conn, s *Socket, owner Owner) error {
	s.owner = owner
	l.load.Add(1)
	l.arriving.Add(1)
	defer l.arriving.Add(-1)
	fd, err := duplicate(c)
	_ = c.Close()
	if err == nil {
		err = l.arrive(s, fd)
	}
	if err != nil {
		l.load.Add(-1)
	}
	return err
}

// pick returns the loop with the fewest connections, those on their way
// included, among the loops that take what is on its way.
func (g *Group) pick() (best *Loop) {
	for _, l := range g.loops {
		if l.arriving.Load() < arrivingMax && (best == nil || l.load.Load() < best.load.Load()) {
			best = l
		}
	}
	if best == nil { // all loops are held up
		best = g.loops[rand.IntN(len(g.loops))]
	}
	return best
}

// Stop ends the loops and waits for that: every socket that is still there is
// closed, its owner told.
func (g *Group) Stop() {
	for _, l := range g.loops {
		l.stopping.Store(true)
		l.Wake()
	}
	for _, l := range g.loops {
		<-l.ended
	}
}
