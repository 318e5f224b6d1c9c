// Command cluster is several nodes of sockmill's hub, each a process of its own with a NATS server in it. It prints the addresses
// of all, with commas between them.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/bench/peers/internal/hubpeer"
	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

// options are the flags of the program, and of its nodes.
type options struct {
	hubpeer.Options
	mode     string
	nodes    int
	replicas int
	profile  string // directory

	// Of a node.
	node   int
	routes string // of all nodes, with commas between them
	dir    string // of its store
}

func main() {
	var o options
	flag.StringVar(&o.Listen, "listen", "127.0.0.1:0", "address that the first node listens on")
	flag.StringVar(&o.mode, "mode", "hub", "hub")
	flag.StringVar(&o.Secret, "secret", "", "of the tokens (HS256)")
	flag.IntVar(&o.History, "history", 0, "publications that a channel keeps, for an hour, in JetStream; 0: none, no positions, and no JetStream")
	flag.BoolVar(&o.Presence, "presence", false, "channels know who is there")
	flag.IntVar(&o.nodes, "nodes", 3, "how many nodes")
	flag.IntVar(&o.replicas, "replicas", 1, "on how many nodes JetStream keeps a publication")
	flag.StringVar(&o.profile, "profile", "", "directory for a profile of the CPU of each node; empty: none")
	flag.IntVar(&o.node, "node", -1, "what a child is; leave it out")
	flag.StringVar(&o.routes, "routes", "", "of a child")
	flag.StringVar(&o.dir, "dir", "", "of a child")
	version := flag.Bool("version", false, "print the library and its version")
	flag.Parse()
	if *version {
		fmt.Println("cluster github.com/sockmill/sockmill/hub/nats", peer.Revision())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case o.mode != "hub":
		err = fmt.Errorf("-mode is %q: it must be hub", o.mode)
	case o.node >= 0:
		err = node(ctx, &o)
	default:
		err = cluster(ctx, &o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// cluster starts the nodes, and ends them when ctx ends. It ends too when one of them does.
func cluster(ctx context.Context, o *options) error {
	dir, err := os.MkdirTemp("", "sockmill-cluster")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	routes, err := free(o.nodes)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, o.nodes)
	started := make(chan started, o.nodes)
	for i := range o.nodes {
		listen := o.Listen
		if i > 0 {
			listen = "127.0.0.1:0"
		}
		cmd := exec.CommandContext(ctx, self, append(os.Args[1:], "-listen", listen,
			"-node", fmt.Sprint(i), "-routes", strings.Join(routes, ","), "-dir", filepath.Join(dir, fmt.Sprint(i)))...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 8 * time.Second
		cmd.Stderr = os.Stderr
		go func() { ended <- child(cmd, i, started) }()
	}
	addrs := make([]string, o.nodes)
	for waiting, living := o.nodes, o.nodes; living > 0; {
		select {
		case s := <-started:
			addrs[s.node] = s.addr
			if waiting--; waiting == 0 {
				fmt.Printf("hub on %s\n", strings.Join(addrs, ","))
			}
		case e := <-ended:
			living--
			if e == nil && ctx.Err() == nil {
				e = errors.New("a node has ended")
			}
			err = errors.Join(err, e)
			cancel()
		}
	}
	return err
}

// started is what a node has told.
type started struct {
	node int
	addr string
}

// child runs a node until it ends.
func child(cmd *exec.Cmd, i int, tell chan<- started) error {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if _, addr, ok := strings.Cut(strings.TrimSpace(line), " on "); ok {
		tell <- started{i, addr}
	}
	if err := cmd.Wait(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 0 {
		return fmt.Errorf("node %d: %w", i, err)
	}
	return nil
}

// free are addresses where nobody listens.
func free(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after the last: no address twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
