package memory_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

func TestConfigErrorsNameFieldAndRange(t *testing.T) {
	for want, cfg := range map[string]memory.Config{
		"memory: Config.ChannelsMax is -2: it must be at least 1, or 0 for the default, or NoLimit":        {ChannelsMax: -2},
		"memory: Config.PublicationsMax is -5: ":                                                           {PublicationsMax: -5},
		"memory: Config.BytesMax is 65535: it must be at least 65536":                                      {BytesMax: 65535},
		"memory: Config.KeysMax is -2: ":                                                                   {KeysMax: -2},
		"memory: Config.KeyLifetime is 1s: it must be at least 1m0s, or 0 for the default, or NoLimit":     {KeyLifetime: time.Second},
		"memory: Config.PresenceBytesMax is 1: it must be at least 4096, or 0 for the default, or NoLimit": {PresenceBytesMax: 1},
		"memory: Config.AskTimeout is 1µs: it must be at least 1ms, or 0 for the default, or NoLimit":      {AskTimeout: time.Microsecond},
	} {
		if _, err := memory.New(cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	const no = memory.NoLimit
	b := open(t, memory.Config{ChannelsMax: no, PublicationsMax: no, BytesMax: no, KeysMax: no, KeyLifetime: no, PresenceBytesMax: no})
	for i := range 70_000 {
		if _, err := add(b, fmt.Sprint(i), "x", 1); err != nil {
			t.Fatal(err)
		}
	}
	kept(t, b, "0", "x")
}

// kept fails the test unless these are the publications of the channel.
func kept(t *testing.T, b *memory.Broker, channel string, wanted ...string) {
	t.Helper()
	page, err := b.Read(ctx, channel, broker.Query{Limit: broker.NoLimit})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, 0)
	for _, p := range page.Publications {
		got = append(got, string(p.Data))
	}
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		t.Errorf("%s: kept %.100q, want %.100q", channel, got, wanted)
	}
}

