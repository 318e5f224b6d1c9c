//go:build linux

// Command load puts load on a server of WebSockets, verifies all that comes
// back, and prints what it measured as JSON.
//
// It is one thread on one epoll instance. Frames are encoded and masked
// beforehand; a message costs a copy into the kernel and out of it, and a look
// at its header. Each reply is counted by type and length; its bytes are
// compared with what was sent for all replies before and after the measured
// window, and for one in 64 within. With -tls the rest is the same, through crypto/tls
// on the same thread: one record for what one write has.
//
//	load -addr 127.0.0.1:8091 -mode echo -conns 1000 -inflight 1 -pid $(pidof echo)
//
// Modes:
//
//	echo       each message comes back
//	raw        the same bytes to a server that echoes bytes, without a handshake
//	deflate    echo, compressed, each message by itself
//	takeover   echo, compressed, with context takeover both ways, 12 bits
//	broadcast  one connection sends, all receive, -inflight messages on their way
//	topics     connection i subscribes to topic i mod -topics ("s NAME"); the first
//	           of each topic publishes ("p NAME PAYLOAD"), -inflight on their way in all
//	handshake  connect, upgrade, reset, -conns at a time
//	idle       open, be quiet, one message each, be quiet: resident memory
//	burst      open, reset all, open all at once: the time until each has had a reply
//	hub        topics over the Centrifugal protocol: each connection is a client with
//	           a user of its own, and every publication is compared byte by byte
//	hub-idle   idle with a subscription each
//	hub-return clients are cut, miss publications, come back at once: the time until
//	           each has recovered them
//	hub-rate   hub with -rate publications a second, whatever has arrived
//	hub-apart  the same, and who publishes follows nothing
//	hub-channels  -topics channels, each with one subscriber; a connection has several: memory
//	           and CPU of the server for a channel. Then one publication to each
//	hub-join   each client joins one of -topics channels, leaves it, joins the next one
//	hub-presence  clients in -topics channels ask who is there, -inflight questions at once
//
// With several addresses the connections are spread over the nodes, and the members of a channel, too. Then latencies of
// publications are of those who got them at another node than the publisher's.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sockmill/sockmill/bench/internal/report"
)

type options struct {
	addr, mode             string
	conns, inFlight, size  int
	topics, pid            int
	tls                    bool
	protobuf, history      bool // of the modes hub…
	sparse                 bool
	rate                   int
	missed                 int
	secret                 string
	warmUp, duration, rest time.Duration
	stall                  time.Duration // nothing comes: the run is given up
	quiet                  time.Duration // after the last reply nothing may come
	least                  uint64        // messages before the window and in it, however long it takes
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8091", "the server's address; several, with commas, are the nodes of a cluster (hub…)")
	flag.StringVar(&o.mode, "mode", "echo", "what is done: see the package's comment")
	flag.IntVar(&o.conns, "conns", 1000, "connections")
	flag.IntVar(&o.inFlight, "inflight", 1, "messages on their way, of each connection; in fan-outs, of all")
	flag.IntVar(&o.size, "size", 128, "bytes of a payload")
	flag.IntVar(&o.topics, "topics", 100, "topics, or channels")
	flag.BoolVar(&o.protobuf, "protobuf", false, "hub…: speak Protobuf, not JSON")
	flag.BoolVar(&o.history, "history", false, "hub…: the channels have a history; offsets are verified")
	flag.BoolVar(&o.sparse, "sparse", false, "hub…: the offsets of a channel rise, but not by one")
	flag.IntVar(&o.rate, "rate", 5000, "hub-rate: publications a second")
	flag.IntVar(&o.missed, "missed", 20, "hub-return: publications to each channel that are missed and recovered")
	flag.StringVar(&o.secret, "secret", "", "hub…: the tokens are signed with it (HS256)")
	flag.BoolVar(&o.tls, "tls", false, "speak TLS 1.3")
	flag.IntVar(&o.pid, "pid", 0, "process of the server, whose CPU time and memory are read; 0: none")
	flag.DurationVar(&o.warmUp, "warmup", time.Second, "time before the measured window; all replies are compared")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "the measured window")
	flag.DurationVar(&o.rest, "rest", 10*time.Second, "quiet time before memory is read (idle)")
	flag.Parse()
	debug.SetGCPercent(-1) // nothing is allocated for a message
	debug.SetMemoryLimit(2 << 30)
	o.stall, o.quiet, o.least = 20*time.Second, 50*time.Millisecond, uint64(o.conns)
	r, err := generate(o)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// generate does what the options say.
func generate(o options) (*report.Load, error) {
	if o.conns < 1 || o.inFlight < 1 || o.size < 1 || o.topics < 1 || o.missed < 0 {
		return nil, errors.New("-conns, -inflight, -size and -topics must be at least 1, -missed at least 0")
	}
	l, err := newLoad(o)
	if err != nil {
		return nil, err
	}
	defer l.close()
	modes := map[string]func() error{
		"echo": l.echo, "raw": l.echo, "deflate": l.echo, "takeover": l.echo, "broadcast": l.fan, "topics": l.fan,
		"handshake": l.handshakes, "idle": l.idle, "burst": l.burst,
		"hub": l.hubPublish, "hub-idle": l.hubIdle, "hub-return": l.hubReturn,
		"hub-rate": l.hubRate, "hub-apart": l.hubRate, "hub-channels": l.hubChannels, "hub-join": l.hubJoin, "hub-presence": l.hubPresence,
	}
	mode := modes[o.mode]
	if mode == nil {
		return nil, fmt.Errorf("-mode is %q: see -help", o.mode)
	}
	if o.tls && !slices.Contains([]string{"echo", "deflate", "takeover", "handshake", "idle", "burst"}, o.mode) {
		return nil, fmt.Errorf("-mode %s is not made for -tls", o.mode)
	}
	if err := mode(); err != nil {
		return nil, err
	}
	return l.finish(), nil
}
