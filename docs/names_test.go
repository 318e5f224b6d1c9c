// Package docs_test holds the documents, and the comments in the code, against
// the repository: every Go identifier, flag, make target, file and section that
// they name must exist.
package docs_test

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// TestNamesInComments looks at all comments in Go code.
func TestNamesInComments(t *testing.T) {
	h := survey(t)
	defer h.report(t)
	word := regexp.MustCompile(`[A-Za-z_][\w./-]*[\w]`)
	address := regexp.MustCompile(`\w+://\S+|"[^"]*"|\S+=( |$)`) // of base64 too
	for name, f := range h.sources {
		own := map[string]bool{} // parameters and the like
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				own[id.Name] = true
			}
			return true
		})
		for _, group := range f.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:") || strings.HasPrefix(c.Text, "//nolint") {
					continue
				}
				for _, w := range word.FindAllString(address.ReplaceAllString(c.Text, " "), -1) {
					if first, _, _ := strings.Cut(w, "."); !own[w] && (plain.MatchString(w) || !own[first] || unicode.IsUpper(rune(w[0]))) {
						h.check(name+":"+strconv.Itoa(h.fset.Position(c.Pos()).Line), w)
					}
				}
			}
		}
	}
}

// TestNamesInDocuments looks at code, commands and links in all Markdown files.
func TestNamesInDocuments(t *testing.T) {
	h := survey(t)
	defer h.report(t)
	for name := range h.files {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		h.document(name, string(text))
	}
}

// TestWrongNamesAreFound shows that the tests above can fail.
func TestWrongNamesAreFound(t *testing.T) {
	h := survey(t)
	lines := strings.Split(strings.TrimSpace(`
`+"`Conn.lost`\n`Engine.checkOrigin`\n`TestAdopt`\n`c.Sent`\n`engine.Nothing(1)`\n`sendBytesMost`\n`codec/nothing.go`\n`make nothing`\n"+
		"`-nothing`\n`jobUndone`\n`go test ./engine -nothing`\n`go run ./examples/nothing`\n"+`
[a file](nothing.md)
[a section](LIMITS.md#nothing)
    make test NOTHING=1`), "\n")
	for i, line := range lines {
		h.found = nil
		if h.document("docs/ARCHITECTURE.md", line); len(h.found) == 0 && line != "" {
			t.Errorf("line %d, %q: nothing was found", i, line)
		}
	}
	h.found = nil
	if h.document("docs/ARCHITECTURE.md", "`Conn.Send` in `engine/send.go`, `make test`, `-deflate`, [limits](LIMITS.md#fields-of-config)"); len(h.found) != 0 {
		t.Error(h.found)
	}
}

// report fails the test for all that was found.
func (h *house) report(t *testing.T) {
	t.Helper()
	for _, f := range h.found {
		t.Error(f)
	}
	if len(h.found) > 0 {
		t.Log("a name of another project's goes into foreign, in survey_test.go")
	}
}

var (
	span    = regexp.MustCompile("`([^`]+)`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// document looks at one Markdown file, line by line. What a changelog says of
// things that were removed or renamed, and the first column of a table for
// those who come from another library, name what is not here.
func (h *house) document(name, text string) {
	section, fence := "", ""
	for i, line := range strings.Split(text, "\n") {
		where := name + ":" + strconv.Itoa(i+1)
		if rest, ok := strings.CutPrefix(line, "```"); ok {
			if fence == "" {
				fence = rest + " "
			} else {
				fence = ""
			}
			continue
		}
		switch m := heading.FindStringSubmatch(line); {
		case fence == "sh " || fence == "" && strings.HasPrefix(line, "    "):
			h.command(where, strings.TrimSpace(line))
			continue
		case fence == "go ":
			for _, w := range regexp.MustCompile(`[A-Za-z]\w*(\.[A-Za-z]\w*)+`).FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(line, ""), -1) {
				h.check(where, w)
			}
			continue
		case fence != "":
			continue
		case m != nil:
			section = m[1]
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			h.link(where, name, m[1])
		}
		if section == "Removed" || section == "Changed" {
			continue
		}
		if strings.HasPrefix(section, "Coming from ") || strings.HasPrefix(section, "From ") {
			if _, rest, ok := strings.Cut(strings.TrimPrefix(line, "|"), "|"); ok && strings.HasPrefix(line, "|") {
				line = rest
			}
		}
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			if strings.Contains(m[1], " ") {
				h.command(where, m[1])
			}
			if name == "docs/ARCHITECTURE.md" && plain.MatchString(m[1]) && !h.names[m[1]] && !h.suffixes[m[1]] && !foreign[m[1]] {
				h.wrong(where, "names %s: nothing of that name is declared", m[1])
			}
			if flag, _, _ := strings.Cut(m[1], "="); h.noFlag(strings.Fields(flag)[0]) {
				h.wrong(where, "names the flag %s: there is none", flag)
			}
			for _, w := range strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(" ,;{}[]()=\"'…<>|:$", r) }) {
				h.check(where, w)
			}
		}
	}
}

// link checks that the file and the section that a link leads to exist.
func (h *house) link(where, from, to string) {
	if strings.Contains(to, "://") {
		return
	}
	to, anchor, _ := strings.Cut(to, "#")
	if to == "" {
		to = from
	} else {
		to = path.Join(path.Dir(from), to)
	}
	if !h.files[to] {
		h.wrong(where, "leads to %s: there is no such file", to)
		return
	}
	if anchor == "" {
		return
	}
	text, err := os.ReadFile(filepath.Join("..", to))
	if err != nil {
		h.wrong(where, "leads to %s#%s: %v", to, anchor, err)
		return
	}
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		if slug(m[1]) == anchor {
			return
		}
	}
	h.wrong(where, "leads to %s#%s: there is no such section", to, anchor)
}

// slug is the name that GitHub gives to a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, heading)
}

// goFlags are those of the go command and of its tests.
var goFlags = words("help run bench benchtime count cpu tags race v timeout fuzz fuzztime list coverprofile html func f o json test")

// noFlag reports whether arg looks like a flag and is one of no program here.
func (h *house) noFlag(arg string) bool {
	flag, ok := strings.CutPrefix(arg, "-")
	return ok && flag != "" && unicode.IsLower(rune(flag[0])) && !h.flags[flag] && !goFlags[flag]
}

// command checks the targets, directories and flags of a command line that
// runs make or go.
func (h *house) command(where, line string) {
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, " |")
	_, after, ok := strings.Cut(line, "cd bench && ")
	if ok {
		line = after
	}
	args := strings.Fields(strings.NewReplacer(`"`, " ", `'`, " ", "=-", " -", "[", " ", "]", " ").Replace(line))
	for len(args) > 0 && regexp.MustCompile(`^[A-Z_0-9]+=`).MatchString(args[0]) {
		args = args[1:] // of the environment
	}
	if len(args) < 2 || args[0] != "make" && args[0] != "go" {
		return
	}
	for i, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch {
		case args[0] == "make" && !strings.HasPrefix(arg, "-") && (i == 0 || value != "" || strings.HasSuffix(arg, "=")):
			if !h.targets[name] {
				h.wrong(where, "names make %s: there is no such target or variable", name)
			}
		case h.noFlag(name):
			h.wrong(where, "names the flag %s: there is none", name)
		case strings.HasPrefix(arg, "./") && arg != "./...":
			dir := strings.TrimSuffix(strings.TrimPrefix(arg, "./"), "/...")
			if !h.files[dir] && !h.files["bench/"+dir] {
				h.wrong(where, "names %s: there is no such directory", arg)
			}
		}
	}
}
