package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The children are this binary.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-role") {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, "20,60", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"20", "60"} {
		row := regexp.MustCompile(`(?m)^\| ` + n + ` \| (\d+\.\d) µs \| -?\d+ B \| \d+\.\d\d % \| (\d+\.\d) µs \| -?\d+ B \|$`).FindSubmatch(out.Bytes())
		if row == nil || string(row[1]) == "0.0" || string(row[2]) == "0.0" {
			t.Errorf("no row of %s connections, or nothing was done in it:\n%s", n, &out)
		}
	}
	for _, levels := range []string{"", "x", "0", "5,5"} {
		if err := run(&out, levels, 0); err == nil || !strings.Contains(err.Error(), "-connections") {
			t.Errorf("-connections %q: %v", levels, err)
		}
	}
}

func TestCaches(t *testing.T) {
	zero := kernel{sockets: 100, slabs: map[string]cache{"a": {10, 8}, "b": {5, 100}}}
	k := kernel{sockets: 1100, slabs: map[string]cache{"a": {210, 8}, "b": {25, 100}, "c": {100, 64}}}
	want := "  a                     2.00 of     8 B\n" +
		"  c                     1.00 of    64 B\n" +
		"  together 80 B; slabs, page tables, stacks and the buffers of TCP in all 10 B\n"
	if got := k.caches(zero, 100); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	now, err := readKernel()
	if err != nil || now.slab == 0 || now.tables == 0 || now.stacks == 0 {
		t.Errorf("the kernel holds %+v, %v", now, err)
	}
}
