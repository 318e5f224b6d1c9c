package loop

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

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
		d.on(func() {})
		if len(o.told) != 0 {
			t.Error("a closed socket was reported writable")
		}
	}
}

// TestAnEventIsAHint: what an event says of a socket may have been meant for
// another one that had its descriptor.
func TestAnEventIsAHint(t *testing.T) {
	g, drivers := start(t, 1)
	o, peer := enroll(t, g, nil)
	l := <-o.opened
	const all = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLERR | unix.EPOLLHUP | unix.EPOLLRDHUP
	for _, paused := range []bool{false, true} {
		drivers[0].on(func() {
			if paused {
				o.sock.Pause()
				_ = o.sock.WatchHangup()
			}
			for ev := range uint32(all + 1) {
				if err := l.event(int(o.sock.fd), ev, 0); err != nil {
					t.Error(err)
				}
			}
			o.sock.Resume()
		})
	}
	if len(o.closed)+len(o.read)+len(o.told) != 0 {
		t.Error("an event was believed")
	}
	_, _ = peer.Write([]byte("x"))
	if s := <-o.read; s != "x" {
		t.Errorf("read %q", s)
	}
}

// TestUrgentByte: a byte out of band is told once, not for ever.
func TestUrgentByte(t *testing.T) {
	g, drivers := start(t, 1)
	o, peer := enroll(t, g, nil)
	<-o.opened
	raw, err := peer.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_ = raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), []byte("a!"), unix.MSG_OOB, nil) })
		if err != nil {
			t.Fatal(err)
		}
		if s := <-o.read; s != "a" {
			t.Errorf("read %q", s)
		}
		drivers[0].on(func() {})
		p := []unix.PollFd{{Fd: o.sock.fd, Events: unix.POLLPRI | unix.POLLIN}}
		if n, _ := unix.Poll(p, 0); n != 0 {
			t.Errorf("the poller is told again: %x", p[0].Revents)
		}
	}
}

// TestPausedIsToldOfTheEnd: of the peer's stream if that is awaited, and of a
// broken connection in any case.
func TestPausedIsToldOfTheEnd(t *testing.T) {
	for _, late := range []bool{false, true} {
		g, drivers := start(t, 1)
		d := drivers[0]
		o, peer := enroll(t, g, nil)
		<-o.opened
		watch := func() {
			if err := o.sock.WatchHangup(); err != nil {
				t.Error(err)
			}
		}
		d.on(func() {
			o.sock.Pause()
			if !late {
				watch()
			}
		})
		_, _ = peer.Write([]byte("x"))
		_ = peer.CloseWrite()
		if late {
			for seen := false; !seen; {
				d.on(func() { seen = state(o.sock.fd)&unix.POLLRDHUP != 0 })
			}
			d.on(watch)
		}
		if e := <-o.told; e != hangup || len(o.closed) != 0 || len(o.read) != 0 {
			t.Fatal("not told of the end of the stream alone")
		}
		_ = peer.SetLinger(0)
		_ = peer.Close()
		if err := <-o.closed; !errors.Is(err, io.EOF) {
			t.Errorf("closed with %v", err)
		}
	}
}

// TestPausedIsToldOfRoom: a paused socket that is congested becomes writable.
func TestPausedIsToldOfRoom(t *testing.T) {
	g, drivers := start(t, 1)
	d := drivers[0]
	o, peer := enroll(t, g, nil)
	<-o.opened
	fill := func() {
		for {
			if n, err := o.sock.Write(make([]byte, 1<<20)); err != nil || n < 1<<20 {
				break
			}
		}
		if err := o.sock.Watch(); err != nil {
			t.Error(err)
		}
	}
	for _, first := range []func(){func() { o.sock.Pause(); fill() }, func() { fill(); o.sock.Pause() }} {
		d.on(first)
		go func() { _, _ = io.CopyN(io.Discard, peer, 8<<20) }()
		if e := <-o.told; e != writable {
			t.Fatal("it was told something else")
		}
		d.on(o.sock.Resume)
	}
	_, _ = peer.Write([]byte("x"))
	if s := <-o.read; s != "x" {
		t.Errorf("read %q", s)
	}
}

// restless wakes its own loop whenever it is woken.
type restless struct{ l *Loop }

func (r restless) Woken() { r.l.Wake() }

func TestWhoWakesItsOwnLoopStarvesNobody(t *testing.T) {
	g, err := Start(1, unheard, func(l *Loop) Driver { return restless{l} })
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	g.loops[0].Wake()
	_, peer := enroll(t, g, func(o *owner, b []byte) { _, _ = o.sock.Write(b) })
	for range 100 {
		_, _ = peer.Write([]byte("x"))
		if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEnded: a socket that its owner pauses at the end of the peer's stream can be
// written to; when it resumes, it is told again, and closed.
func TestEnded(t *testing.T) {
	g, drivers := start(t, 1)
	o, peer := enroll(t, g, nil)
	<-o.opened
	drivers[0].on(func() { o.ended = make(chan bool, 1) })
	_ = peer.CloseWrite()
	<-o.ended
	drivers[0].on(func() {
		if _, err := o.sock.Write([]byte("there?")); err != nil {
			t.Error(err)
		}
		o.ended = nil
		o.sock.Resume()
	})
	if err := <-o.closed; !errors.Is(err, io.EOF) {
		t.Errorf("closed with %v", err)
	}
	if got, err := io.ReadAll(peer); err != nil || string(got) != "there?" {
		t.Errorf("the peer read %q, %v", got, err)
	}
}

// TestPausedReadsWhatThePeerLeft: a peer that sends and is gone has said all the
// same what it has said, whenever reading resumes.
func TestPausedReadsWhatThePeerLeft(t *testing.T) {
	g, drivers := start(t, 1)
	for _, unix := range []bool{false, true} {
		o, peer := life{unix: unix}.begin(t, g)
		<-o.opened
		drivers[0].on(func() {
			o.sock.Pause()
			_ = o.sock.WatchHangup()
		})
		_, _ = peer.Write([]byte("last words"))
		_ = peer.Close()
		select {
		case e := <-o.told:
			if e != hangup {
				t.Errorf("unix %v: told %v", unix, e)
			}
		case err := <-o.closed:
			t.Fatalf("unix %v: closed although paused: %v", unix, err)
		}
		drivers[0].on(func() { // what is told is told once
			if len(o.closed)+len(o.read)+len(o.told) != 0 {
				t.Errorf("unix %v: closed, read or told although paused", unix)
			}
			if !o.sock.closing {
				o.sock.Resume()
			}
		})
		err := <-o.closed
		if len(o.read) == 0 || <-o.read != "last words" || !errors.Is(err, io.EOF) {
			t.Errorf("unix %v: the last words are lost; closed with %v", unix, err)
		}
	}
}
