package loop

import (
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
	conn net.Conn // after once: in place of fd
	err  error
}

// take gives the descriptor away, or a duplicate if it has been used.
func (a *accepted) take() (fd int, err error) {
	a.once.Do(func() { fd, a.err = a.fd, net.ErrClosed })
	switch {
	case fd != 0:
		return fd, nil
	case a.conn != nil:
		return duplicate(a.conn)
	}
	return 0, a.err
}

// use makes a connection of the descriptor.
func (a *accepted) use() (net.Conn, error) {
	a.once.Do(func() { a.conn, a.err = FileConn(a.fd) })
	return a.conn, a.err
}

// RemoteAddr and LocalAddr implement net.Conn, and so do the following.
func (a *accepted) RemoteAddr() net.Addr { return a.remote }
func (a *accepted) LocalAddr() net.Addr  { return a.local }

func (a *accepted) Close() error {
	a.once.Do(func() { a.err = net.ErrClosed; _ = unix.Close(a.fd) })
	if a.conn != nil {
		return a.conn.Close()
	}
	return nil
}

func (a *accepted) Read(b []byte) (int, error) {
	c, err := a.use()
	if err != nil {
		return 0, err
	}
	return c.Read(b)
}

func (a *accepted) Write(b []byte) (int, error) {
	c, err := a.use()
	if err != nil {
		return 0, err
	}
	return c.Write(b)
}

func (a *accepted) CloseWrite() error {
	c, err := a.use()
	if err != nil {
		return err
	}
	return c.(interface{ CloseWrite() error }).CloseWrite()
}

func (a *accepted) SetDeadline(t time.Time) error {
	c, err := a.use()
	if err != nil {
		return err
	}
	return c.SetDeadline(t)
}

func (a *accepted) SetReadDeadline(t time.Time) error {
	c, err := a.use()
	if err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

func (a *accepted) SetWriteDeadline(t time.Time) error {
	c, err := a.use()
	if err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
