package logs

import (
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

const (
	// BurstMax is how many lines of a kind may come at once.
	BurstMax = 20

	// PerSecond is how many lines of a kind may come in a second after that.
	PerSecond = 1

	// LeftOut is the field with the number of lines that were left out before this
	// one.
	LeftOut = "left_out"

	// kindsMax bounds the kinds that are counted apart. Those above it are counted together.
	kindsMax = 256
)

// kind is what is counted together.
type kind struct {
	name  string
	level zapcore.Level
}

// rates counts the lines of each kind.
type rates struct {
	mu   sync.Mutex
	of   map[kind]*rate
	rest rate // of the kinds above kindsMax
}

// rate is a token bucket: it holds lines that may be written.
type rate struct {
	lines   float64
	at      time.Time // when lines was true; zero: never
	leftOut uint64
}

// take asks for one line. It reports how many were left out since the last one that
// was written.
func (r *rates) take(k kind, now time.Time) (leftOut uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.of[k]
	switch {
	case x != nil:
	case len(r.of) < kindsMax:
		x = new(rate)
		r.of[k] = x
	default:
		x = &r.rest
	}
	if x.at.IsZero() {
		x.lines = BurstMax
	} else if passed := now.Sub(x.at); passed > 0 {
		x.lines = min(x.lines+passed.Seconds()*PerSecond, BurstMax)
	}
	x.at = now
	if x.lines < 1 {
		x.leftOut++
		return 0, false
	}
	x.lines--
	leftOut, x.leftOut = x.leftOut, 0
	return leftOut, true
}
