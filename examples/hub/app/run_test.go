package app

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
)

const patience = 20 * time.Second

// next waits for the next value of c.
func next[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("gave up waiting")
	}
	return v
}

// server is the program on a free port.
type server struct {
	t       *testing.T
	addr    string
	out     *bufio.Reader
	signals chan os.Signal
	done    chan error
}

// serve runs the program with flags until the test ends.
func serve(t *testing.T, flags ...string) *server {
	t.Helper()
	s := run(t, nil, flags)
	s.addr = strings.TrimPrefix(s.line(), "hub: open http://")
	return s
}

// serveNode runs it as a node, which may be still starting.
func serveNode(t *testing.T, c Cluster, flags ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the address is printed when it has started
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	s := run(t, c, append(flags, "-listen", "ws://"+l.Addr().String()))
	s.addr = l.Addr().String()
	if line := s.line(); line != "hub: is starting" {
		t.Fatalf("it says %q", line)
	}
	go func() { _, _ = io.Copy(io.Discard, s.out) }()
	return s
}

func run(t *testing.T, c Cluster, flags []string) *server {
	t.Helper()
	r, w := io.Pipe()
	s := &server{t: t, out: bufio.NewReader(r), signals: make(chan os.Signal, 4), done: make(chan error, 1)}
	go func() {
		err := Run(s.signals, "hub", c, append([]string{"-listen", "ws://127.0.0.1:0"}, flags...), w)
		_ = w.CloseWithError(err)
		s.done <- err
		close(s.done)
	}()
	t.Cleanup(func() {
		s.signals <- os.Interrupt
		s.signals <- os.Interrupt
		if err := next(t, s.done); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

// line is what it prints next.
func (s *server) line() string {
	s.t.Helper()
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// signalled has been told to end already, so that a run that should have failed does.
func signalled() <-chan os.Signal {
	c := make(chan os.Signal, 2)
	c <- os.Interrupt
	c <- os.Interrupt
	return c
}

// ask sends an HTTP request; fields are names and values in turn.
func (s *server) ask(method, path, body string, fields ...string) (status int, head http.Header, text string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// upgrade sends a handshake and returns the status of the answer; fields are as for ask.
func (s *server) upgrade(fields ...string) (status int) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", "http://"+s.addr+"/connection/websocket", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	for _, field := range []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="} {
		name, value, _ := strings.Cut(field, ": ")
		r.Header.Set(name, value)
	}
	res, err := (&http.Transport{}).RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// client speaks the protocol, one line at a time.
type client struct {
	t      *testing.T
	conn   *engine.Conn
	lines  chan string
	closed chan *engine.CloseError
	last   int
}

// dial opens a connection, from an engine of its own.
func (s *server) dial() *client {
	s.t.Helper()
	from, err := engine.New(engine.Config{Loops: 1}, engine.Handler{})
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- from.Run(s.t.Context()) }()
	s.t.Cleanup(func() { // the context of the test has ended by now
		if err := <-done; err != nil {
			s.t.Errorf("the clients: %v", err)
		}
	})
	c := &client{t: s.t, lines: make(chan string, 1000), closed: make(chan *engine.CloseError, 1)}
	opened := make(chan error, 1)
	err = from.Dial(s.t.Context(), engine.Dial{
		URL:       "ws://" + s.addr + "/connection/websocket",
		OnFailure: func(e *engine.DialError) { opened <- e },
		Handler: &engine.Handler{
			OnOpen: func(conn *engine.Conn) { c.conn = conn; opened <- nil },
			OnMessage: func(_ *engine.Conn, m engine.Message) {
				for line := range strings.SplitSeq(m.Text(), "\n") {
					c.lines <- line
				}
			},
			OnClose: func(_ *engine.Conn, e *engine.CloseError) { c.closed <- e },
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err = next(s.t, opened); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// reply is as much of a reply as the tests look at.
type reply struct {
	ID    int
	Error struct {
		Code    int
		Message string
	}
	Connect struct {
		Client string
		Data   struct{ User *string }
	}
	Subscribe struct {
		Recoverable bool
		Epoch       string
		Offset      int
	}
	History  struct{ Publications []struct{ Offset int } }
	RPC      struct{ Data json.RawMessage }
	Presence struct {
		Presence map[string]struct{ User string }
	}
	Push struct {
		Channel string
		Pub     *struct {
			Data   json.RawMessage
			Offset int
		}
		Join, Leave *struct{ Info struct{ User string } }
	}
}

func (c *client) read() (r reply) {
	c.t.Helper()
	line := next(c.t, c.lines)
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		c.t.Fatalf("%q: %v", line, err)
	}
	return r
}

// call sends a command and returns its reply. What is pushed before is left out.
func (c *client) call(method, params string) reply {
	c.t.Helper()
	c.last++
	if err := c.conn.SendText(fmt.Sprintf(`{"id":%d,%q:%s}`, c.last, method, params)); err != nil {
		c.t.Fatal(err)
	}
	for {
		if r := c.read(); r.ID == c.last {
			return r
		}
	}
}

// fails calls, and wants that error.
func (c *client) fails(code int, method, params string) {
	c.t.Helper()
	if r := c.call(method, params); r.Error.Code != code {
		c.t.Errorf("%s %s: error %d %q, want %d", method, params, r.Error.Code, r.Error.Message, code)
	}
}

func TestFlags(t *testing.T) {
	var o options
	if err := o.flags("hub").Parse(nil); err != nil || o.check() != nil {
		t.Fatalf("without flags: %v, %v", err, o.check())
	}
	want := options{listen: "ws://127.0.0.1:8100", history: 1000, historyFor: 10 * time.Minute, maxChannels: 128}
	if o != want {
		t.Errorf("defaults are %+v, want %+v", o, want)
	}
	for flags, says := range map[string]string{
		"-demo-tokens":       "-demo-tokens needs -secret",
		"-history -1":        "-history is -1",
		"-history-for -1s":   "-history-for is -1s",
		"-max-channels 0":    "-max-channels is 0",
		"-unready-for -1s":   "-unready-for is -1s",
		"-drain -1s":         "-drain is -1s",
		"-listen nothing://": "nothing",
	} {
		if err := Run(signalled(), "hub", nil, strings.Fields(flags), io.Discard); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", flags, err)
		}
	}
	o.flags("hub").VisitAll(func(f *flag.Flag) {
		if f.Usage == "" {
			t.Errorf("-%s is not explained", f.Name)
		}
	})
}

func TestPortInUseIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err = Run(signalled(), "hub", nil, []string{"-listen", "ws://" + l.Addr().String()}, io.Discard); err == nil || !strings.Contains(err.Error(), "is taken") || !strings.Contains(err.Error(), "-listen") {
		t.Errorf("run: %v", err)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	s := serve(t, "-unready-for", "1h")
	c := s.dial()
	if r := c.call("connect", "{}"); r.Connect.Client == "" {
		t.Fatalf("connect: %+v", r)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, _ := s.ask("GET", path, ""); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	s.signals <- syscall.SIGTERM
	for begin := time.Now(); ; {
		status, _, text := s.ask("GET", "/readyz", "")
		if status == 503 && strings.Contains(text, "shutting down") {
			break
		}
		if status != 200 || time.Since(begin) > patience {
			t.Fatalf("/readyz after the signal: %d %q", status, text)
		}
	}
	if status, _, _ := s.ask("GET", "/healthz", ""); status != 200 {
		t.Errorf("/healthz in the shutdown: %d", status)
	}
	c.call("subscribe", `{"channel":"news"}`) // and who is here is served
	s.signals <- syscall.SIGTERM              // the rest of the hour is not waited for
	if e := next(t, c.closed); e.Code != 3001 || !e.Remote {
		t.Errorf("the client is closed with %d, want 3001", e.Code)
	}
	if err := next(t, s.done); err != nil {
		t.Errorf("run: %v", err)
	}
	if nc, err := net.Dial("tcp", s.addr); err == nil {
		_ = nc.Close()
		t.Error("it still listens")
	}
}

func TestDrainIsHurriedBySecondSignal(t *testing.T) {
	s := serve(t, "-drain", "1h")
	c := s.dial()
	c.call("connect", "{}")
	s.signals <- syscall.SIGTERM
	for begin := time.Now(); s.upgrade() != 503; { // newcomers go elsewhere
		if time.Since(begin) > patience {
			t.Fatal("it still lets newcomers in")
		}
	}
	c.call("subscribe", `{"channel":"news"}`) // who has not been moved yet is served
	s.signals <- syscall.SIGTERM
	if e := next(t, c.closed); e.Code != 3001 {
		t.Errorf("closed with %d, want 3001", e.Code)
	}
	if err := next(t, s.done); err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestSlowReadersAreToldSo(t *testing.T) {
	s := serve(t, "-api-key", "k")
	c := s.dial()
	c.call("connect", "{}")
	c.call("subscribe", `{"channel":"news"}`)
	if err := c.conn.PauseReading(); err != nil {
		t.Fatal(err)
	}
	big := `{"channel":"news","data":"` + strings.Repeat("x", 1<<20-100) + `"}`
	for range sendBytesMax>>20 + 4 { // MiB: the kernel takes some beside
		if status, _, text := s.ask("POST", "/api/publish", big, "X-API-Key", "k"); status != 200 {
			t.Fatalf("publish: %d %s", status, text)
		}
	}
	if err := c.conn.ResumeReading(); err != nil {
		t.Fatal(err)
	}
	if e := next(t, c.closed); e.Code != 3008 {
		t.Errorf("closed with %d, want 3008", e.Code)
	}
}
