package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/ops/admin"
	"github.com/sockmill/sockmill/ops/metrics"
	"github.com/sockmill/sockmill/ops/restart"
)

// operator is what an operator sees of the program, on a port of its own.
type operator struct {
	addr, token, readToken string
	server                 *http.Server
	leaving                atomic.Bool // the next version listens
	url                    string      // "" without one
}

func (o *operator) flags() {
	flag.StringVar(&o.addr, "admin", "", "host:port for the operator: a page, /metrics, /healthz and /readyz")
	flag.StringVar(&o.token, "admin-token", os.Getenv("ADMIN_TOKEN"), "what the operator must know to change anything, 16 bytes or more (environment: ADMIN_TOKEN); an -admin that is not on loopback needs this or -admin-read-token")
	flag.StringVar(&o.readToken, "admin-read-token", os.Getenv("ADMIN_READ_TOKEN"), "what the operator must know to see anything (environment: ADMIN_READ_TOKEN); /healthz and /readyz are for everybody")
}

// serve answers from when e runs, until close, or until the next version does.
func (o *operator) serve(e *engine.Engine, r *restart.Restart) error {
	if o.addr == "" {
		return nil
	}
	l, err := r.Listen("tcp", o.addr, nil)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another program; choose another port with -admin 127.0.0.1:PORT", o.addr)
	} else if err != nil {
		return fmt.Errorf("-admin: %w", err)
	}
	handler, err := o.handler(e)
	if at, ok := l.Addr().(*net.TCPAddr); err == nil && (!ok || !at.IP.IsLoopback()) && o.token == "" && o.readToken == "" {
		err = fmt.Errorf("%s is reached from other machines: set -admin-token or -admin-read-token, or choose 127.0.0.1", l.Addr())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("-admin: %w", err), l.Close())
	}
	o.server = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	o.url = fmt.Sprintf("http://%s/", l.Addr())
	e.After(0, func() { go func() { _ = o.server.Serve(l) }() }) // when Run has begun
	go func() {
		<-r.HandedOver()
		o.leaving.Store(true)
		_ = l.Close() // requests on open connections are still answered: see handler
	}()
	return nil
}

func (o *operator) close() {
	if o.server != nil {
		_ = o.server.Close()
	}
}

// handler has what balancers and supervisors ask without a token beside the page.
func (o *operator) handler(e *engine.Engine) (http.Handler, error) {
	numbers, err := metrics.New(metrics.Config{Engine: e})
	if err != nil {
		return nil, err
	}
	page, err := admin.New(admin.Config{Engine: e, Token: o.token, ReadToken: o.readToken, Metrics: metrics.Handler(numbers), Profile: true, Health: admin.HealthOf(e)})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", page)
	mux.Handle("/healthz", admin.Healthz(e))
	mux.Handle("/readyz", admin.Readyz(e))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.leaving.Load() {
			w.Header().Set("Connection", "close") // the client's next request goes to the next version
		}
		mux.ServeHTTP(w, r)
	}), nil
}
