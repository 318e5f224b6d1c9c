package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

func sum(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, n)
}

// TestHTTPOnTheSamePort: keep-alive, pipelining, a large body, and then a
// WebSocket, all on one connection.
func TestHTTPOnTheSamePort(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n, HTTP: http.HandlerFunc(sum)}, Handler{OnMessage: echo})
		nc := s.connect()
		br := bufio.NewReader(nc)
		ask := func(request string, want ...string) {
			t.Helper()
			go func() { _, _ = io.WriteString(nc, request) }()
			for _, w := range want {
				r, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != w || r.StatusCode != 200 {
					t.Fatalf("%s %q %v, want %q", r.Status, body, err, w)
				}
			}
		}
		get := "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
		ask(fmt.Sprintf(get+get, 1, 2), "GET /1 0", "GET /2 0") // the second comes with the first to the loop
		ask(fmt.Sprintf(get+get+get, 3, 4, 5), "GET /3 0", "GET /4 0", "GET /5 0")
		const big = 10 << 20
		ask(fmt.Sprintf("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", big)+strings.Repeat("b", big), fmt.Sprintf("POST /big %d", big))
		ask("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST /chunks 5")
		if st := s.Stats(); st.Connections != 1 || st.Open != 0 {
			t.Errorf("%+v", st)
		}
		_, _ = io.WriteString(nc, upgradeHead()+"\x81\x82\x00\x00\x00\x00hi") // the first frame in the same segment
		r, err := http.ReadResponse(br, nil)
		if err != nil || r.StatusCode != 101 {
			t.Fatalf("a later upgrade: %v %v", r, err)
		}
		frame := make([]byte, 4)
		if _, err := io.ReadFull(br, frame); err != nil || string(frame) != "\x81\x02hi" {
			t.Fatalf("%q %v", frame, err)
		}
		if st := s.Stats(); st.Connections != 1 || st.Open != 1 {
			t.Errorf("%+v", st)
		}
		_ = nc.Close()
		s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
	})
}

// TestUpgradeThatOnlyLooksLikeOne: net/http and the loop agree on what names a
// WebSocket, or a connection would go to and fro between them for ever.
func TestUpgradeThatOnlyLooksLikeOne(t *testing.T) {
	s := serve(t, Config{Loops: 1, HTTP: http.HandlerFunc(sum)}, Handler{})
	for _, token := range []string{"web\u017focket", "websoc\u212aet", "websocket\u00a0", "\u00a0websocket", "h2c"} {
		head := strings.Replace(upgradeHead("Connection: close"), "Upgrade: websocket", "Upgrade: "+token, 1)
		if r, body := s.exchange(head); r.StatusCode != 200 || body != "GET /chat 0" {
			t.Errorf("%q: %s %q", token, r.Status, body)
		}
	}
	s.await("the acceptors to have counted", func() bool { return s.Stats().Accepted >= 5 })
	if n := s.Stats().Accepted; n != 5 {
		t.Errorf("%d connections came to the loop, want 5", n)
	}
}

