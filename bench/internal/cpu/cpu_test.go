//go:build linux

package cpu

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// burns is how much CPU time each part of the program under test takes.
const burns = 150 * time.Millisecond

// TestMain is also the program whose accounts are read: "burn" burns in its own
// thread, in one that then ends, and in a child that has ended, and in one that
// lives; then it waits.
func TestMain(m *testing.M) {
	switch os.Getenv("CPU_TEST") {
	case "":
		os.Exit(m.Run())
	case "child":
		burn()
		return
	case "living child":
		burn()
		fmt.Println("burnt")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	for step := 0; ; step++ {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch line = strings.TrimSpace(line); line {
		case "here":
			burn()
		case "thread":
			done := make(chan struct{})
			go func() {
				runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
				burn()
				close(done)
			}()
			<-done
		case "child", "living child":
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CPU_TEST="+line)
			if line == "child" {
				if err := cmd.Run(); err != nil {
					panic(err)
				}
				break
			}
			out, _ := cmd.StdoutPipe()
			if _, err := cmd.StdinPipe(); err != nil { // open until we end
				panic(err)
			}
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			_, _ = bufio.NewReader(out).ReadString('\n')
		}
		fmt.Println("done")
	}
}

// burn spends CPU time of this thread.
func burn() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() int64 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			panic(err)
		}
		return t.Nano()
	}
	for end := used() + int64(burns); used() < end; {
	}
}

// Each way to use CPU time appears in Of; what living threads used appears in
// Schedstat, too, and the two agree.
func TestAccounts(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CPU_TEST=burn")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	out := bufio.NewReader(stdout)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	for _, c := range []struct {
		step   string
		living bool // schedstat of living threads has it
	}{{"here", true}, {"thread", false}, {"child", false}, {"living child", true}} {
		clock, sched := read(t, pid)
		if _, err := fmt.Fprintln(stdin, c.step); err != nil {
			t.Fatal(err)
		}
		if _, err := out.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		clock2, sched2 := read(t, pid)
		// Beside the burning there is the runtime and, of children, a process's start.
		if used := time.Duration(clock2 - clock); used < burns-20*time.Millisecond || used > burns+150*time.Millisecond {
			t.Errorf("%s: the clock says %v, want %v and a little", c.step, used, burns)
		}
		used := time.Duration(sched2 - sched)
		if c.living && (used < burns-20*time.Millisecond || used > burns+150*time.Millisecond) {
			t.Errorf("%s: schedstat says %v, want %v and a little", c.step, used, burns)
		}
		// The thread has said that it ends; it is gone when the kernel says so.
		for end := time.Now().Add(20 * time.Second); !c.living && used > burns/2; used = time.Duration(sched2 - sched) {
			if time.Now().After(end) {
				t.Fatalf("%s: schedstat says %v of a thread that has ended", c.step, used)
			}
			_, sched2 = read(t, pid)
		}
	}
}

func read(t *testing.T, pid int) (clock, sched int64) {
	t.Helper()
	clock, err := Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	if sched, err = Schedstat(pid); err != nil {
		t.Fatal(err)
	}
	return clock, sched
}

func TestRSS(t *testing.T) {
	before, err := RSS(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 32 << 20
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(b) }()
	for i := 0; i < size; i += 4096 {
		b[i] = 1
	}
	after, err := RSS(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if d := after - before; d < size*9/10 || d > size*3/2 {
		t.Errorf("%d bytes touched, RSS grew by %d", size, d)
	}
}

func TestNoSuchProcess(t *testing.T) {
	const pid = 1 << 30
	if _, err := Of(pid); err == nil {
		t.Error("CPU time of nobody")
	}
	if _, err := RSS(pid); err == nil {
		t.Error("memory of nobody")
	}
}

// The process's first thread parks where others end: it stays the main
// goroutine's, so that no other one runs on it.
func init() { runtime.LockOSThread() }
