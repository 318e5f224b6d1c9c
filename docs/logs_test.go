package docs_test

import (
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logLine is a line that the code can log.
type logLine struct{ from, level, message string }

// logLevels are the methods of a zap.Logger that log.
var logLevels = map[string]string{"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error", "DPanic": "panic", "Panic": "panic", "Fatal": "fatal",
	"Log": "by cause", "Check": "by cause", "NewStdLogAt": "warn"}

// logCalls finds what a file logs, with the fields of each line, and the names of all its fields.
func logCalls(h *house, name string, f *ast.File, lines map[logLine][]string, names map[string]string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if key, ok := fieldName(call); ok {
				names[key] = where(h, name, call)
			}
		}
		fn, ok := n.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			return true
		}
		given := fieldVariables(fn)
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			level, message, fields, ok := logCall(call, given)
			if !ok {
				return true
			}
			line := logLine{path.Dir(name), level, message}
			for _, field := range fields {
				if !slices.Contains(lines[line], field) {
					lines[line] = append(lines[line], field)
				}
			}
			if lines[line] == nil {
				lines[line] = []string{}
			}
			return true
		})
		return true
	})
}

func where(h *house, name string, n ast.Node) string {
	return name + ":" + strconv.Itoa(h.fset.Position(n.Pos()).Line)
}

// logCall reads a call of a logger. Its message is "…" if it is no constant.
func logCall(call *ast.CallExpr, given map[string][]string) (level, message string, fields []string, ok bool) {
	sel, isSel := call.Fun.(*ast.SelectorExpr)
	if !isSel || logLevels[sel.Sel.Name] == "" || !isLogger(sel.X, sel.Sel.Name) {
		return "", "", nil, false
	}
	args := call.Args
	if sel.Sel.Name == "Log" || sel.Sel.Name == "Check" || sel.Sel.Name == "NewStdLogAt" {
		args = args[1:]
	}
	message = "…"
	if s, ok := text(args[0]); ok && s != "" {
		message = s
	}
	for _, a := range args[1:] {
		if key, ok := fieldName(a); ok {
			fields = append(fields, key)
		} else if id, ok := a.(*ast.Ident); ok {
			fields = append(fields, given[id.Name]...)
		}
	}
	return logLevels[sel.Sel.Name], message, fields, true
}

// isLogger reports whether an expression is a logger, as they are called here.
func isLogger(x ast.Expr, method string) bool {
	if method == "NewStdLogAt" {
		return true
	}
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "log"
	case *ast.SelectorExpr:
		return slices.Contains([]string{"log", "Logger", "seldom", "zap"}, x.Sel.Name)
	case *ast.CallExpr: // logs.Kind(log, …)
		sel, ok := x.Fun.(*ast.SelectorExpr)
		return ok && (sel.Sel.Name == "Kind" || sel.Sel.Name == "Logger" || isLogger(sel.X, "")) // log.With(…)
	}
	return false
}

// fieldVariables finds variables of a function that hold a field, and the names that it may have.
func fieldVariables(fn *ast.FuncDecl) map[string][]string {
	given := map[string][]string{}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
			for i := range a.Lhs {
				id, isName := a.Lhs[i].(*ast.Ident)
				if key, ok := fieldName(a.Rhs[i]); ok && isName {
					given[id.Name] = append(given[id.Name], key)
				}
			}
		}
		return true
	})
	return given
}

// fieldName is the name of the field that a call of zap makes.
func fieldName(x ast.Expr) (string, bool) {
	call, ok := x.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "zap" {
		return "", false
	}
	switch sel.Sel.Name {
	case "Error":
		return "error", true
	case "New", "NewStdLogAt", "NewAtomicLevelAt", "WrapCore", "IncreaseLevel", "AddStacktrace", "Must", "Fields":
		return "", false
	}
	if s, ok := text(call.Args[0]); ok {
		return s, true
	}
	if sel, ok := call.Args[0].(*ast.SelectorExpr); ok && sel.Sel.Name == "LeftOut" {
		return "left_out", true
	}
	return "", false
}

func text(x ast.Expr) (string, bool) {
	if lit, ok := x.(*ast.BasicLit); ok {
		s, err := strconv.Unquote(lit.Value)
		return s, err == nil
	}
	return "", false
}

