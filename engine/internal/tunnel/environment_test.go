package tunnel

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var _ Func = FromEnvironment

// TestFromEnvironment runs itself in processes of their own: the environment is
// read once.
func TestFromEnvironment(t *testing.T) {
	if targets := os.Getenv("SOCKMILL_TEST_TARGETS"); targets != "" {
		for s := range strings.FieldsSeq(targets) {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			proxy, err := FromEnvironment(u)
			fmt.Println("->", u, proxy, err) // u must be what it was
		}
		return
	}
	plain, secure, none := "http://u:p@plain:3128", "https://secure", "<nil>"
	for _, tt := range []struct {
		env  []string
		want map[string]string
	}{
		{
			[]string{"HTTP_PROXY=u:p@plain:3128", "https_proxy=" + secure, "NO_PROXY=b.example,.c.example,192.0.2.0/24,d.example:81"},
			map[string]string{
				"ws://a.example/path": plain, "text://a.example:1": plain, "frame://a.example:1": plain, "tcp://a.example:1": plain,
				"wss://a.example/path": secure, "tls://a.example:1": secure,
				"ws://b.example": none, "wss://x.b.example": none, "tcp://x.c.example:1": none, "tls://192.0.2.7:1": none,
				"ws://192.0.3.7": plain, "tcp://d.example:81": none, "ws://d.example": plain,
				"ws://localhost:1": none, "wss://127.0.0.1": none, "ws://[::1]:80": none,
				"unix:///a": none, "ws+unix:///a": none,
			},
		},
		{[]string{"NO_PROXY="}, map[string]string{"ws://a.example": none, "wss://a.example": none}},
		{[]string{"HTTP_PROXY=socks5://s:1"}, map[string]string{"ws://a.example": "socks5://s:1", "wss://a.example": none}},
		{
			[]string{"HTTP_PROXY=plain", "HTTPS_PROXY=secure", "REQUEST_METHOD=GET"},
			map[string]string{
				"ws://a.example":  "<nil> tunnel: refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy",
				"wss://a.example": "http://secure",
			},
		},
	} {
		var targets, want []string
		for target, proxy := range tt.want {
			if !strings.Contains(proxy, " ") {
				proxy += " <nil>"
			}
			targets, want = append(targets, target), append(want, "-> "+target+" "+proxy)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestFromEnvironment$")
		cmd.Env = slices.Concat(tt.env, []string{"SOCKMILL_TEST_TARGETS=" + strings.Join(targets, " ")})
		out, err := cmd.CombinedOutput()
		got := slices.DeleteFunc(strings.Split(string(out), "\n"), func(s string) bool { return !strings.HasPrefix(s, "->") })
		if !slices.Equal(got, want) || err != nil {
			t.Errorf("%q: %v\n%s\nwant\n%s", tt.env, err, out, strings.Join(want, "\n"))
		}
	}
}
