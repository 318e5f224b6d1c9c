package centrifugal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

const apiKey = "k3y-of-the-backend"

// backend calls the API of a node.
type backend struct {
	t   testing.TB
	url string
}

func (n *node) backend(cfg APIConfig) *backend {
	n.t.Helper()
	if cfg.Keys == nil {
		cfg.Keys = []string{apiKey}
	}
	srv := httptest.NewServer(n.API(cfg))
	n.t.Cleanup(srv.Close)
	return &backend{n.t, srv.URL}
}

// do sends a request, with the key unless change takes it away.
func (b *backend) do(method, path string, body io.Reader, change func(h http.Header)) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("X-API-Key", apiKey)
	if change != nil {
		change(r.Header)
	}
	resp, err := (&http.Client{Timeout: patience}).Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(text)
}

// call calls a method, which must be answered with status 200.
func (b *backend) call(name, params string) string {
	b.t.Helper()
	resp, text := b.do(http.MethodPost, "/api/"+name, strings.NewReader(params), nil)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		b.t.Fatalf("%s %s: %s, %s: %s", name, params, resp.Status, resp.Header.Get("Content-Type"), text)
	}
	return text
}

// want calls a method and compares the answer, in which "…" stands for any string.
func (b *backend) want(name, params, answer string) {
	b.t.Helper()
	if got := b.call(name, params); !alike(b.t, answer, got) {
		b.t.Errorf("%s %s:\n  got %s want %s", name, params, got, answer)
	}
}

// fails calls a method, which must be answered with an error.
func (b *backend) fails(name, params string, want Error) {
	b.t.Helper()
	b.answered(name+" "+params, b.call(name, params), want)
}

