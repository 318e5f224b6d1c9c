package restart

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervisor passes sockets as systemd does, and hears what it is told.
type supervisor struct {
	*child
	told *net.UnixConn
}

// newSupervisor starts the program with sockets, whose names are joined by colons.
func newSupervisor(t *testing.T, names string, sockets []*os.File, listen ...string) *supervisor {
	s := &supervisor{child: newChild(t, listen...)}
	path := filepath.Join(s.dir, "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = told.Close() })
	s.told = told
	s.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	s.cmd.Env = []string{"NOTIFY_SOCKET=" + path, fmt.Sprint("LISTEN_FDS=", len(sockets)), "LISTEN_FDNAMES=" + names}
	s.cmd.ExtraFiles = sockets
	s.start()
	return s
}

// hears returns what the program says next.
func (s *supervisor) hears() string {
	s.t.Helper()
	_ = s.told.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1000)
	n, err := s.told.Read(b)
	if err != nil {
		s.t.Fatalf("the program says nothing: %v\n%s", err, strings.Join(s.said, "\n"))
	}
	return string(b[:n])
}

// bound makes a socket for the program, and returns its address.
func bound(t *testing.T, network, address string) (*os.File, string) {
	t.Helper()
	var s interface{ File() (*os.File, error) }
	var addr net.Addr
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, addr = c.(*net.UDPConn), c.LocalAddr()
	} else {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		defer l.Close()
		s, addr = l.(interface{ File() (*os.File, error) }), l.Addr()
	}
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, addr.String()
}

// TestSystemd: sockets of systemd are found by name or address, and handed over like all
// others; their files stay. systemd is told what happens by the process that it listens to.
func TestSystemd(t *testing.T) {
	named, namedAddr := bound(t, "tcp", "127.0.0.1:0")
	tcp, tcpAddr := bound(t, "tcp", ":0")
	unix, unixAddr := bound(t, "unix", filepath.Join(t.TempDir(), "s"))
	udp, udpAddr := bound(t, "udp", "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(tcpAddr)
	s := newSupervisor(t, "bytes:b:c:d", []*os.File{named, tcp, unix, udp},
		"text://127.0.0.1:1", "text://0.0.0.0:"+port, "text+unix://"+unixAddr, "udp://"+udpAddr, "text://127.0.0.1:0")
	s.serving(5)
	if got := s.hears(); got != "READY=1" {
		t.Fatalf("heard %q", got)
	}
	served := func() {
		t.Helper()
		for _, to := range [][2]string{{"tcp", namedAddr}, {"tcp", "127.0.0.1:" + port}, {"unix", unixAddr}, {"udp", udpAddr}} {
			if got := s.askAt(to[0], to[1]); got != s.pid() {
				t.Errorf("%s %s: process %d answers, want %d", to[0], to[1], got, s.pid())
			}
		}
	}
	served()
	s.set("exit", "yes")
	s.signal(s.pid(), syscall.SIGHUP)
	if got := s.hears(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Fatalf("heard %q", got)
	}
	if got := s.hears(); !strings.HasPrefix(got, "READY=1\nSTATUS=restart: child pid=") {
		t.Fatalf("heard %q", got)
	}
	s.set("exit", "")
	for range 2 {
		s.signal(s.pid(), syscall.SIGHUP)
		if got := s.hears(); !strings.HasPrefix(got, "RELOADING=1") {
			t.Fatalf("heard %q", got)
		}
		if got, want := s.hears(), fmt.Sprintf("MAINPID=%d\nREADY=1", s.pid()); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
		s.await("the old version has ended")
		served()
	}
	s.signal(s.pid(), syscall.SIGTERM)
	if got := s.hears(); got != "STOPPING=1" {
		t.Fatalf("heard %q", got)
	}
	s.ended()
	if _, err := os.Lstat(unixAddr); err != nil {
		t.Errorf("the socket file of systemd: %v", err)
	}
}

// TestSystemdSocketUnused: a socket that nobody would accept from is an error that
// names it.
func TestSystemdSocketUnused(t *testing.T) {
	one, addr := bound(t, "tcp", "127.0.0.1:0")
	other, otherAddr := bound(t, "tcp", "127.0.0.1:0")
	s := newSupervisor(t, "one:other", []*os.File{one, other}, "text://"+addr)
	if line := s.await("failed:"); !strings.Contains(line, "other (tcp "+otherAddr+")") || strings.Contains(line, "one") {
		t.Error(line)
	}
	s.ended()
}

// TestSystemdFileIsNoSocket: what cannot be listened on is an error.
func TestSystemdFileIsNoSocket(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := newSupervisor(t, "pipe", []*os.File{r}, "text://127.0.0.1:0")
	if line := s.await("failed:"); !strings.Contains(line, "the socket pipe of systemd") {
		t.Error(line)
	}
	s.ended()
}

func TestSameAddress(t *testing.T) {
	for _, c := range []struct {
		own, address string
		same         bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "localhost:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", ":80", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"[::]:80", ":80", true},
		{"[::]:80", "0.0.0.0:80", true},
		{"[::]:80", "127.0.0.1:80", false},
		{"0.0.0.0:80", "[::]:80", true},
		{"[::1]:80", "[::1]:80", true},
		{"127.0.0.1:80", "127.0.0.1", false},
		{"127.0.0.1:80", "no such host.invalid:80", false},
	} {
		if got := sameAddress(c.own, c.address); got != c.same {
			t.Errorf("%s for %s: %v", c.own, c.address, got)
		}
	}
}
