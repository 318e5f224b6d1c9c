package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/sockmill/sockmill/examples/arena/wire"
)

// tally is what the bots of one loop saw. Its lock is that loop's but for the
// moments when somebody asks.
type tally struct {
	crowd *crowd
	snap  wire.Snapshot // scratch of the loop

	mu        sync.Mutex
	times     *hdrhistogram.Histogram // tick to client, µs
	snapshots uint64
	bytes     uint64
	visible   uint64 // entities, summed over the snapshots
	missed    uint64 // ticks without a snapshot
	drops     uint64
	slow      uint64 // snapshots of slow players: they count for nothing else
}

func newTally(c *crowd) *tally {
	return &tally{crowd: c, times: hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)}
}

// count counts the snapshot in t.snap, which the bot has just applied; last is
// the tick of the one before.
func (t *tally) count(b *bot, last uint32, size int) {
	s := &t.snap
	if !t.crowd.measuring.Load() {
		return
	}
	now := float64(time.Now().UnixNano()) / 1e6
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.slow {
		t.slow++
		return
	}
	if !b.counted {
		b.counted, last = true, s.Tick-1
	} else {
		t.drops += uint64(s.Dropped - b.dropped)
	}
	t.snapshots++
	t.bytes += uint64(size)
	t.visible += uint64(len(b.view.Entities))
	for ago := s.Tick - last; ago > 0; ago-- {
		if ago > 1 {
			t.missed++
		}
		due := s.Due - float64(ago-1)*period.Seconds()*1e3
		_ = t.times.RecordValue(int64(min(max((now-due)*1e3, 1), 500e6)))
	}
}

func (c *crowd) snapshots() (n uint64) {
	for _, t := range c.tallies {
		t.mu.Lock()
		n += t.snapshots
		t.mu.Unlock()
	}
	return n
}

// served is what is of interest of the server's /metrics.json.
type served struct {
	World float64 `json:"world"`
	NPCs  int     `json:"npcs"`
	Tick  struct {
		Count  int64   `json:"count"`
		Missed uint64  `json:"missed"`
		Late   uint64  `json:"late"`
		P50Ms  float64 `json:"p50_ms"`
		P99Ms  float64 `json:"p99_ms"`
	} `json:"tick"`
	Snapshots     uint64  `json:"snapshots"`
	Drops         uint64  `json:"drops"`
	Inputs        uint64  `json:"inputs"`
	InputsIgnored uint64  `json:"inputs_ignored"`
	RSSBytes      int64   `json:"rss_bytes"`
	CPUSeconds    float64 `json:"cpu_s"`
}

func (c *crowd) metrics(ctx context.Context) (s served, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.page+"/metrics.json", nil)
	if err != nil {
		return s, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return s, fmt.Errorf("the server's measurements: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("the server's measurements: %w", err)
	}
	return s, nil
}

// result is the last line.
type result struct {
	N       int     `json:"n"`
	Slow    int     `json:"slow"`
	Seconds float64 `json:"seconds"`

	SnapshotsPerS     float64 `json:"snapshots_per_s"`
	BytesPerS         float64 `json:"bytes_per_s"`
	BytesPerSnapshot  float64 `json:"bytes_per_snapshot"`
	MeanVisible       float64 `json:"mean_entities_visible"`
	P50Ms             float64 `json:"p50_ms"`
	P99Ms             float64 `json:"p99_ms"`
	P999Ms            float64 `json:"p999_ms"`
	MaxMs             float64 `json:"max_ms"`
	Drops             uint64  `json:"drops"` // of the players that are not slow
	Errors            uint64  `json:"errors"`
	TicksMissedPct    float64 `json:"ticks_missed_pct"`
	SlowSnapshotsPerS float64 `json:"slow_snapshots_per_s"` // that the slow players read, all together
	BotsCPUPct        float64 `json:"bots_cpu_pct"`

	// From the server's /metrics.json: of the time measured, but for the
	// quantiles, which are since it began.
	ServerTicks      int64   `json:"server_ticks"`
	ServerMissed     uint64  `json:"server_ticks_missed"`
	ServerLate       uint64  `json:"server_ticks_late"`
	ServerTickP50Ms  float64 `json:"server_tick_p50_ms"`
	ServerTickP99Ms  float64 `json:"server_tick_p99_ms"`
	ServerDrops      uint64  `json:"server_drops"`
	ServerInputsPerS float64 `json:"server_inputs_per_s"`
	ServerIgnored    uint64  `json:"server_inputs_ignored"`
	ServerRSSBytes   int64   `json:"server_rss_bytes"`
	ServerCPUPct     float64 `json:"server_cpu_pct"`
	World            float64 `json:"world"`

	errors []string
}

