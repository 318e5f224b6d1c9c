package restart

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal makes a pseudo-terminal; closing control closes it.
func terminal(t *testing.T) (control, side *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	n, err := unix.IoctlGetUint32(int(control.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	side, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = side.Close() })
	return control, side
}

// TestTerminalCloses: SIGHUP of a terminal that is there starts a new version, and that
// of one that was closed ends the program.
func TestTerminalCloses(t *testing.T) {
	c := newChild(t, "text://127.0.0.1:0")
	control, side := terminal(t)
	c.cmd.ExtraFiles = []*os.File{side}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	c.start()
	_ = side.Close()
	c.serving(1)
	c.set("exit", "yes")
	c.signal(c.pid(), syscall.SIGHUP)
	c.await("did not take over")
	_ = control.Close()
	c.await("the terminal was closed; stopping")
	c.ended()
}
