//go:build linux

// Command slopes measures what a cluster costs by its nodes and by its channels: the CPU and the bytes between
// nodes for a join, a publication, a delivery at one more node and a question who is present, and what it costs when nobody does
// anything. All nodes are in this process, each with a NATS server and a broker of its own; there are no hubs and no clients.
//
//	go run ./slopes -kinds core,r1,r3 -nodes 1,3,10 -channels 1000,10000,100000
//
// Bytes are those of the loopback device of a network namespace of its own, with all headers. So it needs root. CPU is that of the
// process: of all nodes together, with what publishes and receives.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// insideEnv is set in the child, which is in the namespace.
const insideEnv = "SOCKMILL_SLOPES_INSIDE"

type options struct {
	kinds           []string
	nodes, channels []int
	publications    int
	questions       int
	quiet           time.Duration
}

func main() {
	kinds := flag.String("kinds", "core,r1,r3", "core: without a history; r1, r3: JetStream with so many replicas")
	nodes := flag.String("nodes", "1,3,10", "how many nodes")
	channels := flag.String("channels", "1000,10000", "how many channels, each followed at one node")
	o := options{}
	flag.IntVar(&o.publications, "publications", 20_000, "how many are measured")
	flag.IntVar(&o.questions, "questions", 2000, "how many are measured")
	flag.DurationVar(&o.quiet, "quiet", 12*time.Second, "how long an idle cluster is looked at")
	flag.Parse()
	o.kinds = strings.Split(*kinds, ",")
	var err error
	if o.nodes, err = numbers(*nodes); err == nil {
		o.channels, err = numbers(*channels)
	}
	switch {
	case err != nil:
	case os.Getenv(insideEnv) == "":
		err = inside()
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err = loopbackUp(); err == nil {
			err = run(ctx, os.Stdout, &o)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slopes:", err)
		os.Exit(1)
	}
}

func numbers(list string) (all []int, err error) {
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q: want numbers with commas between them", list)
		}
		all = append(all, n)
	}
	return all, nil
}

// inside runs the program once more, in a network namespace of its own.
func inside() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	return cmd.Run()
}

// loopbackUp has the loopback device of a new namespace work.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// sent is how many bytes the loopback device has carried.
func sent() (int64, error) {
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(string(b), "lo:")
	f := strings.Fields(after)
	if !ok || len(f) < 9 {
		return 0, errors.New("/proc/net/dev does not know the loopback device")
	}
	return strconv.ParseInt(f[8], 10, 64)
}

// spent is the CPU time of this process.
func spent() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
