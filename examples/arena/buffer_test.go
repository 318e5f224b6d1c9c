package main

import (
	"errors"
	"syscall"
)

// receiveBuffer is a Control of a net.Dialer that sets how much the kernel
// keeps for a client that does not read; 0 leaves it.
func receiveBuffer(bytes int) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		if bytes == 0 {
			return nil
		}
		failed := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		})
		return errors.Join(failed, err)
	}
}
