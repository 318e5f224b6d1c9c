package engine

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// Bounds of a Tap.
const (
	tapFramesMax  = 1024     // that wait to be read, unless TapOptions say otherwise
	tapPayloadMax = 64 << 10 // of each frame
)

// TapOptions say what a Tap shows.
type TapOptions struct {
	PayloadBytes int // the first bytes of each payload, at most 65,536; 0: none
	FramesMax    int // that wait to be read; 0: 1024. Of more, the latest are left out and counted
}

// Tap is a live view of the frames of one connection in both directions: see
// Conn.Tap. Its methods may be called from any goroutine but the loops.
type Tap struct {
	c       *Conn
	payload int // bytes that are wanted of each
	max     int

	mu      sync.Mutex
	frames  []TappedFrame
	dropped uint64
	ended   bool
	ready   chan struct{} // holds something if there may be something to read
}

// TappedFrame is a frame (RFC 6455 §5.2) that came, or that the kernel took. Of a
// protocol without frames it is a message that came, or what one write carried.
type TappedFrame struct {
	At      time.Time
	In      bool // from the peer
	Framed  bool // it is a frame; else the fields from Fin to Masked mean nothing
	Opcode  protocol.Opcode
	Fin     bool
	Rsv     byte // as protocol.Header.Rsv
	Masked  bool
	Length  int64  // of the payload, as it is in the frame: of a compressed message compressed
	Payload []byte // its first bytes, unmasked, if they were asked for
}

// Tap begins to show the connection's frames, those that come or leave when it has
// returned: of a frame that is cut by that moment nothing is shown. What waits in the
// connection's queue shows when it is written. A connection that nobody looks at pays
// nothing for it. Tap waits for the connection's loop until ctx ends. It fails in a callback, with
// ErrClosed if the connection is not open, and with ErrStopped. Close must be called.
func (c *Conn) Tap(ctx context.Context, o TapOptions) (*Tap, error) {
	if o.FramesMax == 0 {
		o.FramesMax = tapFramesMax
	}
	if o.PayloadBytes < 0 || o.PayloadBytes > tapPayloadMax || o.FramesMax < 1 {
		return nil, fmt.Errorf("engine: TapOptions are %+v: PayloadBytes must be from 0 to %d, FramesMax at least 1, or 0 for the default", o, tapPayloadMax)
	}
	if c.end.phase.Load() != phaseOpen {
		return nil, ErrClosed
	}
	if c.w.e.onLoop() {
		return nil, errInspectOnLoop
	}
	t := &Tap{c: c, payload: o.PayloadBytes, max: o.FramesMax, ready: make(chan struct{}, 1)}
	begun := make(chan struct{})
	if err := c.w.post(post{do: func() { t.begin(); close(begun) }}); err != nil {
		return nil, err
	}
	select {
	case <-begun:
		return t, nil
	case <-ctx.Done():
		t.Close()
		return nil, ctx.Err()
	}
}

// Read waits for frames, and returns all that wait, with the number of those that
// were left out behind them because nobody read in time. It fails with io.EOF when the
// connection has gone, or after Close, and everything was read; and with the error of ctx.
func (t *Tap) Read(ctx context.Context) (frames []TappedFrame, dropped uint64, err error) {
	for {
		t.mu.Lock()
		frames, dropped = t.frames, t.dropped
		t.frames, t.dropped = nil, 0
		ended := t.ended
		t.mu.Unlock()
		switch {
		case len(frames) > 0:
			return frames, dropped, nil
		case ended:
			return nil, 0, io.EOF
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// Close ends the view. A second call does nothing.
func (t *Tap) Close() {
	t.mu.Lock()
	ended := t.ended
	t.ended = true
	t.mu.Unlock()
	t.notify()
	if !ended {
		_ = t.c.w.post(post{kind: ownPost, do: t.remove}) // fails when the loop has ended, and has forgotten it
	}
}

func (t *Tap) notify() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

func (t *Tap) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.notify()
}

// add is called on the loop.
func (t *Tap) add(f TappedFrame) {
	if f.Payload = f.Payload[:min(len(f.Payload), t.payload)]; t.payload == 0 {
		f.Payload = nil
	}
	t.mu.Lock()
	switch {
	case t.ended:
	case len(t.frames) >= t.max:
		t.dropped++
	default:
		t.frames = append(t.frames, f)
	}
	t.mu.Unlock()
	t.notify()
}

// tapped is what a loop knows of a connection with taps.
type tapped struct {
	c       *Conn
	taps    []*Tap
	in, out frameScan
	pieces  [][]byte // that are being written
}

// tapped is nil as long as nobody looks at the connection.
func (c *Conn) tapped() *tapped {
	if c.w.taps == nil {
		return nil
	}
	return c.w.taps[c]
}

// begin runs on the loop, and not within a batch of the connection.
func (t *Tap) begin() {
	c, w := t.c, t.c.w
	t.mu.Lock()
	ended := t.ended // nobody waits for it any more
	t.mu.Unlock()
	if ended {
		return
	}
	if phase := c.end.phase.Load(); phase != phaseOpen && phase != phaseClosing {
		t.end()
		return
	}
	x := c.tapped()
	if x == nil {
		x = &tapped{c: c}
		if c.codec == &c.ws {
			var header []byte
			header, x.in.left = c.ws.Unread()
			x.in.size = copy(x.in.header[:], header)
			x.out.left = int64(c.out.queue.Cut(c.codec))
		}
		if w.taps == nil {
			w.taps = make(map[*Conn]*tapped)
		}
		w.taps[c] = x
	}
	x.taps = append(x.taps, t)
}

func (t *Tap) remove() {
	c := t.c
	x := c.tapped()
	if x == nil {
		return
	}
	x.taps = slices.DeleteFunc(x.taps, func(other *Tap) bool { return other == t })
	if len(x.taps) == 0 {
		c.w.forgetTaps(c)
	}
}

func (w *worker) forgetTaps(c *Conn) {
	if delete(w.taps, c); len(w.taps) == 0 {
		w.taps = nil
	}
}

// endTaps ends the taps of a connection that has gone.
func (c *Conn) endTaps() {
	x := c.tapped()
	if x == nil {
		return
	}
	for _, t := range x.taps {
		t.end()
	}
	c.w.forgetTaps(c)
}
