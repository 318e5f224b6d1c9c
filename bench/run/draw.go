//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sockmill/sockmill/bench/internal/chart"
	"github.com/sockmill/sockmill/bench/internal/report"
)

// charts draws each scenario that was measured into dir.
func charts(dir string, r *report.Results) error {
	for i := range allScenarios {
		s := &allScenarios[i]
		bars := bars(r, s)
		if len(bars) == 0 {
			continue
		}
		subtitle := s.figure.title + ": median and 90 % interval, less is better"
		if s.name == pollingName {
			subtitle = "bytes for each message delivered; beside it the median delay"
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		path := filepath.Join(dir, s.name+".svg")
		if err := os.WriteFile(path, []byte(chart.Bars(s.title, subtitle, bars)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func bars(r *report.Results, s *scenario) (bars []chart.Bar) {
	if s.name == pollingName {
		for _, p := range r.Polling {
			b := chart.Bar{Label: p.Way, Value: p.BytesMessage, Kind: chart.Peer}
			b.Text = fmt.Sprintf("%s B, %s", count(p.BytesMessage), duration(float64(p.P50)))
			if p.Way == "WebSocket" {
				b.Kind = chart.Ours
			}
			bars = append(bars, b)
		}
		return bars
	}
	for _, x := range gather(r, s) {
		if len(x.of) == 0 {
			continue
		}
		e := x.estimate(s.figure.of)
		b := chart.Bar{Label: x.peer, Value: e.Median, Low: e.Low, High: e.High, Text: s.figure.show(e.Median), Kind: chart.Peer}
		for _, p := range allPeers {
			switch {
			case x.peer == ours:
				b.Kind = chart.Ours
			case p.name == x.peer && (p.floor || p.name == topicsPeer):
				b.Kind = chart.Floor
			}
		}
		bars = append(bars, b)
	}
	return bars
}

// The marks in BENCHMARKS.md between which a run is put.
const (
	beginMark = "<!-- results: written by bench/run -docs -->"
	endMark   = "<!-- end of results -->"
)

// publish puts tables and charts into the documents.
func publish(docs string, r *report.Results) error {
	path := filepath.Join(docs, "BENCHMARKS.md")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s lacks the lines %q and %q", path, beginMark, endMark)
	}
	if err := charts(filepath.Join(docs, "bench"), r); err != nil {
		return err
	}
	results := summary(r, func(name string) string { return fmt.Sprintf("![%s](bench/%s.svg)\n\n", name, name) })
	measured := map[string]bool{}
	for i := range r.Samples {
		measured[r.Samples[i].Scenario+" "+r.Samples[i].Peer] = true
	}
	verdicts, _ := judge(r, measured)
	text := before + beginMark + "\n\n" + results + "\n### What must be reached\n\n" + verdicts + "\n" + endMark + after
	return os.WriteFile(path, []byte(text), 0o644)
}
