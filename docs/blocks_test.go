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
