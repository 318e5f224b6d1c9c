package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sockmill/sockmill/e2e/cluster/check"
	"github.com/sockmill/sockmill/e2e/cluster/crowd"
)

const (
	settleWithin  = 30 * time.Second // the last message is everywhere, and the nodes agree on who is there; for each
	readyWithin   = 2 * time.Minute  // a node that led a stream when it was cut off has to take back what it wrote there, one entry every 2 s
	syncWithin    = time.Minute
	unreadyWithin = 6 * time.Second // a node that is cut off says so
)

// result is a row of the table.
type result struct {
	fault, host                           string
	hold, unready, ready, settled, synced time.Duration
	ends                                  int // of nodes, by themselves
	tally                                 crowd.Tally
}

// choose returns the faults that were asked for.
func choose(list string) (chosen []fault, err error) {
	if list == "" {
		return slices.Clone(faults), nil
	}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.Index(names(), name)
		if i < 0 {
			return nil, fmt.Errorf("-faults: there is no %q", name)
		}
		chosen = append(chosen, faults[i])
	}
	return chosen, nil
}

// turns breaks something, mends it and checks, again and again.
func (l *lab) turns(ctx context.Context, o options) error {
	chosen, err := choose(o.faults)
	if err != nil {
		return err
	}
	c, err := crowd.Start(crowd.Config{
		Nodes: l.nodes(), Key: apiKey, From: l.from(), Clients: 12, Channels: crowd.Names(8), Follow: 4, Publish: 12,
		Every: 100 * time.Millisecond, Silence: 3 * time.Second, Events: true, Seed: o.seed, Book: check.New(), Progress: progress,
	})
	if err != nil {
		return err
	}
	defer c.End()
	if err := c.Ready(ctx, settleWithin); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(o.seed, 0))
	var results []result
	defer func() { table(results) }()
	for turn := 0; turn < len(chosen) || time.Since(began) < o.length; turn++ {
		i := turn % len(chosen)
		if i == 0 && turn > 0 {
			r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		}
		h := l.hosts[r.IntN(len(l.hosts))]
		hold := o.hold/2 + time.Duration(r.Int64N(int64(o.hold)+1))
		x, err := l.turn(ctx, c, &chosen[i], h, hold, r)
		results = append(results, x)
		if err != nil {
			return fmt.Errorf("turn %d, %s at %s, seed %d: %w", turn+1, chosen[i].name, h.name, o.seed, err)
		}
	}
	return nil
}

func progress(format string, args ...any) { say("  "+format, args...) }

// turn is one fault, from before to after.
func (l *lab) turn(ctx context.Context, c *crowd.Crowd, f *fault, h *host, hold time.Duration, r *rand.Rand) (x result, err error) {
	x = result{fault: f.name, host: h.name}
	if f.cut {
		hold = max(hold, unreadyWithin+time.Second)
	}
	what, heal, err := f.begin(ctx, h, r)
	say("%s at %s: %s", f.name, h.name, what)
	if err != nil {
		return x, err
	}
	from := time.Now()
	if f.cut {
		if x.unready, err = h.unready(ctx, unreadyWithin); err != nil {
			return x, err
		}
		say("  %s says after %v that it is not ready", h.name, x.unready.Round(time.Millisecond))
	}
	if err := wait(ctx, hold-time.Since(from), "it lasts"); err != nil {
		return x, err
	}
	x.hold = time.Since(from)
	if err := heal(ctx); err != nil {
		return x, err
	}
	healed := time.Now()
	if err := l.ready(ctx, readyWithin); err != nil {
		return x, err
	}
	x.ready = time.Since(healed)
	wrong := c.Settle(ctx, settleWithin)
	x.settled, x.tally = time.Since(healed), c.Tally()
	say("  mended: all ready after %v, all complete and agreed after %v; %+v", x.ready.Round(time.Millisecond), x.settled.Round(time.Millisecond), x.tally)
	if err := l.inSync(ctx, syncWithin); err != nil {
		wrong = append(wrong, err.Error())
	}
	x.synced = time.Since(healed)
	if ctx.Err() != nil {
		return x, context.Cause(ctx)
	}
	if n := x.tally.Missed; n > 0 && !f.gone {
		wrong = append(wrong, fmt.Sprintf("%d subscriptions were told that something was missing, and the stream has it all", n))
	}
	for _, other := range l.hosts {
		for _, how := range other.takeEnds() {
			x.ends++
			if !f.ends || how != "exit status 1" {
				wrong = append(wrong, fmt.Sprintf("%s has ended by itself: %s", other.name, how))
			}
		}
	}
	if len(wrong) > 0 {
		return x, errors.New(first(wrong))
	}
	return x, nil
}

// unready waits until the host says that it is not ready.
func (h *host) unready(ctx context.Context, within time.Duration) (time.Duration, error) {
	from := time.Now()
	err := until(ctx, within, func() (string, bool) {
		return h.name + " is cut off, and says that it is ready", h.ready(ctx) != nil && ctx.Err() == nil
	})
	return time.Since(from), err
}

// first are the first of many lines.
func first(all []string) string {
	const most = 12
	if n := len(all); n > most {
		all = append(all[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Sprintf("%d things are wrong:\n  %s", len(all), strings.Join(all, "\n  "))
}

// table prints what was seen in each turn.
func table(results []result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\nfault\tat\tlasted s\tunready s\tready s\tsettled s\tin sync s\tended\tacked\tnot acked\tlost\trecovered\ttold\t2500\taway s\t")
	for _, x := range results {
		s := func(d time.Duration) string {
			if d == 0 {
				return "–"
			}
			return fmt.Sprintf("%.1f", d.Seconds())
		}
		t := &x.tally
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t\n",
			x.fault, x.host, s(x.hold), s(x.unready), s(x.ready), s(x.settled), s(x.synced), x.ends, t.Acked, t.Failed, t.Lost, t.Recovered, t.Missed, t.Insufficient, s(t.Away))
	}
	_ = w.Flush()
}
