package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// host is a network namespace with a node in it, and a disk.
type host struct {
	lab            *lab
	i              int
	name           string
	peers, clients string // addresses
	disk           string

	mu      sync.Mutex
	process *exec.Cmd     // nil: it is meant not to run
	ended   chan struct{} // is closed when process has
	ends    []string      // how it has ended by itself since they were taken
}

const (
	diskSize     = 4 << 30 // of a tmpfs, which takes only what is used
	restartAfter = time.Second
)

func (l *lab) newHost(ctx context.Context, i int) (*host, error) {
	h := &host{
		lab: l, i: i, name: fmt.Sprintf("n%d", i),
		peers: fmt.Sprintf("%s%d", peersNet, i), clients: fmt.Sprintf("%s%d", clientsNet, i),
		disk: filepath.Join(l.dir, fmt.Sprintf("disk%d", i)),
	}
	script := []string{"ip netns add " + h.name, "ip -n " + h.name + " link set lo up"}
	for network, address := range map[string]string{"peers": h.peers, "clients": h.clients} {
		script = append(script,
			fmt.Sprintf("ip link add %s%d type veth peer name %s netns %s", network, i, network, h.name),
			fmt.Sprintf("ip link set %s%d master %s up", network, i, network),
			fmt.Sprintf("ip -n %s addr add %s/24 dev %s", h.name, address, network),
			fmt.Sprintf("ip -n %s link set %s up", h.name, network))
	}
	if err := sh(ctx, script...); err != nil {
		return nil, err
	}
	if err := os.Mkdir(h.disk, 0o700); err != nil {
		return nil, err
	}
	return h, syscall.Mount("disk", h.disk, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize))
}

func (h *host) http() string { return "http://" + h.clients + ":8100" }
func (h *host) nats() string { return "nats://" + h.clients + ":4222" }

// start starts the node. It does not wait until it is ready.
func (h *host) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.run()
}

// run does so, and starts it again when it has ended by itself, as the supervisor of a service does. mu is held.
func (h *host) run() error {
	var peers []string
	for _, other := range h.lab.hosts {
		peers = append(peers, other.peers+":6222")
	}
	log, err := os.OpenFile(filepath.Join(h.lab.dir, h.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	c := exec.Command("ip", "netns", "exec", h.name, filepath.Join(h.lab.dir, "node"),
		"-node", h.name, "-listen", "ws://"+h.clients+":8100", "-api-key", apiKey, "-v",
		"-store", filepath.Join(h.disk, "store"), "-cluster-listen", h.peers+":6222", "-cluster-peers", strings.Join(peers, ","),
		"-nats-listen", h.clients+":4222")
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	h.process, h.ended = c, ended
	go func() {
		_ = c.Wait()
		close(ended)
		<-time.After(restartAfter)
		h.again(c)
	}()
	return nil
}

// again starts the node again if it was not meant to end.
func (h *host) again(ended *exec.Cmd) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.process != ended {
		return
	}
	h.ends = append(h.ends, ended.ProcessState.String())
	say("  %s has ended by itself (%v), and is started again", h.name, ended.ProcessState)
	if err := h.run(); err != nil {
		say("  %s: %v", h.name, err)
	}
}

// takeEnds returns how the node has ended by itself since the last call.
func (h *host) takeEnds() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.ends
	h.ends = nil
	return all
}

// running is the process of the node, nil if it is meant not to run, and what is closed when it has ended.
func (h *host) running() (*exec.Cmd, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.process, h.ended
}

// take returns the same, and has the node not started again.
func (h *host) take() (*exec.Cmd, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.process
	h.process = nil
	return c, h.ended
}

// signal sends the node a signal.
func (h *host) signal(s syscall.Signal) error {
	c, _ := h.running()
	if c == nil {
		return errors.New(h.name + " does not run")
	}
	return c.Process.Signal(s)
}

// kill ends the node as a loss of power does.
func (h *host) kill() {
	c, ended := h.take()
	if c == nil {
		return
	}
	_ = c.Process.Kill()
	<-ended
}

// stop ends the node as an operator does, and waits for it.
func (h *host) stop(ctx context.Context, within time.Duration) error {
	c, ended := h.take()
	if c == nil {
		return errors.New(h.name + " does not run")
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		_ = c.Process.Kill()
		return fmt.Errorf("%s has not ended %v after SIGTERM", h.name, within)
	}
}

// probe asks for /readyz. Each time it makes a connection of its own, so that it meets the network as it is.
var probe = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ready asks the node whether it is, and returns why not.
func (h *host) ready(ctx context.Context) error {
	c, ended := h.running()
	if c == nil {
		return errors.New("does not run")
	}
	select {
	case <-ended:
		return errors.New("the process has ended")
	default:
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.http()+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := probe.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 500))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, strings.Join(strings.Fields(string(text)), " "))
	}
	return nil
}
