package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// fault is what can be broken.
type fault struct {
	name string
	cut  bool // the node cannot reach the others, and has to say that it is not ready
	gone bool // histories are lost, and clients may be told so
	ends bool // the node may end by itself, with exit code 1, and has to go on once it is started again

	// begin breaks something at a host, and returns what was done, and how it is mended.
	begin func(ctx context.Context, h *host, r *rand.Rand) (what string, heal func(context.Context) error, err error)
}

// faults are all of them, in the order in which they come first.
var faults = []fault{
	{name: "link", cut: true, begin: func(ctx context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
		return "the link to the other nodes is down", h.link("up", "peers"), h.link("down", "peers")(ctx)
	}},
	{name: "host-link", begin: func(ctx context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
		return "both links are down: to the other nodes and to the clients", h.link("up", "peers", "clients"), h.link("down", "peers", "clients")(ctx)
	}},
	{name: "one-way", cut: true, begin: loseOneWay},
	{name: "delay", begin: delay},
	{name: "kill", begin: func(_ context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
		h.kill()
		return "SIGKILL", func(context.Context) error { return h.start() }, nil
	}},
	{name: "stop", begin: func(_ context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
		return "SIGSTOP", func(context.Context) error { return h.signal(syscall.SIGCONT) }, h.signal(syscall.SIGSTOP)
	}},
	{name: "restart", begin: func(ctx context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
		return "SIGTERM, and it has ended", func(context.Context) error { return h.start() }, h.stop(ctx, 30*time.Second)
	}},
	{name: "empty", begin: func(_ context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
		h.kill()
		return "SIGKILL, and its store is emptied", func(context.Context) error { return h.start() }, os.RemoveAll(filepath.Join(h.disk, "store"))
	}},
	{name: "delete", gone: true, begin: deleteStreams},
	{name: "full", ends: true, begin: fill},
	{name: "leader", begin: killLeader},
	{name: "clock", begin: clockAhead},
}

func names() (all []string) {
	for _, f := range faults {
		all = append(all, f.name)
	}
	return all
}

// link returns what sets the host's links up or down, at the end that the host does not see.
func (h *host) link(state string, networks ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, network := range networks {
			if err := sh(ctx, fmt.Sprintf("ip link set %s%d %s", network, h.i, state)); err != nil {
				return err
			}
		}
		return nil
	}
}

// loseOneWay has what a host sends to the others lost, or what the others send to it.
func loseOneWay(ctx context.Context, h *host, r *rand.Rand) (string, func(context.Context) error, error) {
	others := h.lab.others(h)
	if r.IntN(2) == 0 {
		return "what it sends to the other nodes is lost", func(ctx context.Context) error { return bothWays(ctx, h, others...) }, oneWay(ctx, h, others...)
	}
	heal := func(ctx context.Context) error {
		return errors.Join(bothWays(ctx, others[0], h), bothWays(ctx, others[1], h))
	}
	return "what the other nodes send to it is lost", heal, errors.Join(oneWay(ctx, others[0], h), oneWay(ctx, others[1], h))
}

// delay makes the link to the other nodes slow, both ways.
func delay(ctx context.Context, h *host, r *rand.Rand) (string, func(context.Context) error, error) {
	ends := []string{fmt.Sprintf("dev peers%d", h.i), "-n " + h.name + " dev peers"}
	tc := func(end, what string) string {
		if end[0] == '-' {
			return "tc -n " + h.name + " qdisc " + what[:3] + " dev peers root" + what[3:]
		}
		return "tc qdisc " + what[:3] + " " + end + " root" + what[3:]
	}
	ms, kbit := 20+r.IntN(180), 200+r.IntN(800)
	what, how := fmt.Sprintf("each packet takes %d ms more (netem)", ms), fmt.Sprintf("add netem delay %dms", ms)
	if exec.CommandContext(ctx, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms").Run() == nil {
		if err := sh(ctx, "tc qdisc del dev lo root"); err != nil {
			return "", nil, err
		}
	} else { // a kernel without netem: packets wait for each other
		what = fmt.Sprintf("a link of %d kbit/s, in which packets wait up to 2 s (tbf: this kernel has no netem)", kbit)
		how = fmt.Sprintf("add tbf rate %dkbit burst 4kb latency 2s", kbit)
	}
	heal := func(ctx context.Context) error { return sh(ctx, tc(ends[0], "del"), tc(ends[1], "del")) }
	return what, heal, sh(ctx, tc(ends[0], how), tc(ends[1], how))
}

// fill makes the disk as large as what is on it.
func fill(_ context.Context, h *host, _ *rand.Rand) (string, func(context.Context) error, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(h.disk, &s); err != nil {
		return "", nil, err
	}
	used := (int64(s.Blocks) - int64(s.Bfree)) * s.Bsize
	resize := func(size int64) error {
		return syscall.Mount("disk", h.disk, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size))
	}
	heal := func(context.Context) error { return resize(diskSize) }
	// What is written meanwhile may need more than was counted.
	err := resize(used + 64<<10)
	return fmt.Sprintf("the disk is full, with %d KB on it", used>>10), heal, err
}

// clockAhead moves the node's clock forward while it runs, and back.
func clockAhead(_ context.Context, h *host, r *rand.Rand) (string, func(context.Context) error, error) {
	d := time.Duration(1+r.IntN(600)) * time.Minute
	back, err := h.moveClock(d)
	return fmt.Sprintf("its clock is moved %v ahead, and back", d), func(context.Context) error { return back() }, err
}
