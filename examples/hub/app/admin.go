package app

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/ops/admin"
	"github.com/sockmill/sockmill/ops/metrics"
)

// headTimeout is how long an operator's program may take for the head of a request.
const headTimeout = 10 * time.Second

// administer answers operators on -admin, an address of its own: what is there is not for everybody. /metrics is for whoever reaches
// it, the page for those whom ops/admin lets in. It returns the address, which is nil without -admin, and what ends that.
func (p *program) administer() (at net.Addr, end func(), err error) {
	if p.admin == "" {
		return nil, func() {}, nil
	}
	l, err := net.Listen("tcp", p.admin)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, nil, fmt.Errorf("%s is taken by another program; choose another port with -admin 127.0.0.1:PORT", p.admin)
	} else if err != nil {
		return nil, nil, fmt.Errorf("-admin: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", p.started(func(s *serving) http.Handler { return s.metrics }))
	mux.HandleFunc("/", p.started(func(s *serving) http.Handler { return s.page }))
	p.health(mux)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headTimeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until it is closed
	}()
	return l.Addr(), func() {
		_ = server.Close() // whoever reads the last numbers may not get them
		<-done
	}, nil
}

// started answers with what there is when the program has started.
func (p *program) started(what func(*serving) http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := p.serving.Load()
		if s == nil {
			http.Error(w, "starting: waiting for the cluster", http.StatusServiceUnavailable)
			return
		}
		what(s).ServeHTTP(w, r)
	}
}

// newPage has the engine's connections, and the hub's channels and users.
func (p *program) newPage(s *serving) (http.Handler, error) {
	h, err := admin.New(admin.Config{
		Engine: p.engine, Hub: s.server.Hub(), Token: p.adminToken, ReadToken: p.adminReadToken,
		Metrics: s.metrics, Profile: true, Health: admin.HealthOf(p.engine, p.readiness()),
	})
	if err != nil {
		return nil, fmt.Errorf("-admin-token, -admin-read-token: %w", err)
	}
	return h, nil
}

// newMetrics has the numbers of the engine, the hub and the broker.
func (p *program) newMetrics(s *serving) (http.Handler, error) {
	cfg := metrics.Config{Engine: p.engine, Hub: s.server.Hub()}
	if p.node != nil {
		cfg.NATS = p.node.Stats
	}
	c, err := metrics.New(cfg)
	if err != nil {
		return nil, err
	}
	return metrics.Handler(c), nil
}
