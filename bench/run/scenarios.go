//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sockmill/sockmill/bench/internal/report"
)

// scenario is one kind of work.
type scenario struct {
	name, title string
	mode        string // of the servers; hubMode: it is a scenario of the hub
	history     int    // publications that channels of the hub keep
	deflate     bool
	tls         bool
	only        []string // the peers that can do it; nil: all
	load        []string // arguments of the generator
	floors      bool     // the floors can do it
	quick       bool
	presence    bool // of the channels of the hub
	anywhere    bool // the servers are not bound to a processor
	together    bool // all servers work at the same time, on one processor
	figure      figure
}

// figure is the number that peers are compared by: less is better.
type figure struct {
	title string
	of    func(l *report.Load) float64
	show  func(x float64) string
}

var (
	perMessage = figure{
		"server CPU per message",
		func(l *report.Load) float64 { return float64(l.ServerCPUNs) / float64(max(1, l.Messages)) },
		duration,
	}
	perDelivery  = figure{"server CPU per message delivered", perMessage.of, duration}
	perHandshake = figure{"server CPU per handshake", perMessage.of, duration}
	untilServed  = figure{
		"time until the last is served",
		func(l *report.Load) float64 { return float64(l.WindowNs) },
		duration,
	}
	idleMemory = figure{"resident memory per idle connection", idleBytes, size}
	untilBack  = figure{"time until the last has all that it missed", untilServed.of, duration}
)

// Those of several nodes are the sum of all of them.
var (
	perPublication = figure{"CPU of all nodes per publication", func(l *report.Load) float64 {
		return float64(l.ServerCPUNs) / float64(max(1, l.Published))
	}, duration}
	perChannel  = figure{"resident memory of all nodes per channel, beside the connections", channelBytes, size}
	perJoin     = figure{"CPU of all nodes per join and leave", perMessage.of, duration}
	perQuestion = figure{"CPU of all nodes per question", perMessage.of, duration}
)

// channelBytes is for the mode hub-channels, where a message is a channel.
func channelBytes(l *report.Load) float64 {
	return float64(l.RSSOpen-l.RSSBefore) / float64(max(1, l.Messages))
}

func idleBytes(l *report.Load) float64 {
	return float64(l.RSSOpen-l.RSSBefore) / float64(max(1, l.Connections))
}

// usedBytes is the same after one message on each connection.
func usedBytes(l *report.Load) float64 {
	return float64(l.RSSAfter-l.RSSBefore) / float64(max(1, l.Connections))
}

// These are measured in their own ways, see measure.go.
const (
	idleName    = "idle"
	wssIdleName = "wss-idle"
	pollingName = "polling"
	hubIdleName = "hub-idle"
)

const (
	hubMode   = "hub"
	hubSecret = "sockmill-bench" // of the tokens
	hubKeeps  = 100              // publications of a channel
)

