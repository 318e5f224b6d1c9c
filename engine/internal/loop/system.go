package loop

import "golang.org/x/sys/unix"

// System is what a loop asks of its poller and of the kernel: the seam at which a
// simulation takes the place of both. The errors 0 and EAGAIN mean what they
// mean to send(2).
type System interface {
	Send(fd int, b []byte) (n int, errno unix.Errno)
	SendVec(fd int, pieces [][]byte) (n int, errno unix.Errno)
	Shutdown(fd int) error // of the stream towards the peer
	HasInput(fd int) bool  // whether something waits to be read
	EndInput(fd int)       // as if the peer had ended its stream
	ResetOnClose(fd int)
	SetReading(s *Socket, on bool) error  // whether the loop is to be told of input
	Watch(s *Socket) error                // for the events that s awaits
	Close(s *Socket)                      // tells the owner, then closes the descriptor: once
	Dup(s *Socket) (newFD int, err error) // the caller owns it
}

// kernel is the System of a running loop.
type kernel struct{ l *Loop }

func (k kernel) Send(fd int, b []byte) (int, unix.Errno) { return send(fd, b) }

func (k kernel) SendVec(fd int, pieces [][]byte) (int, unix.Errno) {
	v := k.l.vecs[:0]
	for _, b := range pieces {
		if len(b) > 0 {
			v = append(v, unix.Iovec{Base: &b[0]})
			v[len(v)-1].SetLen(len(b))
		}
	}
	n, errno := sendVec(fd, v)
	clear(v)
	k.l.vecs = v
	return n, errno
}

func (k kernel) Shutdown(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }
func (k kernel) EndInput(fd int)       { _ = unix.Shutdown(fd, unix.SHUT_RD) } // fails for a broken socket only
func (k kernel) HasInput(fd int) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n > 0
}
func (k kernel) ResetOnClose(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // fails for a broken socket only
}
func (k kernel) SetReading(s *Socket, on bool) error { return k.l.setReading(s, on) }
func (k kernel) Watch(s *Socket) error               { return k.l.watch(s) }
func (k kernel) Close(s *Socket)                     { k.l.end(s, nil) }
func (k kernel) Dup(s *Socket) (int, error) {
	return unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
}
