// Command cluster runs three nodes of examples/cluster as three hosts, on network namespaces, breaks something by turns, and checks what
// clients were told:
//
//	go run . [-for 5m] [-seed N] [-faults link,kill,…]
//	go run . -kill 3000
//
// All that it makes lives in namespaces of its own (network, mounts, processes), so the kernel removes it when it ends, however that is, and
// runs do not disturb each other. Where users may not make namespaces, it has to run as root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	length time.Duration
	seed   uint64
	faults string
	hold   time.Duration
	kill   int
	node   string
	keep   string
}

func (o *options) flags() *flag.FlagSet {
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.DurationVar(&o.length, "for", 0, "how long turns are begun; each fault comes once at least")
	f.Uint64Var(&o.seed, "seed", 0, "of all choices; 0: a new one")
	f.StringVar(&o.faults, "faults", "", "only these, with commas between them: "+strings.Join(names(), ", "))
	f.DurationVar(&o.hold, "hold", 4*time.Second, "how long a fault lasts, on average")
	f.IntVar(&o.kill, "kill", 0, "so many clients, and one of the nodes is killed, once")
	f.StringVar(&o.node, "node", "../../examples/cluster", "the directory of the node's program")
	f.StringVar(&o.keep, "logs", "", "a directory for the logs of the nodes, which else are removed")
	return f
}

// inside is the name of a variable that tells the process in the namespaces where its files are.
const inside = "SOCKMILL_CLUSTER_LAB"

func main() {
	var o options
	f := o.flags()
	if err := f.Parse(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		os.Exit(2)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := outside
	if os.Getenv(inside) != "" {
		run = within
	}
	if err := run(ctx, o); err != nil {
		stop()
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) { // it has said why
			fmt.Fprintln(os.Stderr, "cluster:", err)
		}
		os.Exit(1)
	}
}

// outside builds the node and runs this program again in namespaces of its own.
func outside(ctx context.Context, o options) error {
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: apt-get install iproute2", program)
		}
	}
	dir, err := os.MkdirTemp("", "sockmill-cluster-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	say("seed %d", o.seed)
	if err := build(ctx, o.node, dir); err != nil {
		return err
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	c := exec.Command("/proc/self/exe", append(os.Args[1:len(os.Args):len(os.Args)], "-seed", fmt.Sprint(o.seed))...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = append(os.Environ(), inside+"="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // signals of a terminal come from here, once
	}
	if uid, gid := os.Getuid(), os.Getgid(); os.Geteuid() != 0 { // then it is root in a namespace of users
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	if err := c.Start(); err != nil {
		return fmt.Errorf("namespaces of its own (where users may not make them, run it as root): %w", err)
	}
	unwatch := context.AfterFunc(ctx, func() { _ = c.Process.Signal(syscall.SIGTERM) })
	defer unwatch()
	err = c.Wait()
	if o.keep != "" {
		return errors.Join(err, keep(dir, o.keep))
	}
	return err
}

// keep copies the logs of the nodes.
func keep(from, to string) error {
	logs, err := filepath.Glob(filepath.Join(from, "*.log"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(log)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// within is the process in the namespaces: the first of them, with whose end all others end.
func within(ctx context.Context, o options) error {
	l, err := newLab(ctx, os.Getenv(inside))
	if err != nil {
		return err
	}
	defer l.end()
	if err := l.start(ctx); err != nil {
		l.tails()
		return err
	}
	if o.kill > 0 {
		err = l.killOne(ctx, o)
	} else {
		err = l.turns(ctx, o)
	}
	if err != nil {
		l.tails()
		return fmt.Errorf("%w\nto begin with the same choices: make cluster CLUSTER=\"%s\"", err, strings.Join(os.Args[1:], " "))
	}
	return nil
}

var began = time.Now()

// say prints a line with the time since the beginning.
func say(format string, args ...any) {
	fmt.Printf("%7.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}
