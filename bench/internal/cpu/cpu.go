//go:build linux

// Package cpu reads what processes cost: CPU time in nanoseconds and resident
// memory.
//
// The kernel keeps one account per thread, sum_exec_runtime, in nanoseconds. It
// shows as the first number of /proc/PID/task/TID/schedstat, and, summed over all
// threads of a process with those that ended, as the process's CPU clock. The
// clock is the figure: it forgets no thread and is exact to the moment, where
// schedstat is brought up to date at each timer tick and switch only. The tests hold one
// against the other.
package cpu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Of is the CPU time of a process, its descendants, and all of their threads and
// children that ended and were waited for. Those last count in clock ticks (10 ms).
func Of(pid int) (ns int64, err error) {
	err = tree(pid, func(pid int) error {
		clock, err := Clock(pid)
		if err != nil {
			return err
		}
		ended, err := endedChildren(pid)
		ns += clock + ended
		return err
	})
	return ns, err
}

// Clock is the CPU clock of a process: all of its threads, those that ended too.
func Clock(pid int) (ns int64, err error) {
	// See MAKE_PROCESS_CPUCLOCK and CPUCLOCK_SCHED in the kernel's posix-timers.h.
	id := int32(^pid<<3 | 2)
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return t.Nano(), nil
}

// Schedstat is the CPU time of the living threads of a process and of its
// descendants.
func Schedstat(pid int) (ns int64, err error) {
	err = tree(pid, func(pid int) error {
		return threads(pid, func(task string) error {
			b, err := os.ReadFile(task + "/schedstat")
			if err != nil {
				return err
			}
			first, _, _ := bytes.Cut(b, []byte{' '})
			n, err := strconv.ParseInt(string(first), 10, 64)
			ns += n
			return err
		})
	})
	return ns, err
}

// RSS is the resident memory of a process and of its descendants, in bytes.
// What they share counts for each.
func RSS(pid int) (n int64, err error) {
	err = tree(pid, func(pid int) error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return err
		}
		_, after, _ := bytes.Cut(b, []byte("\nVmRSS:"))
		f := bytes.Fields(after)
		if len(f) == 0 {
			return nil // it has ended and waits to be waited for
		}
		kib, err := strconv.ParseInt(string(f[0]), 10, 64)
		n += kib << 10
		return err
	})
	return n, err
}

// tree calls f for the process and its descendants.
func tree(pid int, f func(pid int) error) error {
	if err := f(pid); err != nil {
		return err
	}
	return threads(pid, func(task string) error {
		b, err := os.ReadFile(task + "/children")
		if err != nil {
			return err
		}
		for _, child := range bytes.Fields(b) {
			n, err := strconv.Atoi(string(child))
			if err != nil {
				return err
			}
			if err := tree(n, f); err != nil && !gone(err) {
				return err
			}
		}
		return nil
	})
}

// threads calls f with the directory of each living thread.
func threads(pid int, f func(task string) error) error {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if err := f(dir + "/" + t.Name()); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// gone says that what was listed a moment ago has ended.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EINVAL)
}

// endedChildren is cutime and cstime of proc_pid_stat(5), which count 100 a second.
func endedChildren(pid int) (ns int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses, which may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	for _, i := range []int{16 - 3, 17 - 3} {
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return 0, err
		}
		ns += n * 1e7
	}
	return ns, nil
}
