package metrics

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// BenchmarkScrape is what a scrape costs without a network. bench/scrape measures it with one, and with connections.
func BenchmarkScrape(b *testing.B) {
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{})
	if err != nil {
		b.Fatal(err)
	}
	h, err := hub.New(e, hub.Config{Encode: nothing})
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(Config{Engine: e, Hub: h})
	if err != nil {
		b.Fatal(err)
	}
	handler := Handler(c)
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
}
