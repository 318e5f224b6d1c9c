package loop

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A descriptor that is used before its loop has it behaves as a net.Conn, and has no
// keepalive probes.
func TestAcceptedIsUsed(t *testing.T) {
	l, err := Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // a failure, not a hang
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	for _, set := range []func(time.Time) error{s.SetReadDeadline, s.SetDeadline} {
		if err := set(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err = s.Read(b); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("after the deadline: %v", err)
		}
		_ = s.SetDeadline(time.Time{})
	}
	if err := s.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var op *net.OpError
	if _, err = s.Write(b); !errors.As(err, &op) || op.Op != "write" || !op.Timeout() || op.Addr != s.RemoteAddr() || op.Source != s.LocalAddr() {
		t.Errorf("after the deadline: %v", err)
	}
	_ = s.SetDeadline(time.Time{})

	if _, err = c.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if _, err = io.ReadFull(s, b); err != nil || string(b) != "question" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err = s.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err = s.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}

	fd, err := duplicate(s)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE); on != 0 || err != nil {
		t.Errorf("SO_KEEPALIVE is %d, %v", on, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err = s.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	if err := s.(interface{ CloseWrite() error }).CloseWrite(); err == nil {
		t.Error("CloseWrite after Close")
	}
	if _, err := c.Write([]byte("more")); err != nil { // the duplicate holds the stream
		t.Error(err)
	}
	if n, err := unix.Read(fd, b); n != 4 && !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the duplicate: %d, %v", n, err)
	}
}
