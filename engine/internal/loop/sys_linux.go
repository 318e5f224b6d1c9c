package loop

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
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

// bell wakes a loop. It is an eventfd that the poller watches edge-triggered: each
// write is an event, and nobody needs to read.
type bell struct {
	fd   int
	file *os.File // so that a Wake which comes late hits no successor of the descriptor
}

var wakeBytes = binary.NativeEndian.AppendUint64(nil, 1) // here, or each Wake would allocate it

func newBell(p *netpoll.Poller) (*bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // not non-blocking, or the runtime's poller would watch it too
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	b := &bell{fd, os.NewFile(uintptr(fd), "bell")}
	if err = p.AddRead(&netpoll.PollAttachment{FD: fd}, true); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *bell) Write(p []byte) (int, error) { return b.file.Write(p) }
func (b *bell) Close()                      { _ = b.file.Close() }
func (b *bell) hear()                       {}

func recv(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// spreadsPackets says whether sockets that share a port get the packets of each peer
// always in the same of them.
const spreadsPackets = true

// recvFrom and sendTo allocate nothing.

func recvFrom(fd int, b []byte) (int, netip.AddrPort, unix.Errno) {
	var sa unix.RawSockaddrInet6 // the largest there is
	size := uint32(unix.SizeofSockaddrInet6)
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, netip.AddrPort{}, errno
	}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	if sa.Family == unix.AF_INET {
		return int(n), netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&sa)).Addr), port), 0
	}
	return int(n), netip.AddrPortFrom(addrOf(sa.Addr, sa.Scope_id), port), 0
}

func sendTo(fd int, b []byte, six bool, to netip.AddrPort, scope uint32) unix.Errno {
	sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Scope_id: scope}
	size := uintptr(unix.SizeofSockaddrInet6)
	if six {
		sa.Addr = to.Addr().As16()
	} else {
		sa.Family, size = unix.AF_INET, unix.SizeofSockaddrInet4
		(*unix.RawSockaddrInet4)(unsafe.Pointer(&sa)).Addr = to.Addr().As4()
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], to.Port())
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&sa)), size)
	return errno
}

// happened acts on what the poller found. Writing comes before reading, so that
// less waits when the answers to what is read join it. But of a broken socket
// that is not paused, first what it still holds is read, and then the error. A
// unix socket whose peer has closed says POLLHUP, and still holds what that sent:
// for a paused one this is the end of the peer's stream, as on TCP.
func (l *Loop) happened(s *Socket, ev netpoll.IOEvent) {
	const broken = unix.EPOLLERR | unix.EPOLLHUP
	var found events
	if ev&unix.EPOLLOUT != 0 && (ev&broken == 0 || s.paused) {
		found = writable
	}
	if s.paused && ev&(broken|unix.EPOLLRDHUP) != 0 {
		now := state(s.fd)
		if now&unix.POLLERR != 0 {
			l.end(s, io.EOF)
			return
		}
		if now&(unix.POLLRDHUP|unix.POLLHUP) != 0 {
			found |= hangup
		}
	}
	l.tell(s, found)
	if ev&^unix.EPOLLOUT != 0 && !s.paused && !s.closing {
		l.read(s)
	}
}

// state asks the kernel how a socket is.
func state(fd int32) int16 {
	p := [1]unix.PollFd{{Fd: fd, Events: unix.POLLRDHUP}}
	_, _ = unix.Poll(p[:], 0)
	return p[0].Revents
}

// setReading pauses by watching edge-triggered. Some events for what arrives
// still come: they are not read. The end of the peer's stream comes, too.
func (l *Loop) setReading(s *Socket, on bool) error { return l.poll(s, !on) }

// watch has the poller report what the socket awaits. Of a paused one it may have
// reported that before, and is made to say it again.
func (l *Loop) watch(s *Socket) error {
	if !s.paused && s.armed == (s.awaited&writable != 0) {
		return nil
	}
	return l.poll(s, s.paused)
}

const tcpKeepIdle = unix.TCP_KEEPIDLE

func userTimeout(d time.Duration) []option {
	return []option{{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds())}}
}