// TestHTTPIsDrained: a request under way is served to its end, an idle
// connection is closed.
func TestHTTPIsDrained(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	s := serve(t, Config{DrainTimeout: patience, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inside)
			<-release
		}
		fmt.Fprint(w, "done")
	})}, Handler{})
	idle := s.connect()
	_, _ = io.WriteString(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil {
		t.Fatal(err)
	}
	slow := s.connect()
	_, _ = io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-inside
	s.stop()
	if rest, err := io.ReadAll(idle); err != nil || len(rest) != 0 {
		t.Errorf("the idle connection: %q %v", rest, err)
	}
	close(release)
	if r, body := s.response(slow); r.StatusCode != 200 || body != "4\r\ndone" && !strings.Contains(body, "done") && r.ContentLength != 4 {
		t.Errorf("%s %q", r.Status, body)
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

func TestHTTPTimeouts(t *testing.T) {
	s := serve(t, Config{HTTPHeaderTimeout: 30 * time.Millisecond, HTTPIdleTimeout: 30 * time.Millisecond,
		HTTP: http.HandlerFunc(sum)}, Handler{})
	nc := s.connect()
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got, err := io.ReadAll(nc); err != nil || !bytes.Contains(got, []byte("GET / 0")) {
		t.Errorf("an idle connection: %q %v", got, err)
	}
	nc = s.connect()
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT")
	if got, err := io.ReadAll(nc); err != nil || !bytes.Contains(got, []byte("GET / 0")) {
		t.Errorf("a second head that does not end: %q %v", got, err)
	}
	s.await("both to be gone", func() bool { return s.Stats().Connections == 0 })
}

// TestMountedOnNetHTTP: the engine as a handler of somebody else's server.
func TestMountedOnNetHTTP(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		paths := make(chan string, 10)
		s := serve(t, Config{Loops: n}, Handler{
			OnUpgrade: func(u *Upgrade) error { paths <- u.Request.Path + u.Request.Fields.Get("X-From"); return nil },
			OnMessage: echo,
		})
		mux := http.NewServeMux()
		mux.Handle("/ws", s.Engine)
		mux.HandleFunc("/", sum)
		outer := httptest.NewServer(mux)
		defer outer.Close()
		dial := func() net.Conn {
			nc, err := net.Dial("tcp", outer.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			return nc
		}
		nc := dial()
		_, _ = io.WriteString(nc, strings.Replace(upgradeHead("X-From: here"), "/chat", "/ws", 1)+"\x81\x82\x00\x00\x00\x00hi\x88\x80\x00\x00\x00\x00")
		r, rest := s.response(nc)
		if r.StatusCode != 101 || rest != "\x81\x02hi\x88\x00" || <-paths != "/wshere" {
			t.Errorf("%s, then %q", r.Status, rest)
		}
		_ = nc.Close()
		for request, status := range map[string]int{
			"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                                   426,
			strings.Replace(upgradeHead("Origin: http://evil.example"), "/chat", "/ws", 1):               403,
			strings.NewReplacer("/chat", "/ws", "Version: 13", "Version: 8").Replace(upgradeHead()):      426,
			strings.NewReplacer("/chat", "/ws").Replace(upgradeHead("Content-Length: 2")) + "hi":         413,
			strings.NewReplacer("/chat", "/ws").Replace(upgradeHead("Transfer-Encoding: chunked")) + "0": 413,
		} {
			nc := dial()
			_, _ = io.WriteString(nc, request)
			if r, _ := s.response(nc); r.StatusCode != status {
				t.Errorf("%.30q: %s, want %d", request, r.Status, status)
			}
			_ = nc.Close()
		}
		s.await("all to be gone", func() bool { return s.Stats().Connections == 0 })
		if err := s.end(); err != nil {
			t.Error(err)
		}
		nc = dial()
		_, _ = io.WriteString(nc, strings.Replace(upgradeHead(), "/chat", "/ws", 1))
		if r, _ := s.response(nc); r.StatusCode != 503 {
			t.Errorf("after the end: %s", r.Status)
		}
		_ = nc.Close()
	})
}

// TestMountedWithoutListener: an engine that only serves what is mounted.
func TestMountedWithoutListener(t *testing.T) {
	outer := httptest.NewUnstartedServer(nil)
	core := Config{Listener: nopListener{outer.Listener.Addr()}}
	s := serve(t, core, Handler{OnMessage: echo})
	outer.Config.Handler = s.Engine
	outer.Start()
	defer outer.Close()
	nc, err := net.Dial("tcp", outer.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc, &codec.Options{Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 20, FragmentsMax: 100, Host: "a", Target: "/"})
	c.session.Start(&c.env)
	c.flush()
	if ev, err := c.next(); err != nil || ev.Kind != codec.Open {
		t.Fatalf("%v %v", ev, err)
	}
	c.send(protocol.OpText, "x")
	c.expect("x")
	c.close(1000, "")
	_ = c.closed()
}

// nopListener accepts nothing.
type nopListener struct{ addr net.Addr }

func (nopListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (nopListener) Close() error              { return nil }
func (l nopListener) Addr() net.Addr          { return l.addr }
