package codec_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/sockmill/sockmill/codec"
)

func TestBuffersClasses(t *testing.T) {
	const mib = 1 << 20
	for n, want := range map[int]int{
		0: 512, 1: 512, 512: 512, 513: 1024, 1024: 1024, 1025: 2048, 65536: 65536, mib - 1: mib, mib: mib,
		mib + 1: mib + 1, 3 * mib: 3 * mib,
	} {
		var p codec.Buffers
		b := p.Get(n)
		if len(b) != 0 || cap(b) != want || p.Lent() != 1 {
			t.Errorf("Get(%d): %d of %d, %d lent", n, len(b), cap(b), p.Lent())
		}
		p.Put(append(b, make([]byte, n)...))
		counted, kept := p.FreeBytes()
		if want > mib {
			want = 0 // not kept
		}
		if counted != want || kept != want || p.Lent() != 0 {
			t.Errorf("Get(%d) and Put keep %d bytes and count %d, %d lent", n, kept, counted, p.Lent())
		}
		if again := p.Get(n); len(again) != 0 || want > 0 && unsafe.SliceData(again) != unsafe.SliceData(b) {
			t.Errorf("Get(%d) does not return what Put took", n)
		}
		if counted, kept := p.FreeBytes(); counted != 0 || kept != 0 {
			t.Errorf("the lent buffer of %d counts as free: %d, %d", n, counted, kept)
		}
	}
}

func TestBuffersBounded(t *testing.T) {
	var p codec.Buffers
	var lent [][]byte
	for class := 512; class <= 1<<20; class *= 2 {
		for range 10 {
			lent = append(lent, p.Get(class))
		}
	}
	for range 3 { // the second and third time from the free lists, as far as they go
		for _, b := range lent {
			p.Put(b)
			if counted, kept := p.FreeBytes(); counted > codec.FreeBytesMax || kept > codec.FreeBytesMax {
				t.Fatalf("%d bytes kept, %d counted", kept, counted)
			}
		}
		for i, b := range lent {
			lent[i] = p.Get(cap(b))
		}
	}
	if p.Lent() != len(lent) {
		t.Errorf("%d lent, want %d", p.Lent(), len(lent))
	}
	if counted, kept := p.FreeBytes(); counted != kept || kept%512 != 0 {
		t.Errorf("%d bytes kept, %d counted", kept, counted)
	}
	if b := p.Get(512); cap(b) != 512 {
		t.Errorf("room for %d", cap(b))
	}
	lentBefore := p.Lent()
	p.Trim()
	if counted, kept := p.FreeBytes(); counted != 0 || kept != 0 || p.Lent() != lentBefore {
		t.Errorf("trimmed, %d bytes kept, %d counted, %d lent", kept, counted, p.Lent())
	}
}

func TestBuffersGrow(t *testing.T) {
	var p codec.Buffers
	b, want := p.Get(1), []byte(nil)
	for i := range 5000 {
		piece := bytes.Repeat([]byte{byte(i)}, i%7*100)
		before := cap(b)
		b = p.Grow(b, len(piece))
		if cap(b)-len(b) < len(piece) || cap(b) != before && cap(b) < 2*before {
			t.Fatalf("grown from %d to %d for %d more than %d", before, cap(b), len(piece), len(b))
		}
		b, want = append(b, piece...), append(want, piece...)
	}
	if !bytes.Equal(b, want) || p.Lent() != 1 {
		t.Errorf("content lost, %d lent", p.Lent())
	}
}

// complaint is what f panics with.
func complaint(f func()) (said string) {
	defer func() {
		if v := recover(); v != nil {
			said = fmt.Sprint(v)
		}
	}()
	f()
	return ""
}

