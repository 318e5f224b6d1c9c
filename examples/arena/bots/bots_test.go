package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockmill/sockmill/examples/arena/wire"
)

// server builds and starts the arena, and returns its address.
func server(t *testing.T, args ...string) (addr string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "arena")
	if out, err := exec.Command("go", "build", "-o", bin, "..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	c := exec.Command(bin, append([]string{"-listen", "ws://127.0.0.1:0"}, args...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "arena: open http://"))
}

// TestPlays: the bots come in, play, and say what they saw; the slow ones read
// once, in the middle of the measuring, and then miss what was dropped.
func TestPlays(t *testing.T) {
	addr := server(t, "-loops", "2")
	var out, progress bytes.Buffer
	if err := run(t.Context(), options{url: "ws://" + addr + "/play", n: 8, slow: 2, pause: 9 * time.Second, span: 9 * time.Second, loops: 2}, &out, &progress); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var r result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	// The machine may be busy: half of what there should be is enough.
	if r.N != 8 || r.Slow != 2 || r.Errors != 0 || r.SnapshotsPerS < 8*15 || r.SnapshotsPerS > 8*33 || r.MeanVisible < 10 ||
		r.BytesPerSnapshot < 40 || r.P50Ms <= 0 || r.P99Ms < r.P50Ms || r.MaxMs < r.P999Ms || r.TicksMissedPct > 50 ||
		r.SlowSnapshotsPerS <= 0 || r.SlowSnapshotsPerS/2 >= r.SnapshotsPerS/8 || r.ServerDrops == 0 || r.ServerInputsPerS < 10*10 || r.ServerInputsPerS > 10*25 || r.ServerTicks < 30 || r.ServerRSSBytes < 1e6 {
		t.Errorf("%s", out.String())
	}
	if !strings.Contains(out.String(), "tick to client") || !strings.Contains(progress.String(), "10 of 10 play") {
		t.Errorf("the table or the progress is missing: %s %s", out.String(), progress.String())
	}
}

// TestNobodyThere: without a server the bots say so and end.
func TestNobodyThere(t *testing.T) {
	err := run(t.Context(), options{url: "ws://127.0.0.1:1/play", n: 3, span: time.Second, loops: 1}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
	if err := run(t.Context(), options{url: "http://127.0.0.1:1/play"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "-url") {
		t.Errorf("%v", err)
	}
}

// TestLatenessOfMissedTicks: a tick without a snapshot is as late as the next
// one that has one.
func TestLatenessOfMissedTicks(t *testing.T) {
	c := &crowd{}
	c.measuring.Store(true)
	tl := newTally(c)
	b := &bot{crowd: c}
	see := func(tick, last uint32, ago time.Duration, dropped uint32) {
		tl.snap.Header = wire.Header{Tick: tick, Due: float64(time.Now().Add(-ago).UnixNano()) / 1e6, Dropped: dropped}
		tl.count(b, last, 100)
		b.dropped = dropped
	}
	see(10, 3, 5*time.Millisecond, 4) // what was before the measuring does not count
	see(11, 10, 5*time.Millisecond, 4)
	see(14, 11, 5*time.Millisecond, 6) // 12 was due 66 ms before 14, 13 33 ms
	if tl.snapshots != 3 || tl.missed != 2 || tl.drops != 2 || tl.bytes != 300 || tl.times.TotalCount() != 5 {
		t.Errorf("%d snapshots, %d missed, %d drops, %d times", tl.snapshots, tl.missed, tl.drops, tl.times.TotalCount())
	}
	for q, ms := range map[float64]float64{50: 5, 75: 38.3, 99: 71.6} {
		if got := float64(tl.times.ValueAtQuantile(q)) / 1e3; got < ms-0.5 || got > ms+10 {
			t.Errorf("p%v is %v ms, want about %v", q, got, ms)
		}
	}
}
