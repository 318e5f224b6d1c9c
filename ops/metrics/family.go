package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sockmill/sockmill/engine"
)

// family is one name, with what it has: a counter if the name ends in _total, a histogram if it ends in _duration_seconds, else a gauge.
type family struct {
	desc       *prometheus.Desc
	name, help string
	kind       prometheus.ValueType
	labels     []string
}

// families makes the families of one source and keeps a list of them.
type families []*family

func (all *families) add(name, help string, labels ...string) *family {
	name = "sockmill_" + name
	f := &family{desc: prometheus.NewDesc(name, help, labels, nil), name: name, help: help, kind: prometheus.GaugeValue, labels: labels}
	if strings.HasSuffix(name, "_total") {
		f.kind = prometheus.CounterValue
	}
	*all = append(*all, f)
	return f
}

type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// send sends a value. The values of labels may have any bytes.
func send[T number](ch chan<- prometheus.Metric, f *family, value T, labels ...string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
	}
	ch <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(value), labels...)
}

// sendOccurred is sendHistogram for one of many, most of which never have anything: they cost nothing.
func sendOccurred(ch chan<- prometheus.Metric, f *family, h *engine.Histogram, labels ...string) {
	if slices.ContainsFunc(h.Counts, func(n uint64) bool { return n > 0 }) {
		sendHistogram(ch, f, h, labels...)
	}
}

// sendHistogram sends a histogram, which has no buckets if it has never been measured.
func sendHistogram(ch chan<- prometheus.Metric, f *family, h *engine.Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var n uint64
	for i, count := range h.Counts {
		if n += count; i < len(h.Bounds) {
			buckets[h.Bounds[i]] = n
		}
	}
	ch <- prometheus.MustNewConstHistogram(f.desc, n, h.Sum, buckets, labels...)
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}
