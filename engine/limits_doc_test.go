package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine/internal/limit/limittest"
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
	var cfg Config
	if err := cfg.settle(nil); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("`SlowCode` (%d unless set)", cfg.SlowCode); !strings.Contains(documented["SendBytesMax"], want) {
		t.Errorf("the row of SendBytesMax does not say %s", want)
	}
	for _, l := range limits {
		unit, show := unitOf(l)
		def := computed[l.Name]
		switch {
		case def != "":
		case l.Default == l.WithoutLimit:
			def = "none"
		default:
			def = show(l.Default)
		}
		if l.Default == 0 && computed[l.Name] == "" {
			t.Errorf("%s has a computed default that this test does not know", l.Name)
		}
		none := "yes"
		if l.WithoutLimit == 0 {
			none = "no"
		}
		expect(documented, l.Name, unit, def, show(l.Min)+" – "+show(l.Max), none)
		if _, ok := short[l.Name]; ok {
			expect(short, l.Name, def)
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
		"copyBytesMax":         showSize(copyBytesMax),
		"postsKeepMax":         showCount(postsKeepMax),
		"outq.ShareBytesMin":   showSize(outq.ShareBytesMin),
		"outq.RemovableBytes":  showSize(outq.RemovableBytes),
		"arenaKeepMax":         showSize(arenaKeepMax),
		"turnTimeMax":          showDuration(int64(turnTimeMax)),
		"paceFirst":            showCount(paceFirst),
		"paceMax":              showCount(paceMax),
		"fanOutsMax":           showCount(fanOutsMax),
		"fanOutBytesMax":       showSize(fanOutBytesMax),
		"fanOutMin":            showCount(fanOutMin),
		"topicBytesMax":        showSize(topicBytesMax),
		"spareBroadcastsMax":   showCount(spareBroadcastsMax),
		"frameKeepMax":         showSize(frameKeepMax),
		"secondLook":           showDuration(int64(secondLook)),
		"lateAfter":            showDuration(int64(lateAfter)),
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

func unitOf(l bound) (unit string, show func(int64) string) {
	if _, ok := l.field(new(Config)).(*time.Duration); ok {
		return "time", showDuration
	}
	if strings.Contains(l.Name, "Bytes") {
		return "bytes", showSize
	}
	return "number", showCount
}

var rows, showDuration, showSize, showCount = limittest.Rows, limittest.Duration, limittest.Size, limittest.Count
