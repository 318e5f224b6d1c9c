package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// patience is how long an event may take before a test gives up on it.
const patience = 20 * time.Second

// fixture is an engine that runs, and its page.
type fixture struct {
	t     *testing.T
	e     *engine.Engine
	web   *httptest.Server
	conns chan *engine.Conn // that opened
	stop  context.CancelFunc
	ended chan error
}

func serve(t *testing.T, ec engine.Config, h engine.Handler, change func(*Config)) *fixture {
	t.Helper()
	x := &fixture{t: t, conns: make(chan *engine.Conn, 100), ended: make(chan error, 1)}
	ec.Addr, ec.Logger, ec.CloseTimeout = "ws://127.0.0.1:0", zap.NewNop(), patience
	open := h.OnOpen
	h.OnOpen = func(c *engine.Conn) {
		if open != nil {
			open(c)
		}
		x.conns <- c
	}
	var err error
	if x.e, err = engine.New(ec, h); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	x.stop = stop
	go func() { x.ended <- x.e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-x.ended:
			x.ended <- err
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	})
	x.await("the engine to run", func() bool { return len(x.e.InspectLoops()) > 0 })
	cfg := Config{Engine: x.e}
	if change != nil {
		change(&cfg)
	}
	page, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x.web = httptest.NewServer(page)
	t.Cleanup(x.web.Close)
	return x
}

// client is one of the engine's clients.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (x *fixture) dial() (*client, *engine.Conn) {
	x.t.Helper()
	nc, err := net.Dial("tcp", x.e.Addr().String())
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	c := &client{nc, x.t, bufio.NewReader(nc)}
	_, _ = fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", x.e.Addr())
	r, err := http.ReadResponse(c.in, nil)
	if err != nil || r.StatusCode != 101 {
		x.t.Fatal(r, err)
	}
	select {
	case conn := <-x.conns:
		return c, conn
	case <-time.After(patience):
		x.t.Fatal("OnOpen was not called")
		return nil, nil
	}
}

// say sends a text of up to 125 bytes, masked with zeros.
func (c *client) say(text string) {
	_, _ = c.Write(append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...))
}

// next reads a short frame.
func (c *client) next() (first byte, payload string) {
	c.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.in, head); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, head[1])
	if _, err := io.ReadFull(c.in, b); err != nil {
		c.t.Fatal(err)
	}
	return head[0], string(b)
}

// do asks the page and decodes its answer.
func (x *fixture) do(method, path, body string, want int, to any) {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), method, x.web.URL+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	r.Header.Set(headerName, "1")
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	b, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != want {
		x.t.Fatalf("%s %s: %s %s, want %d (%v)", method, path, got.Status, b, want, err)
	}
	if to != nil {
		if err := json.Unmarshal(b, to); err != nil {
			x.t.Fatalf("%s %s: %v in %s", method, path, err, b)
		}
	}
}

func (x *fixture) await(what string, ok func() bool) {
	x.t.Helper()
	look, give := time.NewTicker(time.Millisecond), time.After(patience)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-give:
			x.t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// tail is a stream of frames as a browser reads it.
type tail struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Reader
}

func (x *fixture) tail(id uint64, query string) *tail {
	x.t.Helper()
	r, err := http.Get(fmt.Sprintf("%s/api/connections/%d/frames%s", x.web.URL, id, query))
	if err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" {
		x.t.Fatal(r, err)
	}
	x.t.Cleanup(func() { _ = r.Body.Close() })
	s := &tail{x.t, r.Body, bufio.NewReader(r.Body)}
	if event, data := s.next(); event != "start" || data != fmt.Sprintf(`{"id":%d}`, id) {
		x.t.Fatal(event, data)
	}
	return s
}

// next reads an event.
func (s *tail) next() (event, data string) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the stream of frames: %v", err)
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "event: "):
			event = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "" && event != "":
			return event, data
		}
	}
}

