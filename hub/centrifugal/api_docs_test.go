package centrifugal

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/engine"
)

var block = regexp.MustCompile("(?ms)^```sh\n(.*?)^```\n(?:```json\n(.*?)^```\n)?")

// TestAPIDocument runs the blocks of docs/HUB-API.md.
func TestAPIDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/HUB-API.md")
	must(t, err)
	mux := http.NewServeMux()
	n := serve(t, users(Config{Hub: spaces()}), engine.Config{HTTP: mux})
	api := n.API(APIConfig{Keys: []string{"k"}})
	mux.Handle("/api/", api)
	mux.Handle("/api", api)
	anna := n.user(formatJSON, "anna").in("news")

	b := &backend{t, "http" + strings.TrimSuffix(strings.TrimPrefix(n.url, "ws"), "/connection/websocket")}
	seen := map[string]bool{}
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		commands, answers := strings.Split(strings.TrimSpace(m[1]), "\n"), strings.Split(strings.TrimSpace(m[2]), "\n")
		if len(commands) != len(answers) {
			t.Fatalf("%d commands, and %d answers:\n%s", len(commands), len(answers), m[0])
		}
		for i, command := range commands {
			path, header, body := curl(t, command)
			seen[path] = true
			resp, got := b.do(http.MethodPost, path, strings.NewReader(body), func(h http.Header) {
				h.Del("X-API-Key")
				h.Set("Content-Type", "application/x-www-form-urlencoded") // as curl does
				name, value, _ := strings.Cut(header, ": ")
				h.Set(name, value)
			})
			if resp.StatusCode != http.StatusOK || !alike(t, answers[i], got) {
				t.Errorf("%s\n  got %s %s want %s", command, resp.Status, got, answers[i])
			}
		}
	}
	for name := range methods {
		if !seen["/api/"+name] {
			t.Errorf("the document has no example of %s", name)
		}
	}
	if !seen["/api/batch"] || !seen["/api"] {
		t.Error("the document has no example of a batch, or of a method in the body")
	}
	anna.expect(`news: 1 {"n":1}`, `news: 2 {"n":2}`, `news: 3 {"n":3}`, `message "lunch?"`, "news: 4 4", "sport: subscribe true 1",
		"sport: unsubscribe 2000 server unsubscribe", fmt.Sprintf("refresh true %d", seconds(ttlMax)))
	anna.over(Disconnect{4500, "logged out"})
}

// curl takes a command apart.
func curl(t *testing.T, command string) (path, header, body string) {
	t.Helper()
	var words []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	if len(words) != 6 || words[0] != "curl" || words[1] != "-H" || words[3] != "-d" {
		t.Fatalf("not curl -H HEADER -d BODY ADDRESS: %s", command)
	}
	path, ok := strings.CutPrefix(words[5], "http://127.0.0.1:8100")
	if !ok {
		t.Fatalf("another address: %s", command)
	}
	return path, words[2], words[4]
}
