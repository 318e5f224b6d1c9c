package engine

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// left makes a socket file as a crashed server leaves it.
func left(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
}

// TestSocketFileLeft: a file that a crash left does not keep a server from
// starting; of many that start at once, one does.
func TestSocketFileLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 20 {
		left(t, path)
		var all sync.WaitGroup
		started := make(chan *Engine, 8)
		for range cap(started) {
			all.Go(func() {
				if e, err := New(Config{Addr: "unix://" + path}, Handler{}); err == nil {
					started <- e
				} else if !strings.Contains(err.Error(), "a server listens on that socket file") {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(started) != 1 {
			t.Errorf("%d servers have the file", len(started))
		}
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
		for range len(started) {
			_ = (<-started).Shutdown(t.Context())
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the file is still there after the end")
		}
	}
}

// TestSocketFileMode: the query of Addr sets it; without, the umask decides.
func TestSocketFileMode(t *testing.T) {
	for query, want := range map[string]os.FileMode{"?mode=0660": 0o660, "?mode=777": 0o777, "?mode=0600": 0o600} {
		path := filepath.Join(t.TempDir(), "s")
		s := serve(t, Config{Addr: "ws+unix://" + path + query}, Handler{OnMessage: echo})
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: the mode is %v, %v", query, info.Mode(), err)
		}
		c := s.dial("/", nil)
		c.send(protocol.OpText, "by file")
		c.expect("by file")
	}
}

// TestSocketFileRefused: what is no left socket file stays, and the error speaks of
// files.
func TestSocketFileRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	served := filepath.Join(dir, "served")
	l, err := net.Listen("unix", served)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for addr, want := range map[string]string{
		file:                                "no socket: remove it, or choose another path",
		link:                                "no socket: remove it, or choose another path",
		dir:                                 "no socket: remove it, or choose another path",
		served:                              "stop that server, or choose another path",
		filepath.Join(dir, "none", "s"):     "make its directory",
		filepath.Join(file, "s"):            "not a directory",
		"/" + strings.Repeat("x", 200):      "at most",
		file + "?mode=0668":                 "?mode=",
		file + "?mode=0":                    "?mode=",
		file + "?mode=01777":                "?mode=",
		file + "?mod=0660":                  "?mode=",
		file + "?mode=0660&mode=0600&x=%zz": "?mode=",
	} {
		_, err := New(Config{Addr: "ws+unix://" + addr}, Handler{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "port") {
			t.Errorf("%s: error %v, want %s", addr, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file has %q, %v", b, err)
	}
	if nc, err := net.Dial("unix", served); err != nil {
		t.Error(err)
	} else {
		_ = nc.Close()
	}
}
