package loop

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// unheard takes what a loop reports.
func unheard(error) {}

// driver runs functions on its loop.
type driver struct {
	l     *Loop
	do    chan func()
	woken func() // called in each Woken, if there is one
}

func (d *driver) Woken() {
	if d.woken != nil {
		d.woken()
	}
	for {
		select {
		case f := <-d.do:
			f()
		default:
			return
		}
	}
}

// on runs f on the loop and waits for it.
func (d *driver) on(f func()) {
	done := make(chan struct{})
	d.do <- func() { f(); close(done) }
	d.l.Wake()
	<-done
}

type owner struct {
	sock   Socket
	opened chan *Loop
	read   chan string
	told   chan events
	closed chan error
	ended  chan bool // each Ended, if the socket is to stay
	act    func(o *owner, b []byte)
	last   func()         // called in Closed, if there is one
	heard  func(o *owner) // called in Writable and in HungUp, if there is one
}

func (o *owner) Opened(l *Loop) { o.opened <- l }
func (o *owner) Closed(err error) {
	if o.last != nil {
		o.last()
	}
	o.closed <- err
}
func (o *owner) Ended() {
	if o.ended != nil && o.sock.Pause() {
		o.ended <- true
	}
}
func (o *owner) Readable(b []byte) {
	if o.act != nil {
		o.act(o, b)
	}
	o.read <- string(b)
}

func (o *owner) Writable() { o.hear(writable) }
func (o *owner) HungUp()   { o.hear(hangup) }
func (o *owner) hear(e events) {
	if o.heard != nil {
		o.heard(o)
	}
	o.told <- e
}

func newOwner(act func(o *owner, b []byte)) *owner {
	return &owner{opened: make(chan *Loop, 1), read: make(chan string, 1000), told: make(chan events, 10), closed: make(chan error, 2), act: act}
}

func start(t *testing.T, n int) (*Group, []*driver) {
	t.Helper()
	var drivers []*driver
	g, err := Start(n, unheard, func(l *Loop) Driver {
		d := &driver{l: l, do: make(chan func(), 100)}
		drivers = append(drivers, d)
		return d
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g, drivers
}

// enroll puts one end of a TCP connection on a loop and returns the other.
func enroll(t *testing.T, g *Group, act func(o *owner, b []byte)) (*owner, *net.TCPConn) {
	t.Helper()
	ln, err := Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	_ = peer.SetDeadline(time.Now().Add(patience))
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	o := newOwner(act)
	if err := g.Enroll(nc, &o.sock, o); err != nil {
		t.Fatal(err)
	}
	return o, peer.(*net.TCPConn)
}

func TestEveryLoopHasItsOwnGoroutineAndPoller(t *testing.T) {
	_, drivers := start(t, 4)
	pollers := map[*netpoll.Poller]bool{}
	for i, d := range drivers {
		if d.l.On() {
			t.Error("the test runs on a loop")
		}
		d.on(func() {
			for j, other := range drivers {
				if other.l.On() != (i == j) {
					t.Errorf("loop %d is on loop %d", i, j)
				}
			}
		})
		pollers[d.l.poller] = true
	}
	if len(pollers) != 4 {
		t.Errorf("%d pollers", len(pollers))
	}
}

// TestWriteUntilFullThenWatch fills the kernel, waits to be told, and goes on.
func TestWriteUntilFullThenWatch(t *testing.T) {
	g, drivers := start(t, 1)
	d := drivers[0]
	o, peer := enroll(t, g, nil)
	<-o.opened
	block := make([]byte, 1<<20)
	total, want := 0, 64<<20
	received := make(chan int64, 1)
	for first := true; total < want; first = false {
		full := false
		d.on(func() {
			for total < want {
				n, err := o.sock.WriteV([][]byte{block[:1000], nil, block[1000:min(len(block), max(want-total, 1001))]})
				if err != nil {
					t.Error(err)
					return
				}
				total += n
				if n < len(block) {
					full = true
					break
				}
			}
			if full {
				if err := o.sock.Watch(); err != nil {
					t.Error(err)
				}
			}
		})
		if first {
			if !full {
				t.Fatal("the kernel took everything: nothing was tested")
			}
			go func() {
				n, _ := io.Copy(io.Discard, peer)
				received <- n
			}()
		}
		if full {
			if e := <-o.told; e != writable {
				t.Fatal("it was told something else")
			}
		}
	}
	d.on(func() {
		if err := o.sock.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	if n := <-received; n != int64(total) {
		t.Errorf("received %d of %d bytes", n, total)
	}
}

func TestCloseInsideReadable(t *testing.T) {
	g, _ := start(t, 1)
	o, peer := enroll(t, g, func(o *owner, _ []byte) {
		_, _ = o.sock.Write([]byte("bye"))
		o.sock.Close()
		if len(o.closed) != 0 {
			t.Error("Closed ran inside Readable")
		}
	})
	_, _ = peer.Write([]byte("x"))
	if got, err := io.ReadAll(peer); err != nil || string(got) != "bye" {
		t.Errorf("%q %v", got, err)
	}
	if err := <-o.closed; err != nil {
		t.Errorf("closed with %v", err)
	}
}

func TestStopTellsEverySocket(t *testing.T) {
	g, _ := start(t, 2)
	var owners []*owner
	for range 10 {
		o, _ := enroll(t, g, nil)
		l := <-o.opened
		o.last = func() { // the end of one may close others
			for _, other := range owners {
				if other.sock.loop == l {
					other.sock.Close()
				}
			}
		}
		owners = append(owners, o)
	}
	g.Stop()
	for _, o := range owners {
		if err := <-o.closed; err != nil || len(o.closed) != 0 {
			t.Errorf("closed with %v, and %d times more", err, len(o.closed))
		}
	}
	for _, l := range g.loops {
		if l.gid.Load() != 0 {
			t.Error("whoever inherits the goroutine's identity is taken for the loop")
		}
	}
}
