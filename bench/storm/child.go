package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// child is another process of this program.
type child struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func start(ctx context.Context, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &child{cmd, bufio.NewReader(out)}, cmd.Start()
}

// line is the next line that the child prints.
func (c *child) line() (string, error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("a child process has ended: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// read is line for a value as JSON.
func (c *child) read(v any) error {
	line, err := c.line()
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(line), v)
}

func (c *child) end() {
	_ = c.cmd.Process.Signal(syscall.SIGKILL)
	_ = c.cmd.Wait()
}

// serveAndCount is the second server. It prints the handshakes when all clients have come.
func serveAndCount(ctx context.Context, o *options) error {
	began := time.Now()
	var mu sync.Mutex
	var at []time.Duration
	come := make(chan bool)
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0", HalfOpenMax: engine.NoLimit, DrainTimeout: time.Millisecond}, engine.Handler{
		OnOpen: func(*engine.Conn) {
			mu.Lock()
			defer mu.Unlock()
			if at = append(at, time.Since(began)); len(at) == o.clients {
				close(come)
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("ws://" + e.Addr().String())
	go func() {
		<-come
		mu.Lock()
		defer mu.Unlock()
		line, _ := json.Marshal(result{Buckets: count(at)}) // never fails
		fmt.Println(string(line))
	}()
	return e.Run(ctx)
}

// count puts the times, which rise but for those of other loops, into buckets, the first of which begins with the first.
func count(at []time.Duration) (buckets []int) {
	for _, t := range at {
		i := max(int((t-at[0])/bucket), 0)
		for i >= len(buckets) {
			buckets = append(buckets, 0)
		}
		buckets[i]++
	}
	return buckets
}

// comeBack is a process of clients. It prints "all" when they are connected to the first server, and in the end how many
// attempts failed.
func comeBack(ctx context.Context, o *options) error {
	e, err := engine.New(engine.Config{DialsMax: o.clients, DrainTimeout: time.Millisecond, PingInterval: engine.NoLimit}, engine.Handler{})
	if err != nil {
		return err
	}
	var opened, failed atomic.Int64
	all := make(chan bool)
	var dial func(url string, h *engine.Handler)
	dial = func(url string, h *engine.Handler) {
		_ = e.Dial(ctx, engine.Dial{URL: url, Handler: h, OnFailure: func(*engine.DialError) { // fails at the end only
			failed.Add(1)
			dial(url, h)
		}})
	}
	again := &engine.Handler{}
	h := &engine.Handler{
		OnOpen: func(*engine.Conn) {
			if opened.Add(1) == int64(o.clients) {
				close(all)
			}
		},
		OnClose: func(c *engine.Conn, info *engine.CloseError) {
			if d, ok := engine.RetryAfter(info.Reason); ok {
				c.Loop().After(d, func() { dial(o.second, again) })
				return
			}
			dial(o.second, again)
		},
	}
	go func() {
		for range o.clients {
			dial(o.first, h)
		}
		<-all
		failed.Store(0)
		fmt.Println("all")
	}()
	defer func() { fmt.Println(failed.Load()) }()
	_ = e.Run(ctx) // what is still open is cut
	return nil
}