// frames reads events until there are n frames.
func (s *tail) frames(n int) (all []string) {
	s.t.Helper()
	for len(all) < n {
		event, data := s.next()
		var frames []Frame
		if err := json.Unmarshal([]byte(data), &frames); event != "frames" || err != nil {
			s.t.Fatal(event, data, err)
		}
		for _, f := range frames {
			all = append(all, fmt.Sprintf("%v %s %d %s", f.In, f.Opcode, f.Length, f.Payload))
		}
	}
	return all
}

func echo(c *engine.Conn, m engine.Message) { _ = c.Send(m) }

// TestStatus: all that is told of the process, the engine, its loops and listeners.
func TestStatus(t *testing.T) {
	x := serve(t, engine.Config{Loops: 2}, engine.Handler{OnMessage: echo}, func(c *Config) { c.Profile = true })
	cl, _ := x.dial()
	cl.say("hello")
	cl.next()
	var s Status
	x.await("the numbers", func() bool { x.do("GET", "/api/status", "", 200, &s); return s.Engine.MessagesOut == 1 })
	if s.Engine.Open != 1 || s.Engine.Accepted != 1 || len(s.Loops) != 2 || s.Loops[0].Connections+s.Loops[1].Connections != 1 || len(s.Listeners) != 1 || s.Listeners[0].Connections != 1 ||
		s.Listeners[0].Name != x.e.Listeners()[0].String() || s.Process.PID == 0 || s.Process.HeapBytes == 0 || s.Process.Goroutines == 0 || !s.Rights.Change || s.Hub != nil || s.Drain != nil ||
		!s.Health.Live.OK || !s.Health.Ready.OK || s.Links != (Links{Profile: "debug/pprof/"}) {
		t.Errorf("%+v", s)
	}
	x.await("the load", func() bool { x.do("GET", "/api/status", "", 200, &s); return s.Loops[0].Load >= 0 })
	var c Settings
	x.do("GET", "/api/config", "", 200, &c)
	if len(c.Engine) < 40 || len(c.Listeners) != 1 {
		t.Errorf("%+v", c)
	}
}

