// Command wsconform runs the conformance suite against a WebSocket server that
// echoes messages.
//
//	wsconform -addr host:port [-path /] [-tls] [-run regexp] [-parallel n] [-timeout 30s] [-json]
//
// It prints one line for each case and, last, "N passed, N failed, N skipped".
// The exit status is 0 if nothing failed, 1 if a case failed or the server cannot
// be reached, 2 if the flags are wrong.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"

	"github.com/sockmill/sockmill/conformance"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// The exit statuses.
const (
	statusPassed = 0
	statusFailed = 1
	statusUsage  = 2
)

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("wsconform", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var target conformance.Target
	var options conformance.Options
	flags.StringVar(&target.Addr, "addr", "", "host:port of the server (required)")
	flags.StringVar(&target.Path, "path", "/", "path to ask for")
	secure := flags.Bool("tls", false, "speak TLS; certificates are not verified")
	asJSON := flags.Bool("json", false, "print one JSON document in place of lines")
	flags.Func("run", "run the cases whose `ID` matches this regular expression only", func(s string) (err error) {
		options.Match, err = regexp.Compile(s)
		return err
	})
	flags.IntVar(&options.Parallel, "parallel", 8, "cases at a time")
	flags.DurationVar(&options.Timeout, "timeout", 0, "time for each case; a tenth of it for each answer (0: 30s)")
	list := flags.Bool("list", false, "list the cases and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return statusPassed
	case err != nil:
		return statusUsage
	}
	if *list {
		for _, c := range conformance.Cases() {
			fmt.Fprintf(stdout, "%-44s %-10s %-18s %s\n", c.ID, c.Severity, c.Section, c.Doc)
		}
		return statusPassed
	}
	if err := check(flags, target, options); err != nil {
		fmt.Fprintf(stderr, "wsconform: %v\n", err)
		flags.Usage()
		return statusUsage
	}
	if *secure {
		target.TLS = &tls.Config{InsecureSkipVerify: true}
	}
	progress := &progress{w: stderr, on: terminal(stderr)}
	options.Progress = progress.add
	report, err := conformance.Run(context.Background(), target, options)
	progress.clear()
	if err != nil {
		fmt.Fprintf(stderr, "wsconform: %v\n", err)
		return statusFailed
	}
	if err := show(stdout, target, report, *asJSON); err != nil {
		fmt.Fprintf(stderr, "wsconform: %v\n", err)
		return statusFailed
	}
	if report.Failed > 0 {
		return statusFailed
	}
	return statusPassed
}

// check says what is wrong with the arguments.
func check(flags *flag.FlagSet, target conformance.Target, o conformance.Options) error {
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if target.Addr == "" {
		return errors.New("-addr is missing")
	}
	if _, _, err := net.SplitHostPort(target.Addr); err != nil {
		return fmt.Errorf("-addr %q is not host:port", target.Addr)
	}
	if !strings.HasPrefix(target.Path, "/") {
		return fmt.Errorf("-path %q does not begin with a slash", target.Path)
	}
	if o.Parallel < 1 || o.Timeout < 0 {
		return errors.New("-parallel has to be at least 1, -timeout not negative")
	}
	if o.Match != nil {
		for _, c := range conformance.Cases() {
			if o.Match.MatchString(c.ID) {
				return nil
			}
		}
		return fmt.Errorf("-run %q matches no case", o.Match)
	}
	return nil
}

// show prints the report.
func show(w io.Writer, target conformance.Target, report *conformance.Report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			Addr string `json:"addr"`
			Path string `json:"path"`
			TLS  bool   `json:"tls"`
			*conformance.Report
		}{target.Addr, target.Path, target.TLS != nil, report})
	}
	for _, r := range report.Results {
		line := fmt.Sprintf("%-7s %-44s %-10s %-18s %s", r.Verdict, r.ID, r.Severity, r.Section, r.Doc)
		if r.Detail != "" {
			line += " -- " + r.Detail
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, report)
	return err
}

// progress is a line that is written over and over, on a terminal only.
type progress struct {
	w                     io.Writer
	on                    bool
	done, failed, skipped int
}

func (p *progress) add(r conformance.Result) {
	p.done++
	switch r.Verdict {
	case conformance.Failed:
		p.failed++
	case conformance.Skipped:
		p.skipped++
	}
	if p.on {
		fmt.Fprintf(p.w, "\r\x1b[K%d cases, %d failed, %d skipped: %s", p.done, p.failed, p.skipped, r.ID)
	}
}

func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
