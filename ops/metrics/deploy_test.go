package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const deploy = "../../deploy/"

// known are all names that a query may have, with their labels.
func known(t *testing.T) map[string][]string {
	t.Helper()
	names := map[string][]string{"up": nil}
	c, _ := filled()
	for _, f := range c.families() {
		if !strings.HasSuffix(f.name, "_duration_seconds") {
			names[f.name] = f.labels
			continue
		}
		names[f.name+"_bucket"] = append(slices.Clone(f.labels), "le")
		names[f.name+"_count"], names[f.name+"_sum"] = f.labels, f.labels
	}
	_, _, scrape := serve(t)
	for _, m := range regexp.MustCompile(`(?m)^((?:go|process)_\w+)`).FindAllString(scrape(), -1) {
		names[m] = nil
	}
	return names
}

var (
	nameInQuery   = regexp.MustCompile(`\b(?:(?:sockmill|go|process)_\w+|up)\b`)
	labelsInQuery = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)|\{([^}]*)\}`)
	labelInQuery  = regexp.MustCompile(`(\w+)(?: *(?:=~|!~|!=|=) *"[^"]*")?`)
)

// check fails for names and labels that do not exist.
func check(t *testing.T, names map[string][]string, query string) {
	t.Helper()
	labels := []string{"job", "instance"} // of Prometheus itself
	for _, name := range nameInQuery.FindAllString(labelsInQuery.ReplaceAllString(query, ""), -1) {
		of, ok := names[name]
		if !ok {
			t.Errorf("there is no %s: %s", name, query)
		}
		labels = append(labels, of...)
	}
	for _, m := range labelsInQuery.FindAllStringSubmatch(query, -1) {
		for _, label := range labelInQuery.FindAllStringSubmatch(m[1]+m[2], -1) {
			if !slices.Contains(labels, label[1]) {
				t.Errorf("nothing here has the label %s: %s", label[1], query)
			}
		}
	}
}

type source struct{ Type, UID string }

type dashboard struct {
	Templating struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		Datasource  source
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct {
			Expr, RefID, LegendFormat string
			Datasource                source
		}
	}
}

// TestDashboard: all that the dashboard asks for exists, from whatever data source, and no panel lies on another.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(deploy + "grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if v := d.Templating.List[0]; v.Name != "datasource" || v.Type != "datasource" {
		t.Errorf("the first variable is %+v", v)
	}
	names, ids, taken, rows, asked := known(t), map[int]bool{}, map[[2]int]string{}, []string{}, map[string]bool{}
	for _, p := range d.Panels {
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if at[0] >= 24 || taken[at] != "" {
					t.Errorf("%s lies on %s", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if ids[p.ID] || p.GridPos.W*p.GridPos.H == 0 {
			t.Errorf("%s: %+v", p.Title, p)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if want := (source{"prometheus", "${datasource}"}); p.Datasource != want || target.Datasource != want {
				t.Errorf("%s: another data source: %+v", p.Title, target)
			}
			if !strings.Contains(target.Expr, `{job=~"$job", instance=~"$instance"`) {
				t.Errorf("%s: the variables do not count: %s", p.Title, target.Expr)
			}
			check(t, names, target.Expr)
			for _, name := range nameInQuery.FindAllString(target.Expr, -1) {
				asked[regexp.MustCompile(`_(bucket|count)$`).ReplaceAllString(name, "")] = true
			}
		}
	}
	if want := []string{"Connections", "Traffic", "Latency (with engine.Config.Timings)", "Loops", "Backpressure", "Handshakes and refusals", "Hub", "Broker", "Process"}; !slices.Equal(rows, want) {
		t.Errorf("the rows are %q", rows)
	}
	c, _ := filled()
	for _, f := range c.families() {
		if !asked[f.name] && !strings.HasPrefix(f.name, "sockmill_nats_") {
			t.Errorf("no panel shows %s", f.name)
		}
	}
}

// TestAlerts: what the alerts look at exists, and each has a test in which it fires. promtool runs them: e2e/metrics.test.mjs.
func TestAlerts(t *testing.T) {
	rules, err := os.ReadFile(deploy + "alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(deploy + "alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names, n := known(t), 0
	for _, rule := range strings.Split(string(rules), "- alert: ")[1:] {
		name, rest, _ := strings.Cut(rule, "\n")
		expr, rest, _ := strings.Cut(rest, "labels: {severity: ")
		_, expr, _ = strings.Cut(expr, "expr: ")
		check(t, names, expr)
		if severity, _, _ := strings.Cut(rest, "}"); severity != "page" && severity != "ticket" {
			t.Errorf("%s: severity %q", name, severity)
		}
		if !regexp.MustCompile(`alertname: ` + name + `\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels`).Match(tests) {
			t.Errorf("no test in which %s fires", name)
		}
		n++
	}
	if n < 20 {
		t.Errorf("found %d alerts", n)
	}
	for _, m := range regexp.MustCompile(`series: '([^']*)'`).FindAllStringSubmatch(string(tests), -1) {
		check(t, names, m[1])
	}
}

// TestNamesInDocuments: what the documents say of metrics exists, and docs/METRICS.md has all of them.
func TestNamesInDocuments(t *testing.T) {
	names := known(t)
	for name := range names {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && strings.HasSuffix(base, "_duration_seconds") {
				names[base] = nil
			}
		}
	}
	metric := regexp.MustCompile(`\bsockmill_\w+`)
	for _, pattern := range []string{"*.md", "*/*.md", "*/*/*.md"} {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range metric.FindAllString(string(text), -1) {
				if _, ok := names[name]; !ok && name != "sockmill_debug" { // the build tag
					t.Errorf("%s: there is no %s", path, name)
				}
			}
		}
	}
	page, err := os.ReadFile("../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	c, _ := filled()
	for _, f := range c.families() {
		kind := "gauge"
		switch {
		case strings.HasSuffix(f.name, "_total"):
			kind = "counter"
		case strings.HasSuffix(f.name, "_duration_seconds"):
			kind = "histogram"
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.name, kind, strings.Join(f.labels, ", "), f.help)
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/METRICS.md has no row\n%s", row)
		}
	}
}
