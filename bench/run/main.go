//go:build linux

// Command run measures sockmill beside its peers: the same work for each, one
// after the other on the same processor, repetition by repetition, under a load that
// verifies what it gets. It prints tables, writes JSON and SVG charts. Run it in bench:
//
//	go run ./run            # everything, within an hour
//	go run ./run -quick     # four scenarios, three peers, under two minutes
//	go run ./run -check     # what the bounds need, and whether they hold: status 1 if not
//	go run ./run -from out/results.json -docs ../docs    # puts a run into docs/BENCHMARKS.md
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/bench/internal/polling"
	"github.com/sockmill/sockmill/bench/internal/report"
)

type options struct {
	peers, scenarios       string
	reps                   int
	duration, warmUp, rest time.Duration
	out, from, docs        string
	quick, check           bool
	serverCPU, loadCPU     int
	polling                polling.Options
}

func main() {
	o, err := parse()
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func parse() (options, error) {
	o := options{polling: polling.Options{Readers: 20, Duration: 30 * time.Second, Pause: 2 * time.Second}}
	flag.StringVar(&o.peers, "peers", "", "comma-separated peers; default all: "+names(allPeers, func(p peer) string { return p.name }))
	flag.StringVar(&o.scenarios, "scenarios", "",
		"comma-separated scenarios; default all: "+names(allScenarios, func(s scenario) string { return s.name }))
	flag.IntVar(&o.reps, "reps", 0, "repetitions (default 7, with -quick 3)")
	flag.DurationVar(&o.duration, "duration", 0, "measured window (default 2s, with -quick 1s)")
	flag.DurationVar(&o.warmUp, "warmup", 500*time.Millisecond, "time before the window")
	flag.DurationVar(&o.rest, "rest", 10*time.Second, "quiet time before memory is read (idle)")
	flag.StringVar(&o.out, "out", "out", "directory for results.json and the charts")
	flag.StringVar(&o.from, "from", "", "a results.json to show or check; measure nothing")
	flag.StringVar(&o.docs, "docs", "", "directory of BENCHMARKS.md, to put tables and charts into")
	flag.BoolVar(&o.quick, "quick", false, "four scenarios, three peers, short")
	flag.BoolVar(&o.check, "check", false, "what the bounds need; status 1 if one fails")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "processor of the servers")
	flag.IntVar(&o.loadCPU, "load-cpu", 1, "processor of the load")
	flag.Parse()
	if o.reps == 0 {
		o.reps = 7
		if o.quick {
			o.reps = 3
		}
	}
	if o.duration == 0 {
		o.duration = 2 * time.Second
		if o.quick {
			o.duration = time.Second
		}
	}
	switch {
	case flag.NArg() > 0:
		return o, fmt.Errorf("what is %q? See -help", flag.Arg(0))
	case o.reps < 1 || o.duration <= 0:
		return o, errors.New("-reps and -duration must be above 0")
	}
	return o, nil
}

func names[T any](all []T, name func(T) string) string {
	var s []string
	for _, x := range all {
		s = append(s, name(x))
	}
	return strings.Join(s, ",")
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	results := &report.Results{}
	var err error
	if o.from != "" {
		err = load(o.from, results)
	} else {
		err = measure(ctx, o, results)
	}
	if err != nil {
		return err
	}
	return show(o, results)
}

func load(path string, r *report.Results) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, r)
}

// measure fills the results and saves them after each repetition.
func measure(ctx context.Context, o options, results *report.Results) error {
	peers, scenarios, err := choose(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err // now rather than after the first repetition
	}
	dir, err := os.MkdirTemp("", "sockmill-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := build(dir, peers); err != nil {
		return err
	}
	if err := certify(dir); err != nil {
		return err
	}
	results.Began = time.Now()
	results.Command = command()
	results.Machine = machine(o)
	results.Versions, results.Absent = map[string]string{}, map[string]string{}
	present := peers[:0]
	for _, p := range peers {
		v, absent, err := version(p)
		if err != nil {
			return err
		}
		if absent != "" {
			results.Absent[p.name] = absent
			fmt.Fprintf(os.Stderr, "%s is absent: %s\n", p.name, absent)
			continue
		}
		results.Versions[p.name] = v
		present = append(present, p)
	}
	r := &runner{o: o, dir: dir, peers: present, scenarios: scenarios, results: results}
	r.progress = newProgress(r.cells())
	save := func() error {
		results.Took = time.Since(results.Began).Round(time.Second).String()
		return write(filepath.Join(o.out, "results.json"), results)
	}
	if err := r.all(ctx, save); err != nil {
		return errors.Join(err, save())
	}
	if r.progress.overwrite {
		fmt.Fprintln(os.Stderr)
	}
	return nil
}

// command is what was called, but for where results went.
func command() string {
	c := "go run ./run"
	flag.Visit(func(f *flag.Flag) {
		switch {
		case f.Name == "out" || f.Name == "docs":
		case f.Value.String() == "true":
			c += " -" + f.Name
		default:
			c += " -" + f.Name + " " + f.Value.String()
		}
	})
	return c
}

func write(path string, r *report.Results) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// choose picks peers and scenarios by the flags.
func choose(o options) (peers []peer, scenarios []scenario, err error) {
	wantPeers, wantScenarios := set(o.peers), set(o.scenarios)
	if o.check {
		s, p := checked()
		wantPeers, wantScenarios = or(wantPeers, p), or(wantScenarios, s)
	}
	if o.quick {
		wantPeers = or(wantPeers, set("sockmill,rawgnet,gws"))
	}
	for _, p := range allPeers {
		if wantPeers == nil || wantPeers[p.name] {
			peers = append(peers, p)
			delete(wantPeers, p.name)
		}
	}
	for _, s := range allScenarios {
		if wantScenarios == nil && (!o.quick || s.quick) || wantScenarios[s.name] {
			scenarios = append(scenarios, s)
			delete(wantScenarios, s.name)
		}
	}
	for name := range wantPeers {
		return nil, nil, fmt.Errorf("there is no peer %q", name)
	}
	for name := range wantScenarios {
		return nil, nil, fmt.Errorf("there is no scenario %q", name)
	}
	return peers, scenarios, nil
}

// set is nil for an empty list.
func set(list string) map[string]bool {
	if list == "" {
		return nil
	}
	m := map[string]bool{}
	for _, name := range strings.Split(list, ",") {
		m[name] = true
	}
	return m
}

func or(a, b map[string]bool) map[string]bool {
	if a != nil {
		return a
	}
	return b
}

// show prints the tables, draws the charts, and checks.
func show(o options, r *report.Results) error {
	fmt.Println(summary(r, func(string) string { return "" }))
	if err := charts(filepath.Join(o.out, "charts"), r); err != nil {
		return err
	}
	if o.docs != "" {
		if err := publish(o.docs, r); err != nil {
			return err
		}
	}
	if o.check {
		table, ok := judge(r, nil)
		fmt.Print(table)
		if !ok {
			return errors.New("a bound fails")
		}
	}
	if slices.ContainsFunc(r.Samples, func(s report.Sample) bool { return s.Failed != "" }) {
		return errors.New("not everything could be measured: see above")
	}
	return nil
}
