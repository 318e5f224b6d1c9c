// Command check measures whether the arena reaches what it must: the server on
// one core, the bots on another, with and without players who read slowly.
//
//	go run ./examples/arena/check [-n 1000] [-for 30s] [-times 5] [-slow 50] [-largest 1000,1500,2000,2500,3000]
//
// It runs from the root of the module, builds both programs, prints a table and
// ends with status 1 if a bound is not kept. -largest looks for the most players
// for whom all bounds are kept, as well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// The bounds.
const (
	p99MsMax      = 33.0
	missedPctMax  = 1.0
	rssMBMax      = 100.0
	slowFactorMax = 1.2
	visibleMin    = 15.0
	inputsMin     = 19.0 // a second, for each bot
)

type options struct {
	n, slow int
	span    time.Duration
	times   int
	largest []int
}

func main() {
	var o options
	ladder := flag.String("largest", "", "also find the largest of these numbers of players that holds, such as 1000,1500,2000,2500,3000")
	flag.IntVar(&o.n, "n", 1000, "players")
	flag.IntVar(&o.slow, "slow", 50, "players who read slowly, in the second run")
	flag.DurationVar(&o.span, "for", 30*time.Second, "how long to measure, each time")
	flag.IntVar(&o.times, "times", 5, "how often, with and without slow players in turn: of the times the median counts, of all else the worst")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := o.parse(*ladder)
	if err == nil {
		err = check(ctx, o, os.Stdout, os.Stderr)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func (o *options) parse(ladder string) error {
	if o.times < 1 {
		return fmt.Errorf("-times is %d: it must be 1 or more", o.times)
	}
	for _, s := range strings.FieldsFunc(ladder, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("-largest is %q: it must be numbers of players, such as 1000,1500", ladder)
		}
		o.largest = append(o.largest, n)
	}
	return nil
}

var errShort = errors.New("a bound is not kept")

// check measures and prints the table.
func check(ctx context.Context, o options, out, progress io.Writer) error {
	p, err := build(ctx, progress)
	if err != nil {
		return err
	}
	defer p.remove()
	plain, slow, err := p.pairs(ctx, o)
	if err != nil {
		return err
	}
	short := table(out, append(rows(plain), slowRows(plain, slow)...))
	if len(o.largest) > 0 {
		if err := p.largest(ctx, o, out); err != nil {
			return err
		}
	}
	if short {
		return errShort
	}
	return nil
}

// row is a line of the table.
type row struct {
	what, bound, measured string
	ok                    bool
}

// timed judges a time, or a ratio of times, by the median of the runs; their range
// says how busy the machine was.
func timed(what, bound, unit string, runs []float64, most float64) row {
	mid := median(runs)
	return row{what, bound, fmt.Sprintf("%.2f%s (%.2f – %.2f)", mid, unit, slices.Min(runs), slices.Max(runs)), mid < most}
}

// rows judges runs without slow players.
func rows(runs []*measured) []row {
	m := together(runs)
	players := fmt.Sprintf("%d players: ", m.N)
	perBot := m.InputsPerS / float64(m.N)
	return []row{
		timed(players+"tick to client, p99", fmt.Sprintf("< %.0f ms", p99MsMax), " ms", times(runs), p99MsMax),
		{what: players + "ticks missed", bound: fmt.Sprintf("< %.0f %%", missedPctMax), measured: fmt.Sprintf("%.3f %%", m.MissedPct), ok: m.MissedPct < missedPctMax},
		{what: players + "memory, at its most", bound: fmt.Sprintf("< %.0f MB", rssMBMax), measured: fmt.Sprintf("%.1f MB", m.peakMB), ok: m.peakMB < rssMBMax},
		{what: players + "entities each sees", bound: fmt.Sprintf(">= %.0f", visibleMin), measured: fmt.Sprintf("%.1f", m.Visible), ok: m.Visible >= visibleMin},
		{what: players + "inputs of each", bound: fmt.Sprintf(">= %.0f/s", inputsMin), measured: fmt.Sprintf("%.1f/s", perBot), ok: perBot >= inputsMin},
		{what: players + "errors", bound: "0", measured: strconv.FormatUint(m.Errors, 10), ok: m.Errors == 0},
	}
}

// times are the runs' 99th percentiles.
func times(runs []*measured) (ms []float64) {
	for _, m := range runs {
		ms = append(ms, m.P99Ms)
	}
	return ms
}

// slowRows judges runs with slow players by those without: each by the one before
// it, since the machine may be busier at one time than at another. That they were
// slow shows in snapshots that were replaced before they left.
func slowRows(plain, slow []*measured) []row {
	m := together(slow)
	players := fmt.Sprintf("and %d slow: ", m.Slow)
	factors := make([]float64, len(slow))
	for i := range slow {
		factors[i] = slow[i].P99Ms / plain[i].P99Ms
	}
	return []row{
		timed(players+"tick to client of the others, p99", fmt.Sprintf("<= %.1f x that", slowFactorMax), " x", factors, slowFactorMax),
		{what: players + "ticks missed by the others", bound: fmt.Sprintf("< %.0f %%", missedPctMax), measured: fmt.Sprintf("%.3f %%", m.MissedPct), ok: m.MissedPct < missedPctMax},
		{what: players + "snapshots of the slow replaced", bound: "> 0", measured: strconv.FormatUint(m.ServerDrops-m.Drops, 10), ok: m.ServerDrops > m.Drops},
		{what: players + "memory, at its most", bound: fmt.Sprintf("< %.0f MB", rssMBMax), measured: fmt.Sprintf("%.1f MB", m.peakMB), ok: m.peakMB < rssMBMax},
		{what: players + "errors", bound: "0", measured: strconv.FormatUint(m.Errors, 10), ok: m.Errors == 0},
	}
}

// table prints the rows and tells whether one falls short.
func table(out io.Writer, rows []row) (short bool) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(w, "what\tbound\tmeasured\tverdict")
	for _, r := range rows {
		verdict := "ok"
		if !r.ok {
			verdict, short = "SHORT", true
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.what, r.bound, r.measured, verdict)
	}
	_ = w.Flush()
	return short
}

// largest climbs until a number of players does not hold.
func (p *programs) largest(ctx context.Context, o options, out io.Writer) error {
	best := 0
	for _, n := range o.largest {
		var runs []*measured
		for range o.times {
			m, err := p.measure(ctx, n, 0, o.span)
			if err != nil {
				return err
			}
			runs = append(runs, m)
		}
		_, _ = fmt.Fprintln(out)
		if table(out, rows(runs)) {
			break
		}
		best = n
	}
	_, err := fmt.Fprintf(out, "\nthe largest n that holds: %d\n", best)
	return err
}
