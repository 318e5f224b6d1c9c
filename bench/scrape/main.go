//go:build linux

// Command scrape measures what it costs when Prometheus asks for /metrics: the CPU of the server, and whether its loops pause.
//
//	go run ./scrape [-conns 10000] [-pairs 10] [-window 2s] [-every 50ms] [-rate 5000] [-check]
//
// The server is a process of its own with real connections over loopback, each a client of a hub in one of 100 channels. Windows in which it is
// scraped, as Prometheus does it, and windows in which it is not take turns.
//
// First nothing else happens: the CPU that the first kind costs more is the scrapes'. Then messages come and go back, and the server itself counts
// pauses (engine.Config.Timings): the turns of its loops, and the time from a Send off the loop to the write, which a goroutine of the
// server does once a millisecond on each loop. What else runs on the machine makes pauses, too: compare both kinds of windows.
//
// -check fails if a scrape costs 5 ms of CPU or more, or if there are more pauses above 1 ms while it is scraped.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

type options struct {
	conns, pairs, rate int
	window, every      time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.conns, "conns", 10_000, "connections; each process needs a descriptor for each")
	flag.IntVar(&o.pairs, "pairs", 10, "windows of each kind")
	flag.DurationVar(&o.window, "window", 2*time.Second, "length of a window")
	flag.DurationVar(&o.every, "every", 50*time.Millisecond, "time from one scrape to the next")
	flag.IntVar(&o.rate, "rate", 5000, "messages a second that come and go back, of all connections together")
	check := flag.Bool("check", false, "status 1 if a scrape costs too much")
	role := flag.String("role", "", "server: what a child is; leave it empty")
	flag.Parse()
	if *role == "server" {
		exit(serve())
		return
	}
	r, err := run(o)
	if err == nil {
		r.print(os.Stdout)
		if *check {
			err = r.check()
		}
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "scrape:", err)
		os.Exit(1)
	}
}
