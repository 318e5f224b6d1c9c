package loop

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// otherLoop is an event loop of another shape than gnet's.
type otherLoop struct{ gnet.EventLoop }

// TestShapeOfGnet: a gnet that hides its poller elsewhere is an error that says
// so, not a pause that does nothing.
func TestShapeOfGnet(t *testing.T) {
	if _, err := pollerFD(&otherLoop{}); err == nil || !strings.Contains(err.Error(), "gnet") {
		t.Errorf("another shape: %v", err)
	}
	_, drivers := start(t, 1)
	if fd := drivers[0].l.poller; fd <= 2 {
		t.Errorf("the poller's descriptor is %d", fd)
	}
}

// TestPauseStopsReading: while paused nothing is read and TCP pushes back;
// afterwards every byte is there.
func TestPauseStopsReading(t *testing.T) {
	g, drivers := start(t, 1)
	o, peer := enroll(t, g, nil)
	<-o.opened
	drivers[0].on(func() {
		if !o.sock.Pause() {
			t.Error("no pause")
		}
	})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = peer.Write(make([]byte, 16<<20))
		_ = peer.CloseWrite()
	}()
	_, other := enroll(t, g, func(o *owner, b []byte) { _, _ = o.sock.Write(b) })
	for range 50 { // the loop is alive, and had every opportunity to read
		_, _ = other.Write([]byte("x"))
		if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.read) != 0 || len(o.closed) != 0 {
		t.Fatal("read while paused")
	}
	got := 0
	drivers[0].on(o.sock.Resume)
	for got < 16<<20 {
		got += len(<-o.read)
	}
	<-sent
	if err := <-o.closed; !errors.Is(err, io.EOF) {
		t.Errorf("closed with %v", err)
	}
}

// TestWatchEndsWithTheSocket: nothing is heard of a watched socket after it
// was closed, whoever has its descriptor's number then.
func TestWatchEndsWithTheSocket(t *testing.T) {
	g, drivers := start(t, 1)
	d := drivers[0]
	for range 20 {
		o, peer := enroll(t, g, nil)
		<-o.opened
		dup := -1
		d.on(func() {
			for {
				if n, err := o.sock.Write(make([]byte, 1<<20)); err != nil || n < 1<<20 {
					break
				}
			}
			var err error
			if dup, err = o.sock.Dup(); err != nil { // would keep a registration alive
				t.Error(err)
			}
			if err := o.sock.Watch(); err != nil {
				t.Error(err)
			}
			o.sock.Close()
			if n, err := o.sock.Write([]byte("x")); n != 0 || err == nil {
				t.Error("wrote after Close")
			}
		})
		if err := <-o.closed; err != nil {
			t.Errorf("closed with %v", err)
		}
		_, _ = io.CopyN(io.Discard, peer, 1<<20) // makes the duplicate writable
		_ = unix.Close(dup)
		_ = peer.Close()
	}
	d.on(func() {})
	if len(d.ready) != 0 {
		t.Errorf("%d closed sockets were reported writable", len(d.ready))
	}
	if n := len(g.watcher.watched); n != 0 {
		t.Errorf("%d are still watched", n)
	}
}
