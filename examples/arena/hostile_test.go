package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/protocol"
)

// TestBadInput: each mistake gets its close code and a reason, and nobody else
// notices.
func TestBadInput(t *testing.T) {
	hello := func(name string, token []byte) []byte {
		return wire.AppendHello(nil, wire.Hello{Version: wire.Version, Name: []byte(name), Token: token})
	}
	input := wire.AppendInput(nil, wire.Input{Seq: 1, DX: 1})
	type message struct {
		op protocol.Opcode
		b  []byte
	}
	bin := func(b ...[]byte) (all []message) {
		for _, b := range b {
			all = append(all, message{protocol.OpBinary, b})
		}
		return all
	}
	flood := bin(hello("Ada", nil))
	for range 3 * messagesMax {
		flood = append(flood, message{protocol.OpBinary, input})
	}
	cases := []struct {
		name   string
		sent   []message
		code   protocol.CloseCode
		reason string
	}{
		{"unknown message", bin(hello("Ada", nil), []byte{9, 9}), 1002, "unknown"},
		{"a message of the server", bin(hello("Ada", nil), []byte{130}), 1002, "unknown"},
		{"empty message", bin(hello("Ada", nil), nil), 1002, "truncated"},
		{"truncated hello", bin(hello("Ada", nil)[:4]), 1002, "truncated"},
		{"truncated input", bin(hello("Ada", nil), input[:7]), 1002, "truncated"},
		{"too long an input", bin(hello("Ada", nil), append(bytes.Clone(input), 0)), 1002, "behind"},
		{"token too long", bin(hello("Ada", make([]byte, wire.TokenBytesMax+1))), 1002, "malformed"},
		{"input before hello", bin(input), 1002, "hello first"},
		{"respawn before hello", bin(wire.AppendRespawn(nil)), 1002, "hello first"},
		{"two hellos", bin(hello("Ada", nil), hello("Ada", nil)), 1002, "hello twice"},
		{"text", []message{{protocol.OpText, []byte("hello")}}, 1003, "binary"},
		{"another version", bin(wire.AppendHello(nil, wire.Hello{Version: 9, Name: []byte("Ada")})), 1008, "version"},
		{"no name", bin(hello("", nil)), 1008, "name"},
		{"blank name", bin(hello(" \t ", nil)), 1008, "name"},
		{"name of 17 characters", bin(hello(strings.Repeat("ż", 17), nil)), 1008, "name"},
		{"name with a control character", bin(hello("A\ada", nil)), 1008, "name"},
		{"name that turns around", bin(hello("A\u202eda", nil)), 1008, "name"},
		{"name of zero width", bin(hello("A\u200bda", nil)), 1008, "name"},
		{"name without a shape", bin(hello("\u3164", nil)), 1008, "name"},
		{"name that is not UTF-8", bin(hello("A\xffda", nil)), 1008, "name"},
		{"a token nobody made", bin(hello("Ada", make([]byte, 44))), 1008, "not a token"},
		{"flood", flood, 1008, "too many"},
		{"name of 10 MB", bin(append(hello("Ada", nil), make([]byte, 10<<20)...)), 1009, ""},
	}
	eachLoops(t, options{}, func(t *testing.T, a *arena, other *player) {
		for _, c := range cases {
			p := a.connect()
			ended := make(chan struct{})
			go func() { // the server may close before it has all
				defer close(ended)
				for _, m := range c.sent {
					if _, err := p.nc.Write(frame(m.op, m.b)); err != nil {
						return
					}
				}
			}()
			code, reason := p.closed()
			if <-ended; code != c.code || !strings.Contains(reason, c.reason) {
				t.Errorf("%s: closed with %d %q, want %d %q", c.name, code, reason, c.code, c.reason)
			}
			a.tick(1)
			other.tick(a)
		}
		if n := a.g.metrics.floods.Load(); n != 1 {
			t.Errorf("%d floods are counted, want 1", n)
		}
	})
}

// TestFull: when all places are taken, a newcomer is told, and who is in stays
// in, and comes back.
func TestFull(t *testing.T) {
	eachLoops(t, options{players: 2}, func(t *testing.T, a *arena, other *player) {
		p := a.join("Ada", nil)
		late := a.connect()
		late.hello("Bob", nil)
		if code, reason := late.closed(); code != 1013 || !strings.Contains(reason, "full") {
			t.Errorf("closed with %d %q", code, reason)
		}
		a.lose(p)
		again := a.join("Ada", p.token)
		if again.id != p.id {
			t.Errorf("player %d came back as %d", p.id, again.id)
		}
		again.hangUp()
	})
}

// TestOddVectors: a vector that is none counts as nothing, one that is too long
// is cut; both are counted, and nobody is closed.
func TestOddVectors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	eachLoops(t, options{}, func(t *testing.T, a *arena, other *player) {
		p := a.join("Ada", nil)
		for i, v := range [][2]float32{{nan, 0}, {0, nan}, {inf, 1}, {1, -inf}, {inf, -inf}, {math.MaxFloat32, 0}, {-3, 4}, {0.6, 0.8}} {
			before := p.own()
			p.input(wire.Input{Seq: uint32(i + 1), DX: v[0], DY: v[1], Flags: 0xff})
			p.send(protocol.OpBinary, wire.AppendPing(nil, 0))
			for p.pongs == i {
				p.next()
			}
			a.tick(1)
			p.tick(a)
			x, y := float64(p.own().X)-float64(before.X), float64(p.own().Y)-float64(before.Y)
			moved := math.Hypot(x, y) * float64(p.world) / 65535
			switch {
			case p.snap.Ack != uint32(i+1):
				t.Errorf("%v: %+v", v, p.snap.Header)
			case i < 5 && moved > 0:
				t.Errorf("%v moved it by %v", v, moved)
			case moved > 13: // a tick at full speed is 11.2 units
				t.Errorf("%v moved it by %v", v, moved)
			}
		}
		m := a.g.metrics
		if bad, clamped, ignored := m.inputsBad.Load(), m.inputsClamped.Load(), m.inputsIgnored.Load(); bad != 5 || clamped != 2 || ignored != 0 {
			t.Errorf("%d bad, %d clamped, %d ignored; want 5, 2, 0", bad, clamped, ignored)
		}
		p.hangUp()
	})
}

