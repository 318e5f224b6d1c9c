package loop

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// gnet's Enroll takes a net.Conn, writes out its addresses, parses them again,
// makes a channel and wakes the loop by a descriptor of its own: 20 allocations
// that a server of many connections pays in memory and time. These two functions
// are what it comes to with a descriptor at hand. A gnet that has them no longer
// is noticed when the program is linked; TestWriteUntilFullThenWatch
// and others notice if they do otherwise.

//go:linkname newStreamConn github.com/panjf2000/gnet/v2.newStreamConn
func newStreamConn(proto string, fd int, el unsafe.Pointer, sa unix.Sockaddr, local, remote net.Addr) unsafe.Pointer

// register0 watches the descriptor, or closes it, and calls OnOpen.
//
//go:linkname register0 github.com/panjf2000/gnet/v2.(*eventloop).register0
func register0(el, c unsafe.Pointer) error

// arrivals are the descriptors that wait for their loop.
type arrivals struct {
	mu          sync.Mutex
	list, taken []*arrival
}

type arrival struct {
	s    *Socket
	fd   int
	done chan error
}

// arrivalPool spares the channels.
var arrivalPool = sync.Pool{New: func() any { return &arrival{done: make(chan error, 1)} }}

// arrive hands a descriptor to the loop, which owns it from then on, and waits
// until it has been taken.
func (l *Loop) arrive(s *Socket, fd int) error {
	a := arrivalPool.Get().(*arrival)
	a.s, a.fd = s, fd
	l.arrivals.mu.Lock()
	l.arrivals.list = append(l.arrivals.list, a)
	l.arrivals.mu.Unlock()
	l.Wake()
	err := <-a.done
	a.s = nil
	arrivalPool.Put(a)
	return err
}

// adopt takes in what has arrived. It runs on the loop.
func (l *Loop) adopt() {
	r := &l.arrivals
	r.mu.Lock()
	r.list, r.taken = r.taken[:0], r.list
	r.mu.Unlock()
	for i, a := range r.taken {
		r.taken[i] = nil
		l.opening = a.s
		err := register0(l.elWord, newStreamConn("tcp", a.fd, l.elWord, nil, nil, nil))
		l.opening = nil
		if a.s.loop != nil { // it was opened; what went wrong since, Closed has told
			err = nil
		} else if err == nil {
			err = errors.New("the event loop could not watch the descriptor")
		}
		a.done <- err
	}
}

// word is the pointer inside an interface value that holds one.
func word(el gnet.EventLoop) unsafe.Pointer {
	return (*[2]unsafe.Pointer)(unsafe.Pointer(&el))[1]
}

// duplicate returns a descriptor of its own for the socket of a connection that
// is to be closed then.
func duplicate(c any) (fd int, err error) {
	if a, ok := c.(*accepted); ok {
		return a.take()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, errors.New("there is no descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(cerr, err)
}