func must(t *testing.T, at broker.Position, err error) broker.Position {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestOffsetsRiseByOne(t *testing.T) {
	b := open(t, memory.Config{})
	for i := range 10 {
		if at, err := add(b, "a", "x", 3); err != nil || at.Offset != uint64(i+1) {
			t.Errorf("%+v %v", at, err)
		}
	}
}

// TestLeastRecentlyUsed: reading is a use too; the bare ones go first; another epoch comes after.
func TestLeastRecentlyUsed(t *testing.T) {
	b := open(t, memory.Config{ChannelsMax: 3})
	var epoch string
	for _, channel := range []string{"a", "b", "c"} {
		at, err := add(b, channel, channel, 1)
		epoch = must(t, at, err).Epoch
	}
	kept(t, b, "a", "a")
	_, _ = add(b, "d", "d", 1)
	kept(t, b, "b")
	kept(t, b, "c", "c")
	kept(t, b, "d", "d")
	kept(t, b, "a", "a")
	if at, _ := add(b, "b", "again", 1); at.Epoch == epoch || at.Offset != 1 {
		t.Errorf("came again with %+v", at)
	}
	kept(t, b, "c") // was the least recently used
	if err := b.Remove(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	_, _ = add(b, "e", "e", 1)
	kept(t, b, "d", "d")
	kept(t, b, "a", "a")
	if page, _ := b.Read(ctx, "b", broker.Query{}); page.Top.Offset != 0 {
		t.Errorf("the one without publications is still there: %+v", page.Top)
	}
}

func TestPublicationsMax(t *testing.T) {
	b := open(t, memory.Config{PublicationsMax: 10})
	bare, _ := add(b, "bare", "x", 1)
	_ = b.Remove(ctx, "bare")
	for i := range 4 {
		_, _ = add(b, "a", fmt.Sprint("a", i), 100)
	}
	for i := range 7 {
		_, _ = add(b, "b", fmt.Sprint("b", i), 100)
	}
	kept(t, b, "a")
	for i := 7; i < 12; i++ {
		_, _ = add(b, "b", fmt.Sprint("b", i), 100)
	}
	kept(t, b, "b", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "b10", "b11")
	if page, _ := b.Read(ctx, "bare", broker.Query{}); page.Top != bare {
		t.Errorf("a history without publications made no room, but went: %+v, want %+v", page.Top, bare)
	}
}

func TestTooLarge(t *testing.T) {
	b := open(t, memory.Config{BytesMax: 64 << 10})
	_, _ = add(b, "a", "a", 1)
	if _, err := b.Append(ctx, "b", broker.Publication{Except: []string{strings.Repeat("x", 64<<10)}}, broker.Keep{Publications: 1}); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("with much in Except: %v", err)
	}
	if at, err := add(b, "b", strings.Repeat("x", 64<<10), 1); !errors.Is(err, broker.ErrTooLarge) || at != (broker.Position{}) {
		t.Errorf("%+v %v", at, err)
	}
	kept(t, b, "a", "a")
	large := strings.Repeat("x", 60<<10)
	for range 3 {
		if _, err := add(b, "b", large, 1000); err != nil {
			t.Fatal(err)
		}
	}
	kept(t, b, "a")
	kept(t, b, "b", large)
	for i := range 1000 {
		_, _ = add(b, "b", fmt.Sprint(i), 1000)
	}
	if page, _ := b.Read(ctx, "b", broker.Query{Limit: broker.NoLimit}); len(page.Publications) < 200 {
		t.Errorf("of small ones %d fit into 64 KiB", len(page.Publications))
	}
}

// TestKeysAreForgotten: the oldest above KeysMax, and all after KeyLifetime.
func TestKeysAreForgotten(t *testing.T) {
	c := &clock{}
	b := open(t, memory.Config{KeysMax: 2, KeyLifetime: time.Minute, Clock: c.now})
	with := func(key string) uint64 {
		at, err := b.Append(ctx, "a", broker.Publication{}, broker.Keep{Publications: 100, Key: key})
		return must(t, at, err).Offset
	}
	for i, x := range []struct {
		key  string
		want uint64
	}{{"k", 1}, {"l", 2}, {"k", 1}, {"m", 3}, {"m", 3}, {"l", 2}, {"k", 4}} {
		if got := with(x.key); got != x.want {
			t.Errorf("call %d, key %s: offset %d, want %d", i, x.key, got, x.want)
		}
	}
	c.pass(time.Minute - 1)
	if got := with("k"); got != 4 {
		t.Errorf("a nanosecond before its time: %d", got)
	}
	c.pass(1)
	if got := with("k"); got != 5 {
		t.Errorf("at its time: %d", got)
	}
}

// TestKeysExpire: of many, each; and they do not stay in memory.
func TestKeysExpire(t *testing.T) {
	const n = 50_000
	c := &clock{}
	b := open(t, memory.Config{Clock: c.now})
	with := func(i int) uint64 {
		at, err := b.Append(ctx, "a", broker.Publication{}, broker.Keep{Publications: 1, Key: fmt.Sprint(i)})
		return must(t, at, err).Offset
	}
	before := heap()
	for i := range n {
		with(i)
	}
	full := heap() - before
	c.pass(5 * time.Minute)
	if got := with(n - 1); got != n+1 {
		t.Errorf("the last of them is still there: %d", got)
	}
	for range n {
		with(0)
	}
	if left := heap() - before; left > full*2/3 {
		t.Errorf("%d bytes of %d are left", left, full)
	}
	runtime.KeepAlive(b)
}

// TestKeysOutliveHistories: what was published once is not published again because there was no room.
func TestKeysOutliveHistories(t *testing.T) {
	b := open(t, memory.Config{ChannelsMax: 1})
	keep := broker.Keep{Publications: 1, Key: "k"}
	first, _ := b.Append(ctx, "a", broker.Publication{}, keep)
	_, _ = add(b, "b", "x", 1)
	if again, err := b.Append(ctx, "a", broker.Publication{}, keep); err != nil || again != first {
		t.Errorf("%+v %v, want %+v", again, err, first)
	}
	kept(t, b, "a")
}

func TestPresenceFull(t *testing.T) {
	c := &clock{}
	b := open(t, memory.Config{PresenceBytesMax: 4 << 10, Clock: c.now})
	enter := func(i int, conn string) error {
		return b.Enter(ctx, "a", broker.Info{Client: fmt.Sprint(i), Conn: []byte(conn)}, time.Second)
	}
	n := 0
	for enter(n, "") == nil {
		n++
	}
	if err := enter(n, ""); n < 5 || n > 20 || !errors.Is(err, broker.ErrFull) {
		t.Errorf("%d, then %v", n, err)
	}
	if err := enter(0, ""); err != nil {
		t.Errorf("to renew: %v", err)
	}
	if err := enter(0, strings.Repeat("x", 4096)); !errors.Is(err, broker.ErrFull) {
		t.Errorf("to grow: %v", err)
	}
	if counts, err := b.Count(ctx, "a"); err != nil || counts.Clients != n {
		t.Errorf("%+v %v", counts, err)
	}
	_ = b.Leave(ctx, "a", "0")
	if err := enter(n, ""); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	// Those who have expired make room, whatever channel they are in, as it is used.
	c.pass(time.Second)
	for i := range n {
		_, _ = b.Count(ctx, fmt.Sprint("b", i))
	}
	for i := range n {
		if err := enter(i, ""); err != nil {
			t.Errorf("%d after all have expired: %v", i, err)
		}
	}
	// Nothing is left over of those who have gone.
	for round := range 100 {
		for i := range n {
			if err := enter(i, ""); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			_ = b.Leave(ctx, "a", fmt.Sprint(i))
		}
	}
	if err := b.Enter(ctx, "z", broker.Info{Client: "for ever"}, 1<<63-1); err != nil {
		t.Fatal(err)
	}
	c.pass(1000 * time.Hour)
	if counts, _ := b.Count(ctx, "z"); counts.Clients != 1 {
		t.Errorf("for ever: %+v", counts)
	}
}

// heap is how many bytes are in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestMemoryIsBounded: 100,000 channels, and the heap is what BytesMax says.
func TestMemoryIsBounded(t *testing.T) {
	const channels, mib = 100_000, 1 << 20
	for _, x := range []struct {
		name         string
		cfg          memory.Config
		times, bytes int
		most         int
	}{
		{"channels", memory.Config{ChannelsMax: 10_000, BytesMax: 256 * mib}, 1, 100, 12 * mib},
		{"small", memory.Config{ChannelsMax: channels, BytesMax: 32 * mib}, 1, 10, 32 * mib},
		{"some", memory.Config{ChannelsMax: channels, BytesMax: 32 * mib}, 5, 300, 32 * mib},
		{"large", memory.Config{ChannelsMax: channels, BytesMax: 32 * mib}, 1, 10_000, 32 * mib},
	} {
		t.Run(x.name, func(t *testing.T) {
			before := heap()
			b := open(t, x.cfg)
			for i := range channels {
				for range x.times {
					p := broker.Publication{Data: make([]byte, x.bytes), Tags: map[string]string{"a": "b"}, Info: &broker.Info{Client: "c"}, Except: []string{fmt.Sprint("client ", i), fmt.Sprint("another client ", i)}}
					if _, err := b.Append(ctx, fmt.Sprint("channel ", i), p, broker.Keep{Publications: 100}); err != nil {
						t.Fatal(err)
					}
				}
			}
			grown := heap() - before
			t.Logf("%d KiB of %d", grown>>10, x.most>>10)
			if grown > x.most+x.most/10 || grown < x.most/3 {
				t.Errorf("the heap has grown by %d KiB, want at most %d and a tenth", grown>>10, x.most>>10)
			}
			runtime.KeepAlive(b)
		})
	}
}

// TestPresenceMemoryIsBounded: in one channel, and in as many as there are connections.
func TestPresenceMemoryIsBounded(t *testing.T) {
	const most = 16 << 20
	for _, channels := range []int{1, 1000, 100_000} {
		before := heap()
		b := open(t, memory.Config{PresenceBytesMax: most})
		n := 0
		for b.Enter(ctx, fmt.Sprint("channel ", n%channels), broker.Info{Client: fmt.Sprint("client ", n), User: fmt.Sprint("user ", n)}, time.Minute) == nil {
			n++
		}
		grown := heap() - before
		t.Logf("%d channels, %d connections: %d bytes each", channels, n, grown/n)
		if grown > most || grown < most/4 {
			t.Errorf("%d channels: the heap has grown by %d KiB, want at most %d", channels, grown>>10, most>>10)
		}
		runtime.KeepAlive(b)
	}
}

// TestExpiredIsReleased: what nobody asks for any more goes as other channels are used.
func TestExpiredIsReleased(t *testing.T) {
	const channels = 100_000
	c := &clock{}
	b := open(t, memory.Config{ChannelsMax: memory.NoLimit, Clock: c.now})
	before := heap()
	for i := range channels {
		_, err := b.Append(ctx, fmt.Sprint(i), broker.Publication{Data: make([]byte, 1000)}, broker.Keep{Publications: 2, Lifetime: time.Second})
		must(t, broker.Position{}, err)
	}
	full := heap() - before
	c.pass(time.Second)
	for range channels / 2 {
		_, _ = add(b, "another", "x", 1)
	}
	left := heap() - before
	t.Logf("%d bytes for a channel with a publication of 1,000, %d with its position only", full/channels, left/channels)
	if full/channels < 1000 || left/channels > 500 {
		t.Errorf("%d bytes of %d are left for each channel", left/channels, full/channels)
	}
	if page, err := b.Read(ctx, "0", broker.Query{Since: &broker.Position{}}); page.Top.Offset != 1 || !errors.Is(err, broker.ErrUnrecoverable) {
		t.Errorf("its position: %+v %v", page, err)
	}
	runtime.KeepAlive(b)
}

// TestRemovedIsReleased: also if the history goes on.
func TestRemovedIsReleased(t *testing.T) {
	c := &clock{}
	b := open(t, memory.Config{Clock: c.now})
	before := heap()
	for range 3 {
		_, err := b.Append(ctx, "a", broker.Publication{Data: make([]byte, 1<<20)}, broker.Keep{Publications: 4, Lifetime: time.Second})
		must(t, broker.Position{}, err)
		c.pass(time.Second / 4)
	}
	_, _ = b.Append(ctx, "a", broker.Publication{}, broker.Keep{Publications: 4, Lifetime: time.Second})
	c.pass(time.Second * 3 / 4)
	kept(t, b, "a", "")
	if grown := heap() - before; grown > 1<<19 {
		t.Errorf("%d bytes", grown)
	}
	runtime.KeepAlive(b)
}

// TestNoLifetime: what has no lifetime does not expire.
func TestNoLifetime(t *testing.T) {
	c := &clock{}
	b := open(t, memory.Config{Clock: c.now})
	_, _ = add(b, "a", "x", 1)
	c.pass(1 << 62)
	kept(t, b, "a", "x")
}

// TestReadKeepsNothing: asking for channels that are empty costs no memory and removes no history.
func TestReadKeepsNothing(t *testing.T) {
	b := open(t, memory.Config{ChannelsMax: 1})
	_, _ = add(b, "a", "x", 1)
	before := heap()
	for i := range 100_000 {
		_, _ = b.Read(ctx, fmt.Sprint(i), broker.Query{Limit: 1})
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d bytes", grown)
	}
	kept(t, b, "a", "x")
}
