//go:build linux

// Command tuning measures what a setting changes: of the kernel, of Go, or of engine.Config. Each
// run is a server and its load in a network namespace of their own, so that no setting of the
// machine is touched. The runs of a case alternate between its variants, and what is printed are medians, and of the ratios
// to the first variant of the same turn: other work on the machine changes both alike.
//
//	go run ./tuning -cases somaxconn,GOGC-idle -turns 5
//
// It needs root, for the namespaces, and the program ip.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sockmill/sockmill/bench/internal/report"
)

func main() {
	var (
		load  = flag.String("load", "", "the load generator, compiled; none: ./load is compiled")
		cases = flag.String("cases", "", "which cases, with commas; none: their list is printed")
		turns = flag.Int("turns", 5, "how often each variant runs")
		role  = flag.String("role", "", "pair or server: what a child is; leave it empty")
		what  = flag.String("variant", "", "of a child: the variant, as JSON")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch *role {
	case "server":
		err = serve(ctx, *what)
	case "pair":
		err = pair(ctx, *load, *what)
	default:
		err = run(ctx, *load, *cases, *turns)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tuning:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, load, names string, turns int) error {
	if names == "" {
		for _, c := range allCases() {
			fmt.Println(c.Name)
		}
		return nil
	}
	if load == "" {
		dir, err := os.MkdirTemp("", "tuning")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		load = filepath.Join(dir, "load")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", load, "./load").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	for name := range strings.SplitSeq(names, ",") {
		all := allCases()
		i := slices.IndexFunc(all, func(c testCase) bool { return c.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no case %q", name)
		}
		c := all[i]
		results := make([][]result, len(c.Variants))
		for range turns {
			for v := range c.Variants {
				r, err := child(ctx, load, c.Variants[v])
				if err != nil {
					return fmt.Errorf("%s, %s: %w", name, c.Variants[v].Name, err)
				}
				results[v] = append(results[v], *r)
			}
		}
		printCase(&c, results)
	}
	return nil
}

// child runs one variant in a network namespace of its own.
func child(ctx context.Context, load string, v variant) (*result, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-role", "pair", "-load", load, "-variant", string(b))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	r := new(result)
	return r, json.Unmarshal(out, r)
}

// pair is the child: it sets the namespace up, and runs the server and the load.
func pair(ctx context.Context, load, what string) error {
	var v variant
	if err := json.Unmarshal([]byte(what), &v); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for name, value := range v.Sysctls {
		if err := os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0); err != nil {
			return err
		}
	}
	server := exec.CommandContext(ctx, "/proc/self/exe", "-role", "server", "-variant", what)
	server.Env, server.Stderr = append(os.Environ(), v.Env...), os.Stderr
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	var addr string
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		return err
	}
	args := append([]string{"-addr", addr, "-pid", fmt.Sprint(server.Process.Pid)}, v.Load...)
	client := exec.CommandContext(ctx, load, args...)
	client.Stderr = os.Stderr
	said, err := client.Output()
	_ = server.Process.Kill()
	_ = server.Wait() // it was killed
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(said, &r.Load); err != nil {
		return err
	}
	if r.Overflows, err = overflows(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// result is what a run of a variant measured.
type result struct {
	Load      report.Load
	Overflows int // connections that found the accept queue full
}

// overflows reads TcpExtListenOverflows of this network namespace.
func overflows() (int, error) {
	b, err := os.ReadFile("/proc/self/net/netstat")
	if err != nil {
		return 0, err
	}
	lines := strings.Split(string(b), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if at := slices.Index(strings.Fields(lines[i]), "ListenOverflows"); at > 0 {
			return strconv.Atoi(strings.Fields(lines[i+1])[at])
		}
	}
	return 0, errors.New("/proc/net/netstat has no ListenOverflows")
}
