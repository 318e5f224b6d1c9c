package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// serve runs the program on a free port until stop is called, which returns what run returned.
func serve(t *testing.T) (addr string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, "ws://127.0.0.1:0", false, w)
		_ = w.CloseWithError(err)
		done <- err
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "chat: open http://")), func() error {
		cancel()
		return <-done
	}
}

// browser is as much of a WebSocket client as the test needs.
type browser struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func connect(t *testing.T, addr, origin string) (b *browser, status string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	b = &browser{t, nc, bufio.NewReader(nc)}
	b.write(protocol.AppendRequest(nil, addr, "/ws", "dGhlIHNhbXBsZSBub25jZQ==", nil, "", []protocol.Field{{Name: "Origin", Value: origin}}))
	for {
		line, err := b.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if status == "" {
			status = strings.TrimSpace(line)
		}
		if line == "\r\n" {
			if !strings.Contains(status, " 101 ") {
				_ = nc.Close()
			}
			return b, status
		}
	}
}

func (b *browser) write(p []byte) {
	b.t.Helper()
	if _, err := b.nc.Write(p); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) send(op protocol.Opcode, payload string) {
	b.t.Helper()
	h := protocol.Header{Fin: true, Opcode: op, Masked: true, Key: [4]byte{1, 2, 3, 4}, Length: int64(len(payload))}
	data := []byte(payload)
	protocol.Mask(data, h.Key, 0)
	b.write(append(protocol.AppendHeader(nil, h), data...))
}

// until reads frames until one is a JSON message of the kind, or a close frame, which it answers.
func (b *browser) until(kind string) (event, protocol.CloseCode) {
	b.t.Helper()
	for {
		var head []byte
		var h protocol.Header
		for n := 0; n == 0; {
			c, err := b.r.ReadByte()
			if err != nil {
				b.t.Fatalf("waiting for %s: %v", kind, err)
			}
			head = append(head, c)
			if h, n, err = protocol.ParseHeader(head); err != nil {
				b.t.Fatal(err)
			}
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(b.r, payload); err != nil {
			b.t.Fatal(err)
		}
		switch h.Opcode {
		case protocol.OpClose:
			code, _, err := protocol.ParseClosePayload(payload)
			if err != nil {
				b.t.Fatal(err)
			}
			b.send(protocol.OpClose, string(payload))
			_ = b.nc.Close()
			return event{}, code
		case protocol.OpText:
			var e event
			if err := json.Unmarshal(payload, &e); err != nil {
				b.t.Fatal(err)
			}
			if e.T == kind {
				return e, 0
			}
		}
	}
}

func TestTwoWindowsTalk(t *testing.T) {
	addr, stop := serve(t)
	ada, _ := connect(t, addr, "http://"+addr)
	ada.send(protocol.OpText, `{"t":"hello","v":1,"room":"lobby","nick":"Ada"}`)
	if w, _ := ada.until("welcome"); len(w.Members) != 1 {
		t.Errorf("welcome: %+v", w)
	}
	bob, _ := connect(t, addr, "http://"+addr)
	bob.send(protocol.OpText, `{"t":"hello","v":1,"room":"lobby","nick":"Bob"}`)
	bob.until("welcome")
	if e, _ := ada.until("join"); e.Nick != "Bob" {
		t.Errorf("join: %+v", e)
	}
	ada.send(protocol.OpText, `{"t":"say","id":"a1","text":"grüße"}`)
	if e, _ := ada.until("ack"); e.ID != "a1" || e.O != 1 {
		t.Errorf("ack: %+v", e)
	}
	if e, _ := bob.until("msg"); e.Text != "grüße" || e.Nick != "Ada" || e.O != 1 {
		t.Errorf("msg: %+v", e)
	}
	bob.send(protocol.OpBinary, "\x00")
	if _, code := bob.until("anything"); code != protocol.CloseUnsupportedData {
		t.Errorf("a binary message is answered with %d, want 1003", code)
	}
	if e, _ := ada.until("leave"); e.Nick != "Bob" {
		t.Errorf("leave: %+v", e)
	}
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	if _, code := ada.until("anything"); code != protocol.CloseGoingAway {
		t.Errorf("closed with %d at the end, want 1001", code)
	}
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	addr, stop := serve(t)
	if _, status := connect(t, addr, "http://evil.example"); !strings.Contains(status, " 403 ") {
		t.Errorf("answered with %q, want 403", status)
	}
	if err := stop(); err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestPortInUseIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(t.Context(), "ws://"+l.Addr().String(), false, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "is taken") || !strings.Contains(err.Error(), "-listen") {
		t.Errorf("run: %v", err)
	}
}
