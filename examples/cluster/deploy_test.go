package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sockmill/sockmill/examples/hub/app"
)

// checked is a cluster that ends the program when its flags have been found good.
type checked struct{ cluster }

var errGood = errors.New("the flags are good")

func (*checked) Start(context.Context, app.Settings) (*app.Node, error) { return nil, errGood }

// accepted runs the program with these flags, on a port of its own and without one for operators, and returns what it made of them.
func accepted(t *testing.T, args []string) *cluster {
	t.Helper()
	c := &checked{}
	args = append(slices.Clone(args), "-listen", "ws://127.0.0.1:0", "-admin", "")
	if err := app.Run(make(chan os.Signal), "cluster", c, args, io.Discard); !errors.Is(err, errGood) {
		t.Errorf("%q: %v", args, err)
	}
	return &c.cluster
}

// endsIn fails if there is less time for the end than the flags and the rest take.
func endsIn(t *testing.T, given time.Duration, args []string) {
	t.Helper()
	need := 19 * time.Second // the rest: see the constants of package app
	for _, a := range args {
		for _, name := range []string{"-unready-for=", "-drain="} {
			if v, ok := strings.CutPrefix(a, name); ok {
				d, err := time.ParseDuration(v)
				if err != nil {
					t.Fatal(err)
				}
				need += d
			}
		}
	}
	if given < need || need < 40*time.Second {
		t.Errorf("there are %v for the end, which takes up to %v", given, need)
	}
}

// statefulSet is as much of the manifest as the test looks at.
type statefulSet struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Replicas    int
		ServiceName string `yaml:"serviceName"`
		Template    struct {
			Spec struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Args []string
					Env  []struct{ Name string }

					Ports []struct {
						ContainerPort int `yaml:"containerPort"`
					}
					ReadinessProbe, LivenessProbe struct {
						HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
					} `yaml:",omitempty"`
				}
			}
		}
	}
}

func TestKubernetesManifest(t *testing.T) {
	f, err := os.Open("../../deploy/kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var s statefulSet
	for d := yaml.NewDecoder(f); s.Kind != "StatefulSet"; {
		s = statefulSet{}
		if err := d.Decode(&s); err != nil {
			t.Fatal(err)
		}
	}
	pod := s.Spec.Template.Spec
	for _, env := range pod.Containers[0].Env {
		if strings.HasPrefix(env.Name, "HUB_") {
			t.Setenv(env.Name, "secret")
		}
	}
	var listen []string
	for i := range s.Spec.Replicas {
		name := fmt.Sprintf("%s-%d", s.Metadata.Name, i)
		var args []string
		for _, a := range pod.Containers[0].Args {
			args = append(args, strings.NewReplacer("$(NODE)", name, "$(NAMESPACE)", "default").Replace(a))
		}
		c := accepted(t, args)
		if c.node != name || c.nodes() != s.Spec.Replicas || c.replicas != 3 || c.store == "" || c.secret != "secret" {
			t.Errorf("%q: %+v", args, c)
		}
		if !strings.HasPrefix(c.listen, name+"."+s.Spec.ServiceName+".") || !strings.HasSuffix(c.listen, ":"+strconv.Itoa(pod.Containers[0].Ports[1].ContainerPort)) {
			t.Errorf("%s listens for the others at %s", name, c.listen)
		}
		if listen = append(listen, c.listen); !slices.Contains(args, "-listen=ws://:"+strconv.Itoa(pod.Containers[0].Ports[0].ContainerPort)) {
			t.Errorf("%s does not listen at the port of the container", name)
		}
		endsIn(t, time.Duration(pod.Grace)*time.Second, args)
	}
	slices.Sort(listen)
	if len(slices.Compact(listen)) != s.Spec.Replicas {
		t.Errorf("the nodes are at %q", listen)
	}
}

func TestUnitOfSystemd(t *testing.T) {
	env, err := os.ReadFile("../../deploy/hub.env")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			t.Setenv(name, value)
		}
	}
	unit, err := os.ReadFile("../../deploy/hub.service")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) string {
		_, rest, ok := strings.Cut(string(unit), "\n"+name+"=")
		if !ok {
			t.Fatalf("the unit has no %s", name)
		}
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
	t.Setenv("STATE_DIRECTORY", "/var/lib/hub")
	args := strings.Fields(os.ExpandEnv(field("ExecStart")))[1:]
	c := accepted(t, args)
	if c.node != "a" || c.nodes() != 3 || c.replicas != 3 || c.store != "/var/lib/hub" || c.secret == "" {
		t.Errorf("%+v", c)
	}
	seconds, err := strconv.Atoi(field("TimeoutStopSec"))
	if err != nil {
		t.Fatal(err)
	}
	endsIn(t, time.Duration(seconds)*time.Second, args)
}