// TestConnections finds, orders and pages; one that has ended is not there.
func TestConnections(t *testing.T) {
	x := serve(t, engine.Config{Loops: 2, Describe: func(c *engine.Conn) string { return fmt.Sprint("User ", c.State()) }}, engine.Handler{OnMessage: echo}, nil)
	var ids []uint64
	var clients []*client
	for i := range 5 {
		cl, c := x.dial()
		c.SetState(i)
		for range i {
			cl.say("hello")
			cl.next()
		}
		ids, clients = append(ids, c.ID()), append(clients, cl)
	}
	list := func(query string, want ...uint64) (l Connections) {
		t.Helper()
		x.do("GET", "/api/connections?"+query, "", 200, &l)
		var got []uint64
		for _, c := range l.Connections {
			got = append(got, c.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || l.Total != 5 {
			t.Errorf("%s: %v of %d, want %v", query, got, l.Total, want)
		}
		return l
	}
	list("", ids[4], ids[3], ids[2], ids[1], ids[0])
	list("sort=messagesIn&order=asc&limit=2&offset=1", ids[1], ids[2])
	list("sort=age&order=desc&limit=1", ids[0])
	l := list("q=uSER+3", ids[3])
	if c := l.Connections[0]; l.Matched != 1 || c.User != "User 3" || c.MessagesIn != 3 || c.MessagesOut != 3 || c.Phase != "open" || c.Protocol != "websocket" || c.Client != "127.0.0.1" ||
		!strings.HasPrefix(c.Remote, "127.0.0.1:") || !strings.HasSuffix(c.Handler, "admin.echo") || c.Listener != x.e.Listeners()[0].String() || len(c.Paused) != 0 || len(l.Silent) != 0 {
		t.Errorf("%+v", c)
	}
	list("q=%23"+fmt.Sprint(ids[2]), ids[2])
	list("q=nobody")
	x.do("POST", fmt.Sprintf("/api/connections/%d/pause", ids[1]), "", 202, nil)
	list("paused=operator", ids[1])
	list("paused=any", ids[1])
	list("paused=user")
	x.do("POST", fmt.Sprintf("/api/connections/%d/resume", ids[1]), "{}", 202, nil)
	list("paused=any")
	var d ConnectionDetail
	x.do("GET", fmt.Sprintf("/api/connections/%d", ids[0]), "", 200, &d)
	if d.State != "int" || d.Local != x.e.Addr().String() || d.ID != ids[0] || d.TLSVersion != "" {
		t.Errorf("%+v", d)
	}
	_ = clients[4].Close()
	x.await("its end", func() bool { return x.e.Conn(ids[4]) == nil })
	for _, what := range []string{"GET ", "GET /frames", "POST /pause", "POST /close"} {
		method, path, _ := strings.Cut(what, " ")
		x.do(method, fmt.Sprintf("/api/connections/%d%s", ids[4], path), "", 404, nil)
	}
	for path, want := range map[string]int{"/api/connections?sort=secret": 400, "/api/connections?limit=1001": 400, "/api/connections?offset=9999&limit=2": 400, "/api/connections?order=up": 400,
		"/api/connections/x": 400, "/api/nothing": 404, "/api/channels": 404, "/api/users": 404, "/debug/pprof/": 404, "/metrics": 404} {
		var e Error
		if strings.HasPrefix(path, "/api") {
			x.do("GET", path, "", want, &e)
			if e.Error == "" {
				t.Errorf("%s: no reason", path)
			}
			continue
		}
		x.do("GET", path, "", want, nil)
	}
}

// TestCloseWhileTapped: the stream shows the closing handshake, then it ends. What frames hold is not in it.
func TestCloseWhileTapped(t *testing.T) {
	x := serve(t, engine.Config{Loops: 1}, engine.Handler{OnMessage: echo}, nil)
	cl, c := x.dial()
	s, with := x.tail(c.ID(), ""), x.tail(c.ID(), "?payload=1")
	cl.say("secret")
	cl.next()
	if got := fmt.Sprint(s.frames(2)); got != "[true text 6  false text 6 ]" {
		t.Errorf("shown: %s", got)
	}
	if got := fmt.Sprint(with.frames(2)); got != "[true text 6 secret false text 6 secret]" {
		t.Errorf("shown with what they hold: %s", got)
	}
	path := fmt.Sprintf("/api/connections/%d/close", c.ID())
	for body, want := range map[string]int{`{"code":1005}`: 400, `{"code":70000}`: 400, `{"reason":"` + strings.Repeat("x", 124) + `"}`: 400, `{"what":1}`: 400, `{} {}`: 400,
		`{"reason":"` + strings.Repeat("x", bodyBytesMax) + `"}`: 413} {
		x.do("POST", path, body, want, nil)
	}
	x.do("POST", path, `{"code":4001,"reason":"go"}`, 202, nil)
	if first, payload := cl.next(); first != 0x88 || payload != "\x0f\xa1go" {
		t.Errorf("closed with %x %q", first, payload)
	}
	_, _ = cl.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa1})
	if got := fmt.Sprint(s.frames(2)); got != "[false close 4  true close 2 ]" {
		t.Errorf("shown: %s", got)
	}
	if event, _ := s.next(); event != "end" {
		t.Errorf("then %s", event)
	}
	cl, c = x.dial()
	x.do("POST", fmt.Sprintf("/api/connections/%d/close", c.ID()), `{"abort":true}`, 202, nil)
	if _, err := cl.in.ReadByte(); err == nil {
		t.Error("an aborted connection was answered")
	}
}

