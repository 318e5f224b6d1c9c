package restart

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// child is the program of program, all its versions.
type child struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	lines chan string // of stdout and stderr of all versions; closed when the last one has ended
	said  []string
}

// newChild has a directory for the program, with what it is to listen on.
func newChild(t *testing.T, listen ...string) *child {
	c := &child{t: t, dir: t.TempDir(), lines: make(chan string, 1000)}
	c.cmd = exec.Command(os.Args[0])
	c.set("listen", strings.ReplaceAll(strings.Join(listen, " "), "DIR", c.dir))
	return c
}

// set writes one of the program's files, or removes it.
func (c *child) set(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if text == "" {
		_ = os.Remove(path)
	} else if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// gate makes a FIFO that a version waits at, and returns what lets it go.
func (c *child) gate(name string) (open func()) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return func() {
		c.t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0) // which waits for nobody
		if err != nil {
			c.t.Fatal(err)
		}
		_, _ = f.WriteString("x")
		c.t.Cleanup(func() { _ = f.Close() })
	}
}

// start starts the first version. The test fails if any version lives longer.
func (c *child) start() *child {
	c.t.Helper()
	c.cmd.Env = append(append(os.Environ(), "SOCKMILL_RESTART_TEST="+c.dir), c.cmd.Env...)
	from, to, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = to, to
	if c.cmd.SysProcAttr == nil {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all versions can be ended
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	_ = to.Close()
	go func() {
		for s := bufio.NewScanner(from); s.Scan(); {
			c.lines <- s.Text()
		}
		close(c.lines)
	}()
	c.t.Cleanup(func() {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		_ = c.cmd.Wait()
		for range c.lines { // until all versions have ended
		}
		_ = from.Close()
	})
	return c
}

// await reads what the versions say up to the line that has text, and returns it.
func (c *child) await(text string) string {
	c.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-c.lines:
			if ok {
				c.said = append(c.said, line)
			}
			if ok && strings.Contains(line, text) {
				return line
			}
			if !ok {
				c.t.Fatalf("all have ended, and none said %q:\n%s", text, strings.Join(c.said, "\n"))
			}
		case <-late:
			c.t.Fatalf("none said %q:\n%s", text, strings.Join(c.said, "\n"))
		}
	}
}

// ended waits until all versions have ended.
func (c *child) ended() {
	c.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return
			}
			c.said = append(c.said, line)
		case <-late:
			c.t.Fatalf("a version lives on:\n%s", strings.Join(c.said, "\n"))
		}
	}
}

// addresses are what the version that begins listens on.
func (c *child) addresses(n int) (list []string) {
	c.t.Helper()
	for range n {
		fields := strings.Fields(c.await("://"))
		list = append(list, fields[len(fields)-1])
	}
	return list
}

// serving is the same, for one that no other has started: it serves then.
func (c *child) serving(n int) []string {
	c.t.Helper()
	list := c.addresses(n)
	c.await(`"serving"`)
	return list
}

// pid is the process in the PID file.
func (c *child) pid() int {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, "pid"))
	if err != nil {
		c.t.Fatal(err)
	}
	n, err := strconv.Atoi(string(b))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *child) signal(pid int, s syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		c.t.Fatal(err)
	}
}

// dial connects; network is tcp, unix or udp.
func (c *child) dial(network, address string) net.Conn {
	c.t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// ends fails if the connection does not end without an error.
func (c *child) ends(nc net.Conn) {
	c.t.Helper()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(nc); err != nil || len(b) > 0 {
		c.t.Errorf("read %q, %v", b, err)
	}
	_ = nc.Close() // or the process waits for that
}

// askAt connects, and returns the process that answers.
func (c *child) askAt(network, address string) (pid int) {
	c.t.Helper()
	nc := c.dial(network, address)
	defer nc.Close() // or a drain waits for that
	return ask(c.t, nc)
}
