package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// Check is a condition of the program's own for being ready, beside those of engine.Health: a broker that must be reachable, a database.
type Check struct {
	Name string // comes before its reasons; "": they stand alone

	// Why returns why the process should get no clients now, each reason in a line; nil if it should. It should keep to ctx, which ends
	// after a second; until it has returned it is not called again. It runs on a goroutine of its own.
	Why func(ctx context.Context) error
}

const (
	checkTimeout = time.Second            // for all checks together, which run at once
	checkedFor   = 200 * time.Millisecond // that a result is given to others who ask
)

// Healthz answers whether the process is live: 200, or 503 with the reasons of engine.Health, when only a new process helps. The answer is text, a reason in a
// line, or with "Accept: application/json" a Verdict. It is for GET and HEAD. Serve it on a port that answers although a loop is
// held: a liveness probe without any answer counts as failed too.
func Healthz(e *engine.Engine) http.Handler {
	return verdicts("ok", func() Verdict { return verdict(e.Health().NotLive) })
}

// Readyz answers as Healthz does whether the process should get clients: 200, or 503 with the reasons of engine.Health and of the checks. Who asks often
// gets a result that is up to 200 ms old.
func Readyz(e *engine.Engine, checks ...Check) http.Handler {
	return verdicts("ready", (&readiness{e: e, checks: newRunning(checks)}).verdict)
}

// HealthOf is what Healthz and Readyz answer, for Config.Health.
func HealthOf(e *engine.Engine, checks ...Check) func() Health {
	ready := &readiness{e: e, checks: newRunning(checks)}
	return func() Health { return Health{Live: verdict(e.Health().NotLive), Ready: ready.verdict()} }
}

func verdict(reasons []string) Verdict {
	if reasons == nil {
		reasons = []string{}
	}
	return Verdict{OK: len(reasons) == 0, Reasons: reasons}
}

// readiness runs the checks, once for all who ask at the same time.
type readiness struct {
	e      *engine.Engine
	checks []*running

	mu   sync.Mutex
	at   time.Time
	last []string // the reasons of the checks
}

func (r *readiness) verdict() Verdict {
	reasons := r.e.Health().NotReady
	return verdict(append(reasons, r.ask()...))
}

func (r *readiness) ask() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() || time.Since(r.at) >= checkedFor {
		r.last = nil
		ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
		defer cancel()
		for _, c := range r.checks {
			c.begin(ctx)
		}
		for _, c := range r.checks {
			r.last = append(r.last, c.end(ctx)...)
		}
		r.at = time.Now()
	}
	return r.last
}

// running is a check, which may be under way.
type running struct {
	Check
	result chan error // has room for one; nil while the check is not under way
}

func newRunning(checks []Check) (all []*running) {
	for _, c := range checks {
		all = append(all, &running{Check: c})
	}
	return all
}

// begin calls the check, if the last call has returned.
func (c *running) begin(ctx context.Context) {
	if c.result != nil {
		return
	}
	result := make(chan error, 1)
	c.result = result
	go func() {
		defer func() {
			if v := recover(); v != nil {
				result <- fmt.Errorf("the check panicked: %v", v)
			}
		}()
		result <- c.Why(ctx)
	}()
}

// end returns the reasons of the check.
func (c *running) end(ctx context.Context) (reasons []string) {
	select {
	case <-ctx.Done():
	case err := <-c.result:
		c.result <- err // there is room: it is looked at below
	}
	var err error
	select {
	case err = <-c.result: // also if the time is over, because of another check
		c.result = nil
	default:
		err = fmt.Errorf("no answer within %v", checkTimeout)
	}
	if err == nil {
		return nil
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSuffix(line, "\n"); c.Name != "" {
			line = c.Name + ": " + line
		}
		reasons = append(reasons, line)
	}
	return reasons
}

// verdicts answers with what now returns; well is the text if all is well.
func verdicts(well string, now func() Verdict) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			head.Set("Allow", "GET, HEAD")
			http.Error(w, "GET or HEAD", http.StatusMethodNotAllowed)
			return
		}
		v := now()
		head.Set("Cache-Control", "no-store")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Vary", "Accept")
		text := []byte(well + "\n")
		if !v.OK {
			text = []byte(strings.Join(v.Reasons, "\n") + "\n")
		}
		head.Set("Content-Type", "text/plain; charset=utf-8")
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			head.Set("Content-Type", "application/json")
			text, _ = json.Marshal(v) // never fails
		}
		if !v.OK {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(text)
	})
}
