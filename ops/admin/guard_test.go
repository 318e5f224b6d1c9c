package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const (
	changeToken = "change-0123456789abcdef"
	readToken   = "read-0123456789abcdef"
)

// guarded is a page over a crowd of one.
func guarded(t *testing.T, cfg Config) http.Handler {
	t.Helper()
	cfg.Metrics, cfg.Profile = http.NotFoundHandler(), true
	h, err := newHandler(cfg, &crowd{n: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask sends a request from a peer. fields are "Name: value".
func ask(h http.Handler, method, path, peer, host string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(""))
	r.RemoteAddr, r.Host = peer, host
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestLoopbackOnly: without tokens, only who is on this machine may come, by a name that says so.
func TestLoopbackOnly(t *testing.T) {
	h := guarded(t, Config{})
	for _, c := range []struct {
		peer, host, field string
		want              int
	}{
		{"127.0.0.1:5", "127.0.0.1:8099", "", 200},
		{"127.8.8.8:5", "localhost", "", 200},
		{"127.0.0.1:5", "LOCALHOST:8099", "", 200},
		{"[::1]:5", "[::1]:8099", "", 200},
		{"[::1]:5", "[::1]", "", 200},
		{"[::ffff:127.0.0.1]:5", "localhost:1", "", 200},
		{"@", "localhost", "", 200},
		{"127.0.0.1:5", "evil.example:8099", "", 403}, // DNS rebinding
		{"127.0.0.1:5", "localhost.evil.example", "", 403},
		{"127.0.0.1:5", "192.0.2.1", "", 403},
		{"127.0.0.1:5", "", "", 403},
		{"192.0.2.1:5", "localhost", "", 403},
		{"[2001:db8::1]:5", "[::1]", "", 403},
		{"nonsense", "localhost", "", 403},
		{"127.0.0.1:5", "localhost", "X-Forwarded-For: 192.0.2.1", 403},
		{"127.0.0.1:5", "localhost", "Forwarded: for=192.0.2.1", 403},
		{"127.0.0.1:5", "localhost", "Via: 1.1 proxy", 403},
	} {
		for _, path := range []string{"/api/status", "/api/connections", "/api/session", "/debug/pprof/", "/"} {
			fields := []string{}
			if c.field != "" {
				fields = append(fields, c.field)
			}
			got := ask(h, "GET", path, c.peer, c.host, fields...)
			if got.Code != c.want || c.want == 403 && !strings.Contains(got.Body.String(), "Set a Token") {
				t.Errorf("%s for %s from %s with %q: %d %s", path, c.host, c.peer, c.field, got.Code, got.Body)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"} {
				if got.Header().Get(name) != want {
					t.Errorf("%s: %s is %q", path, name, got.Header().Get(name))
				}
			}
			if csp := got.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: the policy is %q", path, csp)
			}
			if cache := got.Header().Get("Cache-Control"); path != "/" && cache != "no-store" {
				t.Errorf("%s: Cache-Control is %q", path, cache)
			}
		}
	}
}

// TestProxyThatSaysNothing: nginx, with proxy_pass alone, speaks HTTP/1.0 and names this machine as the Host.
func TestProxyThatSaysNothing(t *testing.T) {
	for cfg, want := range map[*Config]int{{}: 403, {Token: changeToken}: 200} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Host, r.Proto, r.ProtoMinor = "127.0.0.1:5", "127.0.0.1:8099", "HTTP/1.0", 0
		w := httptest.NewRecorder()
		if guarded(t, *cfg).ServeHTTP(w, r); w.Code != want {
			t.Errorf("with %+v: %d %s, want %d", *cfg, w.Code, w.Body, want)
		}
	}
}

// TestTokens: each gives its right, from anywhere, by the field or by the cookie.
func TestTokens(t *testing.T) {
	h := guarded(t, Config{Token: changeToken, ReadToken: readToken})
	login := func(token string) string {
		r := httptest.NewRequest("POST", "/api/session", strings.NewReader(`{"token":"`+token+`"}`))
		r.RequestURI = "/ops/api/session"
		r.Header.Set(headerName, "1")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			return ""
		}
		c := w.Result().Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/ops/" || strings.Contains(c.Value, token) || c.Secure {
			t.Errorf("the cookie: %v", c)
		}
		return "Cookie: " + c.Name + "=" + c.Value
	}
	if login("wrong") != "" || login("") != "" {
		t.Error("a wrong token gets a cookie")
	}
	for _, c := range []struct {
		field       string
		look, alter int
	}{
		{"X-Nothing: 1", 401, 401},
		{"Authorization: Bearer " + changeToken, 200, 202},
		{"Authorization: bearer " + readToken, 200, 403},
		{"Authorization: Bearer " + changeToken + "x", 401, 401},
		{"Authorization: Bearer ", 401, 401},
		{"Authorization: Basic " + changeToken, 401, 401},
		{"Cookie: " + cookieName + "=", 401, 401},
		{"Cookie: " + cookieName + "=" + changeToken, 401, 401},
		{login(readToken), 200, 403},
		{login(changeToken), 200, 202},
	} {
		for path, want := range map[string]int{"/api/status": c.look, "/api/connections": c.look, "/api/connections/1": c.look, "/api/config": c.look, "/debug/pprof/": min(c.alter, 402)} {
			if want == 402 { // not the right, or done
				want = map[int]int{202: 200, 403: 403}[c.alter]
			}
			if c.alter == 202 && path == "/debug/pprof/" {
				want = 200
			}
			if got := ask(h, "GET", path, "192.0.2.1:5", "admin.example", c.field); got.Code != want {
				t.Errorf("%s with %s: %d, want %d", path, c.field, got.Code, want)
			}
		}
		for _, what := range []string{"pause", "resume", "close"} {
			if got := ask(h, "POST", "/api/connections/1/"+what, "192.0.2.1:5", "admin.example", c.field, headerName+": 1"); got.Code != c.alter {
				t.Errorf("%s with %s: %d %s, want %d", what, c.field, got.Code, got.Body, c.alter)
			}
		}
		frames := ask(h, "GET", "/api/connections/1/frames?payload=1", "192.0.2.1:5", "admin.example", c.field)
		if want := map[int]int{202: 404, 401: 401, 403: 403}[c.alter]; frames.Code != want {
			t.Errorf("what frames hold with %s: %d, want %d", c.field, frames.Code, want)
		}
		if frames := ask(h, "GET", "/api/connections/1/frames", "192.0.2.1:5", "admin.example", c.field); frames.Code != map[int]int{200: 404, 401: 401}[c.look] { // it has ended
			t.Errorf("frames with %s: %d, want %d", c.field, frames.Code, c.look)
		}
	}
	if got := ask(h, "GET", "/api/session", "192.0.2.1:5", "admin.example", "Authorization: Bearer "+readToken); got.Body.String() != `{"read":true,"change":false,"tokenNeeded":true}`+"\n" {
		t.Errorf("the session: %s", got.Body)
	}
	if got := ask(h, "GET", "/api/status", "192.0.2.1:5", "admin.example"); got.Header().Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
	if got := ask(h, "DELETE", "/api/session", "192.0.2.1:5", "admin.example", headerName+": 1"); got.Code != 204 || got.Result().Cookies()[0].MaxAge != -1 {
		t.Errorf("the end of a session: %d", got.Code)
	}
	onlyRead := guarded(t, Config{ReadToken: readToken})
	if got := ask(onlyRead, "POST", "/api/connections/1/pause", "127.0.0.1:5", "localhost", headerName+": 1", "Authorization: Bearer "+readToken); got.Code != 403 {
		t.Errorf("with a ReadToken alone: %d", got.Code)
	}
}

