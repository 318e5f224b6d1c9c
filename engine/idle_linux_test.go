package engine

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/codec"
)

// keepAlive reads the options of a descriptor, and closes it.
func keepAlive(t *testing.T, fd int) (got [5]int) {
	defer unix.Close(fd)
	for i, o := range [5][2]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	} {
		var err error
		if got[i], err = unix.GetsockoptInt(fd, o[0], o[1]); err != nil {
			t.Error(err)
		}
	}
	return got
}

// TestKeepAlive: the kernel finds dead peers where no pings do, as Config says; a
// listener's connections inherit that.
func TestKeepAlive(t *testing.T) {
	conns := make(chan *Conn, 1)
	raw := func() codec.Codec { return new(codec.Raw) }
	own := func() net.Listener {
		lc := net.ListenConfig{KeepAlive: -1}
		ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	for _, x := range []struct {
		cfg  Config
		want [5]int // on, idle, interval, probes, ms without an acknowledgement
	}{
		{Config{Addr: "tcp://127.0.0.1:0"}, [5]int{1, 30, 10, 3, 60_000}},
		{Config{Addr: "tcp://127.0.0.1:0", KeepAliveInterval: 2 * time.Second}, [5]int{1, 2, 1, 3}}, // WriteStallTimeout is longer
		{Config{Addr: "tcp://127.0.0.1:0", KeepAliveInterval: 2 * time.Second, WriteStallTimeout: time.Second}, [5]int{1, 2, 1, 3, 4_000}},
		{Config{Listener: own(), Codec: raw}, [5]int{1, 30, 10, 3, 60_000}},
		{Config{Addr: "tcp://127.0.0.1:0", KeepAliveInterval: NoLimit}, [5]int{}},
		{Config{Addr: "ws://127.0.0.1:0"}, [5]int{}},
	} {
		s := serve(t, x.cfg, Handler{OnOpen: func(c *Conn) { conns <- c }})
		if nc := s.connect(); !s.main.raw {
			if _, err := s.open(nc, "/", nil); err != nil {
				t.Fatal(err)
			}
		}
		c := <-conns
		s.onLoop(c, func() {
			fd, err := c.sock.Dup()
			if err != nil {
				t.Error(err)
				return
			}
			if got := keepAlive(t, fd); got[0] != x.want[0] || got[0] != 0 && got != x.want {
				t.Errorf("%+v: %v, want %v", x.cfg, got, x.want)
			}
		})
	}
}
