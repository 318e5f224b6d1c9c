package loop

import (
	"errors"
	"io"
	"os"
	"sync/atomic"

	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/engine/internal/gid"
)

// ReadBytesMax is the size of a loop's read buffer: what one Readable call can
// bring at most.
const ReadBytesMax = 64 << 10

// Driver is the owner of a loop. It is called on the loop's goroutine.
type Driver interface {
	// Woken follows a Wake.
	Woken()
}

// Loop is one event loop: one goroutine, one poller, one read buffer.
type Loop struct {
	driver  Driver
	sys     System
	poller  *netpoll.Poller
	gid     atomic.Uintptr // 0 before the loop's goroutine runs and once it ends: a later one may get the same
	sockets *table         // of the group
	buf     []byte
	calling *Socket // whose owner is being called

	load     atomic.Int64 // connections, those on their way included
	arriving atomic.Int64 // connections on their way

	wake     io.Writer
	bell     *bell // which is this, but in a simulation
	woken    atomic.Bool
	stopping atomic.Bool
	ended    chan struct{} // closed when the goroutine has ended
	arrivals arrivals
	packets  packetSockets
	vecs     []unix.Iovec // scratch of WriteV
}

// On reports whether the caller is the loop's goroutine.
func (l *Loop) On() bool {
	id := l.gid.Load()
	return id != 0 && id == gid.Current()
}

// Driver is who was given to Start for this loop.
func (l *Loop) Driver() Driver { return l.driver }

// Wake makes the loop call Woken soon: once for any number of calls before it
// runs. Any goroutine may call it. Between one Woken and the next, every socket
// that had input or was writable when the first began has been told so once: on
// Linux the poller's events wait in one queue.
func (l *Loop) Wake() {
	if l.woken.CompareAndSwap(false, true) {
		_, _ = l.wake.Write(wakeBytes) // fails only once the loop has ended
	}
}

// open makes what the loop's goroutine needs.
func (l *Loop) open() (err error) {
	if l.poller, err = netpoll.OpenPoller(); err != nil {
		return err
	}
	if l.bell, err = newBell(l.poller); err != nil {
		_ = l.poller.Close()
		return err
	}
	l.wake, l.buf, l.ended = l.bell, make([]byte, ReadBytesMax), make(chan struct{})
	return nil
}

// run is the loop's goroutine. It ends when the group stops, or when the poller
// fails, which it does only if the kernel refuses it. The sockets that are still
// there are closed then, and those on their way refused.
func (l *Loop) run(failed func(error)) {
	defer close(l.ended)
	l.gid.Store(gid.Current())
	if err := l.poller.Polling(l.event); !errors.Is(err, gneterrors.ErrEngineShutdown) {
		failed(err)
	}
	for _, s := range l.sockets.of(l) {
		if !s.closing { // the end of one may close others
			l.end(s, nil)
		}
	}
	l.packets.end()
	l.refuse()
	l.gid.Store(0)
	l.bell.Close()
	_ = l.poller.Close()
}

// event is called by the poller for each event of a batch. The descriptor may
// have been closed earlier in the same batch, and may belong to another socket by
// now. So an event is a hint only: what is true is for a system call to say.
//
// What event returns, the poller does not report: two of gnet's errors end it in
// the middle of the batch, all others are dropped. So an error of a socket goes to
// its owner, and only a stop is returned.
func (l *Loop) event(fd int, ev netpoll.IOEvent, _ netpoll.IOFlags) error {
	if fd == l.bell.fd {
		return l.rung()
	}
	if s := l.at(fd); s != nil {
		l.happened(s, ev)
	} else {
		l.packets.arrived(fd)
	}
	return nil
}

// rung follows a Wake. The poller's own Trigger is no substitute: what is
// triggered by the loop itself runs before the poller asks the kernel again, so
// that a driver who wakes its loop in Woken would starve the sockets.
func (l *Loop) rung() error {
	l.bell.hear()
	l.woken.Swap(false) // pairs with Wake: what was posted before it is seen
	if l.stopping.Load() {
		return gneterrors.ErrEngineShutdown
	}
	l.adopt()
	l.driver.Woken()
	return nil
}

// at returns the socket that has the descriptor, or nil if none on this loop has it.
func (l *Loop) at(fd int) *Socket {
	if slot := l.sockets.slot(fd); slot != nil {
		if s := slot.Load(); s != nil && s.loop == l {
			return s
		}
	}
	return nil
}

// take makes a descriptor a socket of this loop, or closes it.
func (l *Loop) take(s *Socket, fd int) error {
	if err := l.poller.AddRead(&netpoll.PollAttachment{FD: fd}, false); err != nil {
		_ = unix.Close(fd)
		return err
	}
	s.loop, s.fd = l, int32(fd)
	l.sockets.put(fd, s)
	s.opened()
	return nil
}

// read reads once: the poller tells again if there is more.
func (l *Loop) read(s *Socket) {
	n, errno := recv(int(s.fd), l.buf)
	switch {
	case errno == unix.EAGAIN, errno == unix.EINTR:
	case errno != 0:
		l.end(s, os.NewSyscallError("read", errno))
	case n == 0:
		if !s.ended() {
			l.end(s, io.EOF)
		}
	default:
		s.readable(l.buf[:n])
	}
}

// tell calls the owner for the events that it awaits and that were found.
func (l *Loop) tell(s *Socket, found events) {
	s.tell(found)
	if s.armed && !s.paused && !s.closing && s.awaited&writable == 0 {
		_ = l.poll(s, false) // or the poller would report for ever that the socket is writable
	}
}

// poll says to the poller what it is to report of the socket. A paused one is
// watched edge-triggered: of it changes are reported only. netpoll cannot be
// asked to report nothing. Asked again, it reports the present state once more.
func (l *Loop) poll(s *Socket, paused bool) (err error) {
	pa, arm := netpoll.PollAttachment{FD: int(s.fd)}, s.awaited&writable != 0
	if arm {
		err = l.poller.ModReadWrite(&pa, paused)
	} else {
		err = l.poller.ModRead(&pa, paused)
	}
	if err == nil {
		s.armed = arm
	}
	return err
}

// end closes a socket. A duplicate of the descriptor elsewhere would keep it
// registered, so that it is removed from the poller first.
func (l *Loop) end(s *Socket, err error) {
	s.closed(err)
	fd := int(s.fd)
	l.sockets.put(fd, nil)
	_ = l.poller.Delete(fd)
	_ = unix.Close(fd)
}
