package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// ofEngine runs an engine until the test ends.
func ofEngine(t *testing.T, cfg engine.Config, h engine.Handler) *engine.Engine {
	t.Helper()
	cfg.Addr = "tcp://127.0.0.1:0"
	e, err := engine.New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	becomes(t, Readyz(e), 200)
	return e
}

// probe asks a handler, for JSON if accept says so.
func probe(t *testing.T, h http.Handler, method, accept string) (status int, kind, text string) {
	t.Helper()
	r := httptest.NewRequest(method, "/", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Header().Get("Content-Type"), w.Body.String()
}

// becomes waits until h answers with a status, and returns the text.
func becomes(t *testing.T, h http.Handler, status int) string {
	t.Helper()
	for begin := time.Now(); ; {
		got, _, text := probe(t, h, http.MethodGet, "")
		if got == status {
			return text
		}
		if time.Since(begin) > patience {
			t.Fatalf("%d %q, want %d", got, text, status)
		}
	}
}

func TestReadyz(t *testing.T) {
	e := ofEngine(t, engine.Config{}, engine.Handler{})
	broken := make(chan error, 100)
	broker := Check{"broker", func(context.Context) error {
		select {
		case err := <-broken:
			return err
		default:
			return nil
		}
	}}
	h := Readyz(e, broker)
	if text := becomes(t, h, 200); text != "ready\n" {
		t.Errorf("ready says %q", text)
	}
	broken <- errors.New("cannot be reached\nfor a minute")
	if text := becomes(t, h, 503); text != "broker: cannot be reached\nbroker: for a minute\n" {
		t.Errorf("not ready says %q", text)
	}
	becomes(t, h, 200)
	if status, kind, text := probe(t, h, http.MethodGet, "application/json"); status != 200 || kind != "application/json" || text != `{"ok":true,"reasons":[]}` {
		t.Errorf("as JSON: %d %s %s", status, kind, text)
	}
	if status, _, _ := probe(t, h, http.MethodPost, ""); status != 405 {
		t.Errorf("POST: %d", status)
	}
	drained := make(chan error, 1)
	go func() { drained <- e.Drain(context.Background(), engine.Drain{Unready: time.Hour}) }()
	if text := becomes(t, h, 503); !strings.Contains(text, "drains: not ready") {
		t.Errorf("draining says %q", text)
	}
	becomes(t, Healthz(e), 200)
	var v Verdict
	status, _, text := probe(t, h, http.MethodGet, "text/html, application/json;q=0.9")
	if err := json.Unmarshal([]byte(text), &v); err != nil || status != 503 || v.OK || len(v.Reasons) != 1 {
		t.Errorf("as JSON: %d %s, %v", status, text, err)
	}
	if err := e.Shutdown(context.Background()); err != nil { // hurries
		t.Error(err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// A check that does not return is a reason, and is called once.
func TestReadyzDoesNotWaitForEver(t *testing.T) {
	e := ofEngine(t, engine.Config{}, engine.Handler{})
	calls, end := make(chan bool, 100), make(chan bool)
	defer close(end)
	h := Readyz(e, Check{"database", func(context.Context) error { calls <- true; <-end; return nil }},
		Check{"cache", func(context.Context) error { panic("on purpose") }})
	for range 2 {
		if text := becomes(t, h, 503); text != "database: no answer within 1s\ncache: the check panicked: on purpose\n" {
			t.Errorf("says %q", text)
		}
	}
	if len(calls) != 1 {
		t.Errorf("%d calls", len(calls))
	}
}

// A loop that is held makes the process not live, and so not ready.
func TestHealthz(t *testing.T) {
	held, end := make(chan bool), make(chan bool)
	e := ofEngine(t, engine.Config{Loops: 2, LoopHeldMax: 50 * time.Millisecond}, engine.Handler{})
	if err := e.Loops()[1].Post(func() { close(held); <-end }); err != nil {
		t.Fatal(err)
	}
	<-held
	if text := becomes(t, Healthz(e), 503); !strings.Contains(text, "loop 1 is held for ") {
		t.Errorf("says %q", text)
	}
	if h := HealthOf(e)(); h.Live.OK || h.Ready.OK || len(h.Live.Reasons) != 1 || len(h.Ready.Reasons) != 1 {
		t.Errorf("health is %+v", h)
	}
	close(end)
	becomes(t, Healthz(e), 200)
}
