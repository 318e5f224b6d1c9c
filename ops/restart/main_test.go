package restart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
)

// TestMain makes this test binary the program that is replaced, if a test asks for
// that: the variable names the directory of the program.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SOCKMILL_RESTART_TEST"); dir != "" {
		if err := program(dir); err != nil {
			fmt.Fprintln(os.Stderr, "failed:", err)
			os.Exit(1) //nolint:forbidigo // this is a main
		}
		return
	}
	m.Run()
}

// program answers each line and packet with its process ID and what it got. Files in
// its directory say what it does: each version reads them when it starts.
func program(dir string) error {
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return string(b)
	}
	if read("exit") != "" {
		return errors.New("this version is bad")
	}
	cfg := Config{
		Signals: []os.Signal{syscall.SIGHUP}, PIDFile: filepath.Join(dir, "pid"), ReusePort: read("reuseport") != "",
		Names: map[string]string{"bytes": "127.0.0.1:1"}, Logger: zap.NewExample(),
	}
	if read("timeout") != "" {
		cfg.ReadyTimeout = 200 * time.Millisecond
	}
	if read("unready") != "" {
		cfg.Ready = func(context.Context) error { return errors.New("what it needs is not there") }
	}
	if read("wait") != "" { // until the test opens the other end
		cfg.Ready = func(context.Context) error {
			return pass(filepath.Join(dir, "go"))
		}
	}
	r, err := New(cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	e, err := engine.New(engine.Config{Sockets: r, Loops: 2, Logger: cfg.Logger}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.SendText(fmt.Sprint(os.Getpid(), " ", string(m.Data))) },
		OnPacket:  func(p engine.Packet, data []byte) { _ = p.Reply(fmt.Append(nil, os.Getpid(), " ", string(data))) },
	})
	if err != nil {
		return err
	}
	for _, url := range strings.Fields(read("listen")) {
		if rest, ok := strings.CutPrefix(url, "admin://"); ok {
			l, err := r.Listen("tcp", rest, nil)
			if err != nil {
				return err
			}
			fmt.Println(url, l.Addr())
			go func() {
				_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, fmt.Sprint(os.Getpid())) }))
			}()
			continue
		}
		l, err := e.Listen(engine.Config{Addr: url}, nil)
		if err != nil {
			return err
		}
		fmt.Println(url, l.Addr())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // this is a main
	defer stop()
	err = r.Run(ctx, e)
	if read("linger") != "" {
		err = errors.Join(err, pass(filepath.Join(dir, "end")))
	}
	return err
}

// pass waits at a gate.
func pass(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(make([]byte, 1))
	return err
}

// ask sends a line, or a packet, and returns the process that answered.
func ask(t *testing.T, c net.Conn) (pid int) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	end := "\n"
	if c.LocalAddr().Network() == "udp" {
		end = ""
	}
	if _, err := io.WriteString(c, "question"+end); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("%s %s: %v", c.RemoteAddr().Network(), c.RemoteAddr(), err)
	}
	if _, err := fmt.Sscanf(string(b[:n]), "%d question"+end, &pid); err != nil {
		t.Fatalf("answer %q: %v", b[:n], err)
	}
	return pid
}
