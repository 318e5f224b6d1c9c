// Package metrics has the numbers of an engine.Engine and a hub.Hub read by Prometheus.
//
//	c, err := metrics.New(metrics.Config{Engine: e, Hub: h})
//	http.Handle("/metrics", metrics.Handler(c))
//
// All names begin with sockmill_. What ends in _total only rises, times are in seconds, sizes in bytes. The values of labels are from fixed
// sets, but for listener, which has as many as the engine has listeners, and loop, which has as many as the engine has loops: nothing grows
// with the connections. The numbers are read when Prometheus asks, at a cost that does not depend on the number of connections, clients or
// channels, and no loop has to wait.
//
// The histograms of the engine are filled with engine.Config.Timings alone.
//
// Several engines in one process need collectors of their own, told apart by a label: see prometheus.WrapRegistererWith.
package metrics

import (
	"errors"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// Config says what a Collector reads.
type Config struct {
	Engine *engine.Engine // must be set
	Hub    *hub.Hub       // nil: there is none

	// NATS returns the Stats of a broker of the package hub/nats, as func() any { return b.Stats() } does; nil: there is none. It is
	// called at each scrape, on any goroutine. It returns any so that this package does not have to link NATS; a field that this package does
	// not know is left out.
	NATS func() any
}

// Collector is a prometheus.Collector. Any goroutine may use it, several at once.
type Collector struct {
	engine func() engine.Metrics
	health func() engine.Health
	drain  func() engine.DrainProgress
	hub    func() hub.Metrics // nil: there is none
	nats   func() any         // nil: there is none
}

// New makes a Collector. It fails if Config.Engine is not set.
func New(cfg Config) (*Collector, error) {
	if cfg.Engine == nil {
		return nil, errors.New("metrics: Config.Engine is not set")
	}
	c := &Collector{engine: cfg.Engine.Metrics, health: cfg.Engine.Health, drain: cfg.Engine.Draining, nats: cfg.NATS}
	if cfg.Hub != nil {
		c.hub = cfg.Hub.Metrics
	}
	return c, nil
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families() {
		ch <- f.desc
	}
}

// families are all that Collect may send.
func (c *Collector) families() families {
	all := slices.Clone(engineFamilies)
	if c.hub != nil {
		all = append(all, hubFamilies...)
	}
	if c.nats != nil {
		all = append(all, natsFamilies...)
	}
	return all
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	m := c.engine()
	collectEngine(ch, &m)
	collectState(ch, c.health(), c.drain())
	if c.hub != nil {
		m := c.hub()
		collectHub(ch, &m)
	}
	if c.nats != nil {
		collectNATS(ch, c.nats())
	}
}

// Handler answers with what the collectors have, and with the numbers of the process, of the Go runtime and of the build. It panics if two
// of the collectors have the same names. Whoever can reach it can read all numbers, so it belongs on an address that only operators reach.
func Handler(all ...prometheus.Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	r.MustRegister(all...)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesAtOnce,
		DisableCompression:  true, // it would be more than half of the CPU of a scrape, to save some 40 KB
	})
}

// scrapesAtOnce bounds what a crowd of those who ask can cost; one more is answered with 503.
const scrapesAtOnce = 4
