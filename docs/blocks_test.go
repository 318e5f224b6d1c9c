package docs_test

import (
	"go/format"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// TestProgramInREADME: the first program there is examples/hello.
func TestProgramInREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("../examples/hello/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(string(program), "\npackage main\n")
	block := goBlock.FindSubmatch(readme)
	if block == nil || string(block[1]) != "package main\n"+want {
		t.Errorf("the first program of README.md is not examples/hello/main.go:\n%s", block)
	}
}

// TestGoInDocuments: what is marked as Go is Go: a file, statements, or fields of
// a struct.
func TestGoInDocuments(t *testing.T) {
	for name := range survey(t).files {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range goBlock.FindAllStringSubmatch(string(text), -1) {
			code := strings.ReplaceAll(m[1], "…", "")
			if _, err := format.Source([]byte(code)); err != nil {
				if _, err := format.Source([]byte("var _ = t{\n" + code + "}")); err != nil {
					t.Errorf("%s: %v in\n%s", name, err, m[1])
				}
			}
		}
	}
}

// TestPagesShowFiles: what these pages show of a configuration stands so in the file in deploy, but for the indentation.
func TestPagesShowFiles(t *testing.T) {
	var page []byte
	for _, name := range []string{"PROXIES.md", "OPERATIONS.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		page = append(page, text...)
	}
	files := map[string]string{"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddyfile": "Caddyfile", "yaml": "envoy.yaml", "ini": "echo.service"}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```").FindAllStringSubmatch(string(page), -1) {
		if m[1] == "go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("../deploy", files[m[1]]))
		if err != nil {
			t.Fatalf("a block of %s: %v", m[1], err)
		}
		shown[m[1]] = true
		if !standsIn(strings.Split(strings.TrimSpace(m[2]), "\n"), strings.Split(string(text), "\n")) {
			t.Errorf("deploy/%s does not say\n%s", files[m[1]], m[2])
		}
	}
	if len(shown) != len(files) {
		t.Errorf("only these are shown: %v", shown)
	}
}

// standsIn reports whether the lines follow each other in text, all indented by the same.
func standsIn(lines, text []string) bool {
	for i, first := range text {
		indent, ok := strings.CutSuffix(first, lines[0])
		if !ok || strings.TrimSpace(indent) != "" || i+len(lines) > len(text) {
			continue
		}
		same := true
		for k, line := range lines {
			same = same && text[i+k] == indent+line
		}
		if same {
			return true
		}
	}
	return false
}
