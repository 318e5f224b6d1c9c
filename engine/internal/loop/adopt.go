package loop

import (
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// arrivals are the descriptors that wait for their loop.
type arrivals struct {
	mu          sync.Mutex
	list, taken []*arrival
	refused     bool // the loop has ended
}

type arrival struct {
	s    *Socket
	fd   int
	done chan error
}

// arrivalPool keeps the channels to be used again.
var arrivalPool = sync.Pool{New: func() any { return &arrival{done: make(chan error, 1)} }}

// arrive hands a descriptor to the loop, which owns it from then on, and waits
// until it has been taken.
func (l *Loop) arrive(s *Socket, fd int) error {
	a := arrivalPool.Get().(*arrival)
	a.s, a.fd = s, fd
	l.arrivals.mu.Lock()
	if l.arrivals.refused {
		l.arrivals.mu.Unlock()
		_ = unix.Close(fd)
		return errEnded
	}
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
		a.done <- l.take(a.s, a.fd)
	}
}

var errEnded = errors.New("the event loop has ended")

// refuse closes the descriptors that have arrived, and those that still arrive.
// These are few: pick treats the loop as one that is held up.
func (l *Loop) refuse() {
	l.arriving.Add(arrivingMax)
	r := &l.arrivals
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = true
	for _, a := range r.list {
		_ = unix.Close(a.fd)
		a.done <- errEnded
	}
	r.list = nil
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
