package loop

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Why a socket file cannot be made.
var (
	ErrServed    = errors.New("a server listens on that socket file")
	ErrNotSocket = errors.New("there is a file of that name, which is no socket")
)

// ListenUnix opens a listener on a socket file. A file that a crashed server left
// is replaced; one that is served, or that is no socket, is not touched. The mode
// is set before anybody can connect; 0 leaves it to the umask of the process.
func ListenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	defer lock(filepath.Dir(path))()
	fd, err := bind(path)
	if errors.Is(err, unix.EADDRINUSE) {
		if err = removeLeft(path); err == nil {
			fd, err = bind(path)
		}
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // FileListener has its own duplicate
	if mode != 0 {
		err = os.Chmod(path, mode)
	}
	if err == nil { // only from now on can anybody connect
		err = os.NewSyscallError("listen", unix.Listen(fd, unix.SOMAXCONN))
	}
	var l net.Listener
	if err == nil {
		l, err = net.FileListener(f)
	}
	if err != nil {
		_ = os.Remove(path)
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(true)
	return l, nil
}

// bind makes a socket and its file.
func bind(path string) (fd int, err error) {
	if fd, err = unixSocket(); err != nil {
		return 0, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return 0, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func unixSocket() (fd int, err error) {
	syscall.ForkLock.RLock() // so that no child process inherits it
	defer syscall.ForkLock.RUnlock()
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	if err = unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
	}
	return fd, err
}

// removeLeft removes a socket file that no server listens on: connecting to it is
// refused.
func removeLeft(path string) error {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return ErrNotSocket
	}
	fd, err := unixSocket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if errors.Is(err, unix.ECONNREFUSED) {
		return os.Remove(path)
	}
	for _, served := range []error{nil, unix.EAGAIN, unix.EINPROGRESS, unix.EPROTOTYPE} { // its queue may be full, or its kind another
		if errors.Is(err, served) {
			return ErrServed
		}
	}
	return os.NewSyscallError("connect", err)
}

// lock keeps two servers that start at once from taking each other's file for one
// that was left: between bind and listen it looks like that. A directory that
// cannot be locked within a second, or at all, is used without.
func lock(dir string) (unlock func()) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		<-tick.C
	}
	return func() { _ = f.Close() }
}
