package engine

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/outq"
)

// computed says how the documents describe the defaults that are not constant.
var computed = map[string]string{
	"Loops":          "GOMAXPROCS",
	"SendBytesLow":   "`SendBytesHigh` / 4",
	"ConnectionsMax": "by the descriptor limit",
}

// TestLimitsDocumented holds the tables of docs/LIMITS.md and the short one of
// README.md against the code.
func TestLimitsDocumented(t *testing.T) {
	documented := rows(t, "../docs/LIMITS.md", "## Fields of Config")
	for name, row := range rows(t, "../docs/LIMITS.md", "## Fixed bounds") {
		documented[name] = row
	}
	short := rows(t, "../README.md", "## Limits")
	expect := func(in map[string]string, name string, cells ...string) {
		t.Helper()
		want := "| `" + name + "` | " + strings.Join(cells, " | ") + " |"
		if got, ok := in[name]; !ok || !strings.HasPrefix(got, want) {
			t.Errorf("the documents say %q, the code %q", got, want)
		}
		delete(in, name)
	}
	for _, l := range limits {
		unit, show := unitOf(l)
		def := computed[l.name]
		switch {
		case def != "":
		case l.def == l.unlimited:
			def = "none"
		default:
			def = show(l.def)
		}
		if l.def == 0 && computed[l.name] == "" {
			t.Errorf("%s has a computed default that this test does not know", l.name)
		}
		none := "yes"
		if l.unlimited == 0 {
			none = "no"
		}
		expect(documented, l.name, unit, def, show(l.min)+" – "+show(l.max), none)
		if _, ok := short[l.name]; ok {
			expect(short, l.name, def)
		}
	}
	for name, bound := range map[string]string{
		"acceptorsPerListener": showCount(acceptorsPerListener),
		"acceptDelayMax":       showDuration(int64(acceptDelayMax)),
		"refuseTimeout":        showDuration(int64(refuseTimeout)),
		"turnedAwayMax":        showCount(turnedAwayMax),
		"handoverMax":          showCount(handoverMax),
		"loop.ReadBytesMax":    showSize(loop.ReadBytesMax),
		"corkBytesMax":         showSize(corkBytesMax),
		"corkKeepMax":          showSize(corkKeepMax),
		"outq.ChunkBytesMax":   showSize(outq.ChunkBytesMax),
		"loop.PiecesMax":       showCount(loop.PiecesMax),
		"outq.FreeListsMax":    showCount(outq.FreeListsMax),
		"outq.FreeChunksMax":   showCount(outq.FreeChunksMax),
		"inboxBytesMax":        showSize(inboxBytesMax),
		"inboxPostsMax":        showCount(inboxPostsMax),
		"timersPerConnMax":     showCount(timersPerConnMax),
		"functionsPerConnMax":  showCount(functionsPerConnMax),
		"functionBytesMax":     showSize(functionBytesMax),
		"catchUpMax":           showCount(catchUpMax),
		"postsPerTurn":         showCount(postsPerTurn),
		"copyBytesMax":         showSize(copyBytesMax),
		"postsKeepMax":         showCount(postsKeepMax),
		"outq.ShareBytesMin":   showSize(outq.ShareBytesMin),
		"outq.RemovableBytes":  showSize(outq.RemovableBytes),
		"arenaKeepMax":         showSize(arenaKeepMax),
		"attendMax":            showCount(attendMax),
		"fanOutMin":            showCount(fanOutMin),
		"topicBytesMax":        showSize(topicBytesMax),
		"spareBroadcastsMax":   showCount(spareBroadcastsMax),
		"frameKeepMax":         showSize(frameKeepMax),
		"secondLook":           showDuration(int64(secondLook)),
		"lingerTimeout":        showDuration(int64(lingerTimeout)),
		"lingerBytesMin":       showSize(lingerBytesMin),
		"earlyBytesMax":        showSize(earlyBytesMax),
	} {
		expect(documented, name, bound)
	}
	for _, left := range []map[string]string{documented, short} {
		for name, row := range left {
			if !strings.HasPrefix(name, "codec.") { // not visible from here
				t.Errorf("%s is in the documents only: %s", name, row)
			}
		}
	}
}

// rows returns the table rows of a section by the name in their first cell.
func rows(t *testing.T, file, section string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, text2, ok := strings.Cut(string(text), "\n"+section+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", file, section)
	}
	found := map[string]string{}
	for line := range strings.SplitSeq(text2, "\n") {
		if strings.HasPrefix(line, "## ") {
			break
		}
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") {
			found[name] = line
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s, %q: no table", file, section)
	}
	return found
}

func unitOf(l limit) (unit string, show func(int64) string) {
	if _, ok := l.field(new(Config)).(*time.Duration); ok {
		return "time", showDuration
	}
	if strings.Contains(l.name, "Bytes") {
		return "bytes", showSize
	}
	return "number", showCount
}

func showDuration(n int64) string {
	switch d := time.Duration(n); {
	case n == ever:
		return "none"
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	default:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
}

func showSize(n int64) string {
	switch {
	case n == most:
		return "2 GiB − 1"
	case n == most<<20:
		return "2048 TiB"
	case n%gib == 0:
		return fmt.Sprintf("%d GiB", n/gib)
	case n%mib == 0:
		return fmt.Sprintf("%d MiB", n/mib)
	case n%kib == 0:
		return fmt.Sprintf("%d KiB", n/kib)
	default:
		return fmt.Sprintf("%d B", n)
	}
}

// showCount writes a number with a comma between its thousands.
func showCount(n int64) string {
	groups := []string{}
	for ; n >= 1000; n /= 1000 {
		groups = append(groups, fmt.Sprintf("%03d", n%1000))
	}
	groups = append(groups, strconv.FormatInt(n, 10))
	slices.Reverse(groups)
	return strings.Join(groups, ",")
}
