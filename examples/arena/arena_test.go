package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/examples/arena/world"
	"github.com/sockmill/sockmill/protocol"
)

// arena is the whole server, but for its clock: a test says when it ticks.
type arena struct {
	t     *testing.T
	g     *game
	addr  string
	loops int
	n     uint64
	due   time.Time
}

// eachLoops runs a test with one loop and with two. A connection is made first, so
// that with two the test's own is on another loop than the game; it must not
// notice what the test does.
func eachLoops(t *testing.T, o options, test func(t *testing.T, a *arena, other *player)) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprintf("loops=%d", loops), func(t *testing.T) {
			o.listen, o.loops, o.seed = "ws://127.0.0.1:0", loops, 1
			if o.grace == 0 {
				o.grace = 30 * time.Second
			}
			if o.players == 0 {
				o.players = 100
			}
			g := newGame(o, zap.NewNop())
			e, err := open(o, g)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- e.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			}()
			a := &arena{t: t, g: g, loops: loops, addr: e.Addr().String(), due: time.Now()}
			other := a.join("Other", nil)
			test(t, a, other)
			a.tick(1)
			other.tick(a)
			other.hangUp()
		})
	}
}

// on runs f on the game's loop and waits for it.
func (a *arena) on(f func()) {
	a.t.Helper()
	done := make(chan struct{})
	if err := a.g.loop.Post(func() { defer close(done); f() }); err != nil {
		a.t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		a.t.Fatal("the game's loop does not answer")
	}
}

// tick makes n ticks. Each waits for what other loops posted before.
func (a *arena) tick(n int) {
	a.t.Helper()
	for range n {
		a.n++
		a.due = a.due.Add(period)
		a.on(func() { a.g.step(engine.Tick{N: a.n, Due: max0(a.due, time.Now())}) })
	}
}

// max0 is due, unless that is long ago: then the game would not send.
func max0(due, now time.Time) time.Time {
	if due.Before(now) {
		return now
	}
	return due
}

// player is a client of few features.
type player struct {
	t       *testing.T
	nc      net.Conn
	r       *bufio.Reader
	id      uint32
	world   float32
	token   []byte
	view    wire.View
	snap    wire.Snapshot // the last
	board   wire.Board
	died    int
	pongs   int
	resumed bool
	bytes   int // of snapshots
	got     int // snapshots
}

const sample = "dGhlIHNhbXBsZSBub25jZQ=="

// dial opens a connection; its status line is not 101 if it was refused.
func (a *arena) dial(path string, receive int, fields ...protocol.Field) (p *player, status string) {
	a.t.Helper()
	d := net.Dialer{Control: receiveBuffer(receive)}
	nc, err := d.Dial("tcp", a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	p = &player{t: a.t, nc: nc, r: bufio.NewReaderSize(nc, 4096)}
	p.write(protocol.AppendRequest(nil, a.addr, path, sample, nil, "", fields))
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			a.t.Fatal(err)
		}
		if status == "" {
			status = line
		}
		if line == "\r\n" {
			return p, status
		}
	}
}

func (a *arena) connect() *player {
	a.t.Helper()
	p, status := a.dial("/play", 0, protocol.Field{Name: "Sec-WebSocket-Protocol", Value: wire.Subprotocol})
	if status != "HTTP/1.1 101 Switching Protocols\r\n" {
		a.t.Fatalf("refused: %q", status)
	}
	return p
}

// join connects, says hello and waits for the first snapshot.
func (a *arena) join(name string, token []byte) *player {
	a.t.Helper()
	p := a.connect()
	p.hello(name, token)
	for p.id == 0 {
		p.next()
	}
	a.tick(1)
	p.tick(a)
	return p
}

func (p *player) hello(name string, token []byte) {
	p.t.Helper()
	p.send(protocol.OpBinary, wire.AppendHello(nil, wire.Hello{Version: wire.Version, Name: []byte(name), Token: token}))
}

