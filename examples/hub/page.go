package main

import (
	"embed"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/hub/centrifugal"
)

//go:embed web
var web embed.FS

// The page needs its own scripts, styles and sockets and nothing else. "self" covers the WebSocket, which is on the same port.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// bodyTimeout is how long the body of a request may take.
const bodyTimeout = 10 * time.Second

// demoTokenLife is how long a token of -demo-tokens is good; the page asks for another one whenever it connects.
const demoTokenLife = time.Hour

// routes is what the port answers to plain HTTP.
func routes(s *centrifugal.Server, o options, ready *atomic.Bool) http.Handler {
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the name is a constant
	}
	server := http.FileServerFS(files)
	page := func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", contentSecurityPolicy)
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /{file}", page)
	mux.HandleFunc("GET /page.json", func(w http.ResponseWriter, _ *http.Request) { answer(w, about(o)) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	if o.demoTokens {
		mux.HandleFunc("POST /demo-token", demoToken(o.secret))
	}
	if o.apiKey != "" {
		api := s.API(centrifugal.APIConfig{Keys: []string{o.apiKey}})
		mux.Handle("/api/", api)
		mux.Handle("POST /api", api) // for libraries that send the method in the body
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

// settings are what the page has to know of the server.
type settings struct {
	Tokens string `json:"tokens"` // "none": names are enough; "paste": the user has to bring one; "demo": POST /demo-token gives one
	API    bool   `json:"api"`    // there is an HTTP API
}

func about(o options) settings {
	p := settings{Tokens: "none", API: o.apiKey != ""}
	switch {
	case o.demoTokens:
		p.Tokens = "demo"
	case o.secret != "":
		p.Tokens = "paste"
	}
	return p
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