// TestOtherOrigins: what a page of another origin can have a browser send changes nothing, and begins nothing.
func TestOtherOrigins(t *testing.T) {
	local := guarded(t, Config{})
	trusting := guarded(t, Config{Origins: []string{"https://admin.example"}})
	for _, c := range []struct {
		h            http.Handler
		method, path string
		fields       string // split at |
		want         int
	}{
		{local, "POST", "/api/connections/1/pause", headerName + ": 1|Sec-Fetch-Site: same-origin|Origin: http://localhost", 202},
		{local, "POST", "/api/connections/1/pause", headerName + ": 1", 202}, // curl
		{local, "POST", "/api/connections/1/pause", "", 403},
		{local, "POST", "/api/connections/1/close", "Content-Type: text/plain", 403},
		{local, "POST", "/api/connections/1/pause", headerName + ": 1|Sec-Fetch-Site: cross-site", 403},
		{local, "POST", "/api/connections/1/pause", headerName + ": 1|Sec-Fetch-Site: same-site|Origin: http://localhost:3000", 403},
		{local, "POST", "/api/connections/1/pause", headerName + ": 1|Origin: http://evil.example", 403},
		{local, "POST", "/api/connections/1/pause", headerName + ": 1|Origin: null", 403},
		{local, "POST", "/api/session", "Sec-Fetch-Site: cross-site", 403},
		{local, "DELETE", "/api/session", "", 403},
		{local, "GET", "/debug/pprof/", "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors", 403},
		{local, "GET", "/api/connections/1/frames", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: cors", 403},
		{local, "GET", "/", "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate", 200},
		{local, "GET", "/debug/pprof/", "Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe", 403},
		{local, "GET", "/debug/pprof/", "Sec-Fetch-Site: none|Sec-Fetch-Mode: navigate", 200}, // typed
		{local, "HEAD", "/api/connections/1/frames", "Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate", 403},
		{local, "GET", "/api/status", "Sec-Fetch-Site: same-origin|Sec-Fetch-Mode: cors", 200},
		{trusting, "POST", "/api/connections/1/pause", headerName + ": 1|Origin: https://admin.example|Sec-Fetch-Site: cross-site", 202},
		{local, "OPTIONS", "/api/connections/1/pause", "Origin: http://evil.example|Access-Control-Request-Method: POST|Access-Control-Request-Headers: " + headerName, 403},
		{local, "GET", "/api/connections/1/pause", "", 404},
		{local, "PUT", "/api/connections/1/pause", headerName + ": 1", 405},
		{local, "POST", "/api/status", headerName + ": 1", 405},
		{local, "POST", "/", headerName + ": 1", 405},
	} {
		var fields []string
		if c.fields != "" {
			fields = strings.Split(c.fields, "|")
		}
		got := ask(c.h, c.method, c.path, "127.0.0.1:5", "localhost", fields...)
		if got.Code != c.want || got.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s with %s: %d %s, want %d", c.method, c.path, c.fields, got.Code, got.Body, c.want)
		}
	}
}

// TestConfig: what is wrong is told by New.
func TestConfig(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"no engine":   {Config{}, "Config.Engine"},
		"short":       {Config{Token: "123456789012345"}, "needs 16"},
		"the same":    {Config{Token: readToken, ReadToken: readToken}, "the same"},
		"odd origins": {Config{Origins: []string{"admin.example"}}, "Config.Origins"},
	} {
		var err error
		if name == "no engine" {
			_, err = New(c.cfg)
		} else {
			_, err = newHandler(c.cfg, &crowd{})
		}
		if err == nil || !strings.Contains(err.Error(), strings.Replace(c.want, "needs", "need", 1)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
