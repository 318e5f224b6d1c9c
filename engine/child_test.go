package engine

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/protocol"
)

// childDescriptors is how many descriptors the engine in the child process may
// open: fewer than the connections it is then offered.
const childDescriptors = 64

// serveAsChild makes this test binary an echo server with few descriptors, if
// the parent asks for that. It ends with its standard input.
func serveAsChild() bool {
	if os.Getenv("SOCKMILL_TEST_CHILD") == "" {
		return false
	}
	limit := syscall.Rlimit{Cur: childDescriptors, Max: childDescriptors}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
	e, err := New(Config{Addr: "ws://127.0.0.1:0", Loops: 2, ConnectionsMax: NoLimit, Logger: zap.NewExample()}, Handler{OnMessage: echo})
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	fmt.Println(e.Addr())
	if err := e.Run(ctx); err != nil {
		panic(err)
	}
	fmt.Println("clean end")
	return true
}

// TestDescriptorExhaustion offers an engine more connections than it has
// descriptors for: it lives on, serves those it has, and others as soon as there
// is room.
func TestDescriptorExhaustion(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SOCKMILL_TEST_CHILD=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(stdout)
	if !out.Scan() {
		t.Fatal("the child does not speak")
	}
	addr, err := net.ResolveTCPAddr("tcp", out.Text())
	if err != nil {
		t.Fatal(err)
	}
	child := &server{Engine: &Engine{listeners: listeners{list: []*Listener{{net: nopListener{addr}}}}}, t: t}
	first := child.dial("/", nil)
	crowd := make([]net.Conn, 2*childDescriptors)
	for i := range crowd {
		crowd[i] = child.connect()
		_, _ = crowd[i].Write([]byte(upgradeHead()))
	}
	for out.Scan() && !strings.Contains(out.Text(), "accepting failed") {
	}
	first.send(protocol.OpText, "still served")
	first.expect("still served")
	for _, c := range crowd {
		_ = c.Close()
	}
	var last *client
	child.await("room for another", func() bool { // the child may still be busy with the crowd
		last, err = child.tryDial("/", nil)
		return err == nil
	})
	last.send(protocol.OpText, "served again")
	last.expect("served again")
	_ = stdin.Close()
	for _, c := range []*client{first, last} {
		if info := c.closed(); info == nil || info.Code != protocol.CloseGoingAway {
			t.Errorf("closed with %v", info)
		}
	}
	clean := false
	for out.Scan() {
		clean = clean || out.Text() == "clean end"
	}
	if err := cmd.Wait(); err != nil || !clean {
		t.Errorf("the child ended badly: %v", err)
	}
}