var span1 = regexp.MustCompile("`([^`]+)`")

// tableOf returns the cells of the rows of a section of a document.
func tableOf(t *testing.T, document, section string) (rows [][]string) {
	t.Helper()
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(b), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", document, section)
	}
	body, _, _ = strings.Cut(body, "\n## ")
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "| ") {
			rows = append(rows, strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | "))
		}
	}
	return rows[min(len(rows), 1):]
}

// TestLogLines holds the table of docs/LOGS.md against what the code logs.
func TestLogLines(t *testing.T) {
	h := survey(t)
	lines, names := map[logLine][]string{}, map[string]string{}
	for name, f := range h.sources {
		top, _, _ := strings.Cut(name, "/")
		if slices.Contains([]string{"engine", "hub", "ops", "internal"}, top) && !strings.HasSuffix(name, "_test.go") {
			logCalls(h, name, f, lines, names)
		}
	}
	documented := map[logLine]bool{}
	for _, row := range tableOf(t, "LOGS.md", "All lines") {
		if len(row) != 6 {
			t.Errorf("a row has %d cells: %q", len(row), row)
			continue
		}
		m := span1.FindStringSubmatch(row[2])
		if m == nil {
			t.Errorf("a row has no line in backticks: %q", row)
			continue
		}
		line := logLine{row[0], row[1], m[1]}
		documented[line] = true
		fields, ok := lines[line]
		if !ok {
			t.Errorf("LOGS.md has a line that the code does not log so: %q", line)
			continue
		}
		var said []string
		for _, m := range span1.FindAllStringSubmatch(row[3], -1) {
			said = append(said, m[1])
		}
		if slices.Sort(fields); !slices.Equal(slices.Sorted(slices.Values(said)), fields) {
			t.Errorf("%q has the fields %q; LOGS.md says %q", line.message, fields, said)
		}
		if row[4] == "" || row[5] == "" {
			t.Errorf("LOGS.md does not say what %q means, and what to do", line.message)
		}
	}
	for line, fields := range lines {
		if !documented[line] {
			slices.Sort(fields)
			t.Errorf("LOGS.md lacks the row\n| %s | %s | `%s` | `%s` | … | … |", line.from, line.level, line.message, strings.Join(fields, "` `"))
		}
	}
	holdFields(t, names)
}

// holdFields holds the list of names of fields against those in use.
func holdFields(t *testing.T, names map[string]string) {
	t.Helper()
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	documented := map[string]bool{}
	for _, row := range tableOf(t, "LOGS.md", "Fields") {
		for _, m := range span1.FindAllStringSubmatch(row[0], -1) {
			documented[m[1]] = true
			if names[m[1]] == "" {
				t.Errorf("LOGS.md has the field %s, which no line has", m[1])
			}
		}
	}
	for key, at := range names {
		if !form.MatchString(key) {
			t.Errorf("%s: the field %q is not in small letters and _", at, key)
		}
		if !documented[key] {
			t.Errorf("%s: LOGS.md does not say what the field %s is", at, key)
		}
	}
}

// TestLogCallsAreFound: a call of a logger that the test above does not know would be
// missing in the page.
func TestLogCallsAreFound(t *testing.T) {
	h := survey(t)
	for name, f := range h.sources {
		top, _, _ := strings.Cut(name, "/")
		if !slices.Contains([]string{"engine", "hub", "ops"}, top) || strings.HasSuffix(name, "_test.go") {
			continue
		}
		inside := map[ast.Node]bool{} // fields of calls that are known
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if _, _, _, ok := logCall(call, nil); ok || isNamed(call, "Write", "Skip") {
				for _, a := range call.Args {
					inside[a] = true
				}
			}
			if _, ok := fieldName(call); ok && !inside[call] && !assigned(f, call) {
				t.Errorf("%s: this field is not given to a logger that the test knows", where(h, name, call))
			}
			return true
		})
	}
}

func isNamed(call *ast.CallExpr, names ...string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains(names, sel.Sel.Name)
}

// assigned reports whether an expression is assigned to a variable.
func assigned(f *ast.File, x ast.Expr) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && slices.Contains(a.Rhs, x) {
			found = true
		}
		return !found
	})
	return found
}
