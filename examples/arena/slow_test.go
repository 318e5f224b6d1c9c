package main

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/examples/arena/world"
	"github.com/sockmill/sockmill/protocol"
)

// TestSlowPlayer: who does not read costs nobody anything, and gets the newest
// world when it reads again, not what it missed. What it missed is counted
// exactly.
func TestSlowPlayer(t *testing.T) {
	eachLoops(t, options{npcs: 30}, func(t *testing.T, a *arena, other *player) {
		p, _ := a.dial("/play", 2048, protocol.Field{Name: "Sec-WebSocket-Protocol", Value: wire.Subprotocol})
		p.hello("Snail", nil)
		for p.id == 0 {
			p.next()
		}
		for p.got == 0 {
			a.tick(1)
			for p.view.Tick != uint32(a.n) {
				p.next()
			}
		}
		first := a.n
		for a.g.metrics.drops.Load() < 200 {
			waiting, whole := false, a.g.metrics.keyframes.Load()
			a.on(func() { waiting = a.g.byID[p.id].client.conn.QueuedBytes() > 0 })
			a.tick(1)
			if other.tick(a); a.n > 20_000 {
				t.Fatal("nothing is dropped for a player who does not read")
			}
			if other.snap.Flags&wire.Keyframe != 0 {
				whole++
			}
			// Nobody reads it: what waits now waited at the tick. (With two loops it may
			// have been on its way to the other one.)
			if waiting && (a.loops == 1 || a.g.metrics.drops.Load() > 0) && a.g.metrics.keyframes.Load() == whole {
				t.Fatalf("tick %d: a delta is to take the place of a snapshot that waits", a.n)
			}
		}
		began, read := p.bytes, p.got
		p.tick(a)
		// The kernels hold the old, the queue the newest: at most about as much as
		// the buffers at both ends, and that is a small part of what was sent.
		if bytes := p.bytes - began; bytes > 40<<10 {
			t.Errorf("it had to read %d bytes before the newest world", bytes)
		}
		if p.snap.Flags&wire.Keyframe == 0 {
			t.Errorf("the newest world came as a change: %+v", p.snap.Header)
		}
		var want []wire.Entity
		a.on(func() { want = seen(a.g, a.g.byID[p.id].player) })
		if !slices.Equal(want, p.view.Entities) {
			t.Errorf("it sees %v, want %v", p.view.Entities, want)
		}
		a.tick(1)
		p.tick(a)
		missed := a.n - first - uint64(p.got-read)
		if uint64(p.snap.Dropped) != missed || missed < 200 {
			t.Errorf("%d snapshots did not come, %d are counted", missed, p.snap.Dropped)
		}
		whole := 0
		for range world.Rate {
			a.tick(1)
			if p.tick(a); p.snap.Flags&wire.Keyframe != 0 {
				whole++
			}
		}
		if whole > world.Rate/2 { // one of these, and with two loops one now and then whose predecessor is just leaving
			t.Errorf("%d of %d snapshots are keyframes when it reads again", whole, world.Rate)
		}
		p.hangUp()
	})
}

// TestHTTP: the page with its policy, the measurements, and what is refused.
func TestHTTP(t *testing.T) {
	eachLoops(t, options{npcs: 3}, func(t *testing.T, a *arena, other *player) {
		get := func(path string) (*http.Response, string) {
			resp, err := http.Get("http://" + a.addr + path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp, string(b)
		}
		page, _ := get("/")
		if csp := page.Header.Get("Content-Security-Policy"); page.StatusCode != 200 || !strings.Contains(csp, "default-src 'none'") || page.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("/: %d, policy %q", page.StatusCode, csp)
		}
		other.input(wire.Input{Seq: 1, DX: 9})
		other.send(protocol.OpBinary, wire.AppendPing(nil, 0))
		for other.pongs == 0 {
			other.next()
		}
		a.tick(40)
		resp, body := get("/metrics.json")
		var m report
		if err := json.Unmarshal([]byte(body), &m); err != nil || resp.StatusCode != 200 {
			t.Fatalf("/metrics.json: %d %v: %s", resp.StatusCode, err, body)
		}
		last := m.Tick.Buckets[len(m.Tick.Buckets)-1].Count
		if m.Players != 4 || m.Connected != 1 || m.NPCs != 3 || m.Entities < 50 || m.Tick.Count != int64(a.n) || last != int64(a.n) ||
			m.Snapshots != a.n || m.SnapshotBytes < 40*a.n || m.Keyframes < 2 || m.Inputs != 1 || m.InputsClamped != 1 || m.Drops != 0 {
			t.Errorf("after %d ticks: %s", a.n, body)
		}
		if resp, _ := get("/nothing"); resp.StatusCode != 404 {
			t.Errorf("/nothing: %d", resp.StatusCode)
		}
		if resp, _ := get("/play"); resp.StatusCode != 404 {
			t.Errorf("/play without a handshake: %d", resp.StatusCode)
		}
		if _, status := a.dial("/play", 0); !strings.Contains(status, " 400 ") {
			t.Errorf("without the subprotocol: %q", status)
		}
		offer := protocol.Field{Name: "Sec-WebSocket-Protocol", Value: wire.Subprotocol}
		if _, status := a.dial("/other", 0, offer); !strings.Contains(status, " 404 ") {
			t.Errorf("/other: %q", status)
		}
		if _, status := a.dial("/play", 0, offer, protocol.Field{Name: "Origin", Value: "http://evil.example"}); !strings.Contains(status, " 403 ") {
			t.Errorf("another origin: %q", status)
		}
	})
}
