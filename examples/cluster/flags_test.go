package main

import (
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/examples/hub/app"
)

// read reads flags as the program does.
func read(t *testing.T, args string) (*cluster, error) {
	t.Helper()
	c, f := &cluster{}, flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	c.Flags(f)
	if err := f.Parse(strings.Fields(args)); err != nil {
		return nil, err
	}
	return c, c.Check()
}

func TestWrongFlags(t *testing.T) {
	for args, says := range map[string]string{
		"":                                                           "-node is missing: each node has a name of its own",
		"-node a -urls 127.0.0.1:1":                                  `-urls has "127.0.0.1:1": each must be http://HOST:PORT`,
		"-node a -nats n -store s":                                   "-nats and -store exclude each other",
		"-node a -nats n -cluster-listen h:1":                        "-nats and -cluster-listen exclude each other",
		"-node a -nats n -cluster-peers h:1":                         "-nats and -cluster-peers exclude each other",
		"-node a -nats n -cluster-secret s":                          "-nats and -cluster-secret exclude each other",
		"-node a -nats n -nats-listen h:1":                           "-nats and -nats-listen exclude each other",
		"-node a -nats-creds f":                                      "-nats-creds and -nats-ca need -nats",
		"-node a -nats-user u":                                       "-nats-user and -nats-password belong together",
		"-node a -nats-user u -nats-password p":                      "-nats-user needs -nats or -nats-listen",
		"-node a -cluster-listen h:1":                                "-cluster-listen and -cluster-peers belong together",
		"-node a -cluster-peers h:1":                                 "-cluster-listen and -cluster-peers belong together",
		"-node a -cluster-cert f":                                    "-cluster-cert, -cluster-key and -cluster-ca belong together",
		"-node a -nats-listen h":                                     `-nats-listen has "h": it must be HOST:PORT`,
		"-node a -cluster-listen h -cluster-peers p:1":               `-cluster-listen has "h": it must be HOST:PORT`,
		"-node a -cluster-listen h:1 -cluster-peers p:1,":            `-cluster-peers has "": it must be HOST:PORT`,
		"-node a -cluster-listen 0.0.0.0:1 -cluster-peers p:1":       "-cluster-listen is 0.0.0.0:1: it must be the address at which the others reach this node",
		"-node a -cluster-listen :1 -cluster-peers p:1":              "-cluster-listen is :1: it must be",
		"-node a -cluster-listen h:1 -cluster-peers p:1 -replicas 3": "-replicas is 3: there are only 2 nodes",
	} {
		if _, err := read(t, args); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", args, err, says)
		}
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]struct {
		nodes, replicas int
		peers           string
	}{
		"-node a": {1, 1, ""},
		"-node a -cluster-listen h:1 -cluster-peers h:2":                 {2, 1, "h:2"},
		"-node a -cluster-listen h:1 -cluster-peers h:3,h:1,h:2,h:3":     {3, 3, "h:2,h:3"},
		"-node a -cluster-listen h:1 -cluster-peers h:2,h:3,h:4,h:5":     {5, 3, "h:2,h:3,h:4,h:5"},
		"-node a -cluster-listen h:1 -cluster-peers h:2,h:3 -replicas 1": {3, 1, "h:2,h:3"},
	} {
		c, err := read(t, args)
		if err != nil || c.nodes() != want.nodes || c.replicas != want.replicas || strings.Join(c.peers, ",") != want.peers {
			t.Errorf("%s: %+v, %v", args, c, err)
		}
	}
	c, err := read(t, "-node a -nats nats://h -nats-user u -nats-password p -nats-creds f -nats-ca g -urls http://a,http://b/")
	if err != nil || len(c.options()) != 3 || !slices.Equal(c.URLs(), []string{"http://a", "http://b"}) {
		t.Errorf("%+v, %v", c, err)
	}
	f := flag.NewFlagSet("", flag.ContinueOnError)
	c.Flags(f)
	f.VisitAll(func(f *flag.Flag) {
		if f.Usage == "" {
			t.Errorf("-%s is not explained", f.Name)
		}
	})
}

// fails runs the program, and wants it to end with an error that says so.
func fails(t *testing.T, says string, args ...string) {
	t.Helper()
	signals := make(chan os.Signal, 1)
	defer time.AfterFunc(patience, func() { signals <- os.Interrupt }).Stop()
	err := app.Run(signals, "cluster", &cluster{}, append([]string{"-listen", "ws://127.0.0.1:0"}, args...), io.Discard)
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%q: %v, want %s", args, err, says)
	}
}

func TestWrongFiles(t *testing.T) {
	none := t.TempDir() + "/none"
	fails(t, "-cluster-cert and -cluster-key: open "+none, "-node", "a", "-cluster-cert", none, "-cluster-key", none, "-cluster-ca", none)
}
