package embedded

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const smallVariable = "SOCKMILL_EMBEDDED_SMALL"

func init() {
	prepareChild = func() error {
		if size, dir, ok := strings.Cut(os.Getenv(smallVariable), ":"); ok {
			return syscall.Mount("none", dir, "tmpfs", 0, "size="+size)
		}
		return nil
	}
}

// smallDisk is the process of a server whose store is on a disk of this size, which a process in name spaces of its own can have.
func smallDisk(t *testing.T, c Config, size string) *exec.Cmd {
	t.Helper()
	cmd := command(t, c)
	cmd.Env = append(cmd.Env, smallVariable+"="+size+":"+c.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

func TestFull(t *testing.T) {
	out, err := smallDisk(t, Config{Name: "a", Dir: t.TempDir()}, "64k").Output()
	if err == nil || !strings.Contains(string(out), "embedded: Config.Dir: there is no room: ") || !strings.Contains(string(out), "no space left on device") {
		t.Errorf("the process says %q: %v", out, err)
	}
}

// TestFills: a disk that is full later is told by Health, and the others go on.
func TestFills(t *testing.T) {
	t.Parallel()
	at := free(t, 3)
	all := startAll(t, node(t, 0, at), node(t, 1, at))
	third := node(t, 2, at)
	third.StoreBytesMax = 1 << 30
	says := run(t, smallDisk(t, third, "8m"))
	js := stream(t, all[0], "n1")
	for range 256 { // 16 MiB
		if _, err := js.Publish(within(t), "s.a", make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	line, err := says.ReadString('\n')
	t.Log(line)
	if err != nil || !strings.Contains(line, ErrRestart.Error()) {
		t.Errorf("the process says %q: %v", line, err)
	}
	if err := all[0].Health(); err != nil {
		t.Error(err)
	}
}
