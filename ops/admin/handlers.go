package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/protocol"
)

// askTime is how long a loop, or the nodes of a hub, have to answer.
const askTime = 3 * time.Second

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	may, _ := h.guard.of(r)
	s := Status{Time: time.Now().UTC().Format(time.RFC3339Nano), Rights: Rights{Read: true, Change: may >= change}, Process: h.process.look(),
		Loops: []Loop{}, Listeners: []Listener{}}
	h.src.status(&s)
	if h.cfg.Metrics != nil {
		s.Links.Metrics = "metrics"
	}
	if h.cfg.Profile {
		s.Links.Profile = "debug/pprof/"
	}
	if h.cfg.Health != nil {
		health := h.cfg.Health()
		health.Live.Reasons, health.Ready.Reasons = append([]string{}, health.Live.Reasons...), append([]string{}, health.Ready.Reasons...)
		s.Health = &health
	}
	answer(w, http.StatusOK, &s)
}

func healthOf(e *engine.Engine) Health {
	h := e.Health()
	return Health{Live: Verdict{OK: h.Live(), Reasons: h.NotLive}, Ready: Verdict{OK: h.Ready(), Reasons: h.NotReady}}
}

func (h *handler) connections(w http.ResponseWriter, r *http.Request) {
	q, ok := readQuery(w, r.URL.Query())
	if !ok {
		return
	}
	list, err := h.surveys.get(r.Context(), q)
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, http.StatusOK, &list)
}

// answerError answers what a source could not do.
func answerError(w http.ResponseWriter, err error) {
	var wrong *protocol.Error
	switch {
	case errors.Is(err, errGone), errors.Is(err, errNoHub):
		fail(w, http.StatusNotFound, "%v", err)
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusServiceUnavailable, "there was no answer within %v: a loop may be held up, see the loops", askTime)
	case errors.As(err, &wrong):
		fail(w, http.StatusBadRequest, "%s", wrong.Reason)
	default:
		fail(w, http.StatusServiceUnavailable, "%v", err)
	}
}

// idOf reads the number of a connection. It answers if that is none.
func idOf(w http.ResponseWriter, r *http.Request) (id uint64, ok bool) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		fail(w, http.StatusBadRequest, "%.40q is no ID of a connection: it must be a number", r.PathValue("id"))
	}
	return id, err == nil
}

func (h *handler) connection(w http.ResponseWriter, r *http.Request) {
	id, ok := idOf(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	d, err := h.src.connection(ctx, id)
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, http.StatusOK, d)
}

func (h *handler) close(w http.ResponseWriter, r *http.Request) {
	var how CloseRequest
	if !decode(w, r, &how) {
		return
	}
	switch code := protocol.CloseCode(how.Code); {
	case how.Abort:
	case how.Code == 0:
		how.Code = uint16(protocol.CloseGoingAway)
	case !code.Valid():
		fail(w, http.StatusBadRequest, "code is %d: a close frame may have 1000 to 1003, 1007 to 1014, 3000 to 4999", how.Code)
		return
	}
	if len(how.Reason) > protocol.ControlBytesMax-2 {
		fail(w, http.StatusBadRequest, "the reason has %d bytes: it may have %d", len(how.Reason), protocol.ControlBytesMax-2)
		return
	}
	h.change(w, r, func(id uint64) error { return h.src.end(id, how) })
}

func (h *handler) pause(w http.ResponseWriter, r *http.Request) {
	if decode(w, r, new(struct{})) {
		h.change(w, r, h.src.pause)
	}
}

func (h *handler) resume(w http.ResponseWriter, r *http.Request) {
	if decode(w, r, new(struct{})) {
		h.change(w, r, h.src.resume)
	}
}

func (h *handler) change(w http.ResponseWriter, r *http.Request, do func(id uint64) error) {
	id, ok := idOf(w, r)
	if !ok {
		return
	}
	err := do(id)
	h.surveys.forget()
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, http.StatusAccepted, struct{}{})
}

// listed answers with a part of a list of names.
func listed(w http.ResponseWriter, r *http.Request, ask func(ctx context.Context, page hub.Page) (*Names, error)) {
	v := r.URL.Query()
	page := hub.Page{After: v.Get("after")}
	if !number(w, v, "limit", &page.Limit, 100, 1, limitMax) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	names, err := ask(ctx, page)
	if err != nil {
		answerError(w, err)
		return
	}
	answer(w, http.StatusOK, names)
}

func (h *handler) channels(w http.ResponseWriter, r *http.Request) {
	pattern := r.URL.Query().Get("pattern")
	if pattern == "" {
		pattern = "*"
	}
	listed(w, r, func(ctx context.Context, page hub.Page) (*Names, error) { return h.src.channels(ctx, pattern, page) })
}

func (h *handler) users(w http.ResponseWriter, r *http.Request) { listed(w, r, h.src.users) }

func (h *handler) settings(w http.ResponseWriter, _ *http.Request) {
	s := h.src.settings()
	answer(w, http.StatusOK, &s)
}
