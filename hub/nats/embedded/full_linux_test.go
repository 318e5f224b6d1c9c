package embedded

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

const smallVariable = "SOCKMILL_EMBEDDED_SMALL"

func init() {
	prepareChild = func() error {
		dir := os.Getenv(smallVariable)
		if dir == "" {
			return nil
		}
		return syscall.Mount("none", dir, "tmpfs", 0, "size=64k")
	}
}

// TestFull: the store is on a disk without room, which a process in name spaces of its own can have.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	cmd := command(t, Config{Name: "a", Dir: dir})
	cmd.Env = append(cmd.Env, smallVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	if err == nil || !strings.Contains(string(out), "embedded: Config.Dir: there is no room: ") || !strings.Contains(string(out), "no space left on device") {
		t.Errorf("the process says %q: %v", out, err)
	}
}
