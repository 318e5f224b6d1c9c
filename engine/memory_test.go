package engine

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"
)

// heap is what is alive after a collection; the second one empties sync.Pools.
func heap() int {
	runtime.GC()
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

// resident is the memory of this process that is in RAM; 0 on systems that do
// not tell it in /proc.
func resident() int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}

// descriptors is how many this process has open; 0 like resident.
func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list) - 1 // the directory's own
}

// gauge samples how far resident rises.
type gauge struct {
	base, peak int
	stop       chan struct{}
	done       sync.WaitGroup
}

func newGauge() *gauge {
	debug.FreeOSMemory() // or what was freed earlier hides a rise
	g := &gauge{base: resident(), stop: make(chan struct{})}
	g.done.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			g.peak = max(g.peak, resident())
			select {
			case <-tick.C:
			case <-g.stop:
				return
			}
		}
	})
	return g
}

// rise ends the sampling.
func (g *gauge) rise() int {
	close(g.stop)
	g.done.Wait()
	return g.peak - g.base
}