func (p *player) input(in wire.Input) {
	p.t.Helper()
	p.send(protocol.OpBinary, wire.AppendInput(nil, in))
}

func (p *player) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func frame(op protocol.Opcode, payload []byte) []byte {
	h := protocol.Header{Fin: true, Opcode: op, Masked: true, Key: [4]byte{1, 2, 3, 4}, Length: int64(len(payload))}
	data := append([]byte(nil), payload...)
	protocol.Mask(data, h.Key, 0)
	return append(protocol.AppendHeader(nil, h), data...)
}

func (p *player) send(op protocol.Opcode, payload []byte) {
	p.t.Helper()
	p.write(frame(op, payload))
}

// read reads a frame of the server.
func (p *player) read() (protocol.Opcode, []byte) {
	p.t.Helper()
	var head [2]byte
	p.full(head[:])
	n := int(head[1])
	switch n {
	case 126:
		var b [2]byte
		p.full(b[:])
		n = int(binary.BigEndian.Uint16(b[:]))
	case 127:
		p.t.Fatal("a frame of more than 64 KiB")
	}
	payload := make([]byte, n)
	p.full(payload)
	return protocol.Opcode(head[0] & 15), payload
}

func (p *player) full(b []byte) {
	p.t.Helper()
	if _, err := io.ReadFull(p.r, b); err != nil {
		p.t.Fatalf("player %d reads: %v", p.id, err)
	}
}

// next takes the next message; it must not be a close frame.
func (p *player) next() byte {
	p.t.Helper()
	op, b := p.read()
	if op == protocol.OpClose {
		code, reason, _ := protocol.ParseClosePayload(b)
		p.t.Fatalf("player %d is closed: %d %s", p.id, code, reason)
	}
	if op != protocol.OpBinary || len(b) == 0 {
		p.t.Fatalf("a message of opcode %d and %d bytes", op, len(b))
	}
	var err error
	switch b[0] {
	case wire.KindWelcome:
		var w wire.Welcome
		err = w.Parse(b)
		p.id, p.world, p.token, p.resumed = w.Player, w.World, w.Token, w.Flags&wire.Resumed != 0
	case wire.KindSnapshot:
		if err = p.snap.Parse(b); err == nil {
			err = p.view.Apply(&p.snap)
			p.bytes, p.got = p.bytes+len(b), p.got+1
		}
	case wire.KindBoard:
		err = p.board.Parse(b)
	case wire.KindDied:
		p.died++
	case wire.KindPong:
		p.pongs++
	default:
		err = wire.ErrUnknown
	}
	if err != nil {
		p.t.Fatalf("player %d: message %x: %v", p.id, b, err)
	}
	return b[0]
}

// tick reads to the snapshot of the last tick.
func (p *player) tick(a *arena) {
	p.t.Helper()
	for p.view.Tick != uint32(a.n) {
		p.next()
	}
}

// own is the player's largest cell.
func (p *player) own() (e wire.Entity) {
	for _, c := range p.view.Entities {
		if c.Kind == wire.Cell && c.Owner == p.id && c.Radius >= e.Radius {
			e = c
		}
	}
	return e
}

// closed reads to the close frame and answers it.
func (p *player) closed() (code protocol.CloseCode, reason string) {
	p.t.Helper()
	for {
		op, b := p.read()
		if op == protocol.OpClose {
			code, reason, err := protocol.ParseClosePayload(b)
			if err != nil {
				p.t.Fatal(err)
			}
			_, _ = p.nc.Write(frame(protocol.OpClose, b)) // the server may have cut by now
			_ = p.nc.Close()
			return code, reason
		}
	}
}

// hangUp closes as a browser does.
func (p *player) hangUp() {
	p.t.Helper()
	p.send(protocol.OpClose, []byte{3, 232})
	p.closed()
}

