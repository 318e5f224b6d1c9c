package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/crowd"
)

// Two networks, each a bridge: the nodes talk to each other on one, and clients come on the other.
const (
	peersNet   = "10.77.0."
	clientsNet = "10.78.0."
	harness    = 200 // clients come from 200 to 207: one address may have 1,024 connections
	sources    = 8
	hosts      = 3
	apiKey     = "k"
)

// lab is the hosts and what is between them.
type lab struct {
	dir   string
	hosts []*host
}

// newLab makes the networks and the hosts in the namespaces of this process.
func newLab(ctx context.Context, dir string) (*lab, error) {
	if os.Getpid() != 1 {
		return nil, errors.New(inside + " is set, and this is no namespace of its own")
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("mounts of its own: %w", err)
	}
	for path, kind := range map[string]string{"/proc": "proc", "/run": "tmpfs"} { // ip keeps the names of namespaces in /run
		if err := syscall.Mount(kind, path, kind, 0, ""); err != nil {
			return nil, fmt.Errorf("mounting %s: %w", path, err)
		}
	}
	script := []string{"ip link set lo up"}
	for bridge, network := range map[string]string{"peers": peersNet, "clients": clientsNet} {
		script = append(script, "ip link add "+bridge+" type bridge", "ip link set "+bridge+" up")
		for i := range sources {
			script = append(script, fmt.Sprintf("ip addr add %s%d/24 dev %s", network, harness+i, bridge))
		}
	}
	if err := sh(ctx, script...); err != nil {
		return nil, err
	}
	l := &lab{dir: dir}
	for i := range hosts {
		h, err := l.newHost(ctx, i+1)
		if err != nil {
			return nil, err
		}
		l.hosts = append(l.hosts, h)
	}
	return l, l.checkOneWay(ctx)
}

// sh runs commands without a shell.
func sh(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		words := strings.Fields(line)
		if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return nil
}

// start starts all nodes at once, as a cluster has to be, and waits until they are ready.
func (l *lab) start(ctx context.Context) error {
	for _, h := range l.hosts {
		if err := h.start(); err != nil {
			return err
		}
	}
	return l.ready(ctx, time.Minute)
}

// ready waits until all nodes say so.
func (l *lab) ready(ctx context.Context, within time.Duration) error {
	return until(ctx, within, func() (string, bool) {
		var not []string
		for _, h := range l.hosts {
			if err := h.ready(ctx); err != nil {
				not = append(not, fmt.Sprintf("%s: %v", h.name, err))
			}
		}
		return "not ready: " + strings.Join(not, "; "), len(not) == 0
	})
}

// until calls f again and again until it reports true, or fails with what f has said last. Each 2 s it says what is waited for.
func until(ctx context.Context, within time.Duration, f func() (waiting string, ok bool)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("after %v", within))
	defer cancel()
	tell, again := time.NewTicker(2*time.Second), time.NewTicker(50*time.Millisecond)
	defer tell.Stop()
	defer again.Stop()
	for {
		waiting, ok := f()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), waiting)
		case <-tell.C:
			say("  %s", waiting)
		case <-again.C:
		}
	}
}

// wait lets time pass, and says so every 2 s.
func wait(ctx context.Context, d time.Duration, what string) error {
	end, tell := time.NewTimer(d), time.NewTicker(2*time.Second)
	defer end.Stop()
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tell.C:
			say("  %s", what)
		case <-end.C:
			return nil
		}
	}
}

// nodes is where clients go.
func (l *lab) nodes() (all []crowd.Node) {
	for _, h := range l.hosts {
		all = append(all, crowd.Node{Name: h.name, URL: "ws://" + h.clients + ":8100/connection/websocket", HTTP: h.http()})
	}
	return all
}

// from are the addresses of the clients.
func (l *lab) from() (all []net.Addr) {
	for i := range sources {
		all = append(all, &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("%s%d", clientsNet, harness+i))})
	}
	return all
}

// end ends the nodes. What else there is goes with the namespaces.
func (l *lab) end() {
	for _, h := range l.hosts {
		h.kill()
	}
}

// tails prints the end of each node's log.
func (l *lab) tails() {
	for _, h := range l.hosts {
		text, _ := os.ReadFile(filepath.Join(l.dir, h.name+".log"))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Printf("--- the end of the log of %s\n%s\n", h.name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}
