package main

import (
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/conformance"
)

// refuser is a server that answers everything with the same line: it passes
// what is to be refused and fails what is not.
func refuser(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = nc.Read(make([]byte, 4096))
				_, _ = io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
				_ = nc.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func runWith(args ...string) (status int, stdout, stderr string) {
	var out, err strings.Builder
	status = run(args, &out, &err)
	return status, out.String(), err.String()
}

func TestStatus(t *testing.T) {
	addr := refuser(t)
	for _, c := range []struct {
		args   []string
		status int
		last   string // of the standard output
	}{
		{[]string{"-addr", addr, "-run", "^4.2.1-key-(missing|empty)$"}, statusPassed, "2 passed, 0 failed, 0 skipped"},
		{[]string{"-addr", addr, "-run", "^4.2.1-key-missing$|^5.2-text-1$"}, statusFailed, "1 passed, 1 failed, 0 skipped"},
		{[]string{"-addr", addr, "-tls", "-run", "^4.2.1-key-missing$"}, statusFailed, "0 passed, 1 failed, 0 skipped"},
		{[]string{"-addr", "127.0.0.1:1"}, statusFailed, ""},
		{nil, statusUsage, ""},
		{[]string{"-addr", "nowhere"}, statusUsage, ""},
		{[]string{"-addr", addr, "-path", "chat"}, statusUsage, ""},
		{[]string{"-addr", addr, "-run", "("}, statusUsage, ""},
		{[]string{"-addr", addr, "-run", "no such case"}, statusUsage, ""},
		{[]string{"-addr", addr, "-parallel", "0"}, statusUsage, ""},
		{[]string{"-addr", addr, "more"}, statusUsage, ""},
		{[]string{"-unknown"}, statusUsage, ""},
		{[]string{"-h"}, statusPassed, ""},
	} {
		status, stdout, stderr := runWith(c.args...)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		if status != c.status || lines[len(lines)-1] != c.last {
			t.Errorf("%q: status %d, output %q, errors %q", c.args, status, stdout, stderr)
		}
		if c.last == "" && stderr == "" {
			t.Errorf("%q: no word about what is wrong", c.args)
		}
	}
}

func TestJSON(t *testing.T) {
	addr := refuser(t)
	status, stdout, _ := runWith("-addr", addr, "-path", "/chat", "-json", "-run", "^4.2.1-key-missing$|^5.2-text-1$")
	var document struct {
		Addr, Path string
		conformance.Report
	}
	if err := json.Unmarshal([]byte(stdout), &document); err != nil {
		t.Fatal(err)
	}
	want := conformance.Result{ID: "5.2-text-1", Section: "RFC 6455 §5.2", Severity: conformance.Must, Verdict: conformance.Failed}
	got := document.Results[1]
	if got.Detail == "" || got.Doc == "" || got.Duration == 0 {
		t.Errorf("%+v is not complete", got)
	}
	got.Detail, got.Doc, got.Duration = "", "", 0
	if status != statusFailed || document.Addr != addr || document.Path != "/chat" || document.Failed != 1 || document.Passed != 1 || got != want {
		t.Errorf("status %d, %s", status, stdout)
	}
}

func TestList(t *testing.T) {
	status, stdout, _ := runWith("-list")
	if n := strings.Count(stdout, "\n"); status != statusPassed || n != len(conformance.Cases()) {
		t.Errorf("status %d, %d lines", status, n)
	}
}
