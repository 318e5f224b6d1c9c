//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test runs itself in a namespace of its own, as the program does.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) == "" {
		os.Exit(m.Run())
	}
	err := loopbackUp()
	if err == nil {
		o := options{kinds: []string{"core", "r1"}, nodes: []int{1, 2}, channels: []int{20}, publications: 50, questions: 4, quiet: 10 * time.Millisecond}
		err = run(context.Background(), os.Stdout, &o)
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
}

// Each kind and number of nodes has a row. Between nodes there are bytes, within one there are none.
func TestRun(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, stderr.String(), out)
	}
	rows := strings.Split(strings.TrimSpace(string(out)), "\n")[2:]
	if len(rows) != 4 {
		t.Fatalf("%d rows, want 4:\n%s", len(rows), out)
	}
	for i, row := range rows {
		f := strings.Split(row, "|")
		alone := i%2 == 0
		if publish := f[7]; strings.HasSuffix(publish, ", 0 B ") != alone || strings.HasPrefix(publish, " 0 µs") {
			t.Errorf("publishing, one node %v: %s", alone, row)
		}
		if more := strings.TrimSpace(f[9]); (more == "") != alone {
			t.Errorf("a delivery at one more node, one node %v: %s", alone, row)
		}
		if count := f[11]; strings.HasSuffix(count, ", 0 B ") != alone {
			t.Errorf("counting, one node %v: %s", alone, row)
		}
	}
}

// What is on the way while nobody does anything is not counted for what is done.
func TestMeter(t *testing.T) {
	m := meter{idle: cost{cpu: time.Second, bytes: 1e9}}
	c, err := m.of(10, func() error { return pause(context.Background(), 20*time.Millisecond) })
	if err != nil || c.cpu >= 0 || c.bytes >= 0 || c.each < 2*time.Millisecond {
		t.Errorf("%+v, %v: want less than nothing, in at least 2 ms", c, err)
	}
	if _, err := numbers("1,x"); err == nil {
		t.Error("x is a number")
	}
}
