package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Linux has no namespace for the clock that tells the date, and Go programs do not ask the C library for the time, but the vdso: code that
// the kernel maps into each process. So the clock of one process is moved by other code in its own copy of the vdso, which asks the kernel by
// a system call and adds to CLOCK_REALTIME. Everything in the process sees that clock, the NATS server too. The monotonic clock, which timers go by, stays right, as it does
// on a machine whose date is set.

// clockCode is clock_gettime of the vdso for amd64, with the seconds to be added.
func clockCode(ahead time.Duration) []byte {
	code := []byte{
		0xb8, 0xe4, 0, 0, 0, // mov eax, 228 (clock_gettime)
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi (CLOCK_REALTIME is 0)
		0x75, 0x07, // jne over the next
		0x48, 0x81, 0x06, // add qword [rsi], what follows
	}
	code = binary.LittleEndian.AppendUint32(code, uint32(ahead/time.Second))
	return append(code, 0xc3) // ret
}

// moveClock moves the clock of the host's node while it runs, and returns what moves it back.
func (h *host) moveClock(ahead time.Duration) (back func() error, err error) {
	if runtime.GOARCH != "amd64" {
		return nil, errors.New("the clock of a process can be moved on amd64 only: choose others with -faults")
	}
	c, _ := h.running()
	if c == nil {
		return nil, errors.New(h.name + " does not run")
	}
	offset, err := clockOffset()
	if err != nil {
		return nil, fmt.Errorf("vdso: %w", err)
	}
	start, end, err := vdso(c.Process.Pid)
	if err != nil {
		return nil, err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.Process.Pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	code, at := clockCode(ahead), int64(start+offset)
	was := make([]byte, len(code))
	if _, err := memory.ReadAt(was, at); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	write := func(code []byte) error {
		return h.outOf(c.Process.Pid, start, end, func() error {
			_, err := memory.WriteAt(code, at)
			return err
		})
	}
	if err := write(code); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return func() error { return errors.Join(write(was), memory.Close()) }, nil
}

// outOf calls f while the node is stopped and none of its threads is between two addresses: what one is running must not change.
func (h *host) outOf(pid int, start, end uint64, f func() error) error {
	for range 1000 {
		if err := h.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		out, err := clearOf(pid, start, end)
		if err == nil && out {
			err = f()
		}
		if err := errors.Join(err, h.signal(syscall.SIGCONT)); err != nil || out {
			return err
		}
	}
	return errors.New("a thread of the node is always in the vdso")
}

// clearOf reports whether all threads of a process are stopped, none of them between two addresses.
func clearOf(pid int, start, end uint64) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		return false, err
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		words := strings.Fields(string(text))
		where := words[len(words)-1] // in a system call or not
		if where == "running" {
			return false, nil
		}
		at, err := strconv.ParseUint(where, 0, 64)
		if err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
		if at >= start && at < end {
			return false, nil
		}
	}
	return len(threads) > 0, nil
}

// vdso returns where the vdso of a process lies.
func vdso(pid int) (start, end uint64, err error) {
	path := fmt.Sprintf("/proc/%d/maps", pid)
	maps, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x ", &start, &end)
			return start, end, err
		}
	}
	return 0, 0, errors.New(path + " has no vdso")
}

// clockOffset is where clock_gettime begins in the vdso, which is the same in all processes: this one reads its own.
func clockOffset() (uint64, error) {
	start, end, err := vdso(os.Getpid())
	if err != nil {
		return 0, err
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		return 0, err
	}
	defer func() { _ = memory.Close() }()
	image := make([]byte, end-start)
	if _, err := memory.ReadAt(image, int64(start)); err != nil {
		return 0, err
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return s.Value, nil
		}
	}
	return 0, errors.New("there is no clock_gettime")
}
