package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestCases(t *testing.T) {
	id := regexp.MustCompile(`^(9110-|9112-|7692-|1951-)?\d+(\.\d+)*-[a-z0-9.-]+$`)
	section := regexp.MustCompile(`^RFC (6455|9110|9112|7692|1951) §\d+(\.\d+)*$`)
	seen := map[string]bool{}
	for _, c := range Cases() {
		switch {
		case seen[c.ID]:
			t.Errorf("%s is there twice", c.ID)
		case !id.MatchString(c.ID), !section.MatchString(c.Section):
			t.Errorf("%q, %q: malformed", c.ID, c.Section)
		case c.Severity != Must && c.Severity != Should && c.Severity != Convention:
			t.Errorf("%s has the severity %q", c.ID, c.Severity)
		case c.Doc == "" || strings.Contains(c.Doc, "\n") || len(c.Doc) > 130:
			t.Errorf("%s: its description %q is not one line", c.ID, c.Doc)
		case c.Run == nil:
			t.Errorf("%s does nothing", c.ID)
		}
		seen[c.ID] = true
	}
}

func TestSection(t *testing.T) {
	for id, want := range map[string]string{
		"5.2-nonminimal-16": "RFC 6455 §5.2", "9112-2.2-lf-all": "RFC 9112 §2.2", "7692-7.1.2-x-08": "RFC 7692 §7.1.2", "10-hostile-reset": "RFC 6455 §10",
	} {
		if got := section(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

// TestRunReports: counts, order, progress, and what is skipped and why.
func TestRunReports(t *testing.T) {
	target := Target{Addr: listen(t, loopback(t), serveSession)}
	progress := 0
	report, err := Run(context.Background(), target, Options{
		Match:    regexp.MustCompile(`^(5\.2-text-[01]|7692-7\.2\.3\.1-one-block|10-hostile-reset)$`),
		Progress: func(Result) { progress++ },
		Parallel: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	if progress != 4 || len(report.Results) != 4 || report.Passed+report.Skipped != 4 {
		t.Fatalf("%d reported, %+v", progress, report)
	}
	if first, last := report.Results[0], report.Results[3]; first.ID != "5.2-text-0" || first.Verdict != Passed || last.ID != "10-hostile-reset" {
		t.Errorf("%+v", report.Results)
	}
}

func TestRunEnds(t *testing.T) {
	target := Target{Addr: listen(t, loopback(t), serveSession)}
	ctx, cancel := context.WithCancel(context.Background())
	report, err := Run(ctx, target, Options{Match: regexp.MustCompile(`^5\.2-text`), Parallel: 1, Progress: func(Result) { cancel() }})
	if report != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", report, err)
	}
}

func TestRunErrors(t *testing.T) {
	l := loopback(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), Target{Addr: l.Addr().String()}, Options{}); err == nil {
		t.Error("a server that is not there gives no error")
	}
	if _, err := Run(context.Background(), Target{}, Options{Match: regexp.MustCompile("no such case")}); err == nil {
		t.Error("no case gives no error")
	}
}

// TestTimeout: a server that says nothing cannot hold up a case.
func TestTimeout(t *testing.T) {
	silent := func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }
	target := Target{Addr: listen(t, loopback(t), silent)}
	begun := time.Now()
	report, err := Run(context.Background(), target, Options{Match: regexp.MustCompile(`^5\.2-text-1$`), Timeout: 100 * time.Millisecond})
	if err != nil || report.Failed != 1 || time.Since(begun) > 3*time.Second {
		t.Fatalf("%+v, %v, after %v", report, err, time.Since(begun))
	}
}
