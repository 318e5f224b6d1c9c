package conformance

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"regexp"
	"sync"
	"time"
)

// Target is the server under test.
type Target struct {
	Addr string      // host:port
	Path string      // of the request target; "" is "/"
	TLS  *tls.Config // nil: plain TCP
}

// Options say how to run the suite. The zero value runs everything.
type Options struct {
	Match    *regexp.Regexp // which IDs to run; nil: all
	Parallel int            // cases at a time; 0: 8
	Progress func(Result)   // called after each case, one call at a time; nil: none

	// Timeout is the time for each case, 0 for 30 s. The server has a tenth of
	// it for each answer, and a twentieth to end TCP after a close frame.
	Timeout time.Duration
}

// Verdict is how a case ended.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped" // the server lacks, or by configuration refuses, what the case is about
)

// Result is the outcome of one case.
type Result struct {
	ID       string        `json:"id"`
	Section  string        `json:"section"`
	Severity Severity      `json:"severity"`
	Doc      string        `json:"doc"`
	Verdict  Verdict       `json:"verdict"`
	Detail   string        `json:"detail,omitempty"` // what was seen, or why it was skipped
	Duration time.Duration `json:"nanoseconds"`
}

// Report is the outcome of a run.
type Report struct {
	Results []Result `json:"results"` // in the order of Cases
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
}

// String returns the line that ends the output of wsconform.
func (r *Report) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.Passed, r.Failed, r.Skipped)
}

// Run plays the cases against the server. It returns an error if the server
// cannot be reached, if no case matches, or if ctx ends.
func Run(ctx context.Context, target Target, o Options) (*Report, error) {
	if target.Path == "" {
		target.Path = "/"
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	var cases []Case
	for _, c := range Cases() {
		if o.Match == nil || o.Match.MatchString(c.ID) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("no case matches %v", o.Match)
	}
	probe, err := net.DialTimeout("tcp", target.Addr, o.Timeout)
	if err != nil {
		return nil, err
	}
	_ = probe.Close()
	results := play(ctx, &target, cases, o)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	report := &Report{Results: results}
	for _, r := range results {
		switch r.Verdict {
		case Passed:
			report.Passed++
		case Failed:
			report.Failed++
		case Skipped:
			report.Skipped++
		}
	}
	return report, nil
}

// play runs the cases, first those that bear company, then the others.
func play(ctx context.Context, target *Target, cases []Case, o Options) []Result {
	results := make([]Result, len(cases))
	var mu sync.Mutex
	one := func(i int) {
		r := playCase(target, &cases[i], o.Timeout)
		mu.Lock()
		defer mu.Unlock()
		results[i] = r
		if o.Progress != nil {
			o.Progress(r)
		}
	}
	var running sync.WaitGroup
	slots := make(chan struct{}, o.Parallel)
	for i := range cases {
		if cases[i].alone || ctx.Err() != nil {
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			one(i)
			<-slots
		})
	}
	running.Wait()
	for i := range cases {
		if cases[i].alone && ctx.Err() == nil {
			one(i)
		}
	}
	return results
}

func playCase(target *Target, c *Case, timeout time.Duration) Result {
	begun := time.Now()
	r := Result{ID: c.ID, Section: c.Section, Severity: c.Severity, Doc: c.Doc, Verdict: Passed}
	t := newT(target, c.ID, timeout)
	if end := t.play(c.Run); end != nil {
		r.Verdict, r.Detail = end.verdict, end.detail
	}
	t.close()
	r.Duration = time.Since(begun)
	return r
}
