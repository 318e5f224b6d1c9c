package docs_test

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestRunbook: the runbook has a section for each alert and for each reason of a refusal, and the lines of the log that it shows are those of
// the code. That the metrics in it exist is a test of ops/metrics; flags, files and sections are looked for as in all documents.
func TestRunbook(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page := read("RUNBOOK.md")

	_, table, _ := strings.Cut(page, "\n## Alerts\n")
	rows, alerts := regexp.MustCompile("(?m)^\\| `(Sockmill\\w+)` \\| \\[[^]]+\\]\\(#[^)]+\\) \\|$").FindAllStringSubmatch(table, -1), 0
	for i, m := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(read("../deploy/alerts.yaml"), -1) {
		alerts++
		if i >= len(rows) || rows[i][1] != m[1] {
			t.Fatalf("row %d of the alerts is not %s, as in deploy/alerts.yaml: %q", i, m[1], rows)
		}
	}
	if alerts == 0 || len(rows) != alerts {
		t.Errorf("%d rows for %d alerts", len(rows), alerts)
	}

	_, limits, _ := strings.Cut(page, "\n## Clients get 429 or 503\n")
	limits, _, _ = strings.Cut(limits, "\n## ")
	reasons := regexp.MustCompile(`\{"([a-z_]+)", (429|503),`).FindAllStringSubmatch(read("../engine/internal/admit/refusal.go"), -1)
	for _, m := range reasons {
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + m[1] + "`[^|]*\\(" + m[2] + "\\) \\|").MatchString(limits) {
			t.Errorf("the table of limits does not have the reason %s (%s)", m[1], m[2])
		}
	}
	if len(reasons) < 5 {
		t.Errorf("there are %d reasons of refusals", len(reasons))
	}

	said := literals(survey(t))
	lines := regexp.MustCompile("`\"([^`\"]+)\"`").FindAllStringSubmatch(page, -1)
	for _, m := range lines {
		if !strings.Contains(said, m[1]) {
			t.Errorf("nothing in the code says %q", m[1])
		}
	}
	if len(lines) < 10 {
		t.Errorf("%d lines of the log are shown", len(lines))
	}
}

// literals are all strings in the code but for tests, each in a line.
func literals(h *house) string {
	var all strings.Builder
	for name, f := range h.sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					all.WriteString(s + "\n")
				}
			}
			return true
		})
	}
	return all.String()
}
