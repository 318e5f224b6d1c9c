package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// patience is how long an event may take before a test gives up on it.
const patience = 20 * time.Second

func nothing(int, string, *broker.Publication) engine.Message { return engine.Message{} }

// serve runs an engine with a hub, and returns what a scrape is answered with.
func serve(t *testing.T) (e *engine.Engine, h *hub.Hub, scrape func() string) {
	t.Helper()
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0", Loops: 2, Timings: true}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.Send(m) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err = hub.New(e, hub.Config{Encode: nothing})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Engine: e, Hub: h, NATS: func() any { return stats }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, h.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	handler := Handler(c)
	return e, h, func() string {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
}

// lint fails for what promtool does not like of what a scrape is answered with.
func lint(t *testing.T, exposition string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(exposition)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestScrape(t *testing.T) {
	e, _, scrape := serve(t)
	got := make(chan string, 1)
	err := e.Dial(context.Background(), engine.Dial{URL: "ws://" + e.Addr().String(), Handler: &engine.Handler{
		OnOpen:    func(c *engine.Conn) { _ = c.SendText("hello") },
		OnMessage: func(_ *engine.Conn, m engine.Message) { got <- m.Text() },
	}})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(patience):
		t.Fatal("no echo")
	}
	text := scrape()
	lint(t, text)
	for _, want := range []string{
		"sockmill_hub_channels 0\n", "sockmill_hub_broker_up 1\n", "sockmill_nats_connected 1\n",
		"\nprocess_open_fds ", "\ngo_goroutines ", "\ngo_build_info{",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// Nothing of what could be exported is one that promtool does not like, and all that is described can be exported.
func TestNames(t *testing.T) {
	c, _ := filled()
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	found := map[string]dto.MetricType{}
	for _, f := range gathered(t, c) {
		found[f.GetName()] = f.GetType()
	}
	for _, f := range c.families() {
		want := dto.MetricType_GAUGE
		switch {
		case strings.HasSuffix(f.name, "_total"):
			want = dto.MetricType_COUNTER
		case strings.HasSuffix(f.name, "_duration_seconds"):
			want = dto.MetricType_HISTOGRAM
		}
		if got, ok := found[f.name]; ok && got != want {
			t.Errorf("%s is a %v, want %v", f.name, got, want)
		} else if !ok && !strings.HasPrefix(f.name, "sockmill_nats_") {
			t.Errorf("%s is described, and never exported", f.name)
		}
	}
	if found["sockmill_nats_history_appended_total"] != dto.MetricType_COUNTER || found["sockmill_nats_nodes_known"] != dto.MetricType_GAUGE {
		t.Error("the fields of fields of hub/nats are missing")
	}
}

// What is not Engine or Hub is told apart by its absence.
func TestWithout(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New without an engine")
	}
	c, _ := filled()
	c.hub, c.nats = nil, nil
	for _, f := range gathered(t, c) {
		if strings.Contains(f.GetName(), "_hub_") || strings.Contains(f.GetName(), "_nats_") {
			t.Errorf("%s without a hub", f.GetName())
		}
	}
}

// What says whether something works is 1 or 0, and what is left is told of a drain alone.
func TestHealth(t *testing.T) {
	ill := engine.Health{NotLive: []string{"held"}, NotReady: []string{"held"}}
	for _, x := range []struct {
		health          engine.Health
		broker          error
		live, ready, up string
	}{
		{engine.Health{}, nil, "1", "1", "1"},
		{engine.Health{NotReady: []string{"drains"}}, errors.New("no majority"), "1", "0", "0"},
		{ill, nil, "0", "0", "1"},
	} {
		c := &Collector{engine: func() engine.Metrics { return engine.Metrics{} }, health: func() engine.Health { return x.health }, drain: noDrain,
			hub: func() hub.Metrics { return hub.Metrics{BrokerHealth: x.broker} }}
		got := map[string]string{}
		for _, f := range gathered(t, c) {
			if len(f.Metric) == 1 {
				got[f.GetName()] = strconv.FormatFloat(f.Metric[0].GetGauge().GetValue(), 'f', -1, 64)
			}
		}
		for name, want := range map[string]string{"live": x.live, "ready": x.ready, "hub_broker_up": x.up, "drain_stage": "0", "drain_left_connections": "0", "drain_left_functions": "0"} {
			if got["sockmill_"+name] != want {
				t.Errorf("%+v: %s is %q, want %s", x, name, got["sockmill_"+name], want)
			}
		}
	}
}

// Two listeners of one name, and one whose name is no UTF-8, do not spoil a scrape; a histogram that has no buckets does not, either. What
// became of listeners that are no more is left out.
func TestOddSources(t *testing.T) {
	c := &Collector{engine: func() engine.Metrics {
		m := engine.Metrics{Listeners: []engine.ListenerMetrics{{Name: "ws://a"}, {Name: "ws://a"}, {Name: "ws+unix:///\xff"}, {Name: "closed"}}}
		m.Discarded = 3
		m.Dropped = 5
		return m
	}, health: healthy, drain: noDrain}
	names := map[string]bool{}
	for _, f := range gathered(t, c) {
		for _, m := range f.Metric {
			switch f.GetName() {
			case "sockmill_listener_accepted_total":
				names[m.Label[0].GetValue()] = true
			case "sockmill_messages_dropped_total":
				if want := map[string]float64{"policy": 2, "discarded": 3}[m.Label[0].GetValue()]; m.Counter.GetValue() != want {
					t.Errorf("%v, want %v", m, want)
				}
			}
		}
	}
	if len(names) != 3 || !names["ws://a"] || !names["ws://a #2"] || !names["ws+unix:///\uFFFD"] {
		t.Error(names)
	}
}
