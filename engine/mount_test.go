package engine

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

type userKey struct{}

// authenticate is middleware as programs have it: it refuses, and tells the
// handler behind it whom it let in by the request's context, by a request field
// and by a cookie.
func authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := r.Cookie("token")
		if err != nil {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		}
		user := strings.TrimPrefix(token.Value, "of-")
		w.Header().Add("Set-Cookie", "token=fresh")
		w.Header().Add("Set-Cookie", "seen=now")
		w.Header().Set("X-Request-Id", "17")
		w.Header().Set("Connection", "keep-alive")
		w.Header().Set("Sec-WebSocket-Accept", "mine")
		r.Header.Set("X-User", user)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	})
}

// outside is a server of net/http, not of ours. ask sends it a request and
// returns the answer and what follows it.
func outside(t *testing.T, h http.Handler) (ask func(request string) (*http.Response, string)) {
	outer := httptest.NewServer(h)
	t.Cleanup(outer.Close)
	return func(request string) (*http.Response, string) {
		t.Helper()
		nc, err := net.Dial("tcp", outer.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(nc, request)
		return (&server{t: t}).response(nc)
	}
}

// guest is the state of a connection.
type guest struct{ user, room string }

// TestUpgradeBehindMiddleware: what middleware and the router found, and the
// response fields that they set, arrive; nothing that a client sends is taken for
// it. The same with and without an OnUpgrade, and if that waits.
func TestUpgradeBehindMiddleware(t *testing.T) {
	tell := func(c *Conn) {
		g := c.State().(*guest)
		_ = c.SendText(g.user + " in " + g.room + " as " + c.Request().Fields.Get("X-User") + " " + c.Subprotocol())
		_ = c.Close(protocol.CloseNormal, "")
	}
	for name, onUpgrade := range map[string]func(u *Upgrade) error{
		"none": nil,
		"one": func(u *Upgrade) error {
			if u.State.(*guest).room == "closed" {
				return Refuse(403, "this room is closed")
			}
			return nil
		},
		"one that waits": func(u *Upgrade) error {
			return u.Go(func(context.Context) error {
				if u.State.(*guest).room == "closed" {
					return Refuse(403, "this room is closed")
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Config{Loops: 1}, Handler{OnUpgrade: onUpgrade, OnOpen: func(*Conn) { t.Error("OnOpen of the Handler of New") }})
			mux := http.NewServeMux()
			mux.Handle("/rooms/{room}", authenticate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				u := Upgrade{
					State: &guest{r.Context().Value(userKey{}).(string), r.PathValue("room")}, Subprotocol: "chat", Handler: &Handler{OnOpen: tell},
					Header: []protocol.Field{{Name: "X-Given", Value: "yes"}},
				}
				if err := s.Upgrade(w, r, u); err != nil {
					t.Error(err)
				}
			})))
			ask := outside(t, mux)
			head := func(path string, more ...string) string {
				return strings.Replace(upgradeHead(append(more, "Sec-WebSocket-Protocol: chat")...), "/chat", path, 1) + "\x88\x82\x00\x00\x00\x00\x03\xe8"
			}
			r, rest := ask(head("/rooms/blue", "Cookie: token=of-ada", "X-User: root", "X-Room: red"))
			if r.StatusCode != 101 || !strings.Contains(rest, "ada in blue as ada chat") {
				t.Errorf("%s, then %q", r.Status, rest)
			}
			if got := strings.Join(r.Header.Values("Set-Cookie"), ", "); got != "token=fresh, seen=now" ||
				r.Header.Get("X-Request-Id") != "17" || r.Header.Get("X-Given") != "yes" || r.Header.Get("X-User") != "" {
				t.Errorf("the answer has the fields %v", r.Header)
			}
			if len(r.Header.Values("Connection")) != 1 || len(r.Header.Values("Sec-WebSocket-Accept")) != 1 || r.Header.Get("Sec-WebSocket-Accept") == "mine" {
				t.Errorf("the handshake's own fields are %v", r.Header)
			}
			if r, _ := ask(head("/rooms/blue", "Connection: close")); r.StatusCode != 401 {
				t.Errorf("without a cookie: %s", r.Status)
			}
			if r, body := ask(head("/rooms/closed", "Cookie: token=of-ada")); onUpgrade != nil && (r.StatusCode != 403 || body != "this room is closed") {
				t.Errorf("a room that OnUpgrade refuses: %s %q", r.Status, body)
			}
			if r, _ := ask(head("/rooms/blue", "Cookie: token=of-ada", "Expect: 100-continue")); r.StatusCode != 100 {
				t.Errorf("with Expect: %s", r.Status)
			}
			if r, _ := ask("GET /rooms/blue HTTP/1.1\r\nHost: a\r\nCookie: token=of-ada\r\nConnection: close\r\n\r\n"); r.StatusCode != 426 {
				t.Errorf("no handshake: %s", r.Status)
			}
		})
	}
}

