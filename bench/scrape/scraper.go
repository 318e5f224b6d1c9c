//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// scraper asks as Prometheus does, on one connection.
type scraper struct {
	url           string
	bytes, series int
}

// seen is what a scrape says.
type seen struct {
	open, clients int
	turns, delays counts
}

// counts are a histogram.
type counts struct {
	all, quick uint64  // quick: of at most 1 ms
	longest    float64 // the bound, in seconds, that none was above, of those since
	buckets    map[float64]uint64
}

func (s *scraper) scrape() (*seen, error) {
	r, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept-Encoding", "gzip") // as Prometheus says; it is not used
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s %w", s.url, answer.Status, err)
	}
	s.bytes, s.series = len(text), 0
	return s.read(string(text))
}

func (s *scraper) read(text string) (*seen, error) {
	x := &seen{turns: counts{buckets: map[float64]uint64{}}, delays: counts{buckets: map[float64]uint64{}}}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		s.series++
		at := strings.LastIndexByte(line, ' ')
		name := line[:at]
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		switch {
		case strings.HasPrefix(name, "sockmill_connections{") && strings.Contains(name, `phase="open"`):
			x.open += int(value)
		case name == "sockmill_hub_clients":
			x.clients = int(value)
		default:
			x.turns.take("sockmill_loop_turn_duration_seconds", name, value)
			x.delays.take("sockmill_send_delay_duration_seconds", name, value)
		}
	}
	return x, nil
}

// take takes a line, if it is of the histogram of that name.
func (c *counts) take(histogram, name string, value float64) {
	if rest, ok := strings.CutPrefix(name, histogram+`_bucket{le="`); ok {
		bound, _ := strconv.ParseFloat(strings.TrimSuffix(rest, `"}`), 64)
		if c.buckets[bound] = uint64(value); bound == .001 {
			c.quick = uint64(value)
		}
	} else if name == histogram+"_count" {
		c.all = uint64(value)
	}
}

// since is what has come since an earlier reading.
func (c *counts) since(o *counts) counts {
	d := counts{all: c.all - o.all, quick: c.quick - o.quick, longest: -1}
	for bound, n := range c.buckets {
		if n-o.buckets[bound] == d.all && (d.longest < 0 || bound < d.longest) {
			d.longest = bound
		}
	}
	return d
}
