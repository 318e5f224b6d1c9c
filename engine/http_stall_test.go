package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// stalls is a server whose handlers wait for their peers, in a time of the
// test's own. It looks at progress every few milliseconds of real time.
type stalls struct {
	*server
	read    chan int   // bytes that /body has read at a time
	ended   chan error // why /body, /answer or /own gave up; nil: all was read
	inside  chan struct{}
	release chan struct{}
	begun   atomic.Int32 // handlers
}

func newStalls(t *testing.T, own func(s *stalls, w http.ResponseWriter, r *http.Request)) *stalls {
	s := &stalls{read: make(chan int), ended: make(chan error, 300), inside: make(chan struct{}), release: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/body", func(w http.ResponseWriter, r *http.Request) {
		for b := make([]byte, 100); ; {
			n, err := r.Body.Read(b)
			if n > 0 {
				s.read <- n
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				s.ended <- err
				return
			}
		}
	})
	mux.HandleFunc("/stalled", func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		s.ended <- err
	})
	mux.HandleFunc("/answer", func(w http.ResponseWriter, r *http.Request) {
		_, err := w.Write(make([]byte, 40<<20))
		s.ended <- err
	})
	mux.HandleFunc("/unread", func(w http.ResponseWriter, r *http.Request) { // the body, by the handler
		_, err := w.Write(make([]byte, 8<<10))
		s.ended <- err
	})
	mux.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
		s.inside <- struct{}{}
		select {
		case <-s.release:
		case <-r.Context().Done():
			s.ended <- r.Context().Err()
		}
	})
	if own != nil {
		mux.HandleFunc("/own", func(w http.ResponseWriter, r *http.Request) { own(s, w, r) })
	}
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.begun.Add(1)
		mux.ServeHTTP(w, r)
	})
	s.server = serveAt(t, new(testClock), Config{HTTP: counted, CloseTimeout: 8 * time.Millisecond, DrainTimeout: patience}, Handler{})
	return s
}

// ask sends the head of a request.
func (s *stalls) ask(path string, length int) net.Conn {
	nc := s.connect()
	_, _ = fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", path, length)
	return nc
}

// expectCut lets time pass until a handler has given up for its peer.
func (s *stalls) expectCut() {
	s.t.Helper()
	s.await("a handler to give up", func() bool {
		select {
		case err := <-s.ended:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				s.t.Errorf("a handler gave up with %v", err)
			}
			return true
		default:
			s.pass(time.Second)
			return false
		}
	})
}

// gone waits until a connection is closed.
func (s *stalls) gone(n int) {
	s.t.Helper()
	s.await("the connection to be closed", func() bool { return s.Stats().Connections == n })
}

// TestHTTPBodyThatDoesNotCome: as long as a body makes progress it may take for
// ever; without, its connection is cut, whoever reads the body.
func TestHTTPBodyThatDoesNotCome(t *testing.T) {
	s := newStalls(t, nil)
	nc := s.ask("/body", 10)
	for range 9 {
		s.pass(29 * time.Second)
		_, _ = nc.Write([]byte("x"))
		if n := <-s.read; n != 1 {
			t.Fatalf("%d bytes came", n)
		}
	}
	s.expectCut()
	s.gone(0)
	_ = s.ask("/unread", 10) // net/http reads the body before a long answer
	s.await("the answer to be written, and the connection to be closed", func() bool {
		s.pass(time.Second)
		return len(s.ended) == 1 && s.Stats().Connections == 0
	})
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
}

// TestHTTPAnswerThatIsNotRead: the same of an answer.
func TestHTTPAnswerThatIsNotRead(t *testing.T) {
	s := newStalls(t, nil)
	nc := s.ask("/answer", 0)
	_ = nc.(*net.TCPConn).SetReadBuffer(64 << 10)
	for range 4 { // more at a time than the kernel holds
		if _, err := io.CopyN(io.Discard, nc, 8<<20); err != nil {
			t.Fatal(err)
		}
		s.pass(20 * time.Second)
	}
	s.expectCut()
	s.gone(0)
}

