//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sockmill/sockmill/bench/internal/polling"
	"github.com/sockmill/sockmill/bench/internal/report"
)

// runner goes through the matrix.
type runner struct {
	o         options
	dir       string // of the programs
	peers     []peer
	scenarios []scenario
	results   *report.Results
	progress  *progress
}

// all measures everything, repetition by repetition, and within one scenario by
// scenario, so that peers stand beside each other. Who begins changes from one
// repetition to the next.
func (r *runner) all(ctx context.Context, save func() error) error {
	for repetition := range r.o.reps {
		for i := range r.scenarios {
			s := &r.scenarios[i]
			switch {
			case s.together:
				r.together(ctx, repetition, s)
			case s.name == pollingName:
				if repetition > 0 {
					continue
				}
				r.progress.begin("%s", s.name)
				rows, err := polling.Run(ctx, r.o.polling)
				if err != nil {
					return fmt.Errorf("polling: %w", err)
				}
				r.results.Polling = rows
				r.progress.end("")
			default:
				for _, p := range r.order(repetition, s) {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					r.progress.begin("repetition %d of %d, %s, %s", repetition+1, r.o.reps, s.name, p.name)
					l, err := r.one(ctx, s, p)
					if ctx.Err() != nil {
						return ctx.Err() // not the peer's fault
					}
					r.keep(s, p, repetition, l, err)
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err := save(); err != nil {
			return err
		}
	}
	return nil
}

// order is who takes part in a scenario, in the order of this repetition.
func (r *runner) order(repetition int, s *scenario) (order []peer) {
	for i := range r.peers {
		p := r.peers[(i+repetition)%len(r.peers)]
		if s.can(p) {
			order = append(order, p)
		}
	}
	return order
}

// keep adds a sample to the results.
func (r *runner) keep(s *scenario, p peer, repetition int, l report.Load, err error) {
	sample := report.Sample{Scenario: s.name, Peer: p.name, Repetition: repetition, Load: l}
	var said string
	if err != nil {
		sample.Failed = err.Error()
		said = "FAILED: " + sample.Failed
	} else {
		said = s.figure.show(s.figure.of(&l))
	}
	r.results.Samples = append(r.results.Samples, sample)
	r.progress.end(said)
}

// one measures one peer in one scenario.
func (r *runner) one(ctx context.Context, s *scenario, p peer) (l report.Load, err error) {
	processor := r.o.serverCPU
	if s.anywhere {
		processor = anywhere
	}
	srv, err := serve(s.program(p), processor, s.serverArgs(p, r.dir)...)
	if err != nil {
		return l, err
	}
	defer srv.stop()
	g, err := r.generate(ctx, srv, s)
	if err != nil {
		return l, err
	}
	if l, err = g.wait(); err != nil {
		return l, fmt.Errorf("%w; the server%s", err, srv.stderr)
	}
	return l, suspicious(&l)
}

func (r *runner) generate(ctx context.Context, srv *server, s *scenario) (*generator, error) {
	args := append(s.loadArgs(srv.peer),
		"-duration", r.o.duration.String(), "-warmup", r.o.warmUp.String(), "-rest", r.o.rest.String())
	return generate(ctx, filepath.Join(r.dir, "load"), r.o.loadCPU, srv, args...)
}

// suspicious doubts a sample whose two accounts of CPU time disagree: what the
// living threads used is part of what the process used.
func suspicious(l *report.Load) error {
	const tick = 20e6 // of all the ticks that schedstat may be behind or ahead
	if float64(l.ServerSchedstatNs) > 1.02*float64(l.ServerCPUNs)+tick {
		return fmt.Errorf("the server's threads used %d ns by schedstat, but its process %d ns", l.ServerSchedstatNs, l.ServerCPUNs)
	}
	if l.ServerCPUNs <= 0 || l.Messages == 0 {
		return errors.New("nothing was measured")
	}
	return nil
}

// together measures all peers at the same time: those that are idle, which open their
// connections one after the other, and those that are to meet the same machine.
func (r *runner) together(ctx context.Context, repetition int, s *scenario) {
	type running struct {
		p   peer
		srv *server
		g   *generator
	}
	var all []running
	for _, p := range r.order(repetition, s) {
		r.progress.show("repetition %d of %d, %s, %s opens", repetition+1, r.o.reps, s.name, p.name)
		srv, err := serve(s.program(p), r.o.serverCPU, s.serverArgs(p, r.dir)...)
		if err != nil {
			r.progress.begin("%s, %s", s.name, p.name)
			r.keep(s, p, repetition, report.Load{}, err)
			continue
		}
		g, err := r.generate(ctx, srv, s)
		if err != nil {
			srv.stop()
			r.progress.begin("%s, %s", s.name, p.name)
			r.keep(s, p, repetition, report.Load{}, err)
			continue
		}
		all = append(all, running{p, srv, g})
		if !s.idle() {
			continue
		}
		select {
		case <-g.said: // open, or what went wrong
		case <-time.After(time.Minute):
			fmt.Fprintf(os.Stderr, "%s takes more than a minute to open its connections\n", p.name)
		case <-ctx.Done():
		}
	}
	for _, x := range all {
		r.progress.begin("repetition %d of %d, %s, %s", repetition+1, r.o.reps, s.name, x.p.name)
		l, err := x.g.wait()
		if err != nil {
			err = fmt.Errorf("%w; the server%s", err, x.srv.stderr)
		}
		x.srv.stop()
		if ctx.Err() == nil {
			r.keep(s, x.p, repetition, l, err)
		}
	}
}

// cells is how many steps all has.
func (r *runner) cells() (n int) {
	for i := range r.scenarios {
		if r.scenarios[i].name == pollingName {
			n++
			continue
		}
		n += r.o.reps * len(r.order(0, &r.scenarios[i]))
	}
	return n
}

// progress is the line that says where the run is.
type progress struct {
	began       time.Time
	done, total int
	overwrite   bool // a terminal
	line        string
}

func newProgress(total int) *progress {
	info, err := os.Stderr.Stat()
	return &progress{began: time.Now(), total: total, overwrite: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) begin(format string, args ...any) {
	p.line = fmt.Sprintf(format, args...)
	if p.overwrite {
		p.show("%s", p.line)
	}
}

// show replaces the line.
func (p *progress) show(format string, args ...any) {
	if p.overwrite {
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s %s", p.left(), fmt.Sprintf(format, args...))
	}
}

func (p *progress) end(result string) {
	p.done++
	end := "\n"
	if p.overwrite {
		end = ""
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		if len(result) > 6 && result[:6] == "FAILED" {
			end = "\n" // to stay
		}
	}
	fmt.Fprintf(os.Stderr, "%s %s: %s%s", p.left(), p.line, result, end)
}

// left is how far it is and how long it will take.
func (p *progress) left() string {
	took := time.Since(p.began)
	if p.done == 0 {
		return fmt.Sprintf("[0/%d]", p.total)
	}
	left := took / time.Duration(p.done) * time.Duration(p.total-p.done)
	return fmt.Sprintf("[%d/%d, %v, %v left]", p.done, p.total, took.Round(time.Second), left.Round(time.Second))
}
