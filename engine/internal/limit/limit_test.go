package limit

import (
	"strings"
	"testing"
	"time"
)

func TestSettle(t *testing.T) {
	count := Row{Name: "Count", Default: 7, Min: 2, Max: 9, WithoutLimit: Unbounded}
	span := Row{Name: "Span", Default: int64(time.Second), Min: int64(time.Millisecond), Max: int64(time.Hour), WithoutLimit: Never}
	strict := Row{Name: "Strict", Default: 3, Min: 1, Max: 4}
	for _, c := range []struct {
		row        Row
		have, want int64
		err        string // part of it
	}{
		{count, 0, 7, ""},
		{count, 2, 2, ""},
		{count, 9, 9, ""},
		{count, NoLimit, Unbounded, ""},
		{count, 1, 1, "engine: Config.Count is 1: it must be from 2 to 9, or 0 for the default, or NoLimit"},
		{count, 10, 10, "Config.Count is 10"},
		{count, -2, -2, "Config.Count is -2"},
		{strict, 0, 3, ""},
		{strict, NoLimit, NoLimit, "engine: Config.Strict is -1: it must be from 1 to 4, or 0 for the default"},
	} {
		field := int(c.have)
		check(t, c.row, c.row.Settle("engine", "Config", &field), int64(field), c.want, c.err)
	}
	for _, c := range []struct {
		have, want time.Duration
		err        string
	}{
		{0, time.Second, ""},
		{time.Hour, time.Hour, ""},
		{NoLimit, Never, ""},
		{2 * time.Hour, 2 * time.Hour, "engine: Config.Span is 2h0m0s: it must be from 1ms to 1h0m0s, or 0 for the default, or NoLimit"},
		{-time.Second, -time.Second, "Config.Span is -1s"},
	} {
		field := c.have
		check(t, span, span.Settle("engine", "Config", &field), int64(field), int64(c.want), c.err)
	}
}

func check(t *testing.T, r Row, err error, got, want int64, part string) {
	t.Helper()
	if got != want || (err == nil) != (part == "") || err != nil && !strings.Contains(err.Error(), part) {
		t.Errorf("%s: %d, %v, want %d, %q", r.Name, got, err, want, part)
	}
}

func TestEndless(t *testing.T) {
	for d, want := range map[time.Duration]bool{0: false, 365 * 24 * time.Hour: false, Never: true} {
		if Endless(d) != want {
			t.Errorf("Endless(%v) is %t", d, !want)
		}
	}
}
