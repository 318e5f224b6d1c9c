package main

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// metrics are what /metrics.json tells. The counters are anybody's, the rest is
// the game's loop's under the lock.
type metrics struct {
	snapshots, bytes, keyframes, drops              atomic.Uint64
	inputs, inputsIgnored, inputsClamped, inputsBad atomic.Uint64
	floods, late                                    atomic.Uint64

	mu     sync.Mutex
	ticks  *hdrhistogram.Histogram // µs
	counts [len(bucketsMs) + 1]int64
	missed uint64
	now    census
}

// census is who and what is in the world.
type census struct {
	Players   int     `json:"players"` // npcs and lost ones included
	Connected int     `json:"connected"`
	NPCs      int     `json:"npcs"`
	Entities  int     `json:"entities"`
	World     float32 `json:"world"` // units on a side
}

// report is /metrics.json.
type report struct {
	census
	Tick struct {
		Count   int64         `json:"count"`
		Missed  uint64        `json:"missed"` // skipped: the loop was late by more than the engine makes up for
		Late    uint64        `json:"late"`   // made up for, without snapshots
		MeanMs  float64       `json:"mean_ms"`
		P50Ms   float64       `json:"p50_ms"`
		P99Ms   float64       `json:"p99_ms"`
		MaxMs   float64       `json:"max_ms"`
		Buckets []bucketCount `json:"buckets"`
	} `json:"tick"`
	Snapshots     uint64  `json:"snapshots"`
	SnapshotBytes uint64  `json:"snapshot_bytes"`
	Keyframes     uint64  `json:"keyframes"`
	Drops         uint64  `json:"drops"` // snapshots that a newer one replaced before they left, or that were dropped
	Inputs        uint64  `json:"inputs"`
	InputsIgnored uint64  `json:"inputs_ignored"` // above the rate
	InputsClamped uint64  `json:"inputs_clamped"` // longer than 1
	InputsBad     uint64  `json:"inputs_bad"`     // NaN or infinite: counted as 0
	Floods        uint64  `json:"floods"`         // connections closed for them
	RSSBytes      int64   `json:"rss_bytes"`
	CPUSeconds    float64 `json:"cpu_s"` // that the process has used
}

// bucketCount is how many ticks took at most so long.
type bucketCount struct {
	LeMs  float64 `json:"le_ms"`
	Count int64   `json:"count"`
}

var bucketsMs = [...]float64{1, 2, 5, 10, 15, 20, 25, 33, 50, 100}

func newMetrics() *metrics {
	return &metrics{ticks: hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
}

// sent counts a snapshot.
func (m *metrics) sent(n int) {
	m.snapshots.Add(1)
	m.bytes.Add(uint64(n))
}

// ticked notes the tick that g has just made.
func (m *metrics) ticked(g *game, missed uint64) {
	w := g.world
	connected := 0
	for _, s := range g.seats {
		if s.client != nil {
			connected++
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = census{Players: len(w.Players()), Connected: connected, NPCs: w.NPCs(), Entities: w.Count(), World: w.Size}
	m.missed += missed
	_ = m.ticks.RecordValue(min(g.cost, time.Minute).Microseconds())
	i := 0
	for ms := float64(g.cost) / 1e6; i < len(bucketsMs) && ms > bucketsMs[i]; i++ {
	}
	m.counts[i]++
}

func (m *metrics) report() *report {
	m.mu.Lock()
	r := &report{census: m.now}
	t := &r.Tick
	t.Count, t.Missed, t.Late = m.ticks.TotalCount(), m.missed, m.late.Load()
	t.MeanMs, t.MaxMs = m.ticks.Mean()/1e3, float64(m.ticks.Max())/1e3
	t.P50Ms, t.P99Ms = float64(m.ticks.ValueAtQuantile(50))/1e3, float64(m.ticks.ValueAtQuantile(99))/1e3
	sum := int64(0)
	for i, le := range bucketsMs {
		sum += m.counts[i]
		t.Buckets = append(t.Buckets, bucketCount{le, sum})
	}
	m.mu.Unlock()
	r.Snapshots, r.SnapshotBytes, r.Keyframes, r.Drops = m.snapshots.Load(), m.bytes.Load(), m.keyframes.Load(), m.drops.Load()
	r.Inputs, r.InputsIgnored, r.InputsClamped, r.InputsBad = m.inputs.Load(), m.inputsIgnored.Load(), m.inputsClamped.Load(), m.inputsBad.Load()
	r.Floods, r.RSSBytes, r.CPUSeconds = m.floods.Load(), rss(), cpuSeconds()
	return r
}

// rss is the memory of this process that is resident; 0 where /proc is not.
func rss() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(b)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
