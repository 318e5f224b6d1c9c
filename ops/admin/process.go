package admin

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

// process is what is known of the process from the start on.
type process struct {
	fixed Process
	began time.Time
}

func (p *process) init() {
	p.began = time.Now()
	p.fixed = Process{PID: os.Getpid(), Command: filepath.Base(os.Args[0]), GoVersion: runtime.Version(), Started: p.began.UTC().Format(time.RFC3339)}
	p.fixed.Host, _ = os.Hostname()
	if info, ok := debug.ReadBuildInfo(); ok {
		p.fixed.Version = info.Main.Version
	}
}

// look tells of the process. It stops nothing.
func (p *process) look() Process {
	to := p.fixed
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(samples)
	to.UptimeMs, to.CPUs, to.Goroutines = time.Since(p.began).Milliseconds(), runtime.GOMAXPROCS(0), runtime.NumGoroutine()
	to.HeapBytes, to.MemoryBytes = samples[0].Value.Uint64(), samples[1].Value.Uint64()-samples[2].Value.Uint64()
	to.GCs, to.GoMemLimitBytes = samples[3].Value.Uint64(), int64(min(samples[4].Value.Uint64(), 1<<63-1)) //nolint:gosec // bounded
	to.OpenFiles, to.CPUMs = -1, -1
	if fds, err := os.Stat("/proc/self/fd"); err == nil && fds.Size() > 0 { // from Linux 6.2 on; to count them would take long
		to.OpenFiles = int(fds.Size())
	}
	var most syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &most) == nil {
		to.OpenFilesMax = int(min(most.Cur, 1<<31)) //nolint:gosec // bounded
	}
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		to.CPUMs = time.Duration(used.Utime.Nano() + used.Stime.Nano()).Milliseconds()
	}
	return to
}
