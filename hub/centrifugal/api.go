package centrifugal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/protocol"
)

// APIConfig says how the HTTP API works. A limit of 0 or less is the default.
type APIConfig struct {
	// Keys are those of the backends: whoever sends one of them may do everything. Without any, nobody may do anything. An empty
	// one is no key.
	Keys []string

	// Origins are those whose pages may call, as in engine.Config.Origins. A page shows its key to whoever opens it, so this is for
	// tools of your own. nil: browsers let no page of another origin call.
	Origins []string

	BodyBytesMax int // of a request: above, status 413: 1 MiB
	CommandsMax  int // of a batch: above, error 106, and none is carried out: 1,000
	AnswersMax   int // bytes that a batch is answered: once they are reached, error 106 for the commands that follow: 16 MiB
	ChannelsMax  int // of a broadcast: above, error 106, and nothing is published. Of the answer to channels: above, error 106: 10,000
}

// api serves the HTTP API.
type api struct {
	s    *Server
	cfg  APIConfig
	keys [][sha256.Size]byte
	once once
}

// API is the HTTP API of Centrifugo, for backends: POST /api/METHOD. Mount the handler at /api/ and at /api; it serves requests on any goroutine
// but a loop. See docs/HUB-API.md.
//
// A request has the header X-API-Key, or Authorization with the scheme apikey, else it gets status 401; and a JSON object. The answer
// is {"result": …} or {"error": {"code": …, "message": …}}, both with status 200. With another status, nothing was done: the
// request is none of the API.
//
// All methods hold for all nodes, as far as the brokers of Config.Hub reach. What nodes are asked for has "missing" in its result, the
// nodes that did not answer, if there are any.
func (s *Server) API(cfg APIConfig) http.Handler {
	for _, r := range []struct {
		field *int
		def   int
	}{{&cfg.BodyBytesMax, 1 << 20}, {&cfg.CommandsMax, 1000}, {&cfg.AnswersMax, 16 << 20}, {&cfg.ChannelsMax, 10_000}} {
		if *r.field <= 0 {
			*r.field = r.def
		}
	}
	a := &api{s: s, cfg: cfg}
	a.once.init(s.now)
	for _, key := range cfg.Keys {
		if key != "" {
			a.keys = append(a.keys, sha256.Sum256([]byte(key)))
		}
	}
	if len(a.keys) == 0 {
		s.log.Warn("the HTTP API has no key (APIConfig.Keys), so nobody may call it")
	}
	for _, pattern := range cfg.Origins {
		if err := protocol.ValidOriginPattern(pattern); err != nil {
			s.log.Error("APIConfig.Origins has a pattern that allows no origin", zap.Error(err))
		}
	}
	return a
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.cors(w, r) {
		return
	}
	status, answers := a.serve(w, r)
	var body bytes.Buffer
	out := json.NewEncoder(&body) // each answer on a line
	for _, answer := range answers {
		if err := out.Encode(answer); err != nil {
			a.s.log.Error("an answer of the HTTP API cannot be encoded", zap.Error(err))
			http.Error(w, "internal server error", http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // who asked may be gone
}

// answer is what a command is answered.
type answer struct {
	ID     *uint32     `json:"id,omitempty"` // of the commands at /api
	Result any         `json:"result,omitempty"`
	Error  *errorValue `json:"error,omitempty"`
}

type errorValue struct {
	Code    uint32 `json:"code"`
	Message string `json:"message"`
}

func (e Error) value() *errorValue { return &errorValue{e.Code, e.Message} }

// serve returns the status, and the answers.
func (a *api) serve(w http.ResponseWriter, r *http.Request) (int, []any) {
	fail := func(status int, e Error) (int, []any) { return status, []any{answer{Error: e.value()}} }
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return fail(http.StatusMethodNotAllowed, badRequest("the HTTP method must be POST"))
	case !a.may(r):
		w.Header().Set("WWW-Authenticate", "apikey")
		return fail(http.StatusUnauthorized, ErrUnauthorized)
	case !isJSON(r.Header):
		return fail(http.StatusUnsupportedMediaType, badRequest("the body must be JSON in UTF-8, not compressed: Content-Type: application/json"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(a.cfg.BodyBytesMax)))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return fail(http.StatusRequestEntityTooLarge, limitExceeded("a body has at most %d bytes", a.cfg.BodyBytesMax))
	case err != nil:
		return fail(http.StatusBadRequest, badRequest("the body cannot be read"))
	case !utf8.Valid(body):
		return fail(http.StatusBadRequest, badRequest("the body is not in UTF-8"))
	case deeper(body, nestingMax):
		return fail(http.StatusBadRequest, badRequest("the body is nested deeper than %d", nestingMax))
	}
	path := strings.TrimPrefix(r.URL.Path, "/api")
	if path == "" || path == "/" {
		return a.commands(r.Context(), body)
	}
	name, _ := strings.CutPrefix(path, "/")
	if name == path {
		name = "" // no method has it
	}
	if name == "batch" {
		result, err := a.batch(r.Context(), body)
		if err != nil {
			return a.status(err), []any{a.answer(nil, err, name)}
		}
		return http.StatusOK, []any{result}
	}
	result, err := a.run(r.Context(), name, body)
	return a.status(err), []any{a.answer(result, err, name)}
}

// may reports whether a request has one of the keys. How long that takes says nothing of them.
func (a *api) may(r *http.Request) bool {
	key := r.Header.Get("X-API-Key")
	if scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); key == "" && strings.EqualFold(scheme, "apikey") {
		key = strings.TrimSpace(rest)
	}
	sum, found := sha256.Sum256([]byte(key)), 0
	for i := range a.keys {
		found |= subtle.ConstantTimeCompare(sum[:], a.keys[i][:])
	}
	return found == 1
}

// isJSON reports whether a body may be JSON. Not everybody says so: curl calls it a form.
func isJSON(h http.Header) bool {
	if c := h.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		return false
	}
	if h.Get("Content-Type") == "" {
		return true
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if charset := params["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	switch kind {
	case "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded":
		return true
	}
	return strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// cors tells a browser which pages may call. It reports whether that was all that was asked.
func (a *api) cors(w http.ResponseWriter, r *http.Request) (done bool) {
	if len(a.cfg.Origins) == 0 {
		return false
	}
	h, origin := w.Header(), r.Header.Get("Origin")
	h.Add("Vary", "Origin")
	allowed := false
	for _, pattern := range a.cfg.Origins {
		allowed = allowed || origin != "" && protocol.MatchOrigin(pattern, origin)
	}
	if !allowed {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", http.MethodPost)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// malformed is the error of a request that is no call of the API.
type malformed struct {
	is     Error
	status int
}

func (m malformed) Error() string { return m.is.Error() }
func (m malformed) Unwrap() error { return m.is }

func badRequest(format string, args ...any) Error {
	return Error{ErrBadRequest.Code, ErrBadRequest.Message + ": " + fmt.Sprintf(format, args...), false}
}

func limitExceeded(format string, args ...any) Error {
	return Error{ErrLimit.Code, ErrLimit.Message + ": " + fmt.Sprintf(format, args...), false}
}

func notAvailable(what string) Error {
	return Error{ErrNotAvailable.Code, ErrNotAvailable.Message + ": " + what, false}
}

// decode reads the parameters of a method.
func decode(text []byte, into any) error {
	err := json.Unmarshal(text, into)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field != "":
		field := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]
		return malformed{badRequest("%s must not be a %s", field, wrong.Value), http.StatusBadRequest}
	case errors.As(err, &wrong):
		return malformed{badRequest("it is a %s, and not an object", wrong.Value), http.StatusBadRequest}
	}
	return malformed{badRequest("%v", err), http.StatusBadRequest}
}

// status is the HTTP status for the error of the only command of a request.
func (a *api) status(err error) int {
	var m malformed
	switch {
	case errors.As(err, &m):
		return m.status
	case errors.Is(err, hub.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// answer makes an answer of what a method returned.
func (a *api) answer(result any, err error, method string) answer {
	if err == nil {
		return answer{Result: result}
	}
	return answer{Error: a.errorOf(err, method).value()}
}

// errorOf is what the caller is told of an error.
func (a *api) errorOf(err error, method string) Error {
	var e Error
	if errors.As(err, &e) {
		return e
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			return k.is
		}
	}
	if !errors.Is(err, context.Canceled) && !a.s.away(err) {
		a.s.log.Error("a call of the HTTP API failed; the caller is told error 100", zap.String("method", method), zap.Error(err))
	}
	return ErrInternal
}

// run carries out a method.
func (a *api) run(ctx context.Context, name string, params json.RawMessage) (any, error) {
	do := methods[name]
	if do == nil {
		return nil, malformed{ErrMethod, http.StatusNotFound}
	}
	if timeout := a.s.cfg.CommandTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return do(a, ctx, params)
}
