package centrifugal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// FuzzAPI sends any body to any method. Each request is answered with JSON: with a result, an error or replies, one line for each. What
// is not answered with 200 has published nothing, and what is not published is not counted.
func FuzzAPI(f *testing.F) {
	for name, params := range map[string]string{
		"publish":        `{"channel":"a","data":{"n":1},"tags":{"a":"b"},"idempotency_key":"k","skip_history":false}`,
		"broadcast":      `{"channels":["a","plain:b","other:c"],"b64data":"/w=="}`,
		"send":           `{"users":["anna"],"data":1,"except":["x"]}`,
		"subscribe":      `{"user":"anna","channel":"a","recover_since":{"offset":1,"epoch":"e"},"info":{}}`,
		"unsubscribe":    `{"client":"c","channel":"a"}`,
		"disconnect":     `{"user":"anna","whitelist":["c"],"disconnect":{"code":4000,"reason":"r"}}`,
		"refresh":        `{"user":"anna","expire_at":1900000000}`,
		"presence":       `{"channel":"a"}`,
		"presence_stats": `{"channel":"plain:a"}`,
		"history":        `{"channel":"a","limit":-1,"since":{"offset":1},"reverse":true}`,
		"history_remove": `{"channel":"a"}`,
		"channels":       `{"pattern":"a*"}`,
		"info":           `{}`,
		"batch":          `{"commands":[{"publish":{"channel":"a","data":1}},{"presence":{"channel":"a"}},{}],"parallel":true}`,
		"":               `{"id":1,"method":"publish","params":{"channel":"a","data":1}}` + "\n" + `{"method":"info"}`,
	} {
		f.Add(name, []byte(params))
	}
	f.Add("publish", []byte(strings.Repeat("[", 1000)))
	e, err := engine.New(engine.Config{}, engine.Handler{})
	if err != nil {
		f.Fatal(err)
	}
	s, err := New(e, Config{Hub: spaces(), HistoryMax: 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close(ctx) })
	api := s.API(APIConfig{Keys: []string{apiKey}, BodyBytesMax: 1 << 16, CommandsMax: 20, ChannelsMax: 20})
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		at := func() uint64 {
			page, err := s.Hub().History(ctx, "a", broker.Query{})
			if err != nil {
				t.Fatal(err)
			}
			return page.Top.Offset
		}
		before := at()
		r := httptest.NewRequest(http.MethodPost, "/api", bytes.NewReader(body))
		r.URL.Path = "/api/" + name
		r.Header.Set("X-API-Key", apiKey)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
		case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge:
			if n := at() - before; n != 0 {
				t.Fatalf("status %d, and %d publications", w.Code, n)
			}
		default:
			t.Fatalf("status %d", w.Code)
		}
		d := json.NewDecoder(w.Body)
		for n := 0; ; n++ {
			var a map[string]json.RawMessage
			if err := d.Decode(&a); errors.Is(err, io.EOF) && n > 0 {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			delete(a, "id")
			if len(a) != 1 || a["result"] == nil && a["error"] == nil && a["replies"] == nil || a["error"] == nil && w.Code != http.StatusOK {
				t.Fatalf("status %d: %v", w.Code, a)
			}
		}
		page, err := s.Hub().History(ctx, "a", broker.Query{Limit: broker.NoLimit})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Publications {
			if !json.Valid(formatJSON.raw(p.Data)) {
				t.Fatalf("published %q", p.Data)
			}
		}
	})
}
