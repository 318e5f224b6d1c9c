//go:build linux

// Command rawepoll is a floor: the least that a server in Go can do. One thread,
// one epoll instance, one read and one write for each event, no runtime in between.
// It sends back the bytes it gets.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8091", "address")
	flag.String("mode", "echo", "echo, whatever is said")
	flag.Parse()
	if err := serve(*listen); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(listen string) error {
	l, err := net.Listen("tcp4", listen)
	if err != nil {
		return err
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	lfd := int(f.Fd())
	if err := syscall.SetNonblock(lfd, true); err != nil {
		return err
	}
	ep, err := syscall.EpollCreate1(0)
	if err != nil {
		return err
	}
	if err := watch(ep, lfd); err != nil {
		return err
	}
	fmt.Println("echo on", l.Addr())
	var events [256]syscall.EpollEvent
	in := make([]byte, 64<<10)
	for {
		n, errno := wait(ep, &events)
		if errno != 0 && errno != syscall.EINTR {
			return fmt.Errorf("epoll_wait: %w", errno)
		}
		for i := range n {
			if fd := int(events[i].Fd); fd != lfd {
				echo(fd, in)
			} else if fd, _, err := syscall.Accept4(lfd, syscall.SOCK_NONBLOCK); err == nil {
				_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
				_ = watch(ep, fd)
			}
		}
	}
}

// echo answers one event. A client that reads too little is cut: a floor queues
// nothing, and the load keeps less on its way than a socket takes.
func echo(fd int, in []byte) {
	at := uintptr(unsafe.Pointer(&in[0]))
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), at, uintptr(len(in)))
	if errno == syscall.EAGAIN {
		return
	}
	if errno == 0 && n > 0 {
		sent, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), at, n, syscall.MSG_NOSIGNAL, 0, 0)
		if errno == 0 && sent == n {
			return
		}
	}
	_ = syscall.Close(fd)
}

// wait asks without waiting first: a call that waits has to tell the runtime.
func wait(ep int, events *[256]syscall.EpollEvent) (int, syscall.Errno) {
	at := uintptr(unsafe.Pointer(events))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_WAIT, uintptr(ep), at, uintptr(len(events)), 0, 0, 0)
	if errno == 0 && n == 0 {
		n, _, errno = syscall.Syscall6(syscall.SYS_EPOLL_WAIT, uintptr(ep), at, uintptr(len(events)), ^uintptr(0), 0, 0)
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func watch(ep, fd int) error {
	return syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}