var allScenarios = []scenario{
	{
		name: "echo-1000x1", title: "echo 128 B, 1,000 connections, 1 in flight", mode: "echo", floors: true, quick: true,
		load: args("echo", 1000, 1, 128), figure: perMessage,
	},
	{
		name: "echo-100x32", title: "echo 128 B, 100 connections, 32 in flight", mode: "echo", floors: true, quick: true,
		load: args("echo", 100, 32, 128), figure: perMessage,
	},
	{
		name: "metrics", title: "the same with and without metrics, both servers at once", mode: "echo", together: true,
		only: []string{ours, metricsPeer}, load: args("echo", 100, 32, 128), figure: perMessage,
	},
	{
		name: "echo-16k", title: "echo 16 KiB, 100 connections, 4 in flight", mode: "echo", floors: true,
		load: args("echo", 100, 4, 16<<10), figure: perMessage,
	},
	{
		name: "deflate", title: "echo 1 KiB of JSON, compressed, 100 connections, 1 in flight", mode: "echo", deflate: true,
		load: args("deflate", 100, 1, 1<<10), figure: perMessage,
	},
	{
		name: "takeover", title: "the same with context takeover both ways, window of 12 bits", mode: "echo", deflate: true,
		only: []string{"sockmill", "gws", "bun", "node-ws"}, // the others have none
		load: args("takeover", 100, 1, 1<<10), figure: perMessage,
	},
	{
		name: "broadcast-1", title: "broadcast 128 B to 1,000 connections, 1 in flight", mode: "broadcast",
		load: args("broadcast", 1000, 1, 128), figure: perDelivery,
	},
	{
		name: "broadcast-16", title: "broadcast 128 B to 1,000 connections, 16 in flight", mode: "broadcast", quick: true,
		load: args("broadcast", 1000, 16, 128), figure: perDelivery,
	},
	{
		name: "topics", title: "publish 128 B to 100 topics, 10,000 connections, 16 in flight", mode: "topics",
		load: args("topics", 10000, 16, 128), figure: perDelivery,
	},
	{
		name: "handshake", title: "handshake and reset, 64 connections at a time", mode: "echo", quick: true,
		load: args("handshake", 64, 1, 128), figure: perHandshake,
	},
	{
		name: "burst", title: "10,000 reconnects at once", mode: "echo",
		load: args("burst", 10000, 1, 128), figure: untilServed,
	},
	{
		name: idleName, title: "15,000 idle connections", together: true, mode: "echo",
		load: args("idle", 15000, 1, 128), figure: idleMemory,
	},
	{
		name: "wss-echo-1000x1", title: "over TLS: echo 128 B, 1,000 connections, 1 in flight", mode: "echo", tls: true, only: tlsPeers,
		load: tlsArgs("echo", 1000, 1, 128), figure: perMessage,
	},
	{
		name: "wss-echo-100x32", title: "over TLS: echo 128 B, 100 connections, 32 in flight", mode: "echo", tls: true, only: tlsPeers,
		load: tlsArgs("echo", 100, 32, 128), figure: perMessage,
	},
	{
		name: "wss-echo-16k", title: "over TLS: echo 16 KiB, 100 connections, 4 in flight", mode: "echo", tls: true, only: tlsPeers,
		load: tlsArgs("echo", 100, 4, 16<<10), figure: perMessage,
	},
	{
		name: "wss-handshake", title: "over TLS: full handshakes of TLS and WebSocket, and reset, 64 connections at a time", mode: "echo",
		tls: true, only: tlsPeers, load: tlsArgs("handshake", 64, 1, 128), figure: perHandshake,
	},
	{
		name: wssIdleName, title: "over TLS: 10,000 idle connections", together: true, mode: "echo", tls: true, only: tlsPeers,
		load: tlsArgs("idle", 10000, 1, 128), figure: idleMemory,
	},
	{
		name: "hub-publish", title: "the hub: publish 128 B to 100 channels with a history, 10,000 clients, 16 in flight, JSON", mode: hubMode,
		history: hubKeeps, only: hubPeers, load: hubArgs("hub", 10000, true), figure: perDelivery,
	},
	{
		name: "hub-protobuf", title: "the same in Protobuf", mode: hubMode,
		history: hubKeeps, only: hubPeers, load: append(hubArgs("hub", 10000, true), "-protobuf"), figure: perDelivery,
	},
	{
		name: "hub-plain", title: "the same in JSON, without a history", mode: hubMode,
		only: hubPeers, load: hubArgs("hub", 10000, false), figure: perDelivery,
	},
	{
		name: hubIdleName, title: "the hub: 15,000 idle clients with a subscription each", together: true, mode: hubMode,
		history: hubKeeps, only: hubServers, load: hubArgs("hub-idle", 15000, true), figure: idleMemory,
	},
	{
		name: "hub-return", title: "the hub: 5,000 clients come back at once and recover 20 publications each", mode: hubMode,
		history: hubKeeps, only: hubServers, load: append(hubArgs("hub-return", 5000, true), "-missed", "20"), figure: untilBack,
	},
	{
		name: "cluster-publish", title: "three nodes: 5,000 publications of 128 B a second, each delivered at all nodes; 100 channels, 300 clients", mode: hubMode,
		history: hubKeeps, only: clusterPeers, anywhere: true, load: append(hubArgs("hub-rate", 300, true), "-inflight", "1000", "-rate", "5000"), figure: perPublication,
	},
	{
		name: "cluster-pass", title: "three nodes: 5,000 publications of 128 B a second, each made at one node and delivered at another; 100 channels", mode: hubMode,
		history: hubKeeps, only: clusterPeers, anywhere: true, load: append(hubArgs("hub-apart", 200, true), "-inflight", "1000", "-rate", "5000"), figure: perPublication,
	},
	{
		name: "cluster-deliver", title: "three nodes: publish 128 B to 10 channels, 9,000 clients, 16 in flight, without a history", mode: hubMode,
		only: []string{ours, corePeer}, load: append(hubArgs("hub", 9000, false), "-topics", "10"), figure: perDelivery,
	},
	{
		name: "cluster-deliver-history", title: "the same with a history of 100 publications", mode: hubMode,
		history: hubKeeps, only: []string{ours, "nodes-r1", "nodes-r3"}, load: append(hubArgs("hub", 9000, true), "-topics", "10"), figure: perDelivery,
	},
	{
		name: "cluster-idle", title: "three nodes: 100,000 channels with a subscriber each on one of them, 100 on each connection", mode: hubMode,
		history: hubKeeps, only: clusterPeers, load: append(hubArgs("hub-channels", 1100, true), "-topics", "100000"), figure: perChannel,
	},
	{
		name: "cluster-join", title: "three nodes: 96 clients join and leave 10,000 channels in turn", mode: hubMode,
		history: hubKeeps, only: clusterPeers, load: append(hubArgs("hub-join", 96, true), "-topics", "10000"), figure: perJoin,
	},
	{
		name: "cluster-presence", title: "three nodes: who is in a channel? 300 clients in 30 channels, 8 questions at once", mode: hubMode, presence: true,
		history: hubKeeps, only: clusterPeers, load: append(hubArgs("hub-presence", 300, true), "-topics", "30", "-inflight", "8"), figure: perQuestion,
	},
	{name: pollingName, title: "a chat by polling, by long polling, and by WebSocket"},
}

