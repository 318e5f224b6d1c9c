package peers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

type program struct {
	path    string
	version func() (absent bool, err error)
}

// programs are the peers.
var programs = map[string]program{}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		panic(err)
	}
	add := func(name, path string) {
		programs[name] = program{path, sync.OnceValues(func() (bool, error) { return version(name, path) })}
	}
	var packages []string
	for _, name := range []string{"cluster", "coder", "gobwas", "gorilla", "gws", "hub", "nbio", "sockmill"} {
		packages = append(packages, "./"+name)
		add(name, filepath.Join(dir, name))
	}
	build := exec.Command("go", append([]string{"build", "-o", dir}, packages...)...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	for _, name := range []string{"bun", "centrifugo", "node-ws"} {
		add(name, filepath.Join(name, "run"))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// hubs are the peers that speak the Centrifugal protocol, and nothing else.
var hubs = []string{"hub", "cluster", "centrifugo"}

// each runs f for every peer that is there, but for the hubs.
func each(t *testing.T, f func(t *testing.T, name string)) { eachOf(t, false, f) }

// eachOf runs f for every peer that is there, and is one of the hubs or not. One that
// peers/install.sh has not installed must say what it lacks, and that is then all of its test.
func eachOf(t *testing.T, hub bool, f func(t *testing.T, name string)) {
	for name, p := range programs {
		if slices.Contains(hubs, name) != hub {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switch absent, err := p.version(); {
			case err != nil:
				t.Fatal(err)
			case absent:
				t.Log("absent")
			default:
				f(t, name)
			}
		})
	}
}

// version checks that -version tells the name, the library and its version, or
// that the program says what is missing.
func version(name, path string) (absent bool, err error) {
	var stderr bytes.Buffer
	cmd := exec.Command(path, "-version")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if filepath.Base(path) == "run" && errors.As(err, &exit) && exit.ExitCode() == 3 {
		if !strings.HasPrefix(stderr.String(), name+": ") {
			return true, fmt.Errorf("absent, and stderr is %q: it must say what is missing", stderr.String())
		}
		return true, nil
	}
	if !regexp.MustCompile(`^`+name+` \S+ v?\d+\.\d+\.\d+`).Match(out) || err != nil {
		return false, fmt.Errorf("-version: %q, %w: want name, library, version", out, err)
	}
	return false, nil
}

// free is an address where nobody listens, for who does not tell which port it was given.
func free(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return l.Addr().String()
}

// start runs a peer until the test ends, which is by SIGTERM and must be with
// status 0. It returns the address.
func start(t *testing.T, name string, args ...string) (addr string) {
	t.Helper()
	listen := "127.0.0.1:0"
	if name == "centrifugo" {
		listen = free(t)
	}
	cmd := exec.Command(programs[name].path, append([]string{"-listen", listen}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		defer time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() }).Stop() // a failure, not a hang
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s after SIGTERM: %v\n%s", name, err, stderr.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(line), " on ")
	if !ok {
		t.Fatalf("%s says %q (%v): want MODE on ADDRESS\n%s", name, line, err, stderr.String())
	}
	return addr
}