// What a borrower does wrong panics where it is done, and changes no account.
func TestBuffersMistakes(t *testing.T) {
	for _, n := range []int{1, 512, 3000, 1 << 20, 3 << 20} {
		for name, mistake := range map[string]func(p *codec.Buffers, b []byte){
			"Put twice":                     func(p *codec.Buffers, b []byte) { p.Put(b); p.Put(b) },
			"Put twice, another between":    func(p *codec.Buffers, b []byte) { p.Put(b); p.Get(2 * cap(b)); p.Put(b) },
			"Put twice, shortened":          func(p *codec.Buffers, b []byte) { p.Put(b); p.Put(b[:0:1]) },
			"Put of foreign memory":         func(p *codec.Buffers, b []byte) { p.Put(make([]byte, cap(b))) },
			"Put of foreign memory, odd":    func(p *codec.Buffers, _ []byte) { p.Put(make([]byte, 600)) },
			"Put behind the front":          func(p *codec.Buffers, b []byte) { p.Put(b[1:1]) },
			"Put after an append moved it":  func(p *codec.Buffers, b []byte) { p.Put(append(b, make([]byte, cap(b)+1)...)) },
			"Put of what Grow moved":        func(p *codec.Buffers, b []byte) { p.Grow(b, cap(b)+1); p.Put(b) },
			"Grow of what was put":          func(p *codec.Buffers, b []byte) { p.Put(b); p.Grow(b, cap(b)+1) },
			"Grow behind the front":         func(p *codec.Buffers, b []byte) { p.Grow(b[1:1], cap(b)+1) },
			"Grow of foreign memory":        func(p *codec.Buffers, _ []byte) { p.Grow(make([]byte, 10), 1000) },
			"Grow after an append moved it": func(p *codec.Buffers, b []byte) { p.Grow(append(b, make([]byte, cap(b)+1)...), 10*cap(b)) },
		} {
			var p codec.Buffers
			b := p.Get(n)
			if said := complaint(func() { mistake(&p, b) }); !strings.Contains(said, "not lent") {
				t.Errorf("%d bytes, %s: %q", n, name, said)
			}
			if p.Lent() < 0 || p.LentBytes() < 0 {
				t.Errorf("%d bytes, %s: %d lent, %d bytes", n, name, p.Lent(), p.LentBytes())
			}
			seen := map[*byte]bool{} // nobody gets what another has
			for range 20 {
				if start := unsafe.SliceData(p.Get(n)); seen[start] {
					t.Fatalf("%d bytes, %s: two have one buffer", n, name)
				} else {
					seen[start] = true
				}
			}
		}
	}
}

// What is no mistake leaves the accounts right.
func TestBuffersWithoutMemory(t *testing.T) {
	for name, empty := range map[string][]byte{"nil": nil, "empty": {}, "cut": make([]byte, 5)[5:]} {
		var p codec.Buffers
		p.Put(empty)
		if p.Lent() != 0 || p.LentBytes() != 0 {
			t.Errorf("Put of %s: %d lent, %d bytes", name, p.Lent(), p.LentBytes())
		}
		for _, n := range []int{-1, 0, 1, 600, 2 << 20} {
			b := p.Grow(empty, n)
			if len(b) != 0 || cap(b) < n || p.Lent() != 1 || p.LentBytes() != cap(b) {
				t.Errorf("Grow of %s for %d: %d of %d, %d lent, %d bytes", name, n, len(b), cap(b), p.Lent(), p.LentBytes())
			}
			p.Put(b[:0:0]) // all of it, however it was shortened
			if p.Lent() != 0 || p.LentBytes() != 0 {
				t.Errorf("%d bytes: %d lent, %d bytes", n, p.Lent(), p.LentBytes())
			}
		}
	}
}

