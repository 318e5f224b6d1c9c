package metrics

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// elsewhere are fields that have no name of their own, and why.
var elsewhere = map[string]string{
	"Metrics.Stats.Open":                      "the sum of sockmill_connections with the phase open",
	"Metrics.Stats.Accepted":                  "a sum of sockmill_connections_arrived_total",
	"Metrics.Stats.Dialled":                   "sockmill_connections_arrived_total of the listener dialled",
	"Metrics.Stats.Closed":                    "the sum of sockmill_connections_left_total",
	"Metrics.Stats.Refused":                   "the sum of sockmill_connections_refused_total",
	"Metrics.Stats.ConnStats.BytesIn":         "the sum of sockmill_received_bytes_total",
	"Metrics.Stats.ConnStats.BytesOut":        "the sum of sockmill_written_bytes_total",
	"Metrics.Stats.ConnStats.MessagesIn":      "the sum of sockmill_messages_received_total",
	"Metrics.Stats.ConnStats.MessagesOut":     "the sum of sockmill_messages_written_total",
	"Metrics.Stats.ConnStats.Dropped":         "sockmill_messages_dropped_total has the parts",
	"Metrics.Listeners.ListenerStats.Refused": "the sum of sockmill_listener_refused_total",
	"Metrics.BrokerHealth":                    "sockmill_hub_broker_up; TestHealth",
}

// filler gives each field of a struct a value that no other has.
type filler struct {
	last   uint64
	values map[string]string // by the path of the field
}

func (f *filler) next() uint64 {
	f.last += 7919
	return f.last
}

func (f *filler) fill(path string, v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *engine.Histogram:
		*x = engine.Histogram{Bounds: []float64{float64(f.next())}, Counts: []uint64{f.next(), f.next()}, Sum: float64(f.next())}
		f.values[path] = fmt.Sprintf("%v up to %v, %v, %v", x.Counts[0], x.Bounds[0], x.Counts[0]+x.Counts[1], x.Sum)
		return
	case *time.Duration:
		n := f.next()
		*x, f.values[path] = time.Duration(n)*time.Second, fmt.Sprint(float64(n))
		return
	case *time.Time:
		n := f.next()
		*x, f.values[path] = time.Unix(int64(n), 0), fmt.Sprint(float64(n))
		return
	case *engine.DrainStage:
		*x, f.values[path] = engine.DrainClosing, fmt.Sprint(float64(engine.DrainClosing))
		return
	case *error:
		*x, f.values[path] = errors.New("broken"), "broken"
		return
	case *bool:
		*x, f.values[path] = true, "1"
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for field, of := range v.Fields() {
			f.fill(path+"."+field.Name, of)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(path, v.Index(0))
	case reflect.String: // only listeners of that scheme have packets
		s := fmt.Sprint("udp://", f.next())
		v.SetString(s)
		f.values[path] = s
	case reflect.Int, reflect.Int64:
		n := f.next()
		v.SetInt(int64(n))
		f.values[path] = fmt.Sprint(float64(n))
	case reflect.Uint64:
		n := f.next()
		v.SetUint(n)
		f.values[path] = fmt.Sprint(float64(n))
	default:
		panic(fmt.Sprintf("%s is a %v: say here how it is filled", path, v.Type()))
	}
}

// filled is a Collector whose sources have different values in all fields.
func filled() (*Collector, *filler) {
	f := &filler{last: 1_000_000, values: map[string]string{}}
	var e engine.Metrics
	var h hub.Metrics
	var d engine.DrainProgress
	f.fill("Metrics", reflect.ValueOf(&e).Elem())
	f.fill("Metrics", reflect.ValueOf(&h).Elem())
	f.fill("DrainProgress", reflect.ValueOf(&d).Elem())
	return &Collector{engine: func() engine.Metrics { return e }, health: healthy, drain: func() engine.DrainProgress { return d }, hub: func() hub.Metrics { return h }, nats: func() any { return stats }}, f
}

// gathered collects and checks that all that is collected was described, and nothing twice.
func gathered(t *testing.T, c *Collector) []*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEveryFieldIsExported: whoever adds a field to the metrics of the engine or the hub has to export it here.
func TestEveryFieldIsExported(t *testing.T) {
	c, f := filled()
	exported := map[string]int{}
	for _, family := range gathered(t, c) {
		for _, m := range family.Metric {
			for _, l := range m.Label {
				exported[l.GetValue()] = 1
			}
			switch {
			case m.Counter != nil:
				exported[fmt.Sprint(m.Counter.GetValue())]++
			case m.Gauge != nil:
				exported[fmt.Sprint(m.Gauge.GetValue())]++
			case m.Histogram != nil:
				h := m.Histogram
				exported[fmt.Sprintf("%v up to %v, %v, %v", h.Bucket[0].GetCumulativeCount(), h.Bucket[0].GetUpperBound(), h.GetSampleCount(), h.GetSampleSum())]++
			}
		}
	}
	for path, value := range f.values {
		switch _, none := elsewhere[path]; {
		case none && exported[value] > 0:
			t.Errorf("%s is exported, and in the list of those that are not", path)
		case !none && exported[value] != 1:
			t.Errorf("%s is exported %d times; add it to this package, or say why not in elsewhere", path, exported[value])
		}
	}
	for path := range elsewhere {
		if f.values[path] == "" {
			t.Errorf("there is no %s", path)
		}
	}
}

func healthy() engine.Health { return engine.Health{} }

func noDrain() engine.DrainProgress { return engine.DrainProgress{Left: 7, Functions: 8} }

// stats are those of hub/nats, as far as this package is concerned. That it has all their fields is a test of examples/cluster.
var stats = struct {
	Published uint64
	Connected bool
	Unknown   uint64
	History   struct{ Appended uint64 }
	Nodes     struct{ Known int }
}{Published: 11, Connected: true, Unknown: 12, History: struct{ Appended uint64 }{13}, Nodes: struct{ Known int }{14}}
