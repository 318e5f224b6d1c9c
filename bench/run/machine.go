//go:build linux

package main

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/sockmill/sockmill/bench/internal/report"
)

// machine describes this one.
func machine(o options) report.Machine {
	memory := field("/proc/meminfo", "MemTotal")
	if kib, err := strconv.Atoi(strings.TrimSuffix(memory, " kB")); err == nil {
		memory = count(float64(kib)/(1<<20)) + " GiB"
	}
	return report.Machine{
		CPU:     field("/proc/cpuinfo", "model name"),
		CPUs:    runtime.NumCPU(),
		Memory:  memory,
		Kernel:  line("/proc/sys/kernel/osrelease"),
		Go:      runtime.Version(),
		Server:  o.serverCPU,
		Load:    o.loadCPU,
		LoadAvg: strings.Join(strings.Fields(line("/proc/loadavg"))[:1], ""),
	}
}

// field is the first value of that name in a file of "name : value".
func field(path, name string) string {
	b, _ := os.ReadFile(path) // without it, unknown
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