func (b *backend) answered(what, got string, want Error) {
	b.t.Helper()
	var a struct {
		Result any `json:"result"`
		Error  struct {
			Code    uint32 `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(got), &a); err != nil || a.Result != nil || a.Error.Code != want.Code || !strings.HasPrefix(a.Error.Message, want.Message) {
		b.t.Errorf("%s: got %s want error %d %s", what, got, want.Code, want.Message)
	}
}

// alike compares JSON. In want, "…" stands for any string, also for that of a name.
func alike(t testing.TB, want, got string) bool {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	return json.Unmarshal([]byte(got), &g) == nil && match(w, g)
}

func match(want, got any) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for name, v := range w {
			x, ok := g[name]
			for _, only := range g {
				if name == "…" {
					x, ok = only, true
				}
			}
			if !ok || !match(v, x) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !match(w[i], g[i]) {
				return false
			}
		}
		return true
	case string:
		g, ok := got.(string)
		return ok && (w == "…" || w == g)
	}
	return want == got
}

// published is how many publications a channel with a history has had.
func (n *node) published(channel string) uint64 {
	n.t.Helper()
	page, err := n.Hub().History(ctx, channel, broker.Query{})
	must(n.t, err)
	return page.Top.Offset
}

func TestAPIKey(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: spaces()})
	p := n.client(formatJSON).in("news")
	b := n.backend(APIConfig{Keys: []string{"", apiKey, "another"}})
	const body = `{"channel":"news","data":1}`

	bad := map[string]http.Header{"none": {}, "empty": {"X-Api-Key": {""}}, "scheme bearer": {"Authorization": {"Bearer " + apiKey}},
		"no scheme": {"Authorization": {apiKey}}, "scheme alone": {"Authorization": {"apikey"}}, "scheme and nothing": {"Authorization": {"apikey "}}}
	for i := range len(apiKey) {
		for what, key := range map[string]string{
			"changed": apiKey[:i] + string(apiKey[i]^1) + apiKey[i+1:], "missing": apiKey[:i] + apiKey[i+1:], "twice": apiKey[:i] + apiKey[i:i+1] + apiKey[i:],
		} {
			bad[fmt.Sprintf("byte %d %s", i, what)] = http.Header{"X-Api-Key": {key}}
		}
	}
	for what, h := range bad {
		for _, path := range []string{"/api/publish", "/api/batch", "/api", "/api/nothing"} {
			resp, text := b.do(http.MethodPost, path, strings.NewReader(body), func(all http.Header) {
				all.Del("X-API-Key")
				for name := range h {
					all.Set(name, h.Get(name))
				}
			})
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != "apikey" {
				t.Errorf("%s, %s: %s", what, path, resp.Status)
			}
			b.answered(what, text, ErrUnauthorized)
		}
	}
	if got := n.published("news"); got != 0 {
		t.Errorf("%d publications without a key", got)
	}

	for i, h := range []http.Header{{"X-Api-Key": {apiKey}}, {"X-Api-Key": {"another"}}, {"Authorization": {"apikey " + apiKey}}, {"Authorization": {"ApiKey  another"}}} {
		resp, text := b.do(http.MethodPost, "/api/publish", strings.NewReader(body), func(all http.Header) {
			all.Del("X-API-Key")
			for name := range h {
				all.Set(name, h.Get(name))
			}
		})
		if resp.StatusCode != http.StatusOK || !alike(t, fmt.Sprintf(`{"result":{"offset":%d,"epoch":"…"}}`, i+1), text) {
			t.Errorf("%v: %s %s", h, resp.Status, text)
		}
		p.expect(fmt.Sprintf("news: %d 1", i+1))
	}

	none := n.backend(APIConfig{Keys: []string{""}})
	for _, key := range []string{"", apiKey} {
		if resp, _ := none.do(http.MethodPost, "/api/info", nil, func(h http.Header) { h.Set("X-API-Key", key) }); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("without keys, %q: %s", key, resp.Status)
		}
	}
}

func TestAPIRequests(t *testing.T) {
	n := serve(t, Config{Anonymous: true})
	const most = 1000
	b := n.backend(APIConfig{BodyBytesMax: most})
	good := `{"channel":"news","data":1}`
	pad := func(n int) string { return good[:len(good)-1] + strings.Repeat(" ", n-len(good)) + "}" }
	typed := func(kind string) func(http.Header) { return func(h http.Header) { h.Set("Content-Type", kind) } }
	type reader struct{ io.Reader } // of a length that is not known
	for _, c := range []struct {
		what, method, path string
		body               io.Reader
		change             func(http.Header)
		status             int
		is                 Error // zero: good
	}{
		{"GET", "GET", "/api/publish", nil, nil, 405, ErrBadRequest},
		{"PUT", "PUT", "/api/publish", strings.NewReader(good), nil, 405, ErrBadRequest},
		{"OPTIONS without Origins", "OPTIONS", "/api/publish", nil, nil, 405, ErrBadRequest},
		{"unknown method", "POST", "/api/publish2", strings.NewReader(good), nil, 404, ErrMethod},
		{"Go's name", "POST", "/api/Publish", strings.NewReader(good), nil, 404, ErrMethod},
		{"another path", "POST", "/apipublish", strings.NewReader(good), nil, 404, ErrMethod},
		{"longer path", "POST", "/api/publish/", strings.NewReader(good), nil, 404, ErrMethod},
		{"deeper path", "POST", "/api/v1/publish", strings.NewReader(good), nil, 404, ErrMethod},
		{"as large as may be", "POST", "/api/publish", strings.NewReader(pad(most)), nil, 200, Error{}},
		{"a byte more", "POST", "/api/publish", strings.NewReader(pad(most + 1)), nil, 413, ErrLimit},
		{"a byte more, in chunks", "POST", "/api/publish", reader{strings.NewReader(pad(most + 1))}, nil, 413, ErrLimit},
		{"in chunks", "POST", "/api/publish", reader{strings.NewReader(good)}, nil, 200, Error{}},
		{"JSON", "POST", "/api/publish", strings.NewReader(good), typed("application/json"), 200, Error{}},
		{"JSON in UTF-8", "POST", "/api/publish", strings.NewReader(good), typed("application/json; charset=UTF-8"), 200, Error{}},
		{"JSON of a kind", "POST", "/api/publish", strings.NewReader(good), typed("application/vnd.api+json"), 200, Error{}},
		{"as curl says", "POST", "/api/publish", strings.NewReader(good), typed("application/x-www-form-urlencoded"), 200, Error{}},
		{"as fetch says", "POST", "/api/publish", strings.NewReader(good), typed("text/plain;charset=UTF-8"), 200, Error{}},
		{"XML", "POST", "/api/publish", strings.NewReader(good), typed("application/xml"), 415, ErrBadRequest},
		{"files", "POST", "/api/publish", strings.NewReader(good), typed("multipart/form-data; boundary=x"), 415, ErrBadRequest},
		{"nonsense", "POST", "/api/publish", strings.NewReader(good), typed(";"), 415, ErrBadRequest},
		{"UTF-16", "POST", "/api/publish", strings.NewReader(good), typed("application/json; charset=utf-16"), 415, ErrBadRequest},
		{"compressed", "POST", "/api/publish", strings.NewReader(good), func(h http.Header) { h.Set("Content-Encoding", "gzip") }, 415, ErrBadRequest},
		{"not compressed", "POST", "/api/publish", strings.NewReader(good), func(h http.Header) { h.Set("Content-Encoding", "identity") }, 200, Error{}},
		{"empty", "POST", "/api/info", nil, nil, 400, ErrBadRequest},
		{"empty batch", "POST", "/api/batch", strings.NewReader("{}"), nil, 200, Error{}},
		{"no JSON", "POST", "/api/publish", strings.NewReader("channel=news"), nil, 400, ErrBadRequest},
		{"cut short", "POST", "/api/publish", strings.NewReader(good[:20]), nil, 400, ErrBadRequest},
		{"twice", "POST", "/api/publish", strings.NewReader(good + good), nil, 400, ErrBadRequest},
		{"a list", "POST", "/api/publish", strings.NewReader("[" + good + "]"), nil, 400, ErrBadRequest},
		{"a string", "POST", "/api/publish", strings.NewReader(`"x"`), nil, 400, ErrBadRequest},
		{"not UTF-8", "POST", "/api/publish", strings.NewReader("{\"channel\":\"news\",\"data\":\"\xff\"}"), nil, 400, ErrBadRequest},
		{"half a surrogate", "POST", "/api/publish", strings.NewReader("{\"channel\":\"news\",\"data\":\"\xed\xa0\x80\"}"), nil, 400, ErrBadRequest},
		{"a control byte", "POST", "/api/publish", strings.NewReader("{\"channel\":\"news\",\"data\":\"\x01\"}"), nil, 400, ErrBadRequest},
		{"channel a number", "POST", "/api/publish", strings.NewReader(`{"channel":1,"data":1}`), nil, 400, ErrBadRequest},
		{"tags a list", "POST", "/api/publish", strings.NewReader(`{"channel":"news","data":1,"tags":["a"]}`), nil, 400, ErrBadRequest},
		{"tags of numbers", "POST", "/api/publish", strings.NewReader(`{"channel":"news","data":1,"tags":{"a":1}}`), nil, 400, ErrBadRequest},
		{"no base64", "POST", "/api/publish", strings.NewReader(`{"channel":"news","b64data":"!"}`), nil, 400, ErrBadRequest},
		{"version below 0", "POST", "/api/publish", strings.NewReader(`{"channel":"news","data":1,"version":-1}`), nil, 400, ErrBadRequest},
		{"batch of no list", "POST", "/api/batch", strings.NewReader(`{"commands":{}}`), nil, 400, ErrBadRequest},
	} {
		before := n.published("news")
		resp, text := b.do(c.method, c.path, c.body, c.change)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s %s", c.what, resp.Status, text)
		}
		if c.status == 405 && resp.Header.Get("Allow") != "POST" {
			t.Errorf("%s: Allow is %q", c.what, resp.Header.Get("Allow"))
		}
		want := uint64(0)
		if c.is != (Error{}) {
			b.answered(c.what, text, c.is)
		} else if want = 1; strings.HasSuffix(c.path, "batch") {
			want = 0
		}
		if got := n.published("news") - before; got != want {
			t.Errorf("%s: %d publications", c.what, got)
		}
	}
	big := n.backend(APIConfig{})
	for _, depth := range []int{nestingMax - 1, nestingMax, 10_000, 100_000} {
		resp, text := big.do("POST", "/api/publish", strings.NewReader(`{"channel":"deep","data":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`), nil)
		if want := map[bool]int{true: 200, false: 400}[depth < nestingMax]; resp.StatusCode != want {
			t.Errorf("nested %d deep: %s %s", depth, resp.Status, text)
		}
	}
	if got := n.published("deep"); got != 1 {
		t.Errorf("%d publications were nested", got)
	}
	// A message about a parameter names it.
	if _, text := b.do("POST", "/api/publish", strings.NewReader(`{"channel":"news","data":1,"skip_history":1}`), nil); !strings.Contains(text, "bad request: skip_history must not be a number") {
		t.Error(text)
	}
}

func TestAPIOrigins(t *testing.T) {
	n := serve(t, Config{Anonymous: true})
	listed, none := n.backend(APIConfig{Origins: []string{"https://*.example.com", "not a pattern"}}), n.backend(APIConfig{})
	ask := func(b *backend, method, origin string, key bool) *http.Response {
		resp, _ := b.do(method, "/api/info", strings.NewReader("{}"), func(h http.Header) {
			if origin != "" {
				h.Set("Origin", origin)
			}
			h.Set("Access-Control-Request-Method", "POST")
			if !key {
				h.Del("X-API-Key")
			}
		})
		return resp
	}
	const good = "https://tools.example.com"
	for _, c := range []struct {
		what, method, origin string
		b                    *backend
		key                  bool
		status               int
		allowed              bool
	}{
		{"before the call", "OPTIONS", good, listed, false, 204, true},
		{"the call", "POST", good, listed, true, 200, true},
		{"the call without the key", "POST", good, listed, false, 401, true},
		{"of another origin", "OPTIONS", "https://example.org", listed, true, 405, false},
		{"the call of another origin", "POST", "https://example.org", listed, true, 200, false},
		{"of no browser", "POST", "", listed, true, 200, false},
		{"without Origins", "OPTIONS", good, none, true, 405, false},
		{"the call without Origins", "POST", good, none, true, 200, false},
	} {
		resp := ask(c.b, c.method, c.origin, c.key)
		h := resp.Header
		if got := h.Get("Access-Control-Allow-Origin"); resp.StatusCode != c.status || got != map[bool]string{true: c.origin}[c.allowed] {
			t.Errorf("%s: %s, allowed %q", c.what, resp.Status, got)
		}
		if c.status == 204 && (h.Get("Access-Control-Allow-Methods") != "POST" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "X-API-Key")) {
			t.Errorf("%s: %v", c.what, h)
		}
		if (c.b == listed) != (h.Get("Vary") == "Origin") || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", c.what, h)
		}
	}
}

// TestAPIBroken: what fails inside is error 100, and tells nothing of it.
func TestAPIBroken(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: func(name string) (hub.Options, error) {
		if name == "broken" {
			return hub.Options{}, io.ErrUnexpectedEOF
		}
		return open(), nil
	}}})
	b := n.backend(APIConfig{})
	b.want("publish", `{"channel":"broken","data":1}`, `{"error":{"code":100,"message":"internal server error"}}`)
	n.stop()
	resp, text := b.do("POST", "/api/publish", bytes.NewReader([]byte(`{"channel":"news","data":1}`)), nil)
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after Close: %s %s", resp.Status, text)
	}
	b.answered("after Close", text, ErrInternal)
}
