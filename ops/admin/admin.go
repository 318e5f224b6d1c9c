// Package admin is a page for those who operate a program on sockmill, and a JSON API behind it: what the engine does, each connection with
// a live view of its frames, channels and users of a hub, the configuration in force. It is an http.Handler: see New.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// Config says what a page shows, and to whom.
type Config struct {
	// Engine is what is shown; it must be set.
	Engine *engine.Engine

	// Hub, if it is set, has channels and users.
	Hub *hub.Hub

	// Token is for those who may change something: close and pause connections, see what frames hold, take profiles. ReadToken is for
	// those who may only look. Each must have 16 bytes or more. If neither is set, everything is for those who come from a loopback address
	// by a loopback Host, and everybody else is refused. So is a request that shows that it came through a proxy: but one may hide that, so put none before a handler without tokens. With a ReadToken alone, nobody may change anything; with a Token alone, nobody else may look.
	Token, ReadToken string

	// Origins are the origins of pages, such as "https://admin.example.com", that may change something beside the page of the handler itself: that of the proxy,
	// if one changes the Host. Nil: none.
	Origins []string

	// Metrics, if it is set, is served at metrics, with the right to read.
	Metrics http.Handler

	// Profile has the profiles of Go at debug/pprof/, with the right to change: CPU, heap, goroutines, and others, for go tool pprof.
	Profile bool

	// Health says whether the process is live and ready. Nil: what engine.Health says.
	Health func() Health
}

// tokenBytesMin is the length of the shortest token.
const tokenBytesMin = 16

// New makes the handler of the page and its API. It serves below /, and by http.StripPrefix below any path: all addresses of the page are
// relative, so that the path must end in a slash. Any http.Server may serve it, that of engine.Config.HTTP too; one of its own
// answers when no loop does.
func New(cfg Config) (http.Handler, error) {
	if cfg.Engine == nil {
		return nil, errors.New("admin: Config.Engine is not set")
	}
	if cfg.Health == nil {
		cfg.Health = func() Health { return healthOf(cfg.Engine) }
	}
	return newHandler(cfg, &served{e: cfg.Engine, hub: cfg.Hub})
}

// handler is what New makes.
type handler struct {
	cfg     Config
	src     source
	guard   *guard
	surveys surveys
	process process
	taps    chan struct{} // holds something for each stream of frames
}

func newHandler(cfg Config, src source) (http.Handler, error) {
	g, err := newGuard(&cfg)
	if err != nil {
		return nil, err
	}
	h := &handler{cfg: cfg, src: src, guard: g, taps: make(chan struct{}, tapsMax)}
	h.surveys.src = src
	h.process.init()
	mux := http.NewServeMux()
	mux.Handle("GET /", page())
	mux.HandleFunc("GET /api/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is no %s: the answers of the API are described in the documentation of package ops/admin", r.URL.Path)
	})
	mux.HandleFunc("GET /api/session", g.session)
	mux.HandleFunc("POST /api/session", g.login)
	mux.HandleFunc("DELETE /api/session", g.logout)
	for pattern, f := range map[string]http.HandlerFunc{
		"GET /api/status":                  h.status,
		"GET /api/connections":             h.connections,
		"GET /api/connections/{id}":        h.connection,
		"GET /api/connections/{id}/frames": h.frames,
		"GET /api/channels":                h.channels,
		"GET /api/users":                   h.users,
		"GET /api/config":                  h.settings,
	} {
		mux.Handle(pattern, g.may(read, f))
	}
	for pattern, f := range map[string]http.HandlerFunc{
		"POST /api/connections/{id}/close":  h.close,
		"POST /api/connections/{id}/pause":  h.pause,
		"POST /api/connections/{id}/resume": h.resume,
	} {
		mux.Handle(pattern, g.may(change, f))
	}
	if cfg.Metrics != nil {
		mux.Handle("GET /metrics", g.may(read, cfg.Metrics.ServeHTTP))
	}
	if cfg.Profile {
		mux.Handle("GET /debug/pprof/", g.may(change, profile))
	}
	return g.protect(mux), nil
}

// answer writes JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails if the client has gone
}

// fail answers with an Error.
func fail(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, Error{fmt.Sprintf(format, args...)})
}
