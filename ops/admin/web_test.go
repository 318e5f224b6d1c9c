package admin

import (
	"io/fs"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

// The policy forbids scripts and styles in the markup, and everything from elsewhere. The page must do without; and what peers sent must not become
// markup.
func TestPageNeedsNothingThatItsPolicyForbids(t *testing.T) {
	inMarkup := regexp.MustCompile(`(?i)\s(style|on[a-z]+)=|<style|<script(?:\s+[^>]*)?>[^<]|javascript:|https?://|src="//`)
	inScripts := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTML|DOMParser|createContextualFragment|https?://`)
	files, err := fs.Glob(web, "web/*")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := fs.ReadFile(web, file)
		if err != nil {
			t.Fatal(err)
		}
		content = []byte(strings.ReplaceAll(string(content), "http://www.w3.org/2000/svg", "")) // a name, which is not fetched
		forbidden := map[string]*regexp.Regexp{".html": inMarkup, ".js": inScripts, ".css": regexp.MustCompile(`url\(|@import`), ".svg": regexp.MustCompile(`<script|href`)}[path.Ext(file)]
		if forbidden == nil {
			t.Fatalf("%s: no rule for such files", file)
		}
		if found := forbidden.FindString(string(content)); found != "" {
			t.Errorf("%s has %q", file, found)
		}

		got := httptest.NewRecorder()
		name := strings.TrimPrefix(file, "web/")
		if name == "index.html" {
			name = ""
		}
		page().ServeHTTP(got, httptest.NewRequest("GET", "/"+name, nil))
		policy := got.Header().Get("Content-Security-Policy")
		if got.Code != 200 || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || got.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: status %d, %v", file, got.Code, got.Header())
		}
	}
}

// What the page gives an id in its markup is what its scripts look for.
func TestPageHasTheElementsThatItsScriptsLookFor(t *testing.T) {
	markup, err := fs.ReadFile(web, "web/index.html")
	if err != nil {
		t.Fatal(err)
	}
	scripts, _ := fs.Glob(web, "web/*.js")
	uses := regexp.MustCompile(`\$\('([a-z-]+)'\)`)
	looked := 0
	for _, file := range scripts {
		content, err := fs.ReadFile(web, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, use := range uses.FindAllStringSubmatch(string(content), -1) {
			looked++
			if !strings.Contains(string(markup), ` id="`+use[1]+`"`) {
				t.Errorf("%s looks for #%s", file, use[1])
			}
		}
		if !strings.Contains(string(markup), `"`+path.Base(file)+`"`) {
			t.Errorf("index.html does not load %s ahead", file)
		}
	}
	if looked < 50 {
		t.Errorf("only %d uses were found: the pattern is wrong", looked)
	}
}
