package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// macOS builds and serves, with one thing left out: reading cannot be paused, so
// that a slow reader meets the hard cap of its send buffer. netpoll has no call
// that takes a read filter out of a kqueue.
var errNoPause = errors.New("reading cannot be paused on this system")

func send(fd int, b []byte) (int, unix.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	return result(unix.Write(fd, b))
}

func sendVec(fd int, v []unix.Iovec) (sent int, errno unix.Errno) {
	for _, piece := range v {
		n, errno := result(unix.Write(fd, unsafe.Slice(piece.Base, int(piece.Len))))
		sent += n
		if errno != 0 && sent == 0 {
			return 0, errno
		}
		if n < int(piece.Len) {
			break
		}
	}
	return sent, 0
}

func result(n int, err error) (int, unix.Errno) {
	if err == nil {
		return n, 0
	}
	var errno unix.Errno
	errors.As(err, &errno)
	return 0, errno
}

func acceptRaw(l *net.TCPListener) (net.Listener, error) { return l, nil }

// bell wakes a loop: a pipe, since there is no eventfd.
type bell struct {
	fd   int
	file *os.File
}

var wakeBytes = []byte{0}

func newBell(p *netpoll.Poller) (*bell, error) {
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		return nil, os.NewSyscallError("pipe", err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	b := &bell{fds[0], os.NewFile(uintptr(fds[1]), "bell")}
	err := unix.SetNonblock(fds[0], true)
	if err == nil {
		err = p.AddRead(&netpoll.PollAttachment{FD: b.fd}, false)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *bell) Write(p []byte) (int, error) { return b.file.Write(p) }

func (b *bell) Close() {
	_ = b.file.Close()
	_ = unix.Close(b.fd)
}

func (b *bell) hear() {
	var heard [16]byte
	_, _ = unix.Read(b.fd, heard[:])
}

func recv(fd int, b []byte) (int, unix.Errno) {
	n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
	return result(n, err)
}

// spreadsPackets says whether sockets that share a port get the packets of each peer
// always in the same of them. Here the last one that was bound gets them all.
const spreadsPackets = false

func recvFrom(fd int, b []byte) (int, netip.AddrPort, unix.Errno) {
	n, sa, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
	if err != nil {
		_, errno := result(0, err)
		return 0, netip.AddrPort{}, errno
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return n, netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), 0
	case *unix.SockaddrInet6:
		return n, netip.AddrPortFrom(addrOf(sa.Addr, sa.ZoneId), uint16(sa.Port)), 0
	}
	return 0, netip.AddrPort{}, unix.EAFNOSUPPORT
}

func sendTo(fd int, b []byte, six bool, to netip.AddrPort, scope uint32) unix.Errno {
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port()), ZoneId: scope}
	if !six {
		sa = &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	}
	_, errno := result(0, unix.Sendto(fd, b, unix.MSG_DONTWAIT, sa))
	return errno
}

// happened acts on what the poller found.
func (l *Loop) happened(s *Socket, filter netpoll.IOEvent) {
	switch {
	case netpoll.IsReadEvent(filter):
		l.read(s)
	case netpoll.IsWriteEvent(filter):
		l.tell(s, writable)
	}
}

func (l *Loop) setReading(*Socket, bool) error { return errNoPause }

// watch has the poller tell of writability: taking the filter out, when it is not
// in, is an error to it. A hang-up is seen when reading.
func (l *Loop) watch(s *Socket) error {
	if s.armed == (s.awaited&writable != 0) {
		return nil
	}
	return l.poll(s, false)
}

const tcpKeepIdle = unix.TCP_KEEPALIVE

func userTimeout(time.Duration) []option { return nil }
