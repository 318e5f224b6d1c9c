//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/bench/internal/report"
)

// anywhere stands for no particular processor: the program may use all.
const anywhere = -1

// startOn starts a program on one processor: threads and children inherit the
// affinity of the thread that starts it.
func startOn(processor int, cmd *exec.Cmd) error {
	if processor == anywhere {
		return cmd.Start()
	}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var had, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &had); err != nil {
		return err
	}
	one.Set(processor)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("processor %d: %w: choose others with -server-cpu and -load-cpu", processor, err)
	}
	err := cmd.Start()
	if back := unix.SchedSetaffinity(0, &had); err == nil {
		err = back
	}
	return err
}

// server is a peer that runs.
type server struct {
	peer   peer
	cmd    *exec.Cmd
	addr   string // of a cluster all, with commas between them
	stderr *tail
}

// serve starts a peer and returns when it accepts connections.
func serve(p peer, processor int, args ...string) (*server, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &server{peer: p, addr: addr, stderr: &tail{}}
	s.cmd = exec.Command(p.path, append([]string{"-listen", addr}, args...)...)
	s.cmd.Stderr = s.stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startOn(processor, s.cmd); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
		_, _ = io.Copy(io.Discard, stdout)
	}()
	select {
	case line := <-lines:
		s.addr, err = addresses(line, addr)
	case <-time.After(20 * time.Second):
		err = fmt.Errorf("said nothing for 20 s")
	}
	if err == nil {
		err = reachable(addr)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w%s", p.name, err, s.stderr)
	}
	return s, nil
}

// addresses are those that a peer says it serves at: the one that it was given, and those of its other nodes.
func addresses(line, given string) (string, error) {
	_, after, _ := strings.Cut(line, " on ")
	all, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	if first, _, _ := strings.Cut(all, ","); first != given {
		return "", fmt.Errorf("says %q, want MODE on %s", line, given)
	}
	return all, nil
}

// reachable connects, for a few seconds: one of the floors speaks before it listens.
func reachable(addr string) (err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 250 {
		var c net.Conn
		if c, err = net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		<-tick.C
	}
	return err
}

// stop ends the peer: by SIGTERM, or by force.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	force := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait()
	force.Stop()
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// freeAddress is one where nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// generator is the load generator at work.
type generator struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr *tail
	said   chan struct{} // closed at its first line on stderr
}

func generate(ctx context.Context, path string, processor int, s *server, args ...string) (*generator, error) {
	g := &generator{said: make(chan struct{})}
	g.stderr = &tail{first: func() { close(g.said) }}
	g.cmd = exec.CommandContext(ctx, path, append([]string{"-addr", s.addr, "-pid", fmt.Sprint(s.pid())}, args...)...)
	g.cmd.Stdout, g.cmd.Stderr = &g.stdout, g.stderr
	return g, startOn(processor, g.cmd)
}

// wait returns what the generator measured.
func (g *generator) wait() (r report.Load, err error) {
	if err = g.cmd.Wait(); err != nil {
		return r, fmt.Errorf("%w%s", err, g.stderr)
	}
	return r, json.Unmarshal(g.stdout.Bytes(), &r)
}

// tail keeps the end of what a program writes.
type tail struct {
	mu    sync.Mutex
	b     []byte
	first func()
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first != nil {
		t.first()
		t.first = nil
	}
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-2000):]
	return len(b), nil
}

// String is ": " and what there is.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := strings.TrimSpace(string(t.b)); s != "" {
		return ": " + s
	}
	return ""
}
