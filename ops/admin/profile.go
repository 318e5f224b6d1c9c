package admin

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"time"
)

// The profiles are not those of net/http/pprof, which serves them from http.DefaultServeMux too as soon as it is imported: to everybody, in a program
// that uses that.

// profileSecondsMax bounds the parameter seconds.
const profileSecondsMax = 300

// profile serves what go tool pprof and go tool trace ask for.
func profile(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/debug/pprof/")
	switch name {
	case "":
		profiles(w)
	case "profile":
		during(w, r, name, 30, pprof.StartCPUProfile, pprof.StopCPUProfile)
	case "trace":
		during(w, r, name, 1, trace.Start, trace.Stop)
	default:
		p, level := pprof.Lookup(name), 0
		if p == nil {
			fail(w, http.StatusNotFound, "there is no profile %.40q", name)
			return
		}
		if !number(w, r.URL.Query(), "debug", &level, 0, 0, 2) {
			return
		}
		begin(w, name, level)
		_ = p.WriteTo(w, level) // fails if the client has gone
	}
}

func begin(w http.ResponseWriter, name string, level int) {
	if level > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.pprof"`, name))
}

// during takes a profile for a number of seconds.
func during(w http.ResponseWriter, r *http.Request, name string, seconds int, start func(io.Writer) error, stop func()) {
	if !number(w, r.URL.Query(), "seconds", &seconds, seconds, 1, profileSecondsMax) {
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Duration(seconds)*time.Second + writeTime)) // not every server can
	begin(w, name, 0)
	if err := start(w); err != nil {
		w.Header().Del("Content-Disposition")
		fail(w, http.StatusServiceUnavailable, "%v", err)
		return
	}
	defer stop()
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	<-ctx.Done()
}

func profiles(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!doctype html><title>profiles</title><h1>Profiles</h1><p>Each is for go tool pprof; ?debug=1 shows it as text.</p><ul>"+
		`<li><a href="profile?seconds=10">profile</a> (CPU, 10 s)<li><a href="trace?seconds=1">trace</a> (1 s, for go tool trace)`)
	for _, p := range pprof.Profiles() {
		name := html.EscapeString(p.Name())
		_, _ = fmt.Fprintf(w, `<li><a href="%s">%s</a> (%d), <a href="%s?debug=1">as text</a>`, name, name, p.Count(), name)
	}
	_, _ = io.WriteString(w, "</ul>")
}
