package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// fetch asks routes without a network; a body that is JSON is decoded.
func fetch(t *testing.T, h *hub, method, target, body string) (*httptest.ResponseRecorder, event) {
	t.Helper()
	w := httptest.NewRecorder()
	routes(h).ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	var e event
	if w.Header().Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
	}
	return w, e
}

func TestPollSeesWhatTheSocketSees(t *testing.T) {
	h := newHub()
	if res, e := fetch(t, h, "GET", "/api/poll?room=lobby", ""); res.Code != 404 || h.find("lobby") != nil {
		t.Errorf("a room that is not there: %d %+v", res.Code, e)
	}
	ada := enter(t, h, request{Nick: "Ada"})
	ada.say(t, "1", "one")
	res, first := fetch(t, h, "GET", "/api/poll?room=lobby", "")
	if res.Code != 200 || len(first.Messages) != 1 || first.Messages[0].Text != "one" || first.Lost {
		t.Fatalf("first poll: %d %+v", res.Code, first)
	}
	next := fmt.Sprintf("/api/poll?room=lobby&epoch=%s&since=", first.Epoch)
	if res, _ := fetch(t, h, "GET", next+"1", ""); res.Code != 204 {
		t.Errorf("no news: %d", res.Code)
	}
	ada.say(t, "2", "two")
	if _, e := fetch(t, h, "GET", next+"1", ""); len(e.Messages) != 1 || e.Messages[0].O != 2 || e.Next != 2 {
		t.Errorf("news: %+v", e)
	}
	if _, e := fetch(t, h, "GET", "/api/poll?room=lobby&epoch=OTHER&since=1", ""); !e.Lost || len(e.Messages) != 2 {
		t.Errorf("another epoch: %+v", e)
	}
	for _, since := range []string{"", "-1", "x", "99999999999999999999"} {
		if res, _ := fetch(t, h, "GET", next+since, ""); res.Code != 400 {
			t.Errorf("since=%q: %d", since, res.Code)
		}
	}
}

func TestPostIsTheSameAsSay(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	post := func(room, token, id, text string) (int, event) {
		res, e := fetch(t, h, "POST", "/api/send", fmt.Sprintf(`{"room":%q,"token":%q,"id":%q,"text":%q}`, room, token, id, text))
		return res.Code, e
	}
	for want, args := range map[int][4]string{
		404: {"nowhere", ada.token, "1", "x"},
		403: {"lobby", "guessed", "1", "x"},
		400: {"lobby", ada.token, "1", ""},
	} {
		if got, _ := post(args[0], args[1], args[2], args[3]); got != want {
			t.Errorf("%q: status %d, want %d", args, got, want)
		}
	}
	ada.take()
	for range 2 {
		if status, e := post("lobby", ada.token, "p1", "by post"); status != 200 || e.O != 1 {
			t.Errorf("status %d, %+v", status, e)
		}
	}
	wantSeen(t, ada, "msg:Adaby post")
	ada.room.leave(ada.session, ada.fake, start)
	if status, _ := post("lobby", ada.token, "p2", "gone"); status != 403 {
		t.Errorf("after leaving: status %d", status)
	}
	if res, _ := fetch(t, h, "POST", "/api/send", `{"text":"`+strings.Repeat("x", wireBytesMax)+`"}`); res.Code != 400 {
		t.Errorf("a body above the limit: %d", res.Code)
	}
}

func TestHeadsAreMeasured(t *testing.T) {
	const fields = "Host: 127.0.0.1:8090\r\nUser-Agent: test\r\nAccept: */*\r\nAccept: text/html\r\n"
	const get = "GET /api/poll?room=a%20b HTTP/1.1\r\n" + fields + "\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(get)))
	if err != nil {
		t.Fatal(err)
	}
	if n := requestHeadBytes(r); n != len(get) {
		t.Errorf("request: %d bytes, want %d", n, len(get))
	}
	const upgrade = "GET /ws HTTP/1.1\r\n" + fields + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	const accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	var p protocol.Request
	if err := p.Parse(upgrade, 100); err != nil {
		t.Fatal(err)
	}
	if n := handshakeBytes(&p); n != [2]int{len(upgrade), len(accepted)} {
		t.Errorf("handshake: %d bytes, want %d and %d", n, len(upgrade), len(accepted))
	}
	res, _ := fetch(t, newHub(), "GET", "/api/poll?room=x", "")
	if got, want := res.Header().Get(headField), fmt.Sprint(len("GET /api/poll?room=x HTTP/1.1\r\nHost: example.com\r\n\r\n")); got != want {
		t.Errorf("%s: %s, want %s", headField, got, want)
	}
}

// pipes is a net.Listener of connections without a network.
type pipes chan net.Conn

func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return nil }
func (l pipes) Accept() (net.Conn, error) {
	if nc, ok := <-l; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}

func TestSlowBodyEndsTheConnection(t *testing.T) {
	for _, request := range []string{"POST /api/send", "GET /api/poll?room=x", "GET /", "PUT /nothing"} {
		synctest.Test(t, func(t *testing.T) { // fails as a deadlock if there is no deadline
			l := make(pipes, 1)
			go func() { _ = http.Serve(l, routes(newHub())) }()
			defer close(l)
			nc, served := net.Pipe()
			l <- served
			begin := time.Now()
			go func() { _, _ = io.WriteString(nc, request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{") }()
			if _, err := io.Copy(io.Discard, nc); err != nil || time.Since(begin) > bodyTimeout+time.Second {
				t.Errorf("%s: ended after %v (%v)", request, time.Since(begin), err)
			}
		})
	}
}

func TestPageIsLockedDown(t *testing.T) {
	h := newHub()
	for _, path := range []string{"/", "/app.js", "/style.css", "/favicon.svg"} {
		res, _ := fetch(t, h, "GET", path, "")
		head := res.Header()
		if res.Code != 200 || head.Get("Content-Security-Policy") != contentSecurityPolicy ||
			head.Get("X-Content-Type-Options") != "nosniff" || head.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %d %v", path, res.Code, head)
		}
	}
	for path, want := range map[string]int{"/nothing": 404, "/ws": 404} {
		if res, _ := fetch(t, h, "GET", path, ""); res.Code != want {
			t.Errorf("%s: %d, want %d", path, res.Code, want)
		}
	}
	if res, _ := fetch(t, h, "POST", "/", ""); res.Code != 405 {
		t.Errorf("POST /: %d", res.Code)
	}
}

// What the policy forbids would fail in the browser only; what it cannot forbid is checked here.
func TestPageHasNoInlineCode(t *testing.T) {
	entries, err := web.ReadDir("web")
	if err != nil || len(entries) < 5 {
		t.Fatal(entries, err)
	}
	for _, entry := range entries {
		data, err := web.ReadFile("web/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "<script>", " style=", " onclick=", "eval("} {
			if strings.Contains(string(data), bad) {
				t.Errorf("%s contains %q", entry.Name(), bad)
			}
		}
	}
}
