package loop

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen opens a listener for a server of many connections: keepalive probes
// are left out, which Go would set on each connection by four system calls (see
// SetKeepAlive), and multipath TCP, whose sockets do not inherit
// options from their listener.
func Listen(network, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := l.(*net.TCPListener); ok {
		return Accepting(tcp)
	}
	return l, nil
}

// Accepting makes a listener like one of Listen of any other, which belongs to it
// from then on; if it fails, that one is closed.
func Accepting(l *net.TCPListener) (net.Listener, error) {
	fast, err := acceptRaw(l)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return fast, nil
}

// SetNotSent bounds what the kernel takes of a TCP connection beyond what is on
// its way to the peer (TCP_NOTSENT_LOWAT). Connections inherit it from a
// listener that Listen made. It does nothing for other kinds of sockets.
func SetNotSent(s any, bytes int) error {
	return setTCP(s, option{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes})
}

// keepAliveProbes is how many probes without an answer end a connection.
const keepAliveProbes = 3

// SetKeepAlive has the kernel probe a peer that has been silent for d (RFC 9293
// §3.8.4). One that answers none of three probes, each after a third of d, is dead.
// While data waits for its acknowledgement the kernel does not probe; then the peer
// is dead after giveUp, if that is not 0 (RFC 5482 §2; Linux). A peer whose window
// is closed counts as one that does not acknowledge. All is inherited like SetNotSent.
func SetKeepAlive(s any, d, giveUp time.Duration) error {
	seconds := max(int(d/time.Second), 1)
	options := []option{
		{unix.IPPROTO_TCP, tcpKeepIdle, seconds},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(seconds/keepAliveProbes, 1)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	}
	if giveUp > 0 {
		options = append(options, userTimeout(giveUp)...)
	}
	return setTCP(s, options...)
}

type option struct{ level, name, value int }

func setTCP(s any, options ...option) error {
	switch x := s.(type) {
	case *net.TCPConn, *net.TCPListener:
	case *listener:
		s = x.TCPListener
	default:
		return nil
	}
	raw, err := s.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for _, o := range options {
			failed = errors.Join(failed, unix.SetsockoptInt(int(fd), o.level, o.name, o.value))
		}
	})
	return errors.Join(err, failed)
}

// Pending reports whether connections wait at a listener to be accepted. Of a listener
// of a kind that has no descriptor it knows nothing.
func Pending(l net.Listener) (pending bool) {
	if own, ok := l.(*listener); ok {
		l = own.TCPListener
	}
	s, ok := l.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p, 0)
		pending = n > 0
	})
	return pending
}

// Descriptors returns how many descriptors this process may open.
func Descriptors() (int, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	return int(min(r.Cur, 1<<30)), nil
}

// SpareDescriptor reports whether this process may open one more descriptor.
func SpareDescriptor() bool {
	fd, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return !errors.Is(err, unix.EMFILE)
}

// Supported tells whether a connection is of a kind that a loop can hold: one
// with a descriptor of its own that carries just the bytes.
func Supported(c net.Conn) bool {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		_, ok := c.(syscall.Conn)
		return ok
	case *accepted:
		return true
	}
	return false
}
