//go:build !race

package stage

import (
	"crypto/tls"
	"errors"
	"runtime"
	"runtime/debug"
	"testing"
)

// crypto/tls allocates 24 bytes when it reads the wire. Nothing else is
// allocated for a message: neither when a loop opens it, nor when it seals one,
// nor when it asks in vain.
func TestAllocations(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it empties the pools
	for version, v := range versions {
		c, s := pairOf(t, v)
		var stream []byte
		room, plain, pieces := make([]byte, 0, 1<<15), make([]byte, 1<<14), [][]byte{text(100), text(200), text(3)}
		var err error
		sealed := testing.AllocsPerRun(100, func() {
			if stream, err = c.Seal(room, pieces); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Open(plain); !errors.Is(err, ErrMore) {
				t.Fatal(n, err)
			}
		})
		c, s = pairOf(t, v)
		var before, after runtime.MemStats
		const messages = 10_000
		runtime.ReadMemStats(&before)
		for range messages {
			stream, _ = c.Seal(room, pieces)
			s.Feed(stream)
			if n, err := s.Open(plain); n != 303 || err != nil {
				t.Fatal(n, err)
			}
			if n, err := s.Open(plain); !errors.Is(err, ErrMore) {
				t.Fatal(n, err)
			}
			if stream = s.Output(room); len(stream) > 0 || s.Held() != 0 {
				t.Fatal(len(stream), s.Held())
			}
		}
		runtime.ReadMemStats(&after)
		count, bytes := after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
		// A pool that meets another processor makes its buffer again.
		if sealed != 0 || count > messages+100 || bytes > messages*24+64<<10 {
			t.Errorf("%s: %v allocations to seal and to ask in vain; %d allocations of %d bytes for %d messages", version, sealed, count, bytes, messages)
		}
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// each makes n connections, uses them, keeps one side of each, and returns the
// memory for one.
func each(t *testing.T, n int, client, server *tls.Config, keepClient bool, use func(c, s *TLS)) (bytes int) {
	l, kept := listen(t), make([]*TLS, 0, n)
	one := func() *TLS {
		c, s := pair(t, l, client, server)
		open(t, c, nil, 64)
		open(t, s, nil, 64)
		use(c, s)
		if c.Held() != 0 || s.Held() != 0 {
			t.Fatal("an idle connection holds bytes")
		}
		if keepClient {
			return c
		}
		return s
	}
	one()
	before := heap()
	for range n {
		kept = append(kept, one())
	}
	bytes = (heap() - before) / n
	runtime.KeepAlive(kept)
	return bytes
}

func TestIdleMemory(t *testing.T) {
	for version, v := range versions {
		for _, client := range []bool{false, true} {
			cc, sc := configs(v)
			n := each(t, 1000, cc, sc, client, func(c, s *TLS) {})
			t.Logf("%s, client %v: %d bytes for each connection", version, client, n)
			if n > 8192 {
				t.Errorf("%s, client %v: %d bytes for each connection", version, client, n)
			}
		}
	}
}

// The buffer of crypto/tls grows to a record and not further, however many are
// fed at once. It doubles where the records become longer one after the other.
func TestRecordMemory(t *testing.T) {
	want := text(64 << 10)
	client, server := configs(tls.VersionTLS13)
	before := each(t, 100, client, server, false, func(c, s *TLS) {})
	for name, most := range map[string]int{"full records": 18 << 10, "growing records": 32 << 10} {
		client.DynamicRecordSizingDisabled = name == "full records"
		after := each(t, 100, client, server, false, func(c, s *TLS) {
			for range 5 {
				stream := seal(t, c, want)
				for len(stream) > 0 {
					n := min(len(stream), 60_000)
					open(t, s, stream[:n], 1<<14)
					stream = stream[n:]
				}
			}
		})
		t.Logf("%s: %d bytes before, %d after", name, before, after)
		if after-before > most {
			t.Errorf("%s: %d bytes before, %d after", name, before, after)
		}
	}
}
