package nats

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

func named(prefix string, shards, streams int) *Broker {
	b := &Broker{cfg: Config{Prefix: prefix, Shards: shards, Streams: streams}}
	b.name()
	return b
}

// TestSubjects: these must never change, because histories lie under them.
func TestSubjects(t *testing.T) {
	t.Parallel()
	b := named("p", 4096, 16)
	for _, x := range []struct{ channel, live, stored string }{
		{"a", "p.l.3675.a", "p.h.8.3675.a"},
		{"room.1", "p.l.3914.room%2E1", "p.h.2.3914.room%2E1"},
		{"*", "p.l.2589.%2A", "p.h.6.2589.%2A"},
		{"\x00\xff %>é", "p.l.2897.%00%FF%20%25%3E%C3%A9", "p.h.6.2897.%00%FF%20%25%3E%C3%A9"},
		{"$user#42", "p.l.275.$user#42", "p.h.9.275.$user#42"},
	} {
		if live, stored := b.liveSubject(x.channel), b.storedSubject(x.channel); live != x.live || stored != x.stored {
			t.Errorf("%q: %s and %s, want %s and %s", x.channel, live, stored, x.live, x.stored)
		}
	}
}

func TestSubjectsOfNobody(t *testing.T) {
	t.Parallel()
	b := named("p", 1, 1)
	for _, subject := range []string{
		"", "p", "p.l", "p.l.0", "p.l.0.", "q.l.0.a", "p.l.1.a", "p.l.x.a", "p.l.-0.a", "p.l.00.a", "p.l.0.a.b", "p.x.0.a", "p.h.0.a", "p.h.1.0.a",
		"p.l.0.%", "p.l.0.%2", "p.l.0.a%2", "p.l.0.%zz", "p.l.0.%2e", "p.l.0.%61", "p.l.0.*", "p.l.0.>", "p.l.0.\x7f", "p.l.0." + strings.Repeat("x", 256),
	} {
		if channel, ok := b.channelOf(subject); ok {
			t.Errorf("%q is the subject of %q", subject, channel)
		}
	}
}

// TestSpread: names that are alike are spread over shards and streams.
func TestSpread(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"", "room-", strings.Repeat("user:", 20)} {
		shards, parts := map[int]int{}, map[int]int{}
		b := named("p", 256, 16)
		for i := range 25_600 {
			name := format + string(rune('a'+i%16)) + strings.Repeat("y", i/16%16) + string(rune('0'+i/256))
			shards[b.shardOf(name)]++
			parts[b.partOf(name)]++
		}
		for i := range 256 {
			if n := shards[i]; n < 60 || n > 150 {
				t.Errorf("%q: %d in shard %d, want about 100", format, n, i)
			}
		}
		for i := range 16 {
			if n := parts[i]; n < 1400 || n > 1800 {
				t.Errorf("%q: %d in part %d, want about 1,600", format, n, i)
			}
		}
	}
}

// FuzzSubject: each name has a subject of its own that NATS takes, and each subject is read as the name that has it, or not at all.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"a", "a.b", "*", ">", "%", "%2E", "\x00\xff \x7f", "sockmill.l.0.a", strings.Repeat("\x00", 255)} {
		f.Add(s)
	}
	b := named("sockmill", 64, 4)
	f.Fuzz(func(t *testing.T, s string) {
		if channel, ok := b.channelOf(s); ok && b.liveSubject(channel) != s && b.storedSubject(channel) != s {
			t.Fatalf("%q is read as %q, which has another", s, channel)
		}
		if len(s) < 1 || len(s) > 255 {
			return
		}
		for _, subject := range []string{b.liveSubject(s), b.storedSubject(s)} {
			if channel, ok := b.channelOf(subject); !ok || channel != s {
				t.Fatalf("%q became %q: %q %v", s, subject, channel, ok)
			}
			if !server.IsValidLiteralSubject(subject) || len(subject) > len("sockmill.h.3.63.")+tokenBytesMax {
				t.Fatalf("%q became %q", s, subject)
			}
		}
		shard, token, ok := b.cutLive(b.liveSubject(s))
		if name, good := appendName(nil, token); !ok || !good || string(name) != s || shard != b.shardOf(s) {
			t.Fatalf("%q: %d %q %v", s, shard, token, ok)
		}
	})
}

func TestSubjectAllocations(t *testing.T) {
	b := named("sockmill", 4096, 1)
	name := strings.Repeat("a.b", 50)
	if n := testing.AllocsPerRun(100, func() { _ = b.liveSubject(name) }); n > 1 {
		t.Errorf("%v allocations, want the subject only", n)
	}
}