// TestJoin: a player comes in, sees itself, moves, and is told how it stands.
func TestJoin(t *testing.T) {
	eachLoops(t, options{npcs: 5}, func(t *testing.T, a *arena, other *player) {
		p := a.join("  Żółw  ", nil)
		start := p.own()
		if start.Name != "Żółw" || p.resumed || p.snap.Flags != wire.Keyframe {
			t.Errorf("own cell %+v, %+v", start, p.snap.Header)
		}
		left := float32(1) // away from the wall
		if start.X > 32768 {
			left = -1
		}
		p.input(wire.Input{Seq: 77, DX: left})
		p.send(protocol.OpBinary, wire.AppendPing(nil, 5))
		for p.pongs == 0 { // the input came before it
			p.next()
		}
		a.tick(45)
		p.tick(a)
		moved := (float32(p.own().X) - float32(start.X)) * left * p.world / 65535
		if want := float32(600 / 1.778 * 1.5); moved < 0.9*want || moved > 1.1*want { // mass 10, 45 ticks
			t.Errorf("in 45 ticks it moved by %v, want about %v", moved, want)
		}
		if p.own().Y != start.Y || p.snap.Ack != 77 || p.died > 0 {
			t.Errorf("after the move: %+v, %+v", p.own(), p.snap.Header)
		}
		for range 2 * world.Rate {
			a.tick(1)
			p.tick(a)
		}
		if p.board.Players != 7 || len(p.board.Leaders) == 0 || p.board.Rank == 0 || p.board.Mass < 10 || len(p.board.Dots) < 5 {
			t.Errorf("board: %+v", p.board)
		}
		p.hangUp()
	})
}

// TestWorldGrows: those who play are told when the world gets another size.
func TestWorldGrows(t *testing.T) {
	eachLoops(t, options{}, func(t *testing.T, a *arena, other *player) {
		small := other.world
		a.on(func() {
			for range 40 {
				a.g.world.Join("crowd")
			}
		})
		a.tick(1)
		if other.tick(a); other.world <= small || other.snap.Flags&wire.Keyframe == 0 {
			t.Errorf("the world was %v and is %v: %+v", small, other.world, other.snap.Header)
		}
		var size float32
		a.on(func() {
			size = a.g.world.Size
			for _, p := range a.g.world.Players()[20:] {
				defer a.g.world.Leave(p)
			}
		})
		if other.world != size {
			t.Errorf("the world is %v, told as %v", size, other.world)
		}
		for range 10 * world.Rate {
			a.tick(1)
			other.tick(a)
		}
		if other.world >= size {
			t.Errorf("the world stays at %v when its players leave", other.world)
		}
	})
}

// TestDeath: who is eaten is told by whom, looks on, and lives again.
func TestDeath(t *testing.T) {
	eachLoops(t, options{}, func(t *testing.T, a *arena, other *player) {
		p := a.join("Prey", nil)
		a.on(func() {
			eater, prey := a.g.byID[other.id].player, a.g.byID[p.id].player
			e, o := &a.g.world.Entities[eater.Cells()[0]], &a.g.world.Entities[prey.Cells()[0]]
			e.Mass, e.R = 6000, 31
			o.X, o.Y = e.X, e.Y
		})
		a.tick(2)
		if p.tick(a); p.died != 1 || p.snap.Flags&wire.Dead == 0 || p.own().Radius != 0 || len(p.view.Entities) == 0 {
			t.Errorf("died %d times, %+v, %d entities in sight", p.died, p.snap.Header, len(p.view.Entities))
		}
		p.send(protocol.OpBinary, wire.AppendRespawn(nil))
		p.send(protocol.OpBinary, wire.AppendPing(nil, 5))
		for p.pongs == 0 {
			p.next()
		}
		a.tick(2)
		if p.tick(a); p.snap.Flags&wire.Dead != 0 || p.own().Radius == 0 {
			t.Errorf("after respawn: %+v, %+v", p.snap.Header, p.own())
		}
		p.hangUp()
	})
}
