package loop

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// listener accepts bare descriptors where the system lets it. A *net.TCPConn
// would cost five more system calls (for the runtime's own poller, the
// addresses, TCP_NODELAY, a duplicate for the loop) and a dozen allocations.
type listener struct {
	*net.TCPListener
	file   *os.File // a duplicate, to wait with
	accept func() (*accepted, error)
	closed atomic.Bool
}

// Accept implements net.Listener. What it returns is for Enroll; it becomes a
// full connection when it is used as one.
func (l *listener) Accept() (net.Conn, error) {
	a, err := l.accept()
	switch {
	case err == nil:
		return a, nil
	case l.closed.Load(): // a file that was closed while one waited has an error of its own for that
		return nil, net.ErrClosed
	}
	return nil, err // no nil *accepted in a net.Conn
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.closed.Store(true)
	_ = l.file.Close()
	return l.TCPListener.Close()
}

// accepted is a descriptor on its way into a loop.
type accepted struct {
	fd            int
	local, remote net.Addr

	once sync.Once
	file *os.File // after once: in place of fd
	err  error
}

// take gives the descriptor away, or a duplicate if it has been used.
func (a *accepted) take() (fd int, err error) {
	a.once.Do(func() { fd, a.err = a.fd, net.ErrClosed })
	switch {
	case fd != 0:
		return fd, nil
	case a.file != nil:
		return duplicate(a.file)
	}
	return 0, a.err
}

// use makes a file of the descriptor, for the runtime's poller. A *net.TCPConn would
// cost ten more system calls, for a duplicate, TCP_NODELAY, and keepalive probes that
// nobody asked for.
func (a *accepted) use() (*os.File, error) {
	a.once.Do(func() { a.file = os.NewFile(uintptr(a.fd), "socket") })
	return a.file, a.err
}

// opError is the error of a file as that of a net.Conn.
func (a *accepted) opError(op string, err error) error {
	p, ok := err.(*os.PathError) //nolint:errorlint // from the file itself
	if !ok {
		return err
	}
	if err = p.Err; errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: a.remote.Network(), Source: a.local, Addr: a.remote, Err: err}
}

// RemoteAddr and LocalAddr implement net.Conn, and so do the following.
func (a *accepted) RemoteAddr() net.Addr { return a.remote }
func (a *accepted) LocalAddr() net.Addr  { return a.local }

func (a *accepted) Close() error {
	a.once.Do(func() { a.err = net.ErrClosed; _ = unix.Close(a.fd) })
	if a.file != nil {
		return a.opError("close", a.file.Close())
	}
	return nil
}

func (a *accepted) Read(b []byte) (int, error) {
	f, err := a.use()
	if err != nil {
		return 0, err
	}
	n, err := f.Read(b)
	return n, a.opError("read", err)
}

func (a *accepted) Write(b []byte) (int, error) {
	f, err := a.use()
	if err != nil {
		return 0, err
	}
	n, err := f.Write(b)
	return n, a.opError("write", err)
}

func (a *accepted) CloseWrite() error {
	f, err := a.use()
	if err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return a.opError("close", err)
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(cerr, err)
}

func (a *accepted) SetDeadline(t time.Time) error {
	f, err := a.use()
	if err != nil {
		return err
	}
	return f.SetDeadline(t)
}

func (a *accepted) SetReadDeadline(t time.Time) error {
	f, err := a.use()
	if err != nil {
		return err
	}
	return f.SetReadDeadline(t)
}

func (a *accepted) SetWriteDeadline(t time.Time) error {
	f, err := a.use()
	if err != nil {
		return err
	}
	return f.SetWriteDeadline(t)
}
