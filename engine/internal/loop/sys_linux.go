package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// The sockets never block, so that these calls return at once and the
// runtime's hand-off of the processor around a system call can be spared.
// MSG_NOSIGNAL: a program that listens to all signals is to see no SIGPIPE.

func send(fd int, b []byte) (int, unix.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func sendVec(fd int, v []unix.Iovec) (int, unix.Errno) {
	if len(v) == 0 {
		return 0, 0
	}
	msg := unix.Msghdr{Iov: &v[0]}
	msg.SetIovlen(len(v))
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return int(n), errno
}

// acceptRaw has a listener accept bare descriptors. TCP_NODELAY is handed down.
func acceptRaw(l *net.TCPListener) (net.Listener, error) {
	fd, err := duplicate(l)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "listener") // the runtime lets one wait for a file, not for a listener
	raw, err := file.SyscallConn()
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	local := l.Addr().(*net.TCPAddr)
	return &listener{TCPListener: l, file: file, accept: func() (*accepted, error) {
		a := &accepted{local: local}
		var errno unix.Errno
		err := raw.Read(func(fd uintptr) bool {
			for {
				a.fd, a.remote, errno = accept4(int(fd))
				if errno != unix.EINTR && errno != unix.ECONNABORTED {
					break
				}
			}
			return errno != unix.EAGAIN
		})
		if err != nil {
			return nil, err
		}
		if errno != 0 {
			return nil, os.NewSyscallError("accept4", errno)
		}
		if local.IP.IsUnspecified() {
			own, err := unix.Getsockname(a.fd)
			if err != nil {
				_ = unix.Close(a.fd)
				return nil, os.NewSyscallError("getsockname", err)
			}
			a.local = tcpAddr(own)
		}
		return a, nil
	}}, nil
}

// accept4 does not block, and returns at once like send. The address is the only
// thing it allocates: connections keep it.
func accept4(fd int) (int, net.Addr, unix.Errno) {
	var sa unix.RawSockaddrInet6 // the largest there is
	size := uint32(unix.SizeofSockaddrInet6)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return 0, nil, errno
	}
	port := int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:]))
	if sa.Family == unix.AF_INET {
		return int(n), tcpAddr4((*unix.RawSockaddrInet4)(unsafe.Pointer(&sa)).Addr, port), 0
	}
	return int(n), tcpAddr6(sa.Addr, port, sa.Scope_id), 0
}

func tcpAddr(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return tcpAddr4(sa.Addr, sa.Port)
	case *unix.SockaddrInet6:
		return tcpAddr6(sa.Addr, sa.Port, sa.ZoneId)
	}
	return nil
}

// tcpAddr4 makes one allocation of an address and its bytes.
func tcpAddr4(ip [4]byte, port int) net.Addr {
	a := &struct {
		net.TCPAddr
		ip [4]byte
	}{ip: ip}
	a.IP, a.Port = a.ip[:], port
	return &a.TCPAddr
}

func tcpAddr6(ip [16]byte, port int, scope uint32) net.Addr {
	a := &struct {
		net.TCPAddr
		ip [16]byte
	}{ip: ip}
	a.IP, a.Port = a.ip[:], port
	if scope != 0 {
		a.Zone = strconv.Itoa(int(scope))
	}
	return &a.TCPAddr
}

// pollerFD reads the descriptor of gnet's poller, which gnet does not publish.
func pollerFD(el gnet.EventLoop) (fd int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("this version of gnet hides its poller elsewhere: %v", r)
		}
	}()
	fd = int(reflect.ValueOf(el).Elem().FieldByName("poller").Elem().FieldByName("fd").Int())
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return 0, fmt.Errorf("this version of gnet hides its poller elsewhere: %w", err)
	}
	return fd, nil
}

// setReading changes what gnet's poller waits for. Errors and a full hang-up
// are reported in any case.
func setReading(poller, fd int, on bool) error {
	ev := unix.EpollEvent{Fd: int32(fd)}
	if on {
		ev.Events = unix.EPOLLIN | unix.EPOLLPRI
	}
	return unix.EpollCtl(poller, unix.EPOLL_CTL_MOD, fd, &ev)
}

// watcher waits for congested sockets to become writable, in an epoll of its
// own: gnet reports writability only for what it writes itself. An event
// carries a number, never a descriptor, so that it cannot hit a successor.
type watcher struct {
	epoll *os.File
	raw   syscall.RawConn
	done  chan struct{}

	mu      sync.Mutex
	last    uint64
	watched map[uint64]*Socket
}

func newWatcher() (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(fd, true); err != nil { // so that the runtime's poller waits for it
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	w := &watcher{epoll: os.NewFile(uintptr(fd), "writability"), done: make(chan struct{}), watched: map[uint64]*Socket{}}
	if w.raw, err = w.epoll.SyscallConn(); err != nil {
		_ = w.epoll.Close()
		return nil, err
	}
	go w.run()
	return w, nil
}

func (w *watcher) watch(s *Socket) error {
	w.mu.Lock()
	delete(w.watched, s.watchID)
	w.last++
	s.watchID = w.last
	w.watched[s.watchID] = s
	w.mu.Unlock()
	var err error
	ctl := func(epoll uintptr) {
		ev := unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(s.watchID), Pad: int32(s.watchID >> 32)}
		if s.awaited&writable != 0 {
			ev.Events |= unix.EPOLLOUT
		}
		if s.awaited&hangup != 0 {
			ev.Events |= unix.EPOLLRDHUP
		}
		if err = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, int(s.fd), &ev); errors.Is(err, unix.ENOENT) {
			err = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(s.fd), &ev)
		}
	}
	if e := w.raw.Control(ctl); e != nil {
		err = e
	}
	if err != nil {
		w.drop(s)
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// forget ends the watching of a socket whose descriptor is about to be closed:
// a duplicate elsewhere would keep the registration alive.
func (w *watcher) forget(s *Socket) {
	w.drop(s)
	_ = w.raw.Control(func(epoll uintptr) {
		_ = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_DEL, int(s.fd), nil)
	})
}

func (w *watcher) drop(s *Socket) {
	w.mu.Lock()
	delete(w.watched, s.watchID)
	w.mu.Unlock()
	s.watchID = 0
}

func (w *watcher) run() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 256)
	_ = w.raw.Read(func(epoll uintptr) bool { // returns when the file is closed
		for {
			n, err := unix.EpollWait(int(epoll), events, 0)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				return false // wait until the epoll itself is readable
			}
			for _, ev := range events[:n] {
				found := writable // errors too: the next write shows them
				if ev.Events&unix.EPOLLRDHUP != 0 {
					found = hangup
					if ev.Events&unix.EPOLLOUT != 0 {
						found |= writable
					}
				}
				w.happened(uint64(uint32(ev.Fd))|uint64(uint32(ev.Pad))<<32, found)
			}
		}
	})
}

func (w *watcher) happened(id uint64, found events) {
	w.mu.Lock()
	s := w.watched[id]
	delete(w.watched, id)
	if s != nil {
		s.loop.ready.add(s, found)
	}
	w.mu.Unlock()
	if s != nil {
		s.loop.Wake()
	}
}

func (w *watcher) close() {
	_ = w.epoll.Close()
	<-w.done
}