// TestPauseWhileOffloaded: both reasons show; the end of the function does not end the operator's pause.
func TestPauseWhileOffloaded(t *testing.T) {
	release := make(chan struct{})
	x := serve(t, engine.Config{Loops: 1}, engine.Handler{OnMessage: func(c *engine.Conn, m engine.Message) {
		if m.Text() != "go" {
			echo(c, m)
			return
		}
		_ = c.Go(m, func(context.Context, engine.Message) { <-release })
	}}, nil)
	cl, c := x.dial()
	cl.say("go")
	paused := func() string {
		var d ConnectionDetail
		x.do("GET", fmt.Sprintf("/api/connections/%d", c.ID()), "", 200, &d)
		return fmt.Sprint(d.Paused)
	}
	x.await("the function", func() bool { return paused() == "[offload]" })
	x.do("POST", fmt.Sprintf("/api/connections/%d/pause", c.ID()), "", 202, nil)
	if got := paused(); got != "[offload operator]" {
		t.Errorf("paused: %s", got)
	}
	close(release)
	x.await("the end of the function", func() bool { return paused() == "[operator]" })
	cl.say("waits")
	x.do("POST", fmt.Sprintf("/api/connections/%d/resume", c.ID()), "", 202, nil)
	if _, payload := cl.next(); payload != "waits" {
		t.Errorf("received %q", payload)
	}
}

// TestTailReaderIsSlow: the reader does not read; what it missed is counted.
func TestTailReaderIsSlow(t *testing.T) {
	x := serve(t, engine.Config{Loops: 1}, engine.Handler{OnMessage: echo}, nil)
	cl, c := x.dial()
	s := x.tail(c.ID(), "")
	const batch = 2 * framesMax
	all := bytes.Repeat([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}, batch)
	total, missed, seen := 0, 0, 0
	for missed == 0 {
		_, _ = cl.Write(all) // many more than may wait: they come within one pace
		for range batch {
			cl.next()
		}
		for total += 2 * batch; missed+seen < total; {
			event, data := s.next()
			if event == "frames" {
				seen += strings.Count(data, "opcode")
				continue
			}
			var d struct{ Frames int }
			if err := json.Unmarshal([]byte(data), &d); event != "dropped" || err != nil {
				t.Fatal(event, data)
			}
			missed += d.Frames
		}
	}
	if missed+seen != total {
		t.Errorf("%d missed and %d seen of %d", missed, seen, total)
	}
}

// TestShutdownWhileTapped: the stream ends, and so does Run; there are so many streams at once.
func TestShutdownWhileTapped(t *testing.T) {
	x := serve(t, engine.Config{Loops: 1, DrainTimeout: patience}, engine.Handler{}, nil)
	cl, c := x.dial()
	s := x.tail(c.ID(), "")
	for range tapsMax - 1 {
		x.tail(c.ID(), "")
	}
	x.do("GET", fmt.Sprintf("/api/connections/%d/frames", c.ID()), "", 503, nil)
	x.stop()
	cl.next()
	_ = cl.Close()
	if err := <-x.ended; err != nil {
		t.Error(err)
	}
	x.ended <- nil
	s.frames(1)
	if event, _ := s.next(); event != "end" {
		t.Errorf("then %s", event)
	}
	var st Status
	if x.do("GET", "/api/status", "", 200, &st); st.Health.Ready.OK || len(st.Health.Ready.Reasons) == 0 {
		t.Errorf("%+v", st.Health)
	}
}

