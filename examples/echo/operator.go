package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/ops/restart"
)

// operator is what an operator sees of the program, on a port of its own.
type operator struct {
	addr, token, readToken string
	server                 *http.Server
	url                    string // "" without one
}

func (o *operator) flags() {
	flag.StringVar(&o.addr, "admin", "", "host:port for the operator: a page, /metrics, /healthz and /readyz")
	flag.StringVar(&o.token, "admin-token", os.Getenv("ADMIN_TOKEN"), "what the operator must know to change anything; needed for an -admin that is not on loopback (environment: ADMIN_TOKEN)")
	flag.StringVar(&o.readToken, "admin-read-token", os.Getenv("ADMIN_READ_TOKEN"), "what the operator must know to see anything (environment: ADMIN_READ_TOKEN)")
}

// serve answers from when e runs, until close, or until the next version does.
func (o *operator) serve(e *engine.Engine, r *restart.Restart) error {
	if o.addr == "" {
		return nil
	}
	l, err := r.Listen("tcp", o.addr, nil)
	if err != nil {
		return fmt.Errorf("-admin: %w", err)
	}
	if at, ok := l.Addr().(*net.TCPAddr); (!ok || !at.IP.IsLoopback()) && (o.token == "" || o.readToken == "") {
		return errors.Join(fmt.Errorf("-admin %s is reached from other machines: set -admin-token and -admin-read-token, or choose 127.0.0.1", l.Addr()), l.Close())
	}
	o.server = &http.Server{Handler: o.handler(e), ReadHeaderTimeout: 10 * time.Second}
	o.url = fmt.Sprintf("http://%s/", l.Addr())
	e.After(0, func() { go func() { _ = o.server.Serve(l) }() }) // when Run has begun
	go func() {
		<-r.HandedOver()
		_ = o.server.Close()
	}()
	return nil
}

func (o *operator) close() {
	if o.server != nil {
		_ = o.server.Close()
	}
}

func (o *operator) handler(e *engine.Engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e.Stats())
	})
	return mux
}