// TestUpgradeIsNotForged: what middleware puts into the request cannot become
// another field or another request, and an error says which field it was.
func TestUpgradeIsNotForged(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(*Conn) { t.Error("OnOpen") }})
	for name, spoil := range map[string]func(w http.ResponseWriter, r *http.Request){
		"X-User": func(_ http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-User", "ada\r\nOrigin: http://example.com")
		},
		"X Y":          func(_ http.ResponseWriter, r *http.Request) { r.Header["X Y"] = []string{"z"} },
		"Host":         func(_ http.ResponseWriter, r *http.Request) { r.Host = "a\r\nX-Forwarded-For: 192.0.2.1" },
		"request line": func(_ http.ResponseWriter, r *http.Request) { r.RequestURI = "/ HTTP/1.1\r\nX: y" },
		"changed to":   func(_ http.ResponseWriter, r *http.Request) { r.RequestURI = "" },
	} {
		failed := make(chan error, 1)
		ask := outside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			spoil(w, r)
			failed <- s.Upgrade(w, r, Upgrade{})
		}))
		if r, body := ask(upgradeHead("Connection: close")); r.StatusCode != 500 || body != "internal server error\n" {
			t.Errorf("%s: %s %q", name, r.Status, body)
		}
		if err := <-failed; err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ask := outside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-User", "ada\r\nSet-Cookie: a=b")
		_ = s.Upgrade(w, r, Upgrade{})
	}))
	if r, _ := ask(upgradeHead()); r.StatusCode != 500 || len(r.Cookies()) > 0 {
		t.Errorf("a malformed response field: %s %v", r.Status, r.Header)
	}
}

// TestUpgradeErrors: each is told to the handler, which may log it, and to the
// client.
func TestUpgradeErrors(t *testing.T) {
	e, err := New(Config{}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Shutdown(t.Context()) }()
	failed := make(chan error, 1)
	upgrade := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { failed <- e.Upgrade(w, r, Upgrade{}) })
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Upgrade", "websocket")
	for want, change := range map[string]func(r *http.Request){
		"cannot be hijacked":                func(*http.Request) {},
		"over HTTP/2.0 is not served":       func(r *http.Request) { r.ProtoMajor, r.Proto = 2, "HTTP/2.0" },
		"changed to \"GET  HTTP/1.1\"":      func(r *http.Request) { r.RequestURI = "" },
		"the request field \"X\\n\" of a h": func(r *http.Request) { r.Header = r.Header.Clone(); r.Header["X\n"] = []string{""} },
	} {
		w, r := httptest.NewRecorder(), r.Clone(t.Context())
		change(r)
		upgrade(w, r)
		if got := <-failed; got == nil || !strings.Contains(got.Error(), want) || w.Code < 500 {
			t.Errorf("%s: %v, %d", want, got, w.Code)
		}
	}
	answer, _ := outside(t, upgrade)(upgradeHead())
	if got := one(t, failed, "Upgrade to return"); answer.StatusCode != 503 || got == nil {
		t.Errorf("an engine that does not run: %s, %v", answer.Status, got)
	}
}

// TestUpgradeOfAConnectionThatCameBack: over a connection that Config.HTTP had.
func TestUpgradeOfAConnectionThatCameBack(t *testing.T) {
	e, err := New(Config{Addr: "ws://127.0.0.1:0", Loops: 1, HTTP: http.HandlerFunc(sum)}, Handler{OnOpen: func(c *Conn) {
		_ = c.SendText(c.State().(string))
		_ = c.Close(protocol.CloseNormal, "")
	}})
	if err != nil {
		t.Fatal(err)
	}
	e.listeners.all()[0].ep.http.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !upgradeRequested(r) {
			sum(w, r)
			return
		}
		w.Header().Set("Set-Cookie", "a=b")
		if err := e.Upgrade(w, r, Upgrade{State: "given"}); err != nil {
			t.Error(err)
		}
	})
	s := run(t, e)
	nc := s.connect()
	br := bufio.NewReader(nc)
	_, _ = io.WriteString(nc, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
	r, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(nc, upgradeHead()+"\x88\x82\x00\x00\x00\x00\x03\xe8")
	r, err = http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != 101 || r.Header.Get("Set-Cookie") != "a=b" {
		t.Fatalf("%v %v", r, err)
	}
	if rest, _ := io.ReadAll(br); !strings.Contains(string(rest), "given") {
		t.Errorf("then %q", rest)
	}
}
