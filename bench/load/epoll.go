//go:build linux

package main

import (
	"fmt"
	"syscall"
	"unsafe"
)

// The system calls of the hot path go to the kernel as they are: the descriptors
// do not block, so the runtime need not know.

func read(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func write(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// poller is an epoll instance, level-triggered.
type poller struct {
	fd     int
	events [512]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &poller{fd: fd}, err
}

// wait returns what is ready, after at most ms milliseconds. It asks without
// waiting first, for then no other thread is told.
func (p *poller) wait(ms int) ([]syscall.EpollEvent, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_WAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)),
		uintptr(len(p.events)), 0, 0, 0)
	if errno == 0 && n == 0 && ms != 0 {
		n, _, errno = syscall.Syscall6(syscall.SYS_EPOLL_WAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events)),
			uintptr(len(p.events)), uintptr(ms), 0, 0)
	}
	switch errno {
	case 0:
		return p.events[:n], nil
	case syscall.EINTR:
		return nil, nil
	}
	return nil, fmt.Errorf("epoll_wait: %w", errno)
}

const (
	opAdd = syscall.EPOLL_CTL_ADD
	opMod = syscall.EPOLL_CTL_MOD
)

// watch asks for events of fd, which come with the number i.
func (p *poller) watch(op int, fd int32, i int, events uint32) error {
	ev := syscall.EpollEvent{Events: events, Fd: int32(i)}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return fmt.Errorf("epoll_ctl: %w", errno)
	}
	return nil
}

// sources is how many addresses the connections come from, 127.0.0.2 and up: a
// pair of addresses has as many connections as Linux has ports to choose from, 28,232.
const sources = 8

// connect begins a connection to the server.
func connect(to *syscall.SockaddrInet4, source byte) (int32, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	// The port is chosen by connect, which knows what is free towards this server.
	const bindAddressNoPort = 24
	if err = syscall.SetsockoptInt(fd, syscall.SOL_IP, bindAddressNoPort, 1); err == nil {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2 + source}})
	}
	if err == nil {
		if err = syscall.Connect(fd, to); err == syscall.EINPROGRESS {
			err = nil
		}
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, fmt.Errorf("connect from 127.0.0.%d: %w", 2+source, err)
	}
	return int32(fd), nil
}

// reset closes with RST, so that no port waits for late packets.
func reset(fd int32) {
	_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	_ = syscall.Close(int(fd))
}
