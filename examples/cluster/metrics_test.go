package main

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/nats"
	"github.com/sockmill/sockmill/ops/metrics"
)

// fill gives each field a value that no other has, and returns how many there are.
func fill(v reflect.Value, n int) int {
	for _, f := range v.Fields() {
		switch f.Kind() {
		case reflect.Struct:
			n = fill(f, n)
			continue
		case reflect.Bool:
			f.SetBool(true) // 1
		case reflect.Int:
			f.SetInt(int64(n + 2))
		default:
			f.SetUint(uint64(n + 2))
		}
		n++
	}
	return n
}

// Package metrics does not link hub/nats and finds the fields by their names: here is where both are known.
func TestAllStatsOfNATSAreExported(t *testing.T) {
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{})
	if err != nil {
		t.Fatal(err)
	}
	var stats nats.Stats
	n := fill(reflect.ValueOf(&stats).Elem(), 0)
	c, err := metrics.New(metrics.Config{Engine: e, NATS: func() any { return stats }})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	metrics.Handler(c).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	values := map[string]bool{}
	for line := range strings.Lines(w.Body.String()) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, "sockmill_nats_") {
			values[value] = true
		}
	}
	if len(values) != n || n == 0 {
		t.Errorf("%d of %d fields of hub/nats.Stats are exported: %v", len(values), n, values)
	}
}
