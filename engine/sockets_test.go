package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// handedSockets keeps a duplicate of each socket that is made, and gives it to the
// next engine that asks, as two processes do.
type handedSockets struct {
	mu        sync.Mutex
	listeners map[string]*os.File
	packets   map[string][]*os.File
}

func (h *handedSockets) Listen(network, address string, bind func() (net.Listener, error)) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.listeners[network+address]; f != nil {
		return net.FileListener(f)
	}
	l, err := bind()
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	h.listeners[network+address] = f
	return l, err
}

func (h *handedSockets) ListenPacket(address string, bind func() ([]net.PacketConn, error)) (list []net.PacketConn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.packets[address] {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if list != nil {
		return list, nil
	}
	if list, err = bind(); err != nil {
		return nil, err
	}
	for _, c := range list {
		f, err := c.(*net.UDPConn).File()
		if err != nil {
			return nil, err
		}
		h.packets[address] = append(h.packets[address], f)
	}
	return list, nil
}

// TestSocketsAreHandedOver: an engine takes the sockets that another one made. What
// waits in them while none runs is served, and the end of the first one takes neither
// the sockets nor the file away.
func TestSocketsAreHandedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	h := &handedSockets{listeners: map[string]*os.File{}, packets: map[string][]*os.File{}}
	t.Cleanup(func() {
		for _, f := range h.listeners {
			_ = f.Close()
		}
		for _, list := range h.packets {
			for _, f := range list {
				_ = f.Close()
			}
		}
	})
	addresses := []string{"ws://127.0.0.1:0", "ws+unix://" + path, "udp://127.0.0.1:0"}
	handler := Handler{OnMessage: echo, OnPacket: echoPacket(t)}
	open := func(loops int) []*Listener {
		e, err := New(Config{Loops: loops, Sockets: h}, handler)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Shutdown(context.Background()) })
		var list []*Listener
		for _, a := range addresses {
			l, err := e.Listen(Config{Addr: a}, nil)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, l)
		}
		return list
	}
	first := open(4) // and so has more sockets for packets than the second has loops
	second := open(1)
	for i, l := range first {
		if l.String() != second[i].String() && l.scheme != "ws+unix" {
			t.Fatalf("%s became %s", l, second[i])
		}
	}
	var peers []*packetPeer
	for range 16 { // the kernel spreads them over the four sockets
		p := peerOf(t, first[2])
		p.send("waits")
		peers = append(peers, p)
	}
	var clients []net.Conn
	for _, to := range []net.Addr{first[0].Addr(), first[1].Addr()} {
		nc, err := net.Dial(to.Network(), to.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		clients = append(clients, nc)
	}
	if err := first[0].Engine().Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := run(t, second[0].Engine())
	for _, nc := range clients {
		c, err := s.open(s.keep(nc), "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.send(protocol.OpText, "it waited")
		c.expect("it waited")
	}
	for _, p := range peers {
		if got := p.receive(); got != "waits" {
			t.Errorf("received %q", got)
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket file is gone: %v", err)
	}
}

// TestSocketOfAnotherKind: a listener as net.Listen makes it, of MPTCP, is served too.
func TestSocketOfAnotherKind(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	_ = l.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	addr := l.Addr().String()
	s := serve(t, Config{Addr: "text://" + addr, Sockets: &handedSockets{listeners: map[string]*os.File{"tcp" + addr: f}}}, Handler{OnMessage: echo})
	nc := s.connect()
	if _, err := nc.Write([]byte("line\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(nc, b); string(b) != "line\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// failingSockets are those of a handover that went wrong.
type failingSockets struct{ err error }

func (f failingSockets) Listen(_, _ string, _ func() (net.Listener, error)) (net.Listener, error) {
	return nil, f.err
}

func (f failingSockets) ListenPacket(_ string, _ func() ([]net.PacketConn, error)) ([]net.PacketConn, error) {
	return nil, f.err
}

// TestSocketsFail: what went wrong is the error of New, with the address.
func TestSocketsFail(t *testing.T) {
	for _, addr := range []string{"ws://127.0.0.1:0", "unix:///nowhere", "udp://127.0.0.1:0"} {
		_, err := New(Config{Addr: addr, Sockets: failingSockets{syscall.EBADF}}, Handler{OnPacket: func(Packet, []byte) {}})
		if !errors.Is(err, syscall.EBADF) || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	e, err := New(Config{}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Shutdown(t.Context()) }()
	if _, err := e.Listen(Config{Addr: "ws://127.0.0.1:0", Sockets: ownSockets{}}, nil); err == nil || !strings.Contains(err.Error(), "Config.Sockets belongs to the whole engine") {
		t.Errorf("Sockets of a listener: %v", err)
	}
}
