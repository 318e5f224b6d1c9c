package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func sign(t *testing.T, secret string, claims jwt.MapClaims) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestWithoutASecretANameIsEnough(t *testing.T) {
	s := serve(t)
	for data, want := range map[string]string{
		`{"name":"Ada Lovelace"}`: "Ada Lovelace",
		`{"name":"Зоя 🦊"}`:        "Зоя 🦊",
		`{"lang":"en"}`:           "",
		`"hello"`:                 "",
		`null`:                    "",
	} {
		if r := s.dial().call("connect", `{"data":`+data+`}`); r.Connect.Data.User == nil || *r.Connect.Data.User != want {
			t.Errorf("%s: %+v", data, r)
		}
	}
	for _, name := range []string{" Ada", "Ada ", "a\u0000b", "a\u200bb", "a\u202eb", strings.Repeat("x", 33)} {
		data, err := json.Marshal(map[string]string{"name": name})
		if err != nil {
			t.Fatal(err)
		}
		s.dial().fails(400, "connect", fmt.Sprintf(`{"data":%s}`, data))
	}
}

func TestWithASecretATokenIsNeeded(t *testing.T) {
	s := serve(t, "-secret", "s")
	in := func(life time.Duration) int64 { return time.Now().Add(life).Unix() }
	good := sign(t, "s", jwt.MapClaims{"sub": "Ada", "exp": in(time.Minute)})
	if r := s.dial().call("connect", `{"token":"`+good+`","data":{"name":"Eve"}}`); r.Connect.Data.User == nil || *r.Connect.Data.User != "Ada" {
		t.Errorf("a good token: %+v", r)
	}
	s.dial().fails(101, "connect", `{"data":{"name":"Ada"}}`)
	s.dial().fails(101, "connect", `{"token":"`+sign(t, "s", jwt.MapClaims{"exp": in(time.Minute)})+`"}`)
	s.dial().fails(109, "connect", `{"token":"`+sign(t, "s", jwt.MapClaims{"sub": "Ada", "exp": in(-time.Minute)})+`"}`)
	c := s.dial()
	if err := c.conn.SendText(`{"id":1,"connect":{"token":"` + sign(t, "guessed", jwt.MapClaims{"sub": "Ada"}) + `"}}`); err != nil {
		t.Fatal(err)
	}
	if e := next(t, c.closed); e.Code != 3500 {
		t.Errorf("a forged token: closed with %d, want 3500", e.Code)
	}
}

func TestDemoTokens(t *testing.T) {
	for _, flags := range [][]string{nil, {"-secret", "s"}} {
		if status, _, _ := serve(t, flags...).ask("POST", "/demo-token", `{"name":"Ada"}`); status != 405 {
			t.Errorf("%q without -demo-tokens: %d", flags, status)
		}
	}
	s := serve(t, "-secret", "s", "-demo-tokens")
	status, _, text := s.ask("POST", "/demo-token", `{"name":"Ada"}`)
	var got struct{ Token string }
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != 200 {
		t.Fatalf("%d %q: %v", status, text, err)
	}
	if r := s.dial().call("connect", `{"token":"`+got.Token+`"}`); r.Connect.Data.User == nil || *r.Connect.Data.User != "Ada" {
		t.Errorf("connect: %+v", r)
	}
	for _, body := range []string{``, `{}`, `{"name":""}`, `{"name":" "}`, `[`, `{"name":"` + strings.Repeat("x", 2000) + `"}`} {
		if status, _, _ := s.ask("POST", "/demo-token", body); status != 400 {
			t.Errorf("%q: %d, want 400", body, status)
		}
	}
}