// sum adds up what the loops counted.
func (c *crowd) sum(r *result) {
	all := newTally(c)
	for _, t := range c.tallies {
		t.mu.Lock()
		all.times.Merge(t.times)
		all.snapshots, all.bytes = all.snapshots+t.snapshots, all.bytes+t.bytes
		all.visible, all.missed = all.visible+t.visible, all.missed+t.missed
		all.drops, all.slow = all.drops+t.drops, all.slow+t.slow
		t.mu.Unlock()
	}
	n := max(float64(all.snapshots), 1)
	r.SnapshotsPerS, r.BytesPerS, r.BytesPerSnapshot = float64(all.snapshots)/r.Seconds, float64(all.bytes)/r.Seconds, float64(all.bytes)/n
	r.MeanVisible = float64(all.visible) / n
	at := func(q float64) float64 { return float64(all.times.ValueAtQuantile(q)) / 1e3 }
	r.P50Ms, r.P99Ms, r.P999Ms, r.MaxMs = at(50), at(99), at(99.9), float64(all.times.Max())/1e3
	r.TicksMissedPct = 100 * float64(all.missed) / (n + float64(all.missed))
	r.Drops, r.SlowSnapshotsPerS = all.drops, float64(all.slow)/r.Seconds
	r.Errors, r.errors = c.errors.Load(), c.firstErrors()
}

// server adds what the server says of itself.
func (r *result) server(before, after served) {
	r.ServerTicks, r.ServerMissed, r.ServerLate = after.Tick.Count-before.Tick.Count, after.Tick.Missed-before.Tick.Missed, after.Tick.Late-before.Tick.Late
	r.ServerTickP50Ms, r.ServerTickP99Ms = after.Tick.P50Ms, after.Tick.P99Ms
	r.ServerDrops, r.ServerIgnored = after.Drops-before.Drops, after.InputsIgnored-before.InputsIgnored
	r.ServerInputsPerS = float64(after.Inputs-before.Inputs) / r.Seconds
	r.ServerRSSBytes, r.World = after.RSSBytes, after.World
	r.ServerCPUPct = 100 * (after.CPUSeconds - before.CPUSeconds) / r.Seconds
}

// print prints the table.
func (r *result) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("players", "%d, and %d slow", r.N, r.Slow)
	row("measured", "%.1f s", r.Seconds)
	row("snapshots", "%.0f/s", r.SnapshotsPerS)
	row("bytes", "%.0f/s, %.1f each", r.BytesPerS, r.BytesPerSnapshot)
	row("entities visible", "%.1f on average", r.MeanVisible)
	row("tick to client", "p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms", r.P50Ms, r.P99Ms, r.P999Ms, r.MaxMs)
	row("ticks missed", "%.3f %%", r.TicksMissedPct)
	row("drops", "%d of these players' snapshots, %d in all", r.Drops, r.ServerDrops)
	if r.Slow > 0 {
		row("the slow", "read %.1f snapshots/s each", r.SlowSnapshotsPerS/float64(r.Slow))
	}
	row("errors", "%d", r.Errors)
	row("server", "tick p50 %.2f ms, p99 %.2f ms; %.0f inputs/s; %.1f MB resident; %.0f %% of a core", r.ServerTickP50Ms, r.ServerTickP99Ms, r.ServerInputsPerS, float64(r.ServerRSSBytes)/1e6, r.ServerCPUPct)
	row("bots", "%.0f %% of a core", r.BotsCPUPct)
	_ = w.Flush()
	for _, e := range r.errors {
		_, _ = fmt.Fprintf(out, "error: %s\n", e)
	}
}
