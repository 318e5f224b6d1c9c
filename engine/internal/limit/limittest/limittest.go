// Package limittest is for tests that hold the tables of docs/LIMITS.md against the
// code.
package limittest

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Rows returns the table rows of a section by the name in their first cell.
func Rows(t *testing.T, file, section string) map[string]string {
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

// Duration writes nanoseconds as the documents do.
func Duration(n int64) string {
	switch d := time.Duration(n); {
	case n == math.MaxInt64:
		return "none"
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	default:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
}

// Size writes bytes as the documents do.
func Size(n int64) string {
	switch {
	case n == math.MaxInt32:
		return "2 GiB − 1"
	case n == math.MaxInt32<<20:
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

// Count writes a number with a comma between its thousands.
func Count(n int64) string {
	groups := []string{}
	for ; n >= 1000; n /= 1000 {
		groups = append(groups, fmt.Sprintf("%03d", n%1000))
	}
	groups = append(groups, strconv.FormatInt(n, 10))
	slices.Reverse(groups)
	return strings.Join(groups, ",")
}
