package loop

import (
	"errors"
	"net"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// macOS builds and serves, with two things left out: reading cannot be paused,
// so that a slow reader meets the hard cap of its send buffer, and a congested
// socket is tried again after retryAfter instead of being watched.
const retryAfter = 10 * time.Millisecond

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

func pollerFD(gnet.EventLoop) (int, error)     { return -1, nil }
func setReading(poller, fd int, on bool) error { return errNoPause }

type watcher struct{}

func newWatcher() (*watcher, error) { return &watcher{}, nil }

func (w *watcher) watch(s *Socket) error {
	if s.awaited&writable == 0 { // a hang-up is seen when reading
		return nil
	}
	s.watchID = 1
	l := s.loop
	time.AfterFunc(retryAfter, func() {
		l.ready.add(s, writable)
		l.Wake()
	})
	return nil
}

func (w *watcher) forget(*Socket) {}
func (w *watcher) close()         {}
