package nats

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

func TestConfigErrorsNameFieldAndRange(t *testing.T) {
	t.Parallel()
	const url = "nats://127.0.0.1:1"
	for want, cfg := range map[string]Config{
		"nats: exactly one of Config.URL and Config.Server must be set":                          {Node: "a"},
		"nats: exactly one of Config.URL and Config.Server must be set ":                         {Node: "a", URL: url, Server: &server.Server{}},
		`nats: Config.Node is "": it must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -`:   {URL: url},
		`nats: Config.Node is "a.b": `:                                                           {URL: url, Node: "a.b"},
		`nats: Config.Node is "` + strings.Repeat("n", 65) + `": `:                               {URL: url, Node: strings.Repeat("n", 65)},
		`nats: Config.Prefix is "a b": it must be 1 to 32 of `:                                   {URL: url, Node: "a", Prefix: "a b"},
		"nats: Config.Shards is 65537: it must be from 1 to 65536, or 0 for the default":         {URL: url, Node: "a", Shards: 65537},
		"nats: Config.Streams is -1: it must be from 1 to 64, ":                                  {URL: url, Node: "a", Streams: -1},
		"nats: Config.Replicas is 2: it must be 1, 3 or 5":                                       {URL: url, Node: "a", Replicas: 2},
		"nats: Config.Replicas is 7: it must be from 1 to 5, ":                                   {URL: url, Node: "a", Replicas: 7},
		"nats: Config.Publications is 1000001: ":                                                 {URL: url, Node: "a", Publications: 1_000_001},
		"nats: Config.Lifetime is 59s: it must be at least 1m0s, or 0 for the default":           {URL: url, Node: "a", Lifetime: 59 * time.Second},
		"nats: Config.BytesMax is 1: it must be at least 1048576, ":                              {URL: url, Node: "a", BytesMax: 1},
		"nats: Config.PublishTimeout is 1ms: it must be from 10ms to 1m0s, or 0 for the default": {URL: url, Node: "a", PublishTimeout: time.Millisecond},
		"nats: Config.Grace is -1s: ":                                                            {URL: url, Node: "a", Grace: -time.Second},
		"nats: Config.NodeLifetime is 1ms: it must be from 100ms to 1h0m0s, ":                    {URL: url, Node: "a", NodeLifetime: time.Millisecond},
		"nats: Config.AskTimeout is 1ms: ":                                                       {URL: url, Node: "a", AskTimeout: time.Millisecond},
		"nats: Config.CompareEvery is 1ms: ":                                                     {URL: url, Node: "a", CompareEvery: time.Millisecond},
		"nats: Config.PresenceBytesMax is 4095: it must be at least 4096, ":                      {URL: url, Node: "a", PresenceBytesMax: 4095},
		"nats: cannot connect to nats://127.0.0.1:1: ":                                           {URL: url, Node: "a"},
		"nats: cannot connect to nats://me:xxxxx@127.0.0.1:1, nats://127.0.0.1:2: ":              {URL: "nats://me:secret@127.0.0.1:1, 127.0.0.1:2", Node: "a"},
		"nats: Config.URL is not a URL: net/url: invalid control character":                      {URL: "nats://\x7f:secret", Node: "a"},
		"nats: cannot connect to nats://127.0.0.1:1: nats: invalid name":                         {URL: url, Node: "a", Options: []natsgo.Option{func(*natsgo.Options) error { return errors.New("nats: invalid name") }}},
	} {
		if _, err := New(ctx, cfg); err == nil || !strings.HasPrefix(err.Error(), strings.TrimSpace(want)) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := New(ended, Config{URL: url, Node: "a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// TestServersThatAreRefused: New says why.
func TestServersThatAreRefused(t *testing.T) {
	t.Parallel()
	guarded := start(t, func(o *server.Options) {
		p := func(publish, subscribe string) *server.Permissions {
			return &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{publish}}, Subscribe: &server.SubjectPermission{Allow: []string{subscribe}}}
		}
		o.Users = []*server.User{
			{Username: "good", Password: "secret"},
			{Username: "reader", Password: "secret", Permissions: p("nothing", ">")},
			{Username: "writer", Password: "secret", Permissions: p(">", "nothing")},
		}
	})
	for want, url := range map[string]string{
		"nats: cannot connect to nats://good:xxxxx@HOST: nats: Authorization Violation":                               "nats://good:bad@HOST",
		"nats: cannot connect to nats://HOST: nats: Authorization Violation":                                          "nats://HOST",
		`nats: nats://reader:xxxxx@HOST does not allow what is needed: nats: permissions violation: Permissions Viol`: "nats://reader:secret@HOST",
		`nats: nats://writer:xxxxx@HOST does not allow what is needed: nats: permissions violation: Permissions viol`: "nats://writer:secret@HOST",
		`nats: nats://OLD has the version "2.10.29": it must be at least 2.11`:                                        "nats://" + impostor(t, "2.10.29"),
		`nats: nats://OLD has the version "1.99.0": it must be at least 2.11`:                                         "nats://" + impostor(t, "1.99.0"),
		`nats: nats://OLD has the version "": it must be at least 2.11`:                                               "nats://" + impostor(t, ""),
	} {
		host := strings.TrimPrefix(guarded.ClientURL(), "nats://")
		_, old, _ := strings.Cut(url, "nats://")
		want = strings.NewReplacer("HOST", host, "OLD", old).Replace(want)
		url = strings.ReplaceAll(url, "HOST", host)
		if _, err := New(ctx, Config{URL: url, Node: "a", NoHistory: true}); err == nil || !strings.HasPrefix(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%s: error %v, want %s", url, err, want)
		}
	}
	b := open(t, Config{URL: guarded.ClientURL(), Options: []natsgo.Option{natsgo.UserInfo("good", "secret")}, Node: "a", NoHistory: true})
	if err := b.Health(); err != nil {
		t.Error(err)
	}
}

// impostor speaks as much of NATS as it takes to be asked for its version.
func impostor(t *testing.T, version string) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"version\":%q,\"headers\":true,\"max_payload\":1024}\r\n", version)
			for lines := bufio.NewScanner(c); lines.Scan(); {
				if lines.Text() == "PING" {
					_, _ = fmt.Fprint(c, "PONG\r\n")
				}
			}
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}
