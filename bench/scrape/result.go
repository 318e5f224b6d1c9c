//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// What must be reached.
const cpuMax = 5 * time.Millisecond

// window is a time in which the server was scraped, or was not.
type window struct {
	scraped       bool
	length, cpu   time.Duration
	took          []time.Duration // of each scrape, by the clock on the wall
	turns, delays counts
	connections   int
}

type result struct {
	options
	idle, busy    []*window // without messages and with them: not scraped and scraped in turn
	bytes, series int
}

// perScrape is the CPU of a scrape in each pair of windows without messages, sorted.
func (r *result) perScrape() (all []time.Duration) {
	for i := 0; i+1 < len(r.idle); i += 2 {
		quiet, scraped := r.idle[i], r.idle[i+1]
		more := scraped.cpu.Seconds() - quiet.cpu.Seconds()*scraped.length.Seconds()/quiet.length.Seconds()
		all = append(all, time.Duration(more/float64(len(scraped.took))*float64(time.Second)))
	}
	slices.Sort(all)
	return all
}

// pauses is how many turns, and how many sends, took longer than 1 ms in all windows of a kind with messages, and how many there were.
func (r *result) pauses(scraped bool) (turns, delays counts) {
	for _, w := range r.busy {
		if w.scraped == scraped {
			turns.add(&w.turns)
			delays.add(&w.delays)
		}
	}
	return turns, delays
}

func (c *counts) add(o *counts) {
	c.all += o.all
	c.quick += o.quick
	c.longest = max(c.longest, o.longest)
}

func (c *counts) String() string {
	return fmt.Sprintf("%d of %d above 1 ms (none above %g ms)", c.all-c.quick, c.all, c.longest*1000)
}

func (r *result) print(w io.Writer) {
	cost := r.perScrape()
	var took []time.Duration
	for _, x := range r.busy {
		took = append(took, x.took...)
	}
	slices.Sort(took)
	_, _ = fmt.Fprintf(w, "%d connections, all of them clients of a hub; a scrape has %d series, %d bytes\n",
		r.busy[0].connections, r.series, r.bytes)
	_, _ = fmt.Fprintf(w, "CPU of the server for a scrape: median %.2f ms, from %.2f to %.2f ms in %d pairs of windows of %v, %d scrapes\n",
		ms(cost[len(cost)/2]), ms(cost[0]), ms(cost[len(cost)-1]), len(cost), r.window, len(took))
	_, _ = fmt.Fprintf(w, "with %d messages a second there and back, a scrape takes: median %.2f ms, longest %.2f ms\n", r.rate, ms(took[len(took)/2]), ms(took[len(took)-1]))
	for _, scraped := range []bool{false, true} {
		turns, delays := r.pauses(scraped)
		_, _ = fmt.Fprintf(w, "%-11s turns of loops: %v; from Send off the loop to the write: %v\n", map[bool]string{true: "scraped", false: "not scraped"}[scraped], &turns, &delays)
	}
}

// check fails if a scrape costs too much.
func (r *result) check() error {
	var err error
	if cost := r.perScrape(); cost[len(cost)/2] >= cpuMax {
		err = fmt.Errorf("a scrape costs %v of CPU: it must be below %v", cost[len(cost)/2], cpuMax)
	}
	turns, _ := r.pauses(true)
	quiet, _ := r.pauses(false)
	if slow := turns.all - turns.quick; slow > quiet.all-quiet.quick {
		err = errors.Join(err, fmt.Errorf("%d turns took longer than 1 ms while it was scraped, %d while it was not", slow, quiet.all-quiet.quick))
	}
	return err
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
