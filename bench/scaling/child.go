package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// server echoes until the end of its input. It never pings, so that idle
// is idle. A line asks for its usage: nanoseconds of CPU, bytes
// of memory, open connections, messages that came.
func server() error {
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0", PingInterval: engine.NoLimit}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.Send(m) },
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	fmt.Println(e.Addr())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return err
		}
		rss, err := residentBytes()
		if err != nil {
			return err
		}
		s := e.Stats()
		fmt.Println(u.Utime.Nano()+u.Stime.Nano(), rss, s.Open, s.MessagesIn)
	}
	stop()
	return <-done
}

func residentBytes() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, resident int64
	_, err = fmt.Sscan(string(b), &size, &resident)
	return resident * int64(os.Getpagesize()), err
}

// client carries out lines until the end of its input: "open N" has it hold N
// connections, "round N" has each echo a message.
func client(addr string, size int) error {
	var conns []*net.TCPConn
	defer func() {
		for _, c := range conns {
			_ = c.SetLinger(0) // RST: no port stays in TIME_WAIT
			_ = c.Close()
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		verb, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		switch verb {
		case "open":
			more := make([]*net.TCPConn, n-len(conns))
			err = parallel(len(more), func(i int) (err error) {
				more[i], err = dial(addr)
				return err
			})
			for _, c := range more {
				if c != nil {
					conns = append(conns, c)
				}
			}
		case "round":
			m := encode(size)
			err = parallel(len(conns), func(i int) error { return m.exchange(conns[i]) })
		}
		if err != nil {
			return err
		}
		fmt.Println("ok")
	}
	return lines.Err()
}

// parallel calls f for 0 to n-1, a few at a time, and returns one of its errors.
func parallel(n int, f func(i int) error) error {
	const workers = 16
	var (
		wg     sync.WaitGroup
		failed = make(chan error, workers)
	)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := f(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// head is a handshake as long as a browser's.
var head = protocol.AppendRequest(nil, "chat.example.com", "/chat?room=lobby", "dGhlIHNhbXBsZSBub25jZQ==", nil,
	"permessage-deflate; client_max_window_bits", []protocol.Field{
		{Name: "Pragma", Value: "no-cache"},
		{Name: "Cache-Control", Value: "no-cache"},
		{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"},
		{Name: "Origin", Value: "http://chat.example.com"},
		{Name: "Accept-Encoding", Value: "gzip, deflate, br, zstd"},
		{Name: "Accept-Language", Value: "en-US,en;q=0.9,de;q=0.8"},
		{Name: "Cookie", Value: "session=" + strings.Repeat("0123456789abcdef", 6)},
	})

func dial(addr string) (*net.TCPConn, error) {
	nc, err := (&net.Dialer{KeepAlive: -1}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := nc.(*net.TCPConn)
	if _, err := c.Write(head); err != nil {
		return c, err
	}
	var b [1024]byte
	n := 0
	for !bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
		k, err := c.Read(b[n:])
		if err != nil {
			return c, fmt.Errorf("the handshake: %w", err)
		}
		n += k
	}
	if !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 101 ")) {
		return c, fmt.Errorf("the handshake was answered with %.30q", b[:n])
	}
	return c, nil
}

// message is encoded as a client sends it and as a server does.
type message struct{ out, in []byte }

func encode(size int) message {
	payload := bytes.Repeat([]byte("sockmill"), size/8+1)[:size]
	h := protocol.Header{Fin: true, Opcode: protocol.OpText, Length: int64(size)}
	in := append(protocol.AppendHeader(nil, h), payload...)
	h.Masked, h.Key = true, [4]byte{1, 2, 3, 4}
	protocol.Mask(payload, h.Key, 0)
	return message{out: append(protocol.AppendHeader(nil, h), payload...), in: in}
}

func (m message) exchange(c net.Conn) error {
	if _, err := c.Write(m.out); err != nil {
		return err
	}
	got := make([]byte, len(m.in))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, m.in) {
		return fmt.Errorf("received %.40q, want %.40q", got, m.in)
	}
	return nil
}
