//go:build linux

package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is a server to measure.
type peer struct {
	name      string
	path      string // of the program
	floor     bool   // echoes bytes, knows nothing of WebSocket
	installed bool   // by peers/install.sh, or not there
	hub       bool   // takes part in the scenarios of the hub only
	twin      bool   // is ours with other options, and takes part only where it is named
	replicas  int    // of a cluster: on how many nodes JetStream keeps a publication; 0: core NATS
}

// allPeers are in the order of tables.
var allPeers = []peer{
	{name: "sockmill"},
	{name: metricsPeer, twin: true},
	{name: "rawepoll", floor: true},
	{name: "rawgnet", floor: true},
	{name: "bun", installed: true},
	{name: "gws"},
	{name: "gobwas"},
	{name: "nbio"},
	{name: "gorilla"},
	{name: "coder"},
	{name: "node-ws", installed: true},
	{name: topicsPeer, hub: true},
	{name: "centrifugo", installed: true, hub: true},
	{name: corePeer, hub: true},
	{name: "nodes-r1", hub: true, replicas: 1},
	{name: "nodes-r3", hub: true, replicas: 3},
}

const (
	ours       = "sockmill"        // the peer that the others are compared with; in the scenarios of the hub, its hub
	topicsPeer = "sockmill-topics" // there, its topics without a hub
	hubProgram = "hub"

	metricsPeer = "sockmill-metrics" // with Config.Timings, and somebody who reads its Metrics

	corePeer       = "nodes-core" // three nodes with core NATS; others have JetStream
	clusterProgram = "cluster"
)

// program is the name of the package.
func (p peer) program() string {
	switch {
	case p.name == topicsPeer, p.twin:
		return ours
	case p.cluster():
		return clusterProgram
	}
	return p.name
}

// cluster reports whether it is several nodes.
func (p peer) cluster() bool { return p.name == corePeer || p.replicas > 0 }

// absentStatus is how a peer ends that lacks something; stderr says what.
const absentStatus = 3

// build compiles the load and the peers into dir.
func build(dir string, peers []peer) error {
	packages := []string{"./load", "./peers/" + hubProgram}
	for i, p := range peers {
		if p.installed {
			peers[i].path = filepath.Join("peers", p.name, "run")
			continue
		}
		packages = append(packages, "./peers/"+p.program())
		peers[i].path = filepath.Join(dir, p.program())
	}
	// With the commit for -version, if git tells: it may not trust the owner.
	for _, stamp := range []string{"auto", "false"} {
		cmd := exec.Command("go", append([]string{"build", "-buildvcs=" + stamp, "-o", dir}, packages...)...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		if stamp == "false" {
			return fmt.Errorf("building the peers: %w\n%s", err, out)
		}
	}
	return nil
}

// version asks a peer for its library's version; absent says why it cannot run.
func version(p peer) (version, absent string, err error) {
	if p.floor {
		info, err := buildinfo.ReadFile(p.path)
		if err != nil {
			return "", "", err
		}
		version = info.GoVersion
		for _, d := range info.Deps {
			if strings.HasPrefix(d.Path, "github.com/panjf2000/gnet/") {
				version = d.Path + " " + d.Version
			}
		}
		return version, "", nil
	}
	var stderr strings.Builder
	cmd := exec.Command(p.path, "-version")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if p.installed && errors.As(err, &exit) && exit.ExitCode() == absentStatus {
		return "", strings.TrimSpace(strings.TrimPrefix(stderr.String(), p.name+": ")), nil
	}
	if err != nil {
		return "", "", fmt.Errorf("%s -version: %w: %s", p.name, err, stderr.String())
	}
	return strings.TrimSpace(strings.TrimPrefix(string(out), p.program())), "", nil
}
