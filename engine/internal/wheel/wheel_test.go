package wheel

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type log struct {
	w     *Wheel
	fired []int64
	then  func(*Timer)
}

func (l *log) Expire(t *Timer) {
	l.fired = append(l.fired, t.Due())
	if l.w.now < t.Due() {
		panic("early")
	}
	if l.then != nil {
		l.then(t)
	}
}

// TestAgainstAList arms, moves, stops and advances at random and holds what
// fires against a plain list.
func TestAgainstAList(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := new(Wheel)
		l := &log{w: w}
		timers := make([]Timer, 40)
		want := map[*Timer]int64{}
		now := int64(0)
		for range 2000 {
			tm := &timers[r.IntN(len(timers))]
			tm.Owner = l
			switch r.IntN(4) {
			case 0, 1:
				due := now + r.Int64N(int64(1)<<r.IntN(34)) - 2
				again := r.IntN(2) == 0
				if again {
					w.Again(tm, due)
				} else {
					w.Arm(tm, due)
				}
				want[tm] = max(due, now+1)
				if tm.Again() != again || tm.Due() != want[tm] {
					t.Fatalf("seed %d: due at %d, again %v", seed, tm.Due(), tm.Again())
				}
			case 2:
				w.Stop(tm)
				delete(want, tm)
			case 3:
				if due, ok := w.Next(); ok && r.IntN(2) == 0 {
					now = max(now, due)
				} else {
					now += r.Int64N(int64(1) << r.IntN(30))
				}
				l.fired = nil
				for !w.Advance(now, func() bool { return r.IntN(3) == 0 }) { // in pieces
					left := -len(l.fired)
					for _, d := range want {
						if d <= now {
							left++
						}
					}
					if due, ok := w.Next(); left > 0 && (!ok || due > now) {
						t.Fatalf("seed %d: Next is %d %v, but %d timers are due", seed, due, ok, left)
					}
				}
				var due []int64
				for tm, d := range want {
					if d <= now {
						due = append(due, d)
						delete(want, tm)
					}
				}
				slices.Sort(due)
				if !slices.Equal(due, l.fired) {
					t.Fatalf("seed %d: at %d fired %v, want %v", seed, now, l.fired, due)
				}
			}
			if w.Len() != len(want) {
				t.Fatalf("seed %d: %d armed, want %d", seed, w.Len(), len(want))
			}
			first := int64(1) << 62
			for _, d := range want {
				first = min(first, d)
			}
			if due, ok := w.Next(); ok != (len(want) > 0) || ok && due > first {
				t.Fatalf("seed %d: Next is %d %v, the first timer is due at %d", seed, due, ok, first)
			}
		}
	}
}

func TestOwnerMayArmAndStopWhileExpiring(t *testing.T) {
	w := new(Wheel)
	l := &log{w: w}
	a, b, c := &Timer{Owner: l}, &Timer{Owner: l}, &Timer{Owner: l}
	for _, tm := range []*Timer{a, b, c} {
		w.Arm(tm, 5)
	}
	l.then = func(tm *Timer) {
		if tm == a {
			w.Stop(b)
			w.Arm(a, 5) // has passed: the next tick
		}
	}
	w.Advance(5, nil)
	if !slices.Equal(l.fired, []int64{5, 5}) || !a.Armed() || b.Armed() || c.Armed() {
		t.Fatalf("fired %v, a %v, b %v, c %v", l.fired, a.Armed(), b.Armed(), c.Armed())
	}
	l.then = nil
	w.Advance(6, nil)
	if len(l.fired) != 3 || w.Len() != 0 {
		t.Fatalf("fired %v, %d armed", l.fired, w.Len())
	}
}

func TestArmAllocatesNothing(t *testing.T) {
	w := new(Wheel)
	tm := &Timer{Owner: new(nobody)}
	if n := testing.AllocsPerRun(100, func() { w.Arm(tm, w.now+30_000); w.Stop(tm) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { w.Arm(tm, w.now+3); w.Advance(w.now+3, nil) }); n != 0 || tm.Armed() {
		t.Errorf("%v allocations to expire", n)
	}
}

type nobody struct{}

func (*nobody) Expire(*Timer) {}
