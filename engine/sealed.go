package engine

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/stage"
)

// sealed is the TLS between a connection on its loop and the socket. What waits
// in the connection's queue is plaintext; only what the socket is about to take
// is sealed, so that a Policy can still decide about the rest.
type sealed struct {
	*stage.TLS
	rest     []byte // ciphertext that the kernel did not take, and how much of it left
	sent     int
	notified bool          // the peer's close_notify has come
	shut     bool          // ours has been sealed
	since    time.Duration // the engine's time when the connection was accepted
}

const (
	recordBytesMax = 16 << 10 // plaintext of one record (RFC 8446 §5.1)
	sealBytesMax   = 17 << 10 // plaintext of one write: a message of 16 KiB and its header
	keptBytesMax   = 64 << 10 // ciphertext that the kernel did not take: above, the peer only asks
)

var errKeyUpdates = errors.New("engine: the peer asks for more key updates of TLS than it reads answers")

var errTruncated = fmt.Errorf("engine: the stream ended without the close_notify of TLS: %w", io.ErrUnexpectedEOF)

// unsent reports whether something waits for the kernel.
func (c *Conn) unsent() bool {
	return !c.out.queue.Empty() || c.tls != nil && c.tls.rest != nil
}

// unseal takes ciphertext that came from the socket: the plaintext of all its
// records goes to the codec at once.
func (c *Conn) unseal(b []byte) {
	if c.end.phase.Load() >= phaseEnding {
		c.ignore(len(b))
		return
	}
	c.in.life = heard
	c.tls.Feed(b)
	c.openRecords()
}

// openRecords decrypts until more ciphertext is needed.
func (c *Conn) openRecords() {
	w := c.w
	if w.scratch.opened == nil {
		w.scratch.opened = make([]byte, loop.ReadBytesMax)
	}
	for room := w.scratch.opened; ; {
		n, err := c.openInto(room)
		c.keepSealed(c.tls.Output(w.scratch.sealed[:0]))
		if n > 0 {
			c.arrived(room[:n])
		}
		switch {
		case c.tls == nil || c.end.stream == streamCut: // it was handed to the http.Server, or is over
			return
		case err == nil:
			continue
		case errors.Is(err, stage.ErrMore):
		case errors.Is(err, io.EOF):
			c.tls.notified = true
			c.sock.EndInput()
		default:
			c.broken(err)
		}
		return
	}
}

// openInto decrypts until room is full, or until there is an error.
func (c *Conn) openInto(room []byte) (n int, err error) {
	for n < len(room) && err == nil {
		var more int
		more, err = c.tls.Open(room[n:])
		n += more
	}
	return n, err
}

// broken ends a connection whose peer broke TLS. The alert that says so is on its
// way (RFC 8446 §6.2); nothing else can be sent, even if the session was over already.
func (c *Conn) broken(err error) {
	c.tls.shut = true
	c.freeQueue()
	c.endSession(c.abnormal(err))
}

// keepSealed keeps ciphertext that is to be written at the end of the turn.
func (c *Conn) keepSealed(b []byte) {
	if len(b) == 0 {
		return
	}
	t, buffers := c.tls, &c.w.env.Buffers
	if t.rest == nil {
		t.rest = buffers.Get(len(b))
	}
	t.rest = append(buffers.Grow(t.rest, len(b)), b...)
	c.flow.congested = true
	if c.w.mark(c); len(t.rest)-t.sent > keptBytesMax {
		c.cut(errKeyUpdates)
	}
}

// writeKept gives the kernel what was kept.
func (c *Conn) writeKept() (sent int, err error) {
	t := c.tls
	if t.rest == nil {
		return 0, nil
	}
	sent, err = c.sock.Write(t.rest[t.sent:])
	if t.sent += sent; t.sent == len(t.rest) {
		c.freeSealed()
	}
	return sent, err
}

func (c *Conn) freeSealed() {
	if t := c.tls; t != nil && t.rest != nil {
		c.w.env.Buffers.Put(t.rest)
		t.rest, t.sent = nil, 0
	}
}

// writeSealed is write through TLS. It returns how much plaintext was taken, and
// how many bytes the kernel took.
func (c *Conn) writeSealed(pieces [][]byte) (n, sent int, err error) {
	if sent, err = c.writeKept(); err != nil || c.tls.rest != nil {
		return 0, sent, err
	}
	for i := 0; i < len(pieces); {
		j, size := i, 0
		for j < len(pieces) && size+len(pieces[j]) <= sealBytesMax {
			size += len(pieces[j])
			j++
		}
		portion, rest := pieces[i:j], []byte(nil)
		if j < len(pieces) && size < recordBytesMax { // a part of the next one fills the record
			whole := pieces[j]
			pieces[j], rest = whole[:recordBytesMax-size], whole[recordBytesMax-size:]
			portion, size = pieces[i:j+1], recordBytesMax
		}
		out, err := c.tls.Seal(c.w.scratch.sealed[:0], portion)
		if err != nil {
			return n, sent, err
		}
		if c.w.scratch.sealed = out[:0]; rest != nil {
			pieces[j] = rest
		}
		i, n = j, n+size
		k, err := c.sock.Write(out)
		sent += k
		if k < len(out) || err != nil {
			c.keepSealed(out[k:])
			return n, sent, err
		}
	}
	return n, sent, nil
}

// shut tells the peer that nothing follows (RFC 8446 §6.1).
func (c *Conn) shut() {
	t := c.tls
	if t == nil || t.shut {
		return
	}
	t.shut = true
	out, err := t.Shut(c.w.scratch.sealed[:0])
	if err != nil { // an alert was sent
		return
	}
	c.keepSealed(out)
	c.flush()
}