func TestWhatAChannelHas(t *testing.T) {
	s := serve(t, "-history", "3", "-max-channels", "2")
	ada, bob := s.dial(), s.dial()
	ada.call("connect", `{"data":{"name":"Ada"}}`)
	bob.call("connect", `{"data":{"name":"Bob"}}`)
	for _, method := range []string{"publish", "history", "presence"} { // only for members
		ada.fails(103, method, `{"channel":"news","data":1}`)
	}
	if r := ada.call("subscribe", `{"channel":"news","join_leave":true}`); !r.Subscribe.Recoverable || r.Subscribe.Epoch == "" {
		t.Errorf("subscribe: %+v", r)
	}
	bob.call("subscribe", `{"channel":"news"}`)
	var users []string
	for range 2 { // of two clients, in any order
		if r := ada.read(); r.Push.Join != nil {
			users = append(users, r.Push.Join.Info.User)
		}
	}
	if slices.Sort(users); !slices.Equal(users, []string{"Ada", "Bob"}) {
		t.Errorf("joined: %q", users)
	}
	users = nil
	for _, who := range ada.call("presence", `{"channel":"news"}`).Presence.Presence {
		users = append(users, who.User)
	}
	if slices.Sort(users); !slices.Equal(users, []string{"Ada", "Bob"}) {
		t.Errorf("present: %q", users)
	}
	for i := range 5 {
		if r := bob.call("publish", fmt.Sprintf(`{"channel":"news","data":%d}`, i)); r.Error.Code != 0 {
			t.Fatalf("publish: %+v", r)
		}
	}
	for i := range 5 {
		if r := ada.read(); r.Push.Pub == nil || r.Push.Pub.Offset != i+1 || string(r.Push.Pub.Data) != fmt.Sprint(i) {
			t.Errorf("publication %d: %+v", i, r)
		}
	}
	if r := ada.call("history", `{"channel":"news","limit":10}`); len(r.History.Publications) != 3 || r.History.Publications[0].Offset != 3 {
		t.Errorf("history: %+v", r)
	}
	if r := ada.call("subscribe", `{"channel":"sport","join_leave":true}`); r.Error.Code != 0 {
		t.Errorf("the last channel that is allowed: %+v", r)
	}
	ada.fails(106, "subscribe", `{"channel":"third"}`)
	bob.fails(102, "subscribe", `{"channel":"other:news"}`)
	bob.fails(103, "subscribe", `{"channel":"$private"}`)
}

func TestWithoutHistory(t *testing.T) {
	c := serve(t, "-history", "0").dial()
	c.call("connect", "{}")
	if r := c.call("subscribe", `{"channel":"news"}`); r.Error.Code != 0 || r.Subscribe.Recoverable {
		t.Errorf("subscribe: %+v", r)
	}
}

func TestAPI(t *testing.T) {
	if status, _, text := serve(t).ask("POST", "/api/publish", `{}`, "X-API-Key", ""); status != 404 || !strings.Contains(text, "-api-key") {
		t.Errorf("without -api-key: %d %q", status, text)
	}
	s := serve(t, "-api-key", "k")
	c := s.dial()
	c.call("connect", "{}")
	c.call("subscribe", `{"channel":"news"}`)
	for _, key := range []string{"", "K", "kk"} {
		if status, _, _ := s.ask("POST", "/api/publish", `{"channel":"news","data":0}`, "X-API-Key", key); status != 401 {
			t.Errorf("key %q: %d, want 401", key, status)
		}
	}
	if status, _, text := s.ask("POST", "/api/publish", `{"channel":"news","data":{"n":1}}`, "X-API-Key", "k"); status != 200 || !strings.Contains(text, `"offset":1`) {
		t.Errorf("publish: %d %s", status, text)
	}
	if r := c.read(); r.Push.Pub == nil || string(r.Push.Pub.Data) != `{"n":1}` || r.Push.Pub.Offset != 1 {
		t.Errorf("received %+v", r)
	}
}

func TestPage(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/", "/app.js", "/client.js", "/tally.js", "/listing.js", "/view.js", "/log.js", "/style.css", "/favicon.svg"} {
		status, head, text := s.ask("GET", path, "")
		if status != 200 || head.Get("Content-Security-Policy") != contentSecurityPolicy(nil) || head.Get("X-Content-Type-Options") != "nosniff" || head.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %d %v", path, status, head)
		}
		text = strings.ReplaceAll(text, "http://www.w3.org/2000/svg", "") // a name, which nobody loads
		if strings.Contains(text, "://") && path != "/app.js" {
			t.Errorf("%s names an address", path)
		}
	}
	for path, want := range map[string]int{"/nothing": 404, "/web/": 404, "/connection/websocket": 404} {
		if status, _, _ := s.ask("GET", path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	for want, flags := range map[string][]string{
		`{"tokens":"none","api":false}`:  nil,
		`{"tokens":"paste","api":false}`: {"-secret", "s"},
		`{"tokens":"demo","api":true}`:   {"-secret", "s", "-demo-tokens", "-api-key", "k"},
	} {
		if _, _, text := serve(t, flags...).ask("GET", "/page.json", ""); strings.TrimSpace(text) != want {
			t.Errorf("%q: %s, want %s", flags, text, want)
		}
	}
}