// TestHub: users and channels, by pages; a connection has those of its client.
func TestHub(t *testing.T) {
	var h *hub.Hub
	x := serve(t, engine.Config{Loops: 1}, engine.Handler{}, func(c *Config) {
		var err error
		h, err = hub.New(c.Engine, hub.Config{Encode: func(int, string, *broker.Publication) engine.Message { return engine.Message{} }})
		if err != nil {
			t.Fatal(err)
		}
		c.Hub = h
	})
	t.Cleanup(func() { _ = h.Close(context.Background()) })
	for _, user := range []string{"ann", "bob"} {
		_, c := x.dial()
		client, err := h.Connect(t.Context(), c, hub.Connect{User: user})
		if err != nil {
			t.Fatal(err)
		}
		for _, channel := range []string{"news", "of-" + user} {
			if _, err := h.Join(t.Context(), client, channel, hub.Join{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var n Names
	x.do("GET", "/api/channels?limit=2", "", 200, &n)
	if fmt.Sprint(n.Items) != "[{news 2} {of-ann 1}]" || !n.More || len(n.Missing) != 0 {
		t.Errorf("channels: %+v", n)
	}
	x.do("GET", "/api/channels?pattern=of-*&after=of-ann", "", 200, &n)
	if fmt.Sprint(n.Items) != "[{of-bob 1}]" || n.More {
		t.Errorf("more channels: %+v", n)
	}
	x.do("GET", "/api/users", "", 200, &n)
	if fmt.Sprint(n.Items) != "[{ann 1} {bob 1}]" {
		t.Errorf("users: %+v", n)
	}
	x.do("GET", "/api/users?limit=0", "", 400, nil)
	var l Connections
	x.do("GET", "/api/connections?q=bob", "", 200, &l)
	if len(l.Connections) != 1 || l.Connections[0].User != "bob" {
		t.Fatalf("%+v", l)
	}
	var d ConnectionDetail
	x.do("GET", fmt.Sprintf("/api/connections/%d", l.Connections[0].ID), "", 200, &d)
	if fmt.Sprint(d.Channels) != "[news of-bob]" || d.HubClient == "" {
		t.Errorf("%+v", d)
	}
	var s Status
	if x.do("GET", "/api/status", "", 200, &s); s.Hub == nil || s.Hub.Users != 2 || s.Hub.Subscriptions != 4 {
		t.Errorf("%+v", s.Hub)
	}
}

// TestProfile: each kind is served, and nothing of it by http.DefaultServeMux.
func TestProfile(t *testing.T) {
	x := serve(t, engine.Config{Loops: 1}, engine.Handler{}, func(c *Config) { c.Profile = true })
	for path, want := range map[string]int{"": 200, "heap": 200, "goroutine?debug=2": 200, "profile?seconds=0": 400, "profile?seconds=1000": 400, "nothing": 404, "heap?debug=x": 400} {
		x.do("GET", "/debug/pprof/"+path, "", want, nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // who asked has gone: it ends at once
	for _, name := range []string{"profile", "trace"} {
		got := httptest.NewRecorder()
		profile(got, httptest.NewRequest("GET", "/debug/pprof/"+name+"?seconds=300", nil).WithContext(ctx))
		if got.Code != 200 || got.Header().Get("Content-Type") != "application/octet-stream" || got.Body.Len() == 0 {
			t.Errorf("%s: %d %v", name, got.Code, got.Header())
		}
	}
	if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", "/debug/pprof/", nil)); pattern != "" {
		t.Errorf("http.DefaultServeMux serves %s", pattern)
	}
}

// TestLoadIsMeasured: with Timings, the load is the time of the turns, not how often somebody happened to look at one.
func TestLoadIsMeasured(t *testing.T) {
	x := serve(t, engine.Config{Loops: 1, Timings: true}, engine.Handler{}, nil)
	s := &served{e: x.e}
	begun := time.Now().Add(-10 * time.Second)
	turns := x.e.InspectLoops()[0].Turns
	s.before = []sample{{at: begun, loops: []engine.LoopInfo{{Turns: turns - 1}}, busy: []time.Duration{time.Second}}}
	all := s.loops([]engine.LoopMetrics{{Busy: 4 * time.Second}})
	if l := all[0]; l.Load < 0.25 || l.Load > 0.3001 || l.TurnMs <= 0 {
		t.Errorf("3 s of 10 s: %+v", l)
	}
}
