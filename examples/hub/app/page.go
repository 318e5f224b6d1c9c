package app

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/ops/admin"
)

//go:embed web
var web embed.FS

// contentSecurityPolicy: the page needs its own scripts, styles and sockets and nothing else, but for the sockets of the other nodes.
// "self" covers the WebSocket, which is on the same port.
func contentSecurityPolicy(urls []string) string {
	to := "'self'"
	for _, url := range urls {
		to += " " + strings.Replace(url, "http", "ws", 1)
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"connect-src " + to + "; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
}

// bodyTimeout is how long the body of a request may take.
const bodyTimeout = 10 * time.Second

// demoTokenLife is how long a token of -demo-tokens is good; the page asks for another one whenever it connects.
const demoTokenLife = time.Hour

// routes is what the port answers to plain HTTP.
func (p *program) routes() http.Handler {
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the name is a constant
	}
	server, policy := http.FileServerFS(files), contentSecurityPolicy(p.urls)
	page := func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", policy)
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /{file}", page)
	mux.HandleFunc("GET /page.json", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.about()) })
	p.health(mux)
	if p.demoTokens {
		mux.HandleFunc("POST /demo-token", demoToken(p.secret))
	}
	if p.apiKey != "" {
		mux.HandleFunc("/api/", p.api)
		mux.HandleFunc("POST /api", p.api) // for libraries that send the method in the body
	} else {
		mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "there is no HTTP API: start the server with -api-key KEY", http.StatusNotFound)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // fails in tests without a network
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

// health is what balancers and supervisors ask.
func (p *program) health(mux *http.ServeMux) {
	mux.Handle("GET /healthz", admin.Healthz(p.engine))
	mux.Handle("GET /readyz", admin.Readyz(p.engine, p.readiness()))
}

func (p *program) readiness() admin.Check {
	return admin.Check{Why: func(context.Context) error { return p.unready() }}
}

// unready says why this process should get no clients, each reason in a line; nil: it should.
func (p *program) unready() error {
	switch {
	case p.ending.Load():
		return errors.New("shutting down")
	case p.serving.Load() == nil:
		return errors.New("starting: waiting for the cluster")
	case p.node == nil:
		return nil
	}
	return p.node.Health()
}

// api is the HTTP API, as soon as there is a server.
func (p *program) api(w http.ResponseWriter, r *http.Request) {
	s := p.serving.Load()
	if s == nil {
		http.Error(w, "this node is starting", http.StatusServiceUnavailable)
		return
	}
	s.api.ServeHTTP(w, r)
}

// settings are what the page has to know of the server.
type settings struct {
	Tokens string `json:"tokens"` // "none": names are enough; "paste": the user has to bring one; "demo": POST /demo-token gives one
	API    bool   `json:"api"`    // there is an HTTP API

	// Of a cluster: the page asks who the nodes are, goes to another one when its own is gone, and does not take the numbers of messages
	// for 1, 2, 3 …
	Cluster bool     `json:"cluster,omitempty"`
	URLs    []string `json:"urls,omitempty"` // of all nodes, also of this one
}

func (p *program) about() settings {
	s := settings{Tokens: "none", API: p.apiKey != "", Cluster: p.cluster != nil, URLs: p.urls}
	switch {
	case p.demoTokens:
		s.Tokens = "demo"
	case p.secret != "":
		s.Tokens = "paste"
	}
	return s
}

// demoToken signs a token for whatever name is asked for.
func demoToken(secret string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var said struct{ Name string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&said); err != nil || !validName(said.Name) {
			http.Error(w, errName.Message, http.StatusBadRequest)
			return
		}
		claims := jwt.RegisteredClaims{Subject: said.Name, ExpiresAt: jwt.NewNumericDate(time.Now().Add(demoTokenLife))}
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			http.Error(w, "the token could not be signed", http.StatusInternalServerError)
			return
		}
		answer(w, map[string]string{"token": signed})
	}
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body) // fails if the client is gone
}
