package engine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run this one simulation")
	simTrace = flag.Bool("sim.trace", false, "print what happens in it")
	simRuns  = flag.Uint64("sim.runs", 0, "how many simulations to run; 0 is 300, within seconds")
	simTime  = flag.Duration("sim.time", 0, "run simulations with seeds never used before, for so long")
)

// TestSimulation runs the engine on simulated loops: one goroutine, a seeded
// kernel that cuts, delays, reorders and fails, simulated peers, some of them behind
// TLS, and time. What must hold is asserted after each step; see sim_check_test.go.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		simulateSeed(t, *simSeed)
		return
	}
	first, began, n := uint64(1), time.Now(), uint64(0)
	more := func() bool { return n < *simRuns }
	switch {
	case *simTime > 0:
		first = rand.Uint64() >> 16
		more = func() bool { return time.Since(began) < *simTime }
	case *simRuns == 0: // fewer where the machine is slow, or the race detector looks on
		more = func() bool { return n < 300 && time.Since(began) < 6*time.Second }
	}
	for ; more(); n++ {
		simulateSeed(t, first+n)
	}
	t.Logf("%d simulations, the first with seed %d", n, first)
}

func simulateSeed(t *testing.T, seed uint64) {
	s := &sim{seed: seed, r: rand.New(rand.NewPCG(seed, 1)), trace: *simTrace}
	s.run()
	if s.failure != "" {
		t.Fatalf("seed %d, step %d, at %d ms: %s\nreplay with\n\tgo test ./engine -run 'TestSimulation$' -sim.seed=%d -sim.trace",
			seed, s.steps, s.now, s.failure, seed)
	}
}

// sim is one simulation. All its randomness comes from r, so that the seed is
// the whole of it.
type sim struct {
	seed    uint64
	r       *rand.Rand
	trace   bool
	failure string // the first thing that did not hold
	steps   int
	now     int64 // simulated milliseconds

	e     *Engine
	loops []*simLoop
	fds   []*simSock // by descriptor; the lowest free number comes next, as in a kernel
	conns []*simConn // all there were, by time of arrival
	dials []*simDial // all there were
	of    map[*Conn]*simConn

	drain simDrain

	sessions    SimStore
	grace       time.Duration // of a session
	sessionsMax int
	states      []*simState // all there were
	graces      int         // timers of sessions when the loops were stopped

	cfg      simConfig
	calm     bool // no more faults
	goOn     bool // the next time that a turn asks, it has not lasted long enough
	stopped  bool // the loops were stopped with what was on them
	nested   int  // functions of Go on the stack
	writes   int  // since the last check
	calling  int  // calls of the API on the stack
	messages int
	gathered []byte // scratch of SendVec
	payload  []byte // scratch of message
}

// simConfig is what differs from one simulation to the next beside Config.
type simConfig struct {
	steps    int
	connsMax int
	faults   int  // of 1000 system calls so many fail
	proxied  bool // who connects is a trusted proxy
	tls      int  // of 1000 connections so many have TLS
	noPause  bool // a system that cannot pause reading
	bytesMax int  // of a message
	tired    int  // of 1000 times that a turn asks, it has lasted long enough so often
}

func (s *sim) chance(of1000 int) bool { return s.r.IntN(1000) < of1000 }

func (s *sim) pick(list ...int) int { return list[s.r.IntN(len(list))] }

func (s *sim) tracef(format string, args ...any) {
	if s.trace {
		fmt.Printf("%5d %6d ms  %s\n", s.steps, s.now, fmt.Sprintf(format, args...))
	}
}

// failf notes the first failure. It does not panic: the engine would take that
// for a callback's.
func (s *sim) failf(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.tracef("FAILURE: %s", s.failure)
	}
}

func (s *sim) run() {
	defer func() {
		if v := recover(); v != nil {
			s.failf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	s.setUp()
	for s.steps < s.cfg.steps && s.failure == "" {
		s.step()
	}
	if s.failure == "" {
		s.finish()
	}
}

// step lets one thing happen.
func (s *sim) step() {
	s.steps++
	s.stepDrain()
	switch n := s.r.IntN(100); {
	case n < 3 && len(s.live()) < s.cfg.connsMax:
		s.arrive()
	case n < 5:
		s.dialOut()
	case n < 40:
		s.poll(s.loops[s.r.IntN(len(s.loops))])
	case n < 85:
		if live := s.live(); len(live) > 0 {
			live[s.r.IntN(len(live))].peer.act()
		}
	case n < 88:
		s.elsewhere()
	case n < 92:
		s.runJob()
	case n < 93:
		s.advance(s.r.Int64N(2000))
	default:
		s.advance(s.r.Int64N(20))
	}
}

// live lists the connections of which either end is still there.
func (s *sim) live() (live []*simConn) {
	for _, c := range s.conns {
		if !c.sock.closed || !c.peer.over() {
			live = append(live, c)
		}
	}
	return live
}

// advance lets time pass. A timer may ring late, never early.
func (s *sim) advance(ms int64) {
	s.now += ms
	for _, l := range s.loops {
		if at := l.w.time.alarmAt; at != 0 && at <= s.now && !l.rung && (s.calm || s.chance(800)) {
			l.rung = true
			_ = l.w.post(post{do: func() { l.rung = false; l.w.rang() }})
		}
	}
}

// runJob runs a function of Go or of Upgrade.Go, as a goroutine of their pools
// would.
func (s *sim) runJob() bool {
	jobs, handshakes := s.e.offload.waiting, s.e.upgrades.waiting
	if len(jobs)+len(handshakes) == 0 || s.nested > 1 {
		return false
	}
	s.nested++
	defer func() { s.nested-- }()
	if i := s.r.IntN(len(jobs) + len(handshakes)); i < len(jobs) {
		c := jobs[i]
		s.e.offload.waiting = slices.Delete(slices.Clone(jobs), i, i+1)
		c.callFirst()
	} else {
		i -= len(jobs)
		u := handshakes[i]
		s.e.upgrades.waiting = slices.Delete(slices.Clone(handshakes), i, i+1)
		u.run()
	}
	return true
}