// What a loop keeps for sessions is bounded however many there were.
func TestPartialsBounded(t *testing.T) {
	o, env := limits(), newEnv()
	sessions := make([]*codec.Session, codec.FreePartialsMax+100)
	for range 2 {
		for i := range sessions {
			sessions[i] = codec.NewSessionIn(&o, codec.StateOpen)
			sessions[i].Decode(env, []byte(frame(0x01, "begun")+frame(0x89, "ping")[:7]))
		}
		if n := env.Buffers.Lent(); n != 2*len(sessions) || env.FreePartials() != 0 {
			t.Fatalf("%d buffers lent, %d partials free", n, env.FreePartials())
		}
		for _, s := range sessions {
			s.Release(env)
			s.Release(env) // gives nothing back twice
		}
		if n := env.FreePartials(); n != codec.FreePartialsMax || env.Buffers.Lent() != 0 {
			t.Fatalf("%d partials free, %d buffers lent", n, env.Buffers.Lent())
		}
	}
}

// An idle connection owns one small struct.
func TestSessionSize(t *testing.T) {
	if n := unsafe.Sizeof(codec.Session{}); n > 32 {
		t.Errorf("a session takes %d bytes", n)
	}
}

// Sessions of one loop share its free lists and nothing else: whatever the
// order in which their input comes, each says what it says alone.
func TestSessionsOfOneLoop(t *testing.T) {
	var inputs []string
	for i := range 8 {
		s := fmt.Sprint(i)
		inputs = append(inputs,
			frame(0x81, s+text(700))+frame(0x01, s)+frame(0x89, "p"+s)+frame(0x80, s+text(1500))+frame(0x82, text(300)),
			frame(0x01, "\xe2\x82")+frame(0x8a, s)+frame(0x80, "\xac"+s)+frame(0x88, code(3000+i)+s),
			frame(0x02, text(2000))+frame(0x00, "\xff"+s)+frame(0x81, "inside"),
			strings.Repeat(frame(0x81, s), 50)+frame(0x01, text(900)+"\xff")+frame(0x81, "late"))
	}
	env, r := newEnv(), rand.New(rand.NewPCG(1, 2))
	sides := make([]*side, len(inputs))
	left := make([]string, len(inputs))
	outs := make([][]byte, len(inputs))
	for i := range sides {
		sides[i] = newSide(t, limits())
		sides[i].env = env
		left[i] = handshake + inputs[i]
	}
	for busy := len(sides); busy > 0; {
		i := r.IntN(len(sides))
		n := min(r.IntN(1+1<<r.IntN(11)), len(left[i]))
		if n == 0 {
			continue
		}
		env.Out = outs[i]
		sides[i].feed(left[i][:n])
		outs[i], left[i] = env.Out, left[i][n:]
		if left[i] == "" {
			busy--
		}
	}
	for i, x := range sides {
		x.s.Release(env)
		alone := play(newSide(t, limits()), handshake+inputs[i], whole)
		if got := strings.Join(x.log, "; "); got != alone.log || string(outs[i]) != alone.out || x.s.State() != alone.state {
			t.Errorf("session %d\namong others: %s\nalone: %s", i, got, alone.log)
		}
	}
	if env.Buffers.Lent() != 0 {
		t.Errorf("%d buffers lent", env.Buffers.Lent())
	}
}

// What is said to be lent is what the heap says, also of a crowd of small slices,
// and after most of them were given back.
func TestLentBytesAreTrue(t *testing.T) {
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const n = 200_000
	var p codec.Buffers
	lent := make([][]byte, n)
	before := heap()
	check := func(what string) {
		t.Helper()
		p.Trim()
		if has, said := heap()-before, p.LentBytes(); has > said+said/50+64<<10 {
			t.Errorf("%s: %d bytes are said to be lent, the heap has %d", what, said, has)
		}
	}
	for i := range lent {
		lent[i] = p.Get(1)
	}
	check("all are lent")
	for i := range n * 74 / 100 {
		p.Put(lent[i])
		lent[i] = nil
	}
	check("a quarter is lent")
	for i, b := range lent {
		p.Put(b)
		lent[i] = nil
	}
	if check("all were given back"); p.LentBytes() != 0 {
		t.Errorf("%d bytes are still lent", p.LentBytes())
	}
	runtime.KeepAlive(lent)
}
