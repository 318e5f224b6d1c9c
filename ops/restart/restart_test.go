package restart

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var everyKind = []string{"text://127.0.0.1:0", "text+unix://DIR/s", "udp://127.0.0.1:0", "admin://127.0.0.1:0", "text://127.0.0.1:0"}

// TestHandover: all kinds of sockets go to the new version, which has the same
// addresses; the old one ends its connections and itself. At the end of the last one
// nothing is left.
func TestHandover(t *testing.T) {
	c := newChild(t, everyKind...).start()
	addresses := c.serving(len(everyKind))
	if addresses[0] == addresses[4] {
		t.Fatal("two listeners on the same port")
	}
	first := c.cmd.Process.Pid
	for round := range 3 {
		old := c.pid()
		if round == 0 && old != first {
			t.Fatalf("the PID file has %d, the process is %d", old, first)
		}
		with := c.dial("tcp", addresses[0])
		if got := ask(t, with); got != old {
			t.Fatalf("process %d answers, want %d", got, old)
		}
		c.signal(old, syscall.SIGHUP)
		if again := c.addresses(len(everyKind)); strings.Join(again, " ") != strings.Join(addresses, " ") {
			t.Fatalf("the new version listens on %s, the old one on %s", again, addresses)
		}
		c.await("a new version has taken over")
		c.ends(with)
		c.await("the old version has ended")
		if old != c.pid() && round == 0 {
			if err := c.cmd.Wait(); err != nil {
				t.Errorf("the first version: %v", err)
			}
		}
		for i, network := range []string{"tcp", "unix", "udp"} {
			if got := c.askAt(network, addresses[i]); got != c.pid() || got == old {
				t.Errorf("%s: process %d answers, the new one is %d, the old one was %d", network, got, c.pid(), old)
			}
		}
		res, err := http.Get("http://" + addresses[3])
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(b) != strconv.Itoa(c.pid()) || err != nil {
			t.Errorf("net/http: %q, %v", b, err)
		}
	}
	c.signal(c.pid(), syscall.SIGTERM)
	c.ended()
	for _, name := range []string{"s", "pid"} {
		if _, err := os.Lstat(filepath.Join(c.dir, name)); err == nil {
			t.Errorf("the file %s is left", name)
		}
	}
}

// TestAddressesChange: the next version may listen elsewhere. What it does not listen on
// any more is closed.
func TestAddressesChange(t *testing.T) {
	c := newChild(t, "text://127.0.0.1:0", "text+unix://DIR/s").start()
	c.serving(2)
	c.set("listen", "text+unix://"+c.dir+"/other")
	c.signal(c.pid(), syscall.SIGHUP)
	c.await("a new version has taken over")
	c.await("the old version has ended")
	if got := c.askAt("unix", c.dir+"/other"); got != c.pid() {
		t.Errorf("process %d answers, want %d", got, c.pid())
	}
	if _, err := os.Lstat(c.dir + "/s"); err == nil {
		t.Error("the socket file of the old version is left")
	}
}

// TestBadVersion: a version that exits, or does not become ready, changes nothing; one
// log line says so.
func TestBadVersion(t *testing.T) {
	for _, bad := range []struct{ name, file, says string }{{"exits", "exit", "exit status 1"}, {"finds nothing", "unready", "exit status 1"}, {"is not ready", "wait", "timed out"}} {
		t.Run(bad.name, func(t *testing.T) {
			c := newChild(t, "text://127.0.0.1:0", "text+unix://DIR/s")
			if bad.file == "wait" {
				c.set("timeout", "short")
				c.gate("go") // which nobody opens
			}
			c.start()
			addresses := c.serving(2)
			old := c.pid()
			with := c.dial("tcp", addresses[0])
			ask(t, with)
			c.set(bad.file, "yes")
			for range 2 {
				c.signal(old, syscall.SIGHUP)
				if line := c.await("did not take over; this one goes on"); !strings.Contains(line, bad.says) || !strings.Contains(line, `"level":"error"`) {
					t.Errorf("the log says %s, want %s", line, bad.says)
				}
				for i, network := range []string{"tcp", "unix"} {
					if got := c.askAt(network, addresses[i]); got != old {
						t.Errorf("%s: process %d answers, want %d", network, got, old)
					}
				}
				if got := ask(t, with); got != old || c.pid() != old {
					t.Errorf("process %d answers, the PID file has %d, want %d", got, c.pid(), old)
				}
			}
			if bad.file == "wait" { // a good version might need more than the short time
				return
			}
			_ = with.Close()
			c.set(bad.file, "")
			c.signal(old, syscall.SIGHUP)
			c.await("the old version has ended")
			if got := c.askAt("unix", addresses[1]); got != c.pid() || got == old {
				t.Errorf("process %d answers, want %d", got, c.pid())
			}
		})
	}
}

// TestImpatient: one version at a time is started, and none while the one before it drains.
func TestImpatient(t *testing.T) {
	c := newChild(t, "text://127.0.0.1:0")
	ready, end := c.gate("go"), c.gate("end")
	c.start()
	address := c.serving(1)[0]
	old := c.pid()
	c.set("wait", "yes")
	c.set("linger", "yes")
	c.signal(old, syscall.SIGHUP)
	c.addresses(1)
	c.signal(old, syscall.SIGHUP)
	c.await("is being started already")
	for range 50 { // the new one has the socket, and must accept nobody yet
		if got := c.askAt("tcp", address); got != old {
			t.Fatalf("process %d answers, want %d", got, old)
		}
	}
	ready()
	c.await("a new version has taken over")
	c.signal(c.pid(), syscall.SIGHUP) // the old one waits for end
	c.await("has not ended yet")
	c.signal(old, syscall.SIGHUP)
	got := c.askAt("tcp", address)
	for begun := time.Now(); got == old && time.Since(begun) < patience; { // it accepts until its drain has come to its listeners
		got = c.askAt("tcp", address)
	}
	if got != c.pid() || got == old {
		t.Errorf("process %d answers, want %d", got, c.pid())
	}
	end()
	c.await("the old version has ended")
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestStopDuringHandover: a version that is under way ends with the program.
func TestStopDuringHandover(t *testing.T) {
	c := newChild(t, "text+unix://DIR/s")
	c.gate("go")
	c.start()
	c.serving(1)
	c.set("wait", "yes")
	c.signal(c.pid(), syscall.SIGHUP)
	c.addresses(1)
	c.signal(c.pid(), syscall.SIGTERM)
	c.ended()
	if _, err := os.Lstat(c.dir + "/s"); err == nil {
		t.Error("the socket file is left")
	}
}

// TestReusePort: two processes that know nothing of each other serve the same port.
func TestReusePort(t *testing.T) {
	a := newChild(t, "text://127.0.0.1:0")
	a.set("reuseport", "yes")
	address := a.start().serving(1)[0]
	b := newChild(t, "text://"+address)
	b.set("reuseport", "yes")
	b.start().serving(1)
	a.signal(a.pid(), syscall.SIGTERM)
	a.ended()
	if got := b.askAt("tcp", address); got != b.pid() {
		t.Errorf("process %d answers, want %d", got, b.pid())
	}
	c := newChild(t, "udp://127.0.0.1:0")
	c.set("reuseport", "yes")
	c.start().await("ReusePort is not for UDP")
}
