package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// programs are the server and the bots, built, and how they are kept apart.
type programs struct {
	dir      string
	pins     [2][]string // what comes before the command of the server, and of the bots
	progress io.Writer
}

// build builds both programs into a directory of its own.
func build(ctx context.Context, progress io.Writer) (*programs, error) {
	dir, err := os.MkdirTemp("", "arena-check-")
	if err != nil {
		return nil, err
	}
	p := &programs{dir: dir, progress: progress}
	if taskset, err := exec.LookPath("taskset"); err != nil || runtime.NumCPU() < 2 {
		_, _ = fmt.Fprintln(progress, "check: server and bots share their cores, and the times say little: this needs two cores and taskset (Debian: util-linux)")
	} else {
		p.pins = [2][]string{{taskset, "-c", "0"}, {taskset, "-c", "1"}}
	}
	b := exec.CommandContext(ctx, "go", "build", "-o", dir, "./examples/arena", "./examples/arena/bots")
	b.Stdout, b.Stderr = progress, progress
	if err := b.Run(); err != nil {
		p.remove()
		return nil, fmt.Errorf("building the arena, from the root of the module: %w", err)
	}
	return p, nil
}

func (p *programs) remove() { _ = os.RemoveAll(p.dir) }

func (p *programs) command(ctx context.Context, core int, name string, args ...string) *exec.Cmd {
	argv := append(append([]string{}, p.pins[core]...), append([]string{filepath.Join(p.dir, name)}, args...)...)
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stderr = p.progress
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 10 * time.Second
	return c
}

// measured is what a run gave: the bots' JSON, and the server's memory.
type measured struct {
	N           int     `json:"n"`
	Slow        int     `json:"slow"`
	P99Ms       float64 `json:"p99_ms"`
	MissedPct   float64 `json:"ticks_missed_pct"`
	Visible     float64 `json:"mean_entities_visible"`
	Drops       uint64  `json:"drops"`
	ServerDrops uint64  `json:"server_drops"`
	Errors      uint64  `json:"errors"`
	InputsPerS  float64 `json:"server_inputs_per_s"`
	RSSBytes    float64 `json:"server_rss_bytes"`

	peakMB float64
}

// measure runs the server and the bots once, the server anew.
func (p *programs) measure(ctx context.Context, n, slow int, span time.Duration) (*measured, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, _ = fmt.Fprintf(p.progress, "\n%d players, %d slow, %v\n", n, slow, span)
	server := p.command(ctx, 0, "arena", "-listen", "ws://127.0.0.1:0")
	out, err := server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("the server: %w", err)
	}
	defer func() {
		cancel()
		_ = server.Wait() // it was told to end
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(line), "http://")
	if err != nil || !ok {
		return nil, fmt.Errorf("the server says %q instead of its address: %w", line, errors.Join(err))
	}
	bots := p.command(ctx, 1, "bots", "-url", "ws://"+addr+"/play", "-n", fmt.Sprint(n), "-slow", fmt.Sprint(slow), "-for", span.String())
	var said bytes.Buffer
	bots.Stdout = io.MultiWriter(&said, p.progress)
	if err := bots.Run(); err != nil {
		return nil, fmt.Errorf("the bots: %w", err)
	}
	lines := bytes.Split(bytes.TrimSpace(said.Bytes()), []byte("\n"))
	m := new(measured)
	if err := json.Unmarshal(lines[len(lines)-1], m); err != nil {
		return nil, fmt.Errorf("the bots' last line: %w", err)
	}
	m.peakMB = max(m.RSSBytes, peak(server.Process.Pid)) / 1e6
	return m, nil
}

// peak is the most memory that a process had resident, in bytes; 0 where /proc
// is not. taskset becomes the program it starts: the process is the server.
func peak(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			return kb * 1024
		}
	}
	return 0
}

// pairs measures without slow players and with them, in turn.
func (p *programs) pairs(ctx context.Context, o options) (plain, slow []*measured, err error) {
	for range o.times {
		for _, side := range []struct {
			slow int
			runs *[]*measured
		}{{0, &plain}, {o.slow, &slow}} {
			m, err := p.measure(ctx, o.n, side.slow, o.span)
			if err != nil {
				return nil, nil, err
			}
			*side.runs = append(*side.runs, m)
		}
	}
	return plain, slow, nil
}

// together is the worst of the runs, or their sum, in all but the times.
func together(runs []*measured) *measured {
	all := *runs[0]
	for _, m := range runs[1:] {
		all.MissedPct, all.peakMB = max(all.MissedPct, m.MissedPct), max(all.peakMB, m.peakMB)
		all.Visible, all.InputsPerS = min(all.Visible, m.Visible), min(all.InputsPerS, m.InputsPerS)
		all.Errors += m.Errors
		all.Drops += m.Drops
		all.ServerDrops += m.ServerDrops
	}
	return &all
}

// median is the middle one, or the greater of the two there.
func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}