// TestInputRate: what is above 60 a second is ignored and counted.
func TestInputRate(t *testing.T) {
	var b bucket
	now, taken := time.Unix(1000, 0), 0
	for range 10 * 200 { // ten seconds
		now = now.Add(5 * time.Millisecond)
		if b.take(now) {
			taken++
		}
	}
	if want := 10*inputsPerSecond + inputsBurst; taken < want-1 || taken > want {
		t.Errorf("%d of 2000 inputs in 10 s are taken, want %d", taken, want)
	}
	eachLoops(t, options{}, func(t *testing.T, a *arena, other *player) {
		p := a.join("Ada", nil)
		for i := range 3 * inputsBurst {
			p.input(wire.Input{Seq: uint32(i + 1)})
		}
		p.send(protocol.OpBinary, wire.AppendPing(nil, 0))
		for p.pongs == 0 {
			p.next()
		}
		if n := a.g.metrics.inputsIgnored.Load(); n < inputsBurst {
			t.Errorf("%d of %d inputs at once are ignored", n, 3*inputsBurst)
		}
		p.hangUp()
	})
}

// lose cuts a connection without a word, and waits until the game knows.
func (a *arena) lose(p *player) {
	a.t.Helper()
	_ = p.nc.Close()
	for lost := false; !lost; {
		a.on(func() { lost = a.g.byID[p.id].client == nil })
	}
}

// TestResume: a player who lost its connection comes back into its own cells,
// which stood still meanwhile.
func TestResume(t *testing.T) {
	eachLoops(t, options{}, func(t *testing.T, a *arena, other *player) {
		p := a.join("Ada", nil)
		p.input(wire.Input{Seq: 1, DX: 1})
		p.send(protocol.OpBinary, wire.AppendPing(nil, 0))
		for p.pongs == 0 {
			p.next()
		}
		a.tick(10)
		p.tick(a)
		a.lose(p)
		before := p.own()
		a.tick(3)
		again := a.join("Ada L.", p.token)
		if again.id != p.id || !again.resumed || again.snap.Flags != wire.Keyframe || again.snap.Ack != 0 {
			t.Errorf("player %d came back as %d, %+v", p.id, again.id, again.snap.Header)
		}
		now := again.own()
		if dx := int(now.X) - int(before.X); dx < 0 || dx > 65535*12/int(p.world)+1 || now.Y != before.Y || now.Radius < before.Radius || now.Name != "Ada L." {
			t.Errorf("it left as %+v and is %+v", before, now) // it may have gone on for a tick until it was lost
		}
		again.hangUp()
	})
}

// TestGraceEnds: after the grace period the cells are gone, their mass is not,
// and the token is of no use.
func TestGraceEnds(t *testing.T) {
	eachLoops(t, options{grace: 200 * time.Millisecond}, func(t *testing.T, a *arena, other *player) {
		p := a.join("Ada", nil)
		a.lose(p)
		var budget, there int64
		sum := func() {
			budget, there = a.g.world.Budget(), a.g.world.Reservoir()
			for i := range a.g.world.Entities {
				there += int64(a.g.world.Entities[i].Mass)
			}
		}
		a.tick(1)
		a.on(func() {
			if a.g.byID[p.id] == nil {
				t.Error("gone at once")
			}
		})
		for gone := false; !gone; {
			a.tick(1)
			a.on(func() { gone = a.g.byID[p.id] == nil })
		}
		a.on(func() {
			if n := len(a.g.world.Players()); n != 1 {
				t.Errorf("%d players are left, want 1", n)
			}
		})
		if a.on(sum); budget != there {
			t.Errorf("a mass of %d is left of %d", there, budget)
		}
		back := a.connect()
		back.hello("Ada", p.token)
		if code, reason := back.closed(); code != 1008 || reason != "the session is over" {
			t.Errorf("closed with %d %q", code, reason)
		}
	})
}

// TestSecondLogin: the same token again takes over; the first connection is
// told, and can do nothing any more.
func TestSecondLogin(t *testing.T) {
	eachLoops(t, options{}, func(t *testing.T, a *arena, other *player) {
		p := a.join("Ada", nil)
		again := a.join("Ada", p.token)
		if again.id != p.id || !again.resumed || again.own().Radius == 0 {
			t.Errorf("player %d came back as %d with %+v", p.id, again.id, again.own())
		}
		if code, reason := p.closed(); code != 1008 || !strings.Contains(reason, "another connection") {
			t.Errorf("closed with %d %q", code, reason)
		}
		for range 5 { // the end of the first must not end the second
			a.tick(1)
			again.tick(a)
		}
		var idle bool
		if a.on(func() { idle = a.g.byID[p.id].player.Idle }); idle {
			t.Error("the end of the first connection made the player idle")
		}
		again.hangUp()
	})
}