// TestHTTPWaits: a handler that waits, and a connection that it took over, are
// not cut, however long others make no progress.
func TestHTTPWaits(t *testing.T) {
	s := newStalls(t, func(_ *stalls, w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		line, err := rw.ReadString('\n')
		_, _ = nc.Write([]byte(line))
		if err != nil {
			t.Error(err)
		}
	})
	poll := s.connect()
	_, _ = io.WriteString(poll, "GET /poll HTTP/1.1\r\nHost: a\r\n\r\n")
	<-s.inside
	withBody := s.ask("/poll", 1)
	<-s.inside
	_, _ = withBody.Write([]byte("x"))
	taken := s.connect()
	_, _ = io.WriteString(taken, "GET /own HTTP/1.1\r\nHost: a\r\n\r\nhel")
	for range 3 {
		_ = s.ask("/stalled", 1)
		s.expectCut()
		s.pass(time.Hour)
	}
	s.gone(3)
	_, _ = io.WriteString(taken, "lo\n")
	if got, err := io.ReadAll(taken); err != nil || string(got) != "hello\n" {
		t.Errorf("%q %v", got, err)
	}
	close(s.release)
	for _, nc := range []net.Conn{poll, withBody} {
		if r, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || r.StatusCode != 200 {
			t.Errorf("%v %v", r, err)
		}
	}
	if len(s.ended) != 0 {
		t.Errorf("a handler that waits was told %v", <-s.ended)
	}
}

// TestHTTPOwnDeadlines: what a handler sets by http.ResponseController holds in
// place of HTTPStallTimeout, shorter or longer.
func TestHTTPOwnDeadlines(t *testing.T) {
	s := newStalls(t, func(s *stalls, w http.ResponseWriter, r *http.Request) {
		c, soon := http.NewResponseController(w), time.Now().Add(10*time.Millisecond)
		var err error
		switch r.URL.RawQuery {
		case "read":
			_ = c.SetReadDeadline(soon)
			_, err = io.Copy(io.Discard, r.Body)
		case "write":
			_ = c.SetWriteDeadline(soon)
			_, err = w.Write(make([]byte, 40<<20))
		case "later":
			_ = c.SetReadDeadline(time.Now().Add(2 * patience))
			s.inside <- struct{}{}
			_, err = io.Copy(io.Discard, r.Body)
		case "none":
			_ = c.SetReadDeadline(soon)
			_ = c.SetReadDeadline(time.Time{})
			_, err = io.Copy(io.Discard, r.Body)
		}
		s.ended <- err
	})
	for query, length := range map[string]int{"read": 1, "write": 0} { // the engine's time stands still
		_ = s.ask("/own?"+query, length)
		if err := <-s.ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", query, err)
		}
	}
	_ = s.ask("/own?none", 1)
	s.expectCut()
	later := s.ask("/own?later", 1)
	<-s.inside
	_ = s.ask("/stalled", 1)
	s.expectCut()
	s.pass(time.Hour)
	_ = s.ask("/stalled", 1)
	s.expectCut()
	_, _ = later.Write([]byte("x"))
	if err := <-s.ended; err != nil {
		t.Errorf("a deadline of its own, far away: %v", err)
	}
}

// TestHTTPLooksTwice: after the process stood still, the first look finds a
// deadline that is over and bytes that are not read yet.
func TestHTTPLooksTwice(t *testing.T) {
	s := newStalls(t, nil)
	c := newHandedConn(s.listeners.all()[0].ep.http, new(net.TCPConn), nil, nil)
	c.in.set = func(time.Time) error { return nil }
	wait := waiting{owed: true}
	s.pass(time.Hour)
	for look, want := range []bool{true, false} {
		if got := c.in.goOn(c, &wait, os.ErrDeadlineExceeded); got != want {
			t.Errorf("look %d: goes on %v", look+1, got)
		}
	}
}

// TestHTTPStallsInDrain: a shutdown waits for requests that make progress, and
// for the others no longer than CloseTimeout.
func TestHTTPStallsInDrain(t *testing.T) {
	s := newStalls(t, nil)
	_ = s.ask("/stalled", 1)
	_ = s.ask("/answer", 0)
	const length = 5000
	slow := s.ask("/body", length)
	sent := 0
	step := func() {
		sent++
		_, _ = slow.Write([]byte("x"))
		<-s.read
	}
	step()
	// A shutdown closes the connection of a request whose handler has not begun.
	s.await("all three to be served", func() bool { return s.begun.Load() == 3 && s.Stats().Closed == 3 })
	s.stop()
	s.await("the drain to begin", func() bool { return s.listeners.all()[0].ep.http.drains.Load() != 0 })
	s.await("the two to be cut", func() bool { // long before HTTPStallTimeout
		s.pass(4 * time.Millisecond)
		step()
		return s.Stats().Connections == 1
	})
	for range 2 {
		if err := <-s.ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a handler gave up with %v", err)
		}
	}
	rest := make([]byte, length-sent)
	go func() {
		for n := range s.read {
			if sent += n; sent == length {
				return
			}
		}
	}()
	_, _ = slow.Write(rest)
	if r, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || r.StatusCode != 200 {
		t.Errorf("the request that made progress: %v %v", r, err)
	}
	var cut *CutError
	if err := s.end(); !errors.As(err, &cut) || cut.Connections != 2 {
		t.Errorf("Run says %v", err)
	}
}