func args(mode string, conns, inFlight, size int) []string {
	return []string{"-mode", mode, "-conns", fmt.Sprint(conns), "-inflight", fmt.Sprint(inFlight), "-size", fmt.Sprint(size)}
}

func hubArgs(mode string, conns int, history bool) []string {
	return append(args(mode, conns, 16, 128), "-secret", hubSecret, fmt.Sprintf("-history=%v", history))
}

func tlsArgs(mode string, conns, inFlight, size int) []string {
	return append(args(mode, conns, inFlight, size), "-tls")
}

// tlsPeers are those that are measured over TLS, too.
var tlsPeers = []string{ours, "bun", "gws", "gorilla", "coder"}

// hubServers are those that speak the protocol of the hub, and hubPeers those that its
// deliveries are compared with.
var (
	hubServers   = []string{ours, "centrifugo"}
	hubPeers     = []string{ours, topicsPeer, "centrifugo"}
	clusterPeers = []string{ours, corePeer, "nodes-r1", "nodes-r3"} // ours is one node with the memory broker
)

// idle reports whether what is measured is memory.
func (s *scenario) idle() bool {
	return s.name == idleName || s.name == wssIdleName || s.name == hubIdleName
}

// can reports whether a peer takes part.
func (s *scenario) can(p peer) bool {
	if p.twin && s.only == nil {
		return false
	}
	return (s.floors || !p.floor) && (!p.hub || s.mode == hubMode) && (s.only == nil || slices.Contains(s.only, p.name))
}

// program is the program that a peer is in the scenario.
func (s *scenario) program(p peer) peer {
	if s.mode == hubMode && p.name == ours {
		p.path = filepath.Join(filepath.Dir(p.path), hubProgram)
	}
	return p
}

// serverArgs are the arguments of a server. The certificate is in dir.
func (s *scenario) serverArgs(p peer, dir string) []string {
	if p.name == topicsPeer {
		return []string{"-mode", "topics"}
	}
	a := []string{"-mode", s.mode}
	if s.mode == hubMode {
		a = append(a, "-secret", hubSecret, "-history", fmt.Sprint(s.keeps(p)))
		if s.presence {
			a = append(a, "-presence")
		}
		if p.cluster() {
			a = append(a, "-replicas", fmt.Sprint(max(1, p.replicas)))
		}
	}
	if p.name == metricsPeer {
		a = append(a, "-metrics")
	}
	if s.deflate {
		a = append(a, "-deflate")
		if s.name == "deflate" {
			a = append(a, "-no-takeover")
		}
	}
	if s.tls {
		a = append(a, "-cert", filepath.Join(dir, certFile), "-key", filepath.Join(dir, keyFile))
	}
	return a
}

// keeps is how many publications a channel keeps.
func (s *scenario) keeps(p peer) int {
	if p.name == corePeer {
		return 0
	}
	return s.history
}

// loadArgs are the arguments of the generator for a peer.
func (s *scenario) loadArgs(p peer) []string {
	switch {
	case p.floor:
		return append(slices.Clone(s.load), "-mode", "raw")
	case p.name == topicsPeer:
		return append(slices.Clone(s.load), "-mode", "topics")
	case p.cluster():
		return append(slices.Clone(s.load), fmt.Sprintf("-history=%v", s.keeps(p) > 0), "-sparse")
	}
	return s.load
}
